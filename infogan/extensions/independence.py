"""Independence: a named code has the same mean in each category, that of its prior.

    Σ_j Σ_k p(k) E[μ_j(x) | k]²        where  μ_j(x) = E_Q[c_j | x],  k ~ Q(k | x),  x ~ data

for named codes that are no angles, and the categories of all categorical codes. What an augmented view tells a code
(`equivariance`) is how much it differs from image to image, and not what it is: a level for each category is free. By
the prior, codes are independent, and a code's mean is 0 in each category. No label is used: categories are Q's.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from infogan.config.spec import LatentSpec
from infogan.system.distributed import mean_over_ranks


def category_shares(spec: LatentSpec, q_params: Float[Tensor, "n q"]) -> Float[Tensor, "n k"]:
    """Returns Q(k | x) of all codes' categories side by side, without a gradient; of no such code, a column of ones."""
    shares = [q_params[:, spec.q_slices[i]].detach().softmax(dim=1) for i in spec.categorical]
    return torch.cat(shares, dim=1) if shares else q_params.new_ones((len(q_params), 1))


def independence_loss(means: Float[Tensor, "n j"], shares: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Returns the squared mean of each code within each category, weighted by how frequent that is.

    All ranks' images count as one batch.

    Args:
        means: Of Q's named codes, for images.
        shares: Q(k | x) of the same images.
    """
    frequencies = mean_over_ranks(shares.mean(dim=0)).clamp_min(torch.finfo(shares.dtype).tiny)[:, None]
    of_categories = mean_over_ranks(shares.T @ means / len(means)) / frequencies
    return (frequencies * of_categories.square()).sum()
