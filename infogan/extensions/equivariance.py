"""Equivariance: continuous codes are supervised by the known transformation of an augmented view.

    ½ Σ_j E[(μ_j(t(x)) - μ_j(x) - s_j(t))²]        where  μ_j(x) = E_Q[c_j | x],  x ~ data

with s_1(t) in proportion to the slant that t adds, and s_2(t) to the change of width. With a fixed deviation Q errs
as much on two codes as on any rotation of them, so that by the bound alone each may be a mixture of what people would
tell apart. The supervision is t's parameters, which are known since t was drawn; no label is used.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.train_config import TrainConfig
from infogan.data.augment import slant_and_widening
from infogan.data.batches import UpdateBatch
from infogan.extensions.base import Extension
from infogan.latents import posterior_means
from infogan.losses import Term, Terms


class Equivariance(Extension):
    """Supervises the first two continuous codes by the slant and the width of augmented views."""

    needs_views = True

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        return config.lambda_equivariance > 0 and len(config.spec.continuous) > 0

    def d_terms(self, batch: UpdateBatch) -> Terms:
        assert batch.views is not None
        q_head = self.discriminator.q_head
        with statistics_kept(q_head):  # Q's running statistics are those of generated images alone
            means = posterior_means(self.spec, q_head(torch.cat(batch.real_and_views())))
        slant, widening = slant_and_widening(batch.views.affines).unbind(1)
        shifts = torch.stack([self.config.slope_slant * slant, self.config.slope_width * widening], dim=1)
        of_images, of_views = means[:, : shifts.shape[1]].chunk(2)
        loss = equivariance_loss(of_images, of_views, shifts[:, : means.shape[1]])
        return {"equivariance": Term(self.config.lambda_equivariance, loss)}


def equivariance_loss(
    means: Float[Tensor, "n j"], means_of_views: Float[Tensor, "n j"], shifts: Float[Tensor, "n j"]
) -> Float[Tensor, ""]:
    """Returns half the squared error of how the codes of augmented views differ from those of the images.

    Up to a constant it is -log of a Gaussian density with deviation 1, in nats; 0 if codes move as they should.

    Args:
        means: Of Q's continuous codes, for images.
        means_of_views: The same of their augmented views.
        shifts: By how much each code of each view should be larger.
    """
    return 0.5 * (means_of_views - means - shifts).square().sum(dim=1).mean()


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
