"""Inception FID and KID, for those who have the network: they compare samples with what others report.

The network is a TorchScript file that takes uint8 RGB images of any size and, with `return_features=True`, gives their
2,048 features, as the `inception-2015-12-05.pt` that NVIDIA distributes with its own metrics. It is no part of this
package. The distances are torchmetrics'.
"""

from __future__ import annotations

import hashlib
import io
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from infogan.evaluation.registry import register_metric
from infogan.evaluation.subject import INCEPTION, Subject, once
from infogan.system.errors import UserError
from infogan.system.paths import given_path
from infogan.system.readers import read_bytes
from infogan.system.runtime import seeded

BATCH_SIZE = 50
KID_SUBSET_SIZE = 1000  # at most; of 100 subsets
LEAST_IMAGES = 2
MAX_FILE_BYTES = 2**30  # the network's has 96 million


@dataclass(frozen=True)
class InceptionReference:
    """The network, and what it makes of real images: what samples are compared with.

    Attributes:
        net: The network.
        file: Where it came from.
        sha256: Of that file.
        device: Where it works.
        real: Features of real images, in random order.
    """

    net: torch.jit.ScriptModule
    file: Path
    sha256: str
    device: torch.device | str
    real: Float[Tensor, "m f"]


def measure_inception_reference(
    file: str | Path, real: UInt8[Tensor, "m ch h w"], device: torch.device | str = "cpu"
) -> InceptionReference:
    """Loads the network and returns what it makes of real images.

    Args:
        file: The TorchScript file; it is executed, so trust where it comes from.
        real: Real images, in random order.
        device: Where the network works.

    Raises:
        UserError: Torchmetrics or the network is missing, or it is not such a file; images of other channels.
    """
    _torchmetrics()  # missing, it is to be noticed before minutes of work
    file = given_path(file, "--inception")
    content = read_bytes(file, "--inception", MAX_FILE_BYTES)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch would rather export, but the file is as it is
            net = torch.jit.load(io.BytesIO(content), map_location=device).eval()
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"--inception: expected a TorchScript file of the network, got {str(file)!r}: {reason}"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    return InceptionReference(net, file, digest, device, _features(net, real, device, file))


def inception_scores(
    samples: UInt8[Tensor, "n ch h w"], reference: InceptionReference, seed: int = 0
) -> dict[str, Any]:
    """Returns `fid`, and `kid` with its standard deviation over subsets, of samples against as many real images.

    FID (Heusel et al. 2017, arXiv 1706.08500): from 0 for equal Gaussians; it falls with the number of images, `n`. KID
    (Bińkowski et al. 2018, arXiv 1801.01401): 0 in the mean for equal distributions, also for few images. Grey images
    are repeated to three channels.

    Args:
        samples: Of G, two or more.
        reference: The network and its real images.
        seed: Of KID's subsets; no global random state is changed.

    Raises:
        UserError: Images that the network does not take.
    """
    n = min(len(reference.real), len(samples))
    assert n >= LEAST_IMAGES, f"expected at least {LEAST_IMAGES} images, got {n}"
    features = [reference.real[:n], _features(reference.net, samples[:n], reference.device, reference.file)]
    given = _Given(features[0].shape[1])
    frechet_distance, kernel_distance = _torchmetrics()
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that KID keeps its features, which are small
        fid = frechet_distance(feature=given)
        kid = kernel_distance(feature=given, subset_size=min(KID_SUBSET_SIZE, n))
        for metric in (fid, kid):
            for values, is_real in zip(features, (True, False), strict=True):
                metric.update(values, real=is_real)
        kid_mean, kid_deviation = kid.compute()
    return {
        "fid": max(fid.compute().item(), 0.0),  # rounding may leave it below
        "kid": kid_mean.item(),
        "kid_deviation": kid_deviation.item(),
        "n": n,
        "network_sha256": reference.sha256,
    }


@once
def _inception(subject: Subject) -> dict[str, Any]:
    assert subject.inception is not None
    return inception_scores(subject.samples.images, subject.inception, subject.seed)


def _register(label: str, low: float, **details: Any) -> Any:
    return register_metric(
        label=label,
        table="Inception FID and KID",
        place=("inception",),
        key=label.lower(),
        range=(low, math.inf),
        at_chance=None,
        higher_is_better=False,
        needs={INCEPTION},
        **details,
    )


@_register("FID", low=0, digits=2)
def fid(subject: Subject) -> dict[str, Any]:
    """Returns the Fréchet distance in the network's features, with KID; see `inception_scores`."""
    return _inception(subject)


@_register("KID", low=-math.inf, digits=4, spread="kid_deviation")
def kid(subject: Subject) -> dict[str, Any]:
    """Returns the kernel distance in the network's features, with FID; see `inception_scores`."""
    return _inception(subject)


def _torchmetrics() -> tuple[Any, Any]:
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
        from torchmetrics.image.kid import KernelInceptionDistance
    except ImportError:
        raise UserError("--inception: needs torchmetrics: pip install torchmetrics") from None
    return FrechetInceptionDistance, KernelInceptionDistance


class _Given(nn.Module):
    """Features as they come, for metrics that would otherwise extract them twice."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
        return features


@torch.no_grad()
def _features(
    net: torch.jit.ScriptModule, images: UInt8[Tensor, "n ch h w"], device: torch.device | str, file: Path
) -> Float[Tensor, "n f"]:
    found = []
    with tqdm(total=len(images), desc="Inception", unit="img", leave=False, disable=None) as bar:
        for x in images.split(BATCH_SIZE):
            try:
                found.append(net(x.expand(-1, 3, -1, -1).to(device), return_features=True).cpu().float())
            except RuntimeError as error:
                reason = " ".join(str(error).split())[-200:]
                raise UserError(f"--inception: {str(file)!r} does not take these images: {reason}") from None
            bar.update(len(x))
    return torch.cat(found)
