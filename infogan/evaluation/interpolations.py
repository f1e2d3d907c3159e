"""How many images on the way between two latents are clear digits."""

from __future__ import annotations

import typing
from dataclasses import replace

import torch

from infogan.auxiliary import CategoryPath, GalleryOptions, generate, interpolation_pictures
from infogan.config.datasets import DIGIT_SETS
from infogan.evaluation.classifier import load_digit_classifier
from infogan.training.checkpoint import TrainedNets

CLEAR = 0.9  # probability of the classifier's first choice


def clear_digit_shares(nets: TrainedNets, options: GalleryOptions) -> dict[str, float]:
    """Returns the share of images of a run's interpolations that are clear digits, for each way a category may go.

    A digit is clear if the frozen classifier gives one of the ten a probability of 0.9 or more. Empty if the run's
    images are not MNIST's.

    Args:
        nets: The run.
        options: As of its pictures; every `category_path` is tried.
    """
    if nets.config.dataset not in DIGIT_SETS or nets.image_shape != (1, 28, 28):
        return {}
    classifier = load_digit_classifier()
    shares = {}
    for path in typing.get_args(CategoryPath):
        pictures = interpolation_pictures(nets.spec, replace(options, category_path=path))
        x = torch.cat([generate(nets.generator, picture.latents).flatten(0, 1) for picture in pictures])
        with torch.no_grad():
            logits = classifier(x)
        shares[path] = (logits.softmax(dim=1).amax(dim=1) >= CLEAR).float().mean().item()
    return shares
