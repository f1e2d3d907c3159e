"""One training step: an update of D, then an update of G. It computes and returns; it prints and writes nothing.

| part   | D update (`update_discriminator`) | G update (`update_generator`) |
|--------|-----------------------------------|-------------------------------|
| trunk  | loss_d - Σ λ_i L_I(c_i)           | frozen                        |
| d_head | loss_d                            | frozen                        |
| q_head | -Σ λ_i L_I(c_i)                   | frozen                        |
| G      | frozen                            | loss_g - Σ λ_i L_I(c_i)       |

-λ·L_I is in both updates, as in the authors' code. Each update sums terms, a weight and a value each, and descends on
the sum; `extensions` may add terms of their own, and the step knows none of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from infogan.config.spec import Categorical
from infogan.config.train_config import TrainConfig
from infogan.data.augment import Views
from infogan.data.batches import UpdateBatch
from infogan.losses import GanLoss, Term, Terms, discriminator_loss, generator_loss, mutual_information_lower_bound
from infogan.models import Discriminator, Generator
from infogan.system.distributed import average
from infogan.system.errors import NonFiniteLossError
from infogan.system.runtime import autocast_for, is_capturing
from infogan.training.adam import Adam


@runtime_checkable
class AddsTerms(Protocol):
    """What the step asks of an extension."""

    def d_terms(self, batch: UpdateBatch) -> Terms: ...

    def g_terms(self, batch: UpdateBatch) -> Terms: ...


class InfoGANStep:
    """The two updates of one G and D, with their optimizers.

    Args:
        generator: G.
        discriminator: D and Q.
        config: Loss, weights, rates.
        extensions: They add terms to either update.
        transform: What D and Q see G's images through; real ones, which the step is given, went through it before.

    Attributes:
        lambdas: λ_i of each code, as far as it is in force.
        autocast: The precision in which the nets calculate; losses are float32 in any.
        totals: What each update of the last step minimised, over all ranks.
    """

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        config: TrainConfig,
        extensions: Sequence[AddsTerms] = (),
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.generator, self.discriminator = generator, discriminator
        self.extensions, self.transform = extensions, transform
        self.spec = config.spec
        self.gan_loss: GanLoss = config.gan_loss
        device = next(generator.parameters()).device
        self.lambdas = torch.tensor(code_weights(config), device=device)
        self.totals: dict[str, Float[Tensor, ""]] = {}
        self.autocast = autocast_for(config.precision, device)
        # Each parameter has one owner; the heads that are linear on the trunk may have a rate of their own.
        linear = [parameter for head in discriminator.linear_heads() for parameter in head.parameters()]
        known = {id(parameter) for parameter in linear}
        groups = [
            {"params": [*discriminator.trunk.parameters()], "lr": config.lr_d},
            {"params": linear, "lr": config.lr_heads or config.lr_d},
            {"params": [p for p in discriminator.q_head.parameters() if id(p) not in known], "lr": config.lr_d},
        ]
        betas = (config.beta1, config.beta2)
        self.opt_d, self.opt_g = Adam(groups, config.lr_d, betas), Adam(generator.parameters(), config.lr_g, betas)

    def scale_rates(self, share: float) -> None:
        """Sets all learning rates to a share of what the configuration says."""
        self.opt_d.scale_rates(share)
        self.opt_g.scale_rates(share)

    def __call__(
        self,
        x_real: Float[Tensor, "n ch h w"],
        z: Float[Tensor, "n z"],
        c: Float[Tensor, "n c"],
        views: Views | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Updates D, then G, on one batch, and returns the value of each term, detached and on the device.

        `loss_d` is D's GAN loss before its update, `loss_g` G's after it; `mi_c1`, ... is L_I in nats before the
        update that trains Q: on images that Q has not learned from yet.

        Both updates share the images G(z, c): G does not move between them, so its forward pass is done once.

        Args:
            x_real: Real images, as D is to see them.
            z: Noise.
            c: Codes.
            views: Augmented views of the real images, for extensions that need them.

        Raises:
            NonFiniteLossError: Before the update that the loss would have made.
        """
        self.totals = {}
        with self.autocast():
            x_fake = self.generator(z, c).float()
        if self.transform is not None:
            x_fake = self.transform(x_fake)
        of_d = self.update_discriminator(x_real, x_fake.detach(), c, views)
        of_g = self.update_generator(x_fake, c)
        return of_g | of_d  # of L_I, which both have, that of D's update

    def update_discriminator(
        self,
        x_real: Float[Tensor, "n ch h w"],
        x_fake: Float[Tensor, "n ch h w"],
        c: Float[Tensor, "n c"],
        views: Views | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Moves trunk, d_head and q_head, and returns the value of each term."""
        # Q's hidden layer sees generated images alone, so that its BatchNorm knows no others.
        images = {"real": x_real, "fake": x_fake} | ({} if views is None else {"views": views.images})
        features = dict(zip(images, self._features(*images.values()), strict=True))
        batch = UpdateBatch(x_fake, c, features["fake"], x_real, features["real"], views, features.get("views"))
        return self._descend(self.d_terms(batch), "loss_d", self.opt_d)

    def d_terms(self, batch: UpdateBatch) -> Terms:
        """Returns what the update of D minimises."""
        terms = {"loss_d": self.d_loss(batch), **self.mi_terms(batch.c, batch.features_fake)}
        for extension in self.extensions:
            terms |= extension.d_terms(batch)
        return terms

    def d_loss(self, batch: UpdateBatch) -> Term:
        """Returns -V(D, G), or what stands for it."""
        assert batch.features_real is not None
        logits_real, logits_fake = map(self.discriminator.d_head, (batch.features_real, batch.features_fake))
        return Term(1.0, discriminator_loss(logits_real, logits_fake, self.gan_loss))

    def update_generator(
        self, x_fake: Float[Tensor, "n ch h w"], c: Float[Tensor, "n c"]
    ) -> dict[str, Float[Tensor, ""]]:
        """Moves G, through `x_fake`'s graph, and returns the value of each term."""
        # D only passes the gradient on: that of its own weights would be computed in vain.
        self.discriminator.requires_grad_(False)
        try:
            (features_fake,) = self._features(x_fake)
            return self._descend(self.g_terms(UpdateBatch(x_fake, c, features_fake)), "loss_g", self.opt_g)
        finally:
            self.discriminator.requires_grad_(True)

    def g_terms(self, batch: UpdateBatch) -> Terms:
        """Returns what the update of G minimises."""
        terms = {"loss_g": self.g_loss(batch), **self.mi_terms(batch.c, batch.features_fake)}
        for extension in self.extensions:
            terms |= extension.g_terms(batch)
        return terms

    def g_loss(self, batch: UpdateBatch) -> Term:
        """Returns G's part of V(D, G), in its non-saturating form."""
        return Term(1.0, generator_loss(self.discriminator.d_head(batch.features_fake), self.gan_loss))

    def mi_terms(self, c: Float[Tensor, "n c"], features_fake: Float[Tensor, "n f"]) -> Terms:
        """Returns -λ_i L_I(c_i) of each code."""
        bounds = mutual_information_lower_bound(self.spec, c, self.discriminator.q_head(features_fake))
        parts = zip(self.spec.names, self.lambdas, bounds, strict=True)
        return {f"mi_{name}": Term(-weight, bound) for name, weight, bound in parts}

    def _features(self, *batches: Float[Tensor, "n ch h w"]) -> list[Float[Tensor, "n features"]]:
        with self.autocast():
            return [features.float() for features in self.discriminator.trunk.each(*batches)]

    def _descend(self, terms: Terms, name: str, optimizer: Adam) -> dict[str, Float[Tensor, ""]]:
        """Minimises the weighted sum of the terms, and returns the value of each, detached."""
        total = torch.stack([term.weight * term.value for term in terms.values()]).sum()
        self.totals[name] = total.detach().clone()
        average([self.totals[name]])  # so that all ranks stop, if one must
        if not is_capturing(total.device):
            self.check_totals()
        optimizer.zero_grad()
        total.backward()
        average(parameter.grad for group in optimizer.param_groups for parameter in group["params"])
        optimizer.step_if_finite(self.totals.values())
        return {name: (term.value if term.logged is None else term.logged).detach() for name, term in terms.items()}

    def check_totals(self) -> None:
        """Raises NonFiniteLossError where `totals` are no numbers."""
        for name, total in zip(self.totals, torch.stack([*self.totals.values()]).tolist(), strict=True):
            if not math.isfinite(total):
                raise NonFiniteLossError(f"{name} with its other terms is {total}")

    def state_dict(self) -> dict[str, Any]:
        """Returns the nets and both optimizers."""
        return {name: getattr(self, name).state_dict() for name in self._PARTS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues as the step did whose `state_dict` this is."""
        for name in self._PARTS:
            getattr(self, name).load_state_dict(state[name])

    _PARTS = ("generator", "discriminator", "opt_g", "opt_d")


def code_weights(config: TrainConfig) -> list[float]:
    """Returns λ_i of each code."""
    return [config.lambda_cat if isinstance(code, Categorical) else config.lambda_cont for code in config.spec.codes]
