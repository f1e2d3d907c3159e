"""The objective of InfoGAN (Chen et al. 2016, arXiv 1606.03657, equations 1, 5 and 6).

    min_{G,Q} max_D  V(D, G) - Σ_i λ_i L_I(c_i; G, Q)

    V(D, G)         = E_{x~data}[log D(x)] + E_{z,c}[log(1 - D(G(z, c)))]
    L_I(c_i; G, Q)  = H(c_i) - E_{c~p(c), x~G(z,c)}[-log Q(c_i | x)]                (nats)

D's output is a logit everywhere, and every mean is over the batch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from infogan.config.spec import LatentSpec
from infogan.latents import log_q

GanLoss = Literal["bce", "lsgan"]


class Term(NamedTuple):
    """A term of what an update minimises: weight times value, a scalar; `logged` is reported instead, if given."""

    weight: float | Float[Tensor, ""]
    value: Float[Tensor, ""]
    logged: Float[Tensor, ""] | None = None


Terms = dict[str, Term]


def discriminator_loss(
    d_logits_real: Float[Tensor, " n"], d_logits_fake: Float[Tensor, " m"], kind: GanLoss = "bce"
) -> Float[Tensor, ""]:
    """Returns what D minimises, without the mutual information.

    `bce`: -V(D, G); 2 ln 2 = 1.386 at chance (logits 0), 0 when D is perfect.
    `lsgan`: (D(x) - 1)²/2 + D(G)²/2, least squares on the raw output (Mao et al. 2017, arXiv 1611.04076,
    equation 2, with targets 0 and 1); 0.25 at the best constant (1/2), 0 when D is perfect.
    """
    if kind == "bce":
        # -log σ(l) = softplus(-l), and -log(1 - σ(l)) = softplus(l): no saturation, no log of 0.
        return F.softplus(-d_logits_real).mean() + F.softplus(d_logits_fake).mean()
    return 0.5 * (d_logits_real - 1).square().mean() + 0.5 * d_logits_fake.square().mean()


def generator_loss(d_logits_fake: Float[Tensor, " n"], kind: GanLoss = "bce") -> Float[Tensor, ""]:
    """Returns what G minimises, without the mutual information.

    `bce`: -E[log D(G(z, c))], the non-saturating form of V (Goodfellow et al. 2014, section 3), as in the
    authors' code; ln 2 = 0.693 where D is at chance, 0 where G fools it wholly.
    `lsgan`: (D(G) - 1)²/2.
    """
    if kind == "bce":
        return F.softplus(-d_logits_fake).mean()
    return 0.5 * (d_logits_fake - 1).square().mean()


def mutual_information_lower_bound(
    spec: LatentSpec, c: Float[Tensor, "n c"], q_params: Float[Tensor, "n q"]
) -> Float[Tensor, " i"]:
    """Returns L_I(c_i; G, Q) in nats of each code, to be maximised (equation 5).

    H(c_i) is the entropy of the true prior. For a category 0 ≤ I ≤ ln K: the bound is 0 where Q answers the
    prior, ln K where Q is certain and right, and below 0 where Q is worse than the prior. For a continuous
    code it has no upper limit, since H(c) and -log Q are differential entropies; it is 0 at chance only if Q
    models the prior itself (for U(-1, 1), Q's best Gaussian gives ½ ln(6/πe) = -0.177).

    Args:
        spec: The latents.
        c: The codes that the images were made from.
        q_params: The Q head's output on these images.
    """
    log_q_c_given_x = log_q(spec, q_params, c).mean(dim=0)
    return torch.stack([h + of_code for h, of_code in zip(spec.entropies_nats, log_q_c_given_x, strict=True)])
