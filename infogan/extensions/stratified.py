"""Stratified codes: the codes of a batch cover their priors evenly, so that gradients vary less from batch to batch.

Each category is drawn as often as any other, give or take one, and a continuous code once in each nth part of its
prior, in random order. Every single draw is from the prior, and codes are independent of each other; but the draws of a
batch are not. It is Latin hypercube sampling (McKay, Beckman & Conover 1979, doi 10.2307/1268522), of the codes alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from infogan.config.spec import Categorical, Circular, Code, Gaussian, LatentSpec, Uniform

OPEN_INTERVAL = (1e-7, 1 - 1e-7)  # where the normal distribution's quantiles are finite in float32


def sample_stratified_codes(spec: LatentSpec, n: int, generator: torch.Generator) -> Float[Tensor, "n c"]:
    """Returns n draws of the codes as `latents.sample_codes` does, which cover their priors evenly.

    Args:
        spec: The latents.
        n: How many.
        generator: Drawn from, and advanced; the tensor is made on its device.
    """
    return torch.cat([_sample(code, n, generator) for code in spec.codes], dim=1)


def _sample(code: Code, n: int, generator: torch.Generator) -> Float[Tensor, "n dim"]:
    device = generator.device
    stratum = torch.randperm(n, generator=generator, device=device)
    if isinstance(code, Categorical):
        first = torch.randint(code.n_categories, (1,), generator=generator, device=device)  # of those drawn once more
        return F.one_hot((stratum + first) % code.n_categories, code.n_categories).float()
    share = (stratum[:, None] + torch.rand((n, 1), generator=generator, device=device)) / n
    match code:
        case Uniform() | Circular():
            return share * 2 - 1
        case Gaussian():
            return torch.special.ndtri(share.clamp(*OPEN_INTERVAL))
