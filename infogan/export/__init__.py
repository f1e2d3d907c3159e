"""Takes a trained model elsewhere: plain layers, files that other programs read, and model cards."""

from infogan.export.layers import Crop, Unflatten, generator_layers, recognition_layers
from infogan.weights.folding import folded

__all__ = ["Crop", "Unflatten", "folded", "generator_layers", "recognition_layers"]
