"""Equivariance: named continuous codes are supervised by the known transformation of an augmented view.

    ½ Σ_j E[(μ_j(t(x)) - μ_j(x) - Σ_k s_jk t_k)²]        where  μ_j(x) = E_Q[c_j | x],  x ~ data

with t_k the parameters of the view: how far it is slanted, rotated, widened, heightened, and transformed in the other
ways that codes are named for. The slopes s_jk are such that the code's prior covers the range of real images, and that
it follows what it is named for whatever moves this:

    s_jk = (deviation of c_j's prior / deviation of S_j(x)) · ∂S_j / ∂t_k

S_j is a statistic that the transformation of code j changes, see `infogan.data.transformations`; deviation and
derivatives are measured on training images before the first step. A code that wraps, an angle, turns as the image does,
by any angle: its own slope is 1, and its error is half the squared chord, 1 - cos. With a fixed deviation Q errs as
much on two codes as on any rotation of them, so that by the bound alone each may be a mixture of what people would tell
apart. The supervision is t's parameters, which are known since t was drawn; no label is used.
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
from infogan.data.augment import Augmentation, Views
from infogan.data.batches import UpdateBatch, to_unit_range
from infogan.data.transformations import TABLE
from infogan.extensions.base import Extension
from infogan.latents import posterior_means
from infogan.losses import Term, Terms
from infogan.system.errors import UserError

N_IMAGES = 5000  # that slopes are measured on
PARTS = {"scale": ("width", "height")}  # a scale is no parameter of its own
LEAST_SHOWN = 0.02  # of a code, at the largest parameter of a view
LEAST_DEVIATION = 1e-4  # of a statistic among images: below it there is nothing for a code to cover


class Equivariance(Extension):
    """Supervises each named code by the known parameter of its transformation."""

    needs_views = True

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        return config.lambda_equivariance > 0 and len(config.spec.named) > 0

    def start_run(self, images: UInt8[Tensor, "n ch h w"], augmentation: Augmentation) -> None:
        instructions = instructions_for(self.spec, images, augmentation)
        self.slopes = torch.tensor([told.slopes for told in instructions], device=images.device)
        # Of Q's means, which are those of the continuous codes alone.
        self.columns = [self.spec.continuous.index(told.position) for told in instructions]
        self.wraps = torch.tensor([told.position in self.spec.circular for told in instructions], device=images.device)

    def d_terms(self, batch: UpdateBatch) -> Terms:
        assert batch.views is not None
        q_head = self.discriminator.q_head
        with statistics_kept(q_head):  # Q's running statistics are those of generated images alone
            means = posterior_means(self.spec, q_head(torch.cat(batch.real_and_views())))
        of_images, of_views = torch.stack([means[:, column] for column in self.columns], dim=1).chunk(2)
        loss = equivariance_loss(of_images, of_views, batch.views.parameters @ self.slopes.T, self.wraps)
        return {"equivariance": Term(self.config.lambda_equivariance, loss)}


@dataclass(frozen=True)
class Instruction:
    """What a named code is told.

    Attributes:
        position: Of the code in the spec.
        transformation: What it is named for.
        parameters: The transformations whose parameters it is told.
        slopes: By how much the code grows per unit of each.
        reaches: The largest of each parameter of a view, to either side.
        wraps: Whether the code is an angle that goes once round as the parameter does.
    """

    position: int
    transformation: str
    parameters: tuple[str, ...]
    slopes: tuple[float, ...]
    reaches: tuple[float, ...]
    wraps: bool = False

    def __str__(self) -> str:
        if self.wraps:
            return f"c{self.position + 1} (circular:{self.transformation}): grows by the same angle; views have any"
        told = zip(self.parameters, self.slopes, self.reaches, strict=True)
        parts = [
            f"{slope:.3g} per {TABLE[name].unit}{'' if name == self.transformation else f' of {name}'} "
            f"(views have up to {reach:.2g})"
            for name, slope, reach in sorted(told, key=lambda part: -abs(part[1] * part[2]))
            if abs(slope * reach) >= LEAST_SHOWN
        ]
        return f"c{self.position + 1} ({self.transformation}): grows by {', '.join(parts)}"


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
    images = to_unit_range(images[:: -(-len(images) // N_IMAGES)].cpu())
    augmentation = replace(augmentation, contrast=0.0, thicknesses=None)
    views = augmentation.views(images, *augmentation.draw(len(images), torch.Generator().manual_seed(0)))
    names, found = augmentation.parameters, []
    reaches = tuple(views.parameters.abs().amax(dim=0).tolist())
    for position, name in spec.named:
        code = spec.codes[position]
        assert not isinstance(code, Categorical)
        if isinstance(code, Circular):
            slopes = tuple(float(other == name) / math.pi for other in names)
        else:
            effects = _effects(name, images, views, augmentation)
            slopes = tuple(code.variance**0.5 * effect for effect in effects)
        found.append(Instruction(position, name, names, slopes, reaches, isinstance(code, Circular)))
    return found


def _effects(name: str, images: Float[Tensor, "n ch h w"], views: Views, augmentation: Augmentation) -> list[float]:
    """Returns by how many of its deviations a statistic grows per unit of each parameter of the views."""
    about = TABLE[name]
    of_images, of_views = (about.statistic(x, augmentation.background) for x in (images, views.images))
    deviation = wrapped(of_images - _mean(of_images, about.period), about.period).std().item()
    change = wrapped(of_views - of_images, about.period)
    # What the parameters do together is told apart by least squares.
    parameters, change = (values.double() - values.double().mean(dim=0) for values in (views.parameters, change))
    effects = torch.linalg.lstsq(parameters, change[:, None]).solution[:, 0]
    own = sum(effects[augmentation.parameters.index(part)].item() for part in PARTS.get(name, (name,)))
    if not own > 0 or not deviation > LEAST_DEVIATION:
        raise UserError(f"codes: expected images that differ in {name}, got such that do not")
    return (effects / deviation).tolist()


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
