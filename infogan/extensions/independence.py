"""Independence: a continuous code has the same mean in each category of real images, that of its prior.

    Σ_j Σ_k p(k) E[μ_j(x) | k]²        where  μ_j(x) = E_Q[c_j | x],  k ~ Q(k | x),  x ~ data

for codes that are no angles, and the categories of all categorical codes. A level for each category is free otherwise:
L_I is as large if a code says how large a square is beside other squares as if beside all shapes, and what an augmented
view tells a named code (`equivariance`) is how much it differs from image to image, and not what it is. By the prior,
codes are independent, and a code's mean is 0 in each category. No label is used: categories are Q's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from infogan.config.spec import LatentSpec
from infogan.config.train_config import TrainConfig
from infogan.data.batches import UpdateBatch
from infogan.extensions.base import Extension
from infogan.extensions.equivariance import statistics_kept
from infogan.latents import posterior_means
from infogan.losses import Term, Terms
from infogan.system.distributed import mean_over_ranks


class Independence(Extension):
    """Gives each code that is no angle the mean of its prior in each category."""

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        return config.lambda_independence > 0 and len(config.spec.continuous) > len(config.spec.circular)

    def d_terms(self, batch: UpdateBatch) -> Terms:
        assert batch.features_real is not None
        with statistics_kept(self.discriminator.q_head):
            params = self.discriminator.q_head(batch.features_real)
        levels = [j for j, position in enumerate(self.spec.continuous) if position not in self.spec.circular]
        means = posterior_means(self.spec, params)
        means = torch.stack([means[:, j] for j in levels], dim=1)  # a list for an index would be copied from the host
        return {
            "independence": Term(
                self.config.lambda_independence, independence_loss(means, category_shares(self.spec, params))
            )
        }


def category_shares(spec: LatentSpec, q_params: Float[Tensor, "n q"]) -> Float[Tensor, "n k"]:
    """Returns Q(k | x) of all codes' categories side by side, without a gradient; of no such code, a column of ones."""
    shares = [q_params[:, spec.q_slices[i]].detach().softmax(dim=1) for i in spec.categorical]
    return torch.cat(shares, dim=1) if shares else q_params.new_ones((len(q_params), 1))


def independence_loss(means: Float[Tensor, "n j"], shares: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Returns the squared mean of each code within each category, weighted by how frequent that is.

    The square is the product of the means of every other image and of the rest: that of one mean would be larger by its
    variance, and draw all codes to 0. All ranks' images count as one batch.

    Args:
        means: Of Q's codes, for images.
        shares: Q(k | x) of the same images.
    """
    frequencies = mean_over_ranks(shares.mean(dim=0))[:, None]
    halves = [_means_by_category(means[first::2], shares[first::2]) for first in (0, 1)]
    return (frequencies * halves[0] * halves[1]).sum()


def _means_by_category(means: Float[Tensor, "n j"], shares: Float[Tensor, "n k"]) -> Float[Tensor, "k j"]:
    frequencies = mean_over_ranks(shares.mean(dim=0)).clamp_min(torch.finfo(shares.dtype).tiny)[:, None]
    return mean_over_ranks(shares.T @ means / len(means)) / frequencies
