"""Fresh samples of G, and Q's output on images.

All draws come from generators of their own, on the CPU, so that a seed means the same samples on every device. Nets run
in evaluation mode; neither they nor any global random state are changed.

Images are rounded to 256 grey levels before anything is measured, as a file would hold them: a signal between G
and Q that is finer than that cannot pass for information that a person could see.

Axes: n samples, z noise, c columns of all codes, q columns of Q's output, ch h w image.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from infogan.auxiliary import to_uint8
from infogan.config.spec import LatentSpec
from infogan.data.batches import to_unit_range
from infogan.latents import sample_prior
from infogan.models import Discriminator
from infogan.system.runtime import evaluating

BATCH_SIZE = 250


@dataclass(frozen=True, eq=False)
class Samples:
    """Images of a generator, and the codes that they were made from; on the CPU."""

    c: Float[Tensor, "n c"]
    images: UInt8[Tensor, "n ch h w"]


def draw_samples(
    generator: nn.Module, spec: LatentSpec, n: int, rng: torch.Generator, what: str | None = "samples"
) -> Samples:
    """Returns n fresh samples of G.

    Args:
        generator: G; not changed.
        spec: The latents.
        n: How many.
        rng: Drawn from, and advanced.
        what: They are for, beside the bar; None for no bar.
    """
    z, c = sample_prior(spec, n, rng)
    return Samples(c, generate_images(generator, z, c, what))


def generate_images(
    generator: nn.Module, z: Float[Tensor, "n z"], c: Float[Tensor, "n c"], what: str | None = None
) -> UInt8[Tensor, "n ch h w"]:
    """Returns G's images, in evaluation mode, as uint8 on the CPU; `what` they are for stands beside a bar."""
    device = device_of(generator)
    batches = zip(z.split(BATCH_SIZE), c.split(BATCH_SIZE), strict=True)
    with evaluating(generator), progress_bar(len(z), what) as bar:
        drawn = []
        for z_batch, c_batch in batches:
            drawn.append(torch.from_numpy(to_uint8(generator(z_batch.to(device), c_batch.to(device)).cpu())))
            bar.update(len(z_batch))
    return torch.cat(drawn)


def q_outputs(discriminator: Discriminator, images: UInt8[Tensor, "n ch h w"]) -> Float[Tensor, "n q"]:
    """Returns Q's output on images, in evaluation mode, on the CPU."""
    with evaluating(discriminator):
        batches = batches_of(discriminator, images)
        return torch.cat([discriminator.q_head(discriminator.trunk(x)).cpu() for x in batches])


def batches_of(net: nn.Module, images: UInt8[Tensor, "n ch h w"]) -> Iterator[Float[Tensor, "b ch h w"]]:
    """Returns batches of images in [-1, 1], on the device of a net."""
    device = device_of(net)
    return (to_unit_range(x.to(device)) for x in images.split(BATCH_SIZE))


def device_of(net: nn.Module) -> torch.device:
    """Returns the device of a net's weights."""
    return next(net.parameters()).device


def progress_bar(total: int, what: str | None) -> tqdm:
    """Returns a bar on a terminal; None hides it."""
    hidden = True if what is None else None  # None: shown, but not in a log file
    return tqdm(total=total, desc=what, unit="img", leave=False, disable=hidden)
