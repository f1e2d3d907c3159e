"""One training step: an update of D, then an update of G. It computes and returns; it prints and writes nothing.

| part   | D update (`update_discriminator`)       | G update (`update_generator`)        |
|--------|-----------------------------------------|--------------------------------------|
| trunk  | loss_d, and -λ·L_I if `both`            | stays                                |
| d_head | loss_d                                  | stays                                |
| q_head | -λ·L_I if `both`, -L_I if `probe`       | -λ·L_I if `g`, else stays            |
| G      | stays                                   | loss_g, and -λ·L_I unless `probe`    |

With λ_consistency or λ_equivariance, the D update also trains trunk and q_head on real images and altered copies of
them: see `losses`. Until categories are made from classes that learn so, their L_I has no weight. Once they are
established, D may judge the images of each by itself: see `models.ProjectionHead`.

`probe` is the vanilla GAN: a Q head of the same size learns, with the same budget, on features detached from
the trunk, so that it moves neither D nor G, and its L_I is an honest estimate rather than a random head's.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.spec import Categorical, LatentSpec
from infogan.config.train_config import TrainConfig
from infogan.data.augment import Copies, lean_and_widening
from infogan.latents import posterior_means
from infogan.losses import (
    GanLoss,
    discriminator_loss,
    equivariance_loss,
    generator_loss,
    information,
    joint_assignments,
    mutual_information_lower_bound,
    smoothed_information,
)
from infogan.models import Discriminator, Generator, OverclusteredQ, statistics_kept
from infogan.system.distributed import average, mean_over_ranks
from infogan.system.errors import NonFiniteLossError
from infogan.system.runtime import resolve_precision

MiUpdates = Literal["both", "g", "probe"]
CLASS_JOINT_UPDATE = 0.02  # of joint distributions of classes of images and copies: an average over some 50 steps
CATEGORY_JOINT_UPDATE = 0.1  # of those of categories, which are far fewer: over some 10


@dataclass(frozen=True)
class StepLosses:
    """What a step reports, detached and on the device.

    Attributes:
        loss_d: D's GAN loss, before its update, without L_I.
        loss_g: G's GAN loss, after D's update, without L_I.
        mi_nats: L_I of each code, before the update that trains Q: on images that Q has not learned from yet.
        consistency_nats: of each categorical code, what the category of a real image, or before it is settled the
            class, says of that of its copy; None without that term.
        equivariance: how far Q's continuous codes of copies are from what the maps say, before the update; None without
            that term.
    """

    loss_d: Float[Tensor, ""]
    loss_g: Float[Tensor, ""]
    mi_nats: Float[Tensor, " i"]
    consistency_nats: Float[Tensor, " categorical"] | None = None
    equivariance: Float[Tensor, ""] | None = None


@dataclass(frozen=True)
class DiscriminatorLosses:
    """What an update of D reports; as in `StepLosses`, but L_I is None if it is left to the update of G."""

    loss_d: Float[Tensor, ""]
    mi_nats: Float[Tensor, " i"] | None
    consistency_nats: Float[Tensor, " categorical"] | None
    equivariance: Float[Tensor, ""] | None


class AdversarialStep:
    """The two updates of one G and D, with their optimizers.

    Args:
        generator: G.
        discriminator: D and Q.
        config: loss, weights, rates.
        mi_updates: which update carries L_I; see the table above.

    Attributes:
        category_weight: the share of lambda_cat that is in force.
        settled: whether the consistency term is of the categories; before, it is of the classes that they come from.
        established: whether the category's L_I has set in, so that D may judge by category.
    """

    def __init__(
        self, generator: Generator, discriminator: Discriminator, config: TrainConfig, mi_updates: MiUpdates
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.spec, self.mi_updates = config.spec, mi_updates
        self.gan_loss: GanLoss = config.gan_loss
        self.lambda_consistency = config.lambda_consistency if config.is_consistent else 0.0
        self.lambda_equivariance = config.lambda_equivariance if config.is_equivariant else 0.0
        device = next(generator.parameters()).device
        self._products_in = functools.partial(
            torch.autocast, device.type, torch.bfloat16, resolve_precision(config.precision, device) == "bfloat16"
        )
        self.category_weight, self.settled, self.established = 1.0, True, False
        self._code_per = torch.tensor([config.code_per_lean, config.code_per_widening], device=device)
        self._lambdas_cat = code_weights(self.spec, config.lambda_cat, 0.0).to(device)
        self._lambdas_cont = code_weights(self.spec, 0.0, config.lambda_cont).to(device)
        # Each parameter has one owner: Q belongs to the update that trains it. A probe learns at the rate of the Q
        # that it is compared with.
        q_rate = config.lr_g if config.mi_updates == "g" else config.lr_d
        linear, rest = _split_q(discriminator.q_head)
        d_groups = [
            {"params": [*discriminator.trunk.parameters()], "lr": config.lr_d},
            {"params": [*discriminator.d_head.parameters(), *linear], "lr": config.lr_heads or config.lr_d},
        ]
        g_groups = [{"params": [*generator.parameters()], "lr": config.lr_g}]
        (g_groups if mi_updates == "g" else d_groups).append({"params": rest, "lr": q_rate})
        betas = (config.beta1, config.beta2)
        self.opt_d = torch.optim.Adam(d_groups, betas=betas, fused=True)
        self.opt_g = torch.optim.Adam(g_groups, betas=betas, fused=True)
        for group in (*self.opt_d.param_groups, *self.opt_g.param_groups):
            group["full_lr"] = group["lr"]

    def scale_rates(self, share: float) -> None:
        """Sets all learning rates to a share of what the configuration says."""
        for group in (*self.opt_d.param_groups, *self.opt_g.param_groups):
            group["lr"] = share * group["full_lr"]

    @property
    def lambdas(self) -> Float[Tensor, " i"]:
        """λ_i of each code, as far as it is in force."""
        return self.category_weight * self._lambdas_cat + self._lambdas_cont

    def __call__(
        self,
        x_real: Float[Tensor, "n ch h w"],
        z: Float[Tensor, "n z"],
        c: Float[Tensor, "n c"],
        copies: Copies | None = None,
    ) -> StepLosses:
        """Updates D, then G, on one batch, and returns the losses.

        Both updates share the images G(z, c): G does not move between them, so its forward pass is done once.

        Args:
            x_real: real images.
            z: noise.
            c: codes.
            copies: altered copies of the real images, for the terms that need them.

        Raises:
            NonFiniteLossError: before the update that the loss would have made.
        """
        with self._products_in():
            x_fake = self.generator(z, c).float()
        d = self.update_discriminator(x_real, x_fake.detach(), c, copies)
        loss_g, mi_in_g_update = self.update_generator(x_fake, c)
        mi_nats = mi_in_g_update if d.mi_nats is None else d.mi_nats
        assert mi_nats is not None
        return StepLosses(d.loss_d, loss_g, mi_nats, d.consistency_nats, d.equivariance)

    def update_discriminator(
        self,
        x_real: Float[Tensor, "n ch h w"],
        x_fake: Float[Tensor, "n ch h w"],
        c: Float[Tensor, "n c"],
        copies: Copies | None = None,
    ) -> DiscriminatorLosses:
        """Moves what D's optimizer owns, and returns what it was moved by."""
        net = self.discriminator
        # Q's hidden layer sees generated images alone, so that its BatchNorm knows no others.
        images = [x_real, x_fake] if copies is None else [x_real, x_fake, copies.images]
        features_real, features_fake, *of_copies = self._features(*images)
        logits_real, logits_fake = (net.d_logits(f, self.established) for f in (features_real, features_fake))
        loss_d = discriminator_loss(logits_real, logits_fake, self.gan_loss)
        total, mi_nats, consistency, equivariance = loss_d, None, None, None
        if self.mi_updates == "probe":
            mi_nats = self._mi(c, net.q_head(features_fake.detach()))
            total = total - mi_nats.sum()
        elif self.mi_updates == "both":
            mi_nats = self._mi(c, net.q_head(features_fake))
            total = total - self.lambdas @ mi_nats
        if copies is not None:
            (features_copy,) = of_copies
            if self.lambda_consistency > 0:
                consistency, term = self._consistency(features_real, features_copy)
                total = total - self.lambda_consistency * term
            if self.lambda_equivariance > 0:
                equivariance = self._equivariance(features_real, features_copy, copies.affines)
                total = total + self.lambda_equivariance * equivariance
        _descend(total, "loss_d", self.opt_d)
        return DiscriminatorLosses(
            loss_d.detach(),
            None if mi_nats is None else mi_nats.detach(),
            consistency,
            None if equivariance is None else equivariance.detach(),
        )

    def _features(self, *batches: Float[Tensor, "n ch h w"]) -> list[Float[Tensor, "n features"]]:
        with self._products_in():
            return [features.float() for features in self.discriminator.trunk.each(*batches)]

    def _consistency(
        self, features_real: Float[Tensor, "n f"], features_copy: Float[Tensor, "n f"]
    ) -> tuple[Float[Tensor, " categorical"], Float[Tensor, ""]]:
        """Returns the consistency of each categorical code, detached, and the term to be maximised.

        The term is the sum over the categorical codes of the information that the category of an image holds of its
        copy's; before the categories are settled, a class, in the mean of the heads.
        """
        q_head = self.discriminator.q_head
        assert isinstance(q_head, OverclusteredQ)
        if not self.settled:
            logits = [q_head.class_logits(features).flatten(1, 2) for features in (features_real, features_copy)]
            joints = mean_over_ranks(joint_assignments(logits[0], logits[1])).unflatten(0, (-1, q_head.n_heads))
            q_head.class_joints.lerp_(joints.detach(), CLASS_JOINT_UPDATE)
            # Classes come into being by the chance of single batches: in the average there is nothing to start from.
            return information(q_head.class_joints).amax(dim=1), information(joints).mean(dim=1).sum()
        found, terms = [], []
        for logits_real, logits_copy, running in zip(
            q_head.category_logits(features_real),
            q_head.category_logits(features_copy),
            q_head.category_joints,
            strict=True,
        ):
            joint = mean_over_ranks(joint_assignments(logits_real.unsqueeze(1), logits_copy.unsqueeze(1))).squeeze(0)
            running.lerp_(joint.detach(), CATEGORY_JOINT_UPDATE)
            found.append(information(running))
            terms.append(smoothed_information(joint, running) if self.category_weight > 0 else information(joint))
        return torch.stack(found), torch.stack(terms).sum()

    def _equivariance(
        self, features_real: Float[Tensor, "n f"], features_copy: Float[Tensor, "n f"], affines: Float[Tensor, "n 2 3"]
    ) -> Float[Tensor, ""]:
        q_head = self.discriminator.q_head
        with statistics_kept(q_head):
            means = posterior_means(self.spec, q_head(torch.cat([features_real, features_copy])))
        shifts = self._code_per * lean_and_widening(affines)
        of_images, of_copies = means[:, : shifts.shape[1]].chunk(2)
        return equivariance_loss(of_images, of_copies, shifts[:, : means.shape[1]])

    def settle(self) -> None:
        """Starts the categories from the classes that were learned so far."""
        q_head = self.discriminator.q_head
        assert isinstance(q_head, OverclusteredQ)
        q_head.settle()
        for parameter in q_head.categories.parameters():
            # Adam's averages are of gradients that were 0: its first steps would be several times too long.
            self.opt_d.state.pop(parameter, None)

    def update_generator(
        self, x_fake: Float[Tensor, "n ch h w"], c: Float[Tensor, "n c"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " i"] | None]:
        """Moves what G's optimizer owns, through `x_fake`'s graph; returns loss_g, and L_I if it has a part."""
        net = self.discriminator
        # D only passes the gradient on: that of its own weights would be computed in vain.
        still = [net.trunk, net.d_head] if self.mi_updates == "g" else [net]
        with _without_weight_gradients(still):
            (features_fake,) = self._features(x_fake)
            loss_g = generator_loss(net.d_logits(features_fake, self.established), self.gan_loss)
            if self.mi_updates == "probe":
                _descend(loss_g, "loss_g", self.opt_g)
                return loss_g.detach(), None
            mi_nats = self._mi(c, net.q_head(features_fake))
            _descend(loss_g - self.lambdas @ mi_nats, "loss_g", self.opt_g)
        return loss_g.detach(), mi_nats.detach()

    def _mi(self, c: Float[Tensor, "n c"], q_params: Float[Tensor, "n q"]) -> Float[Tensor, " i"]:
        return mutual_information_lower_bound(self.spec, c, q_params)

    def state_dict(self) -> dict[str, Any]:
        """Returns the nets and both optimizers."""
        return {name: getattr(self, name).state_dict() for name in self._PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues as the step did whose `state_dict` this is."""
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])

    _PARTS = ("generator", "discriminator", "opt_g", "opt_d")


def _split_q(q_head: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Returns Q's parameters that are linear on the trunk and learn from real images too, and all others."""
    heads = (q_head.categories, q_head.classes) if isinstance(q_head, OverclusteredQ) else ()
    linear = [parameter for head in heads for parameter in head.parameters()]
    known = {id(parameter) for parameter in linear}
    return linear, [parameter for parameter in q_head.parameters() if id(parameter) not in known]


def code_weights(spec: LatentSpec, lambda_cat: float, lambda_cont: float) -> Float[Tensor, " i"]:
    """Returns λ_i of each code."""
    return torch.tensor([lambda_cat if isinstance(code, Categorical) else lambda_cont for code in spec.codes])


def _descend(total: Float[Tensor, ""], name: str, optimizer: torch.optim.Optimizer) -> None:
    over_ranks = total.detach().clone()
    average([over_ranks])  # so that all ranks stop, if one must
    if not torch.isfinite(over_ranks):
        raise NonFiniteLossError(f"{name} with its L_I term is {over_ranks.item()}")
    optimizer.zero_grad()
    total.backward()
    average(parameter.grad for group in optimizer.param_groups for parameter in group["params"])
    optimizer.step()


@contextlib.contextmanager
def _without_weight_gradients(nets: Sequence[nn.Module]) -> Iterator[None]:
    parameters = [p for net in nets for p in net.parameters() if p.requires_grad]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
