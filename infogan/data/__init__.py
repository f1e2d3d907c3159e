"""Data sets, their batches, and augmented views of images."""
