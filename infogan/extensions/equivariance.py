"""Equivariance: named continuous codes are supervised by the known transformation of an augmented view.

    ½ Σ_j E[(μ_j(t(x)) - μ_j(x) - Σ_k s_jk t_k)²]        where  μ_j(x) = E_Q[c_j | x],  x ~ data

with t_k the parameters of the view: how far it is slanted, rotated, widened, heightened, and transformed in the other
ways that codes are named for. The slopes s_jk are such that the code's prior covers the range of real images, and that
it follows what it is named for whatever moves this:

    s_jk = (deviation of c_j's prior / deviation of S_j(x)) · ∂S_j / ∂t_k

S_j is a statistic that the transformation of code j changes, see `infogan.data.transformations`; deviation and
derivatives are measured on training images before the first step. A code that wraps, an angle, turns as the image does,
by any angle: its own slope is 1, or the order of the images' symmetry, and its error is half the squared chord,
1 - cos. With a fixed deviation Q errs as much on two codes as on any rotation of them, so that by the bound alone each
may be a mixture of what people would tell apart. The supervision is t's parameters, which are known since t was drawn;
no label is used.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn

from infogan.circular import wrapped
from infogan.config.spec import Categorical, Circular, LatentSpec
from infogan.config.train_config import TrainConfig
from infogan.data.augment import Augmentation
from infogan.data.batches import UpdateBatch, fair_sample, to_unit_range
from infogan.data.transformations import TABLE
from infogan.extensions.base import Extension
from infogan.latents import posterior_means
from infogan.losses import Term, Terms
from infogan.system.errors import UserError

N_VIEWS = 5000  # that slopes are measured on
MOST_VALUES = 2**22  # of images that are transformed at a time
# The parameters of a view that is transformed in one way alone, where these are more than one.
ALONE = {
    "scale": {"width": 1.0, "height": 1.0},
    "rotation": {"rotation": 1.0, "slant": -1.0},  # an upright line turns with the image
    "slant": {"slant": 1.0, "rotation": -0.5},  # the rotation that comes closest to a shear
}
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
        self.wraps = torch.tensor([told.order is not None for told in instructions], device=images.device)

    def state_dict(self) -> dict[str, Any]:
        return {"slopes": self.slopes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        slopes = state["slopes"]
        if slopes.shape != self.slopes.shape or not bool(slopes.isfinite().all()):
            raise ValueError(f"expected finite slopes of shape {tuple(self.slopes.shape)}, got {tuple(slopes.shape)}")
        self.slopes.copy_(slopes)

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
        order: How often the code goes round as an angle is turned once; None for a code that is no angle.
    """

    position: int
    transformation: str
    parameters: tuple[str, ...]
    slopes: tuple[float, ...]
    reaches: tuple[float, ...]
    order: int | None = None

    def __str__(self) -> str:
        if self.order is not None:
            code = Circular(self.transformation, self.order)
            times = "the same angle" if self.order == 1 else f"{self.order} times the angle"
            return f"c{self.position + 1} ({code}): grows by {times}; views have any"
        alone = _alone(self.transformation)
        told = zip(self.parameters, self.slopes, self.reaches, strict=True)
        parts = [
            f"{slope:.3g} per {TABLE[name].unit}{'' if name == self.transformation else f' of {name}'} "
            f"(views have up to {reach:.2g})"
            for name, slope, reach in sorted(told, key=lambda part: (part[0] not in alone, -abs(part[1] * part[2])))
            if name in alone or abs(slope * reach) >= LEAST_SHOWN
        ]
        return f"c{self.position + 1} ({self.transformation}): grows by {', '.join(parts)}"


def _alone(name: str) -> dict[str, float]:
    """Returns the parameters of a view that is transformed in this way alone, by 1."""
    return ALONE.get(name, {name: 1.0})


def instructions_for(
    spec: LatentSpec, images: UInt8[Tensor, "n ch h w"], augmentation: Augmentation
) -> list[Instruction]:
    """Returns what each named code is told, measured on some `N_VIEWS` views of the images; the same on every call.

    Args:
        spec: The latents.
        images: To learn from; where they are few, each has several views.
        augmentation: How views differ from them; of the same names as the codes, in their order.

    Raises:
        UserError: The images do not differ in what a code is named for.
    """
    augmentation = replace(augmentation, contrast=0.0, thicknesses=None)
    measured = _measure(images, augmentation)
    parameters, names = measured.parameters, augmentation.parameters
    reaches = tuple(parameters.abs().amax(dim=0).tolist())
    found = []
    for position, name in spec.named:
        code = spec.codes[position]
        assert not isinstance(code, Categorical)
        effects, deviation = _effects(measured, name)
        alone = {name: 1.0} if isinstance(code, Circular) else _alone(name)
        own = sum(share * effects[names.index(part)] for part, share in alone.items())
        # How real images are turned does not matter to an angle, but a hue that no view changes is none.
        is_told = own > 0 and deviation > LEAST_DEVIATION
        if not (is_told or (isinstance(code, Circular) and name == "rotation")):
            raise UserError(
                f"codes: expected images that differ in {name}, as far as what is not background shows, got such "
                "that do not"
            )
        if isinstance(code, Circular):
            slopes = tuple(float(other == name) * code.order / math.pi for other in names)
        else:
            slopes = tuple(code.variance**0.5 * effect / deviation for effect in effects)
        found.append(Instruction(position, name, names, slopes, reaches, getattr(code, "order", None)))
    return found


@dataclass(frozen=True)
class _Measured:
    """Statistics of images and of a view of each, by the names of transformations, and the views' parameters."""

    of_images: dict[str, Float[Tensor, " v"]]
    of_views: dict[str, Float[Tensor, " v"]]
    parameters: Float[Tensor, "v p"]


def _measure(images: UInt8[Tensor, "n ch h w"], augmentation: Augmentation) -> _Measured:
    kept = fair_sample(len(images), N_VIEWS)
    kept = kept.repeat(N_VIEWS // len(kept)).to(images.device)
    drawn = augmentation.draw(len(kept), torch.Generator().manual_seed(0))
    of_images, of_views, parameters = {}, {}, []
    for rows in torch.arange(len(kept)).split(max(1, MOST_VALUES // images[0].numel())):
        x = to_unit_range(images[kept[rows]].cpu())
        views = augmentation.views(x, *(part[rows] for part in drawn))
        parameters.append(views.parameters)
        for name in augmentation.named:
            statistic = TABLE[name].statistic
            of_images.setdefault(name, []).append(statistic(x, augmentation.background))
            of_views.setdefault(name, []).append(statistic(views.images, augmentation.background))
    of_images, of_views = ({name: torch.cat(parts) for name, parts in found.items()} for found in (of_images, of_views))
    return _Measured(of_images, of_views, torch.cat(parameters))


def _effects(measured: _Measured, name: str) -> tuple[list[float], float]:
    """Returns by how much a statistic grows per unit of each parameter of views, and its deviation among images."""
    period, of_images = TABLE[name].period, measured.of_images[name]
    deviation = wrapped(of_images - _mean(of_images, period), period).std().item()
    change = wrapped(measured.of_views[name] - of_images, period)
    # What the parameters do together is told apart by least squares.
    parameters, change = (values.double() - values.double().mean(dim=0) for values in (measured.parameters, change))
    return torch.linalg.lstsq(parameters, change[:, None]).solution[:, 0].tolist(), deviation


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
