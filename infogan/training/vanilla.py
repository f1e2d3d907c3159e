"""The vanilla GAN beside InfoGAN, with a Q that only looks on: the probe.

The probe has the size, the rate and the budget of InfoGAN's Q, and learns on features detached from the trunk, so that
it moves neither D nor G. Its L_I is an honest estimate of what the images tell of the codes, not a random head's.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from infogan.config.train_config import TrainConfig
from infogan.data.batches import UpdateBatch
from infogan.losses import Terms
from infogan.models import Discriminator, Generator
from infogan.training.step import InfoGANStep


class VanillaStep(InfoGANStep):
    """An update of D on the GAN loss alone, and of the probe on L_I alone; then one of G on the GAN loss alone."""

    def __init__(
        self,
        generator: Generator,
        discriminator: Discriminator,
        config: TrainConfig,
        transform: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(generator, discriminator, config, transform=transform)
        self.lambdas.fill_(1)

    def d_terms(self, batch: UpdateBatch) -> Terms:
        return {"loss_d": self.d_loss(batch), **self.mi_terms(batch.c, batch.features_fake.detach())}

    def g_terms(self, batch: UpdateBatch) -> Terms:
        return {"loss_g": self.g_loss(batch)}
