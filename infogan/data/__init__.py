"""Data sets, their batches, and augmented views of images."""

from infogan.data.datasets import ImageDataset, load_dataset, register_dataset
from infogan.data.factors import KnownFactors

__all__ = ["ImageDataset", "KnownFactors", "load_dataset", "register_dataset"]
