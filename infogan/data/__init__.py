"""Data sets, their batches, and augmented views of images."""

from infogan.data.datasets import ImageDataset, load_dataset, register_dataset

__all__ = ["ImageDataset", "load_dataset", "register_dataset"]
