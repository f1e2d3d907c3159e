"""Takes a trained model elsewhere: plain layers, files that other programs read, and model cards."""

from infogan.export.exporting import Exported, export_run
from infogan.export.layers import Crop, Posed, Unflatten, generator_layers, recognition_layers
from infogan.weights.folding import folded

__all__ = ["Crop", "Exported", "Posed", "Unflatten", "export_run", "folded", "generator_layers", "recognition_layers"]
