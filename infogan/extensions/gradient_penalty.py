"""R1: D's logits of real images are to be flat.

    λ_R1 · E[‖∇_x D(x)‖²]        where  x ~ data,  D(x) a logit

Without it, a D that tells all real images from all generated ones has nothing left to teach G. Of nets that see the
content of an image, x is the window and the place (`content_nets`). Where D has BatchNorm, the gradient is that of the
sum of a batch's logits, which an image changes by the statistics too.

Source: Mescheder et al. 2018, arXiv 1801.04406, equation 9, which has γ/2 for λ_R1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from infogan.config.train_config import TrainConfig
from infogan.content_nets import ContentTrunk
from infogan.data.batches import UpdateBatch
from infogan.extensions.base import Extension
from infogan.extensions.equivariance import statistics_kept
from infogan.losses import Term, Terms
from infogan.models import Discriminator


class GradientPenalty(Extension):
    """Penalises the gradient of D's logits of real images."""

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        return config.lambda_r1 > 0

    def d_terms(self, batch: UpdateBatch) -> Terms:
        assert batch.x_real is not None
        return {"r1": Term(self.config.lambda_r1, r1_penalty(self.discriminator, batch.x_real))}


def r1_penalty(discriminator: Discriminator, x_real: Float[Tensor, "n ch h w"]) -> Float[Tensor, ""]:
    """Returns the mean squared norm of the gradient of D's logits, which has a gradient itself.

    Args:
        discriminator: D.
        x_real: Real images in [-1, 1].
    """
    first = discriminator.trunk[0]
    sees, features = (
        (first.look, first.features) if isinstance(first, ContentTrunk) else (_as_it_is, discriminator.trunk)
    )
    inputs = [part.detach().requires_grad_() for part in sees(x_real)]
    with statistics_kept(discriminator):
        logits = discriminator.d_head(features(*inputs))
    gradients = torch.autograd.grad(logits.sum(), inputs, create_graph=True)
    return torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients]).sum(dim=0).mean()


def _as_it_is(x: Float[Tensor, "n ch h w"]) -> tuple[Float[Tensor, "n ch h w"]]:
    return (x,)
