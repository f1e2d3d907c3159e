"""A small digit classifier: what samples are read with, and the space of the Fréchet digit distance.

It is trained once by `scripts/train_classifier.py` on the 60,000 training digits of MNIST, frozen, and
shipped as package data. Its labels are used to score samples, never to train an InfoGAN.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from infogan.data.augment import AffineRange, random_affines, warp
from infogan.data.batches import to_unit_range
from infogan.evaluation.shipped_nets import load_shipped
from infogan.system.errors import NonFiniteLossError

N_DIGITS = 10
AUGMENTATION = AffineRange(rotation_degrees=10, scale=0.1, shear=0.15, translation=2 / 28)
FEATURE_DIM = 64
IMAGE_SIZE_PX = 28


class DigitClassifier(nn.Module):
    """Class scores and penultimate activations of a grey 28x28 digit: 76,530 parameters.

    Input contract of every method: NCHW, 1x28x28, float32 in [-1, 1] (ink towards +1), on the device of the
    weights; the input is not changed.

    Attributes:
        sha256: Hexadecimal SHA-256 of the weight file when built by `load_digit_classifier`, else None. It
            names the feature space, so that every Fréchet digit distance can say in which one it was
            measured.
    """

    sha256: str | None = None

    def __init__(self) -> None:
        """Builds the net with PyTorch's default initialisation, from the global random state."""
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(24, 48, 3, padding=1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(48, 64, 3, padding=1, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(64 * 3 * 3, FEATURE_DIM, bias=False),
            nn.BatchNorm1d(FEATURE_DIM),
            nn.ReLU(),
        )
        self.head = nn.Linear(FEATURE_DIM, N_DIGITS)

    def features(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 64"]:
        """Returns the penultimate activations (64 numbers, each >= 0, no unit).

        This is the space of the "Fréchet digit distance" and of precision, recall, density and coverage. A
        distance measured here is not an Inception FID and is never called one.

        """
        assert x.shape[1:] == (1, IMAGE_SIZE_PX, IMAGE_SIZE_PX), f"x must be (n, 1, 28, 28), got {tuple(x.shape)}"
        return self.trunk(x)

    def logits(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 10"]:
        """Returns the ten class scores before softmax (nats, up to a constant per image)."""
        return self.head(self.features(x))

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 10"]:
        """Returns `logits(x)`."""
        return self.logits(x)


def load_digit_classifier(path: Path | None = None, device: torch.device | str = "cpu") -> DigitClassifier:
    """Returns the frozen digit classifier: evaluation mode, no gradients to its weights, `sha256` set.

    Args:
        path: Weight file written by `save_shipped`; None reads the one shipped with the package.
        device: Where to put the weights.

    Raises:
        UserError: If the weight file cannot be read, or was altered; the message names the command that writes it.
    """
    classifier = DigitClassifier()
    classifier.sha256 = load_shipped(classifier, "digit classifier", "train_classifier.py", path)
    return classifier.to(memory_format=torch.channels_last).to(device)


@torch.no_grad()
def classifier_accuracy(
    logits: Callable[[Float[Tensor, "n c h w"]], Float[Tensor, "n k"]],
    images: UInt8[Tensor, "n c h w"],
    labels: Int[Tensor, " n"],
    device: torch.device | str = "cpu",
    batch_size: int = 1000,
) -> float:
    """Returns the share of images whose largest logit is the label: 1 when perfect, 1 / k at chance.

    Args:
        logits: Of a classifier in evaluation mode, for images in [-1, 1].
        images: uint8 0..255, on any device.
        labels: The true classes, 0..k-1.
        device: Where the classifier works.
        batch_size: Images per forward pass; has no effect on the result.
    """
    assert len(images) > 0, "images must hold at least one image, got 0"
    hits = sum(
        int((logits(to_unit_range(x.to(device))).argmax(1) == y.to(device)).sum())
        for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True)
    )
    return hits / len(images)


@dataclass(frozen=True)
class EpochReport:
    """What one epoch of training did.

    Attributes:
        epoch: From 1.
        loss_nats: Mean cross-entropy of the augmented training images during the epoch (nats; ln 10 at
            chance).
        learning_rate: That of the epoch's last update.
    """

    epoch: int
    loss_nats: float
    learning_rate: float


def train_digit_classifier(
    classifier: DigitClassifier,
    images: UInt8[Tensor, "n 1 28 28"],
    labels: Int[Tensor, " n"],
    *,
    epochs: int,
    seed: int,
    batch_size: int = 128,
    peak_learning_rate: float = 4e-3,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> None:
    """Trains `classifier` in place and leaves it in evaluation mode.

    AdamW under a one-cycle schedule on augmented images, cross-entropy, no choice among epochs: the last one
    is the result, so that no test label can leak into it. Deterministic on a CPU by `seed`, the initial
    weights and the number of threads; the global random state is neither read nor changed.

    Args:
        classifier: Trained where its weights are.
        images: uint8 0..255; at least `batch_size` of them. The last, smaller batch of an epoch is dropped.
        labels: Digits 0..9.
        epochs: Passes over the images, 1 or more.
        seed: Order of the images and their augmentation.
        batch_size: Images per update.
        peak_learning_rate: Reached after 30% of the updates, then lowered along a cosine to almost 0.
        on_epoch: Called after each epoch, to show it.

    Raises:
        NonFiniteLossError: If the loss of an epoch is not finite.
    """
    assert epochs > 0, f"epochs must be 1 or more, got {epochs}"
    n_batches = len(images) // batch_size
    assert n_batches > 0, f"images must hold at least one batch of {batch_size}, got {len(images)}"
    device = next(classifier.parameters()).device
    images, labels = images.to(device), labels.to(device).long()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_learning_rate, total_steps=epochs * n_batches + 1)
    classifier.train()
    for epoch in range(1, epochs + 1):
        order = torch.randperm(len(images), generator=generator).to(device)
        loss_sum = torch.zeros((), device=device)
        for batch in order[: n_batches * batch_size].split(batch_size):
            # Drawn on the CPU, so that a seed gives the same augmentation on every device.
            affines = random_affines(len(batch), AUGMENTATION, generator).to(images.device)
            x = warp(to_unit_range(images[batch]), affines)
            loss = F.cross_entropy(classifier.logits(x.to(memory_format=torch.channels_last)), labels[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            loss_sum += loss.detach()
        loss_nats = loss_sum.item() / n_batches
        if not math.isfinite(loss_nats):
            raise NonFiniteLossError(f"the loss of epoch {epoch} is {loss_nats}")
        if on_epoch is not None:
            on_epoch(EpochReport(epoch, loss_nats, optimizer.param_groups[0]["lr"]))
    classifier.eval()
