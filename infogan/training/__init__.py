"""The step, the trainer, the loop, and what a run keeps on disk."""
