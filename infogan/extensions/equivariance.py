"""Equivariance: named continuous codes are supervised by the known transformation of an augmented view.

    ½ Σ_j E[(μ_j(t(x)) - μ_j(x) - s_j t_j)²]        where  μ_j(x) = E_Q[c_j | x],  x ~ data

with t_j the parameter of the transformation that the code j is named for, and t_k of all others varying independently.
The slope s_j is such that the code's prior covers the range of real images:

    s_j = (deviation of c_j's prior / deviation of S_j(x)) · ∂S_j / ∂t_j

S_j is a statistic that the transformation changes, see `infogan.data.transformations`; both are measured on training
images before the first step. A code that wraps, an angle, turns as the image does, by any angle: its s_j is 1, and its
error is half the squared chord, 1 - cos. With a fixed deviation Q errs as much on two codes as on any rotation of them,
so that by the bound alone each may be a mixture of what people would tell apart. The supervision is t's parameters,
which are known since t was drawn; no label is used.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from infogan.circular import wrapped
from infogan.config.spec import Categorical, Circular, LatentSpec
from infogan.config.train_config import TrainConfig
from infogan.data.augment import NO_MAP, Augmentation
from infogan.data.batches import UpdateBatch, to_unit_range
from infogan.data.transformations import TABLE
from infogan.extensions.base import Extension
from infogan.latents import posterior_means
from infogan.losses import Term, Terms
from infogan.system.errors import UserError

N_IMAGES = 5000  # that slopes are measured on
LEAST_DEVIATION = 1e-4  # of a statistic among images: below it there is nothing for a code to cover


class Equivariance(Extension):
    """Supervises each named code by the known parameter of its transformation."""

    needs_views = True

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        return config.lambda_equivariance > 0 and len(config.spec.named) > 0

    def start_run(self, images: UInt8[Tensor, "n ch h w"], augmentation: Augmentation) -> None:
        instructions = instructions_for(self.spec, images, augmentation)
        self.slopes = torch.tensor([told.slope for told in instructions], device=images.device)
        # Of Q's means, which are those of the continuous codes alone.
        self.columns = [self.spec.continuous.index(told.position) for told in instructions]
        self.wraps = torch.tensor([told.position in self.spec.circular for told in instructions], device=images.device)

    def d_terms(self, batch: UpdateBatch) -> Terms:
        assert batch.views is not None
        q_head = self.discriminator.q_head
        with statistics_kept(q_head):  # Q's running statistics are those of generated images alone
            means = posterior_means(self.spec, q_head(torch.cat(batch.real_and_views())))
        of_images, of_views = torch.stack([means[:, column] for column in self.columns], dim=1).chunk(2)
        loss = equivariance_loss(of_images, of_views, self.slopes * batch.views.parameters, self.wraps)
        return {"equivariance": Term(self.config.lambda_equivariance, loss)}


@dataclass(frozen=True)
class Instruction:
    """What a named code is told.

    Attributes:
        position: Of the code in the spec.
        transformation: What it is named for.
        reach: The largest parameter of a view, to either side.
        slope: By how much the code grows per unit of the parameter.
        wraps: Whether the code is an angle that goes once round as the parameter does.
    """

    position: int
    transformation: str
    reach: float
    slope: float
    wraps: bool = False

    def __str__(self) -> str:
        if self.wraps:
            return f"c{self.position + 1} (circular:{self.transformation}): grows by the same angle; views have any"
        return (
            f"c{self.position + 1} ({self.transformation}): grows by {self.slope:.3g} per "
            f"{TABLE[self.transformation].unit}, of which views have up to {self.reach:.2g} to either side"
        )


def instructions_for(
    spec: LatentSpec, images: UInt8[Tensor, "n ch h w"], augmentation: Augmentation
) -> list[Instruction]:
    """Returns what each named code is told, measured on up to `N_IMAGES` of the images; the same on every call.

    Args:
        spec: The latents.
        images: To learn from.
        augmentation: How views differ from them; of the same names as the codes, in their order.

    Raises:
        UserError: The images do not differ in what a code is named for.
    """
    some = to_unit_range(images[:: -(-len(images) // N_IMAGES)].cpu())
    augmentation = replace(augmentation, contrast=0.0, thicknesses=None)
    # Affine maps change several parameters at once; another transformation is measured alone.
    affine = replace(augmentation, named=tuple(name for name in augmentation.named if TABLE[name].of_map is not None))
    found = []
    for position, name in spec.named:
        code = spec.codes[position]
        assert not isinstance(code, Categorical)
        if isinstance(code, Circular):
            found.append(Instruction(position, name, math.pi, 1 / math.pi, wraps=True))
            continue
        alone = replace(augmentation, affine=NO_MAP, named=(name,))
        slope, reach = _slope(name, some, affine if name in affine.named else alone)
        found.append(Instruction(position, name, reach, code.variance**0.5 * slope))
    return found


def _slope(name: str, images: Float[Tensor, "n ch h w"], augmentation: Augmentation) -> tuple[float, float]:
    """Returns by how many of its deviations a statistic grows per unit of the parameter, and the largest parameter."""
    views = augmentation.views(images, *augmentation.draw(len(images), torch.Generator().manual_seed(0)))
    about, column = TABLE[name], augmentation.named.index(name)
    of_images, of_views = (about.statistic(x, augmentation.background) for x in (images, views.images))
    deviation = wrapped(of_images - _mean(of_images, about.period), about.period).std().item()
    change = wrapped(of_views - of_images, about.period)
    # What the parameters do together is told apart by least squares.
    parameters, change = (values.double() - values.double().mean(dim=0) for values in (views.parameters, change))
    effect = torch.linalg.lstsq(parameters, change[:, None]).solution[column].item()
    if not effect > 0 or not deviation > LEAST_DEVIATION:
        raise UserError(f"codes: expected images that differ in {name}, got such that do not")
    return effect / deviation, views.parameters[:, column].abs().max().item()


def _mean(values: Float[Tensor, " n"], period: float) -> Float[Tensor, ""]:
    """Returns the mean; of angles that wrap, that of their directions."""
    if math.isinf(period):
        return values.mean()
    angles = values * (2 * math.pi / period)
    return torch.atan2(angles.sin().mean(), angles.cos().mean()) * (period / (2 * math.pi))


def equivariance_loss(
    means: Float[Tensor, "n j"],
    means_of_views: Float[Tensor, "n j"],
    shifts: Float[Tensor, "n j"],
    wraps: Bool[Tensor, " j"],
) -> Float[Tensor, ""]:
    """Returns half the squared error of how the codes of augmented views differ from those of the images.

    Up to a constant it is -log of a Gaussian density with deviation 1, in nats, or of a von Mises density with
    concentration 1 for an angle; 0 if codes move as they should.

    Args:
        means: Of Q's continuous codes, for images.
        means_of_views: The same of their augmented views.
        shifts: By how much each code of each view should be larger.
        wraps: Which codes are angles, in half turns.
    """
    errors = means_of_views - means - shifts
    return torch.where(wraps, 1 - torch.cos(math.pi * errors), 0.5 * errors.square()).sum(dim=1).mean()


@contextlib.contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Within it, BatchNorm normalises by the batch as in training, but its running statistics stay."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
