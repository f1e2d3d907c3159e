"""The objective of InfoGAN, term by term (Chen et al. 2016, arXiv 1606.03657, equations 1, 5 and 6).

    min_{G,Q} max_D  V(D, G) - Σ_i λ_i L_I(c_i; G, Q)

    V(D, G)         = E_{x~data}[log D(x)] + E_{z,c}[log(1 - D(G(z, c)))]
    L_I(c_i; G, Q)  = H(c_i) - E_{c~p(c), x~G(z,c)}[-log Q(c_i | x)]                (nats)

D's output is a logit everywhere, and every mean is over the batch. Two terms are not the paper's, and have weights of
their own that 0 turns off. Both are of real images x and altered copies t(x), t a small affine map. One, to be
maximised, is the information that Q's category of an image holds of its copy's,

    I(k; k')        where  k ~ Q(k | x),  k' ~ Q(k' | t(x)),  x ~ data        (nats)

which is large if the categories do not depend on t, are certain, and are equally frequent (Ji et al. 2019, IIC, arXiv
1807.06653, equation 3). The paper's own bound is content with any ten groups of images that Q can tell apart. The
other, to be minimised, is the error of Q's continuous codes as measures of t,

    ½ Σ_j E[(μ_j(t(x)) - μ_j(x) - s_j(t))²]        where  μ_j(x) = E_Q[c_j | x]

with s_j(t) in proportion to how far t makes an image lean, for the first continuous code, and to how much wider, for
the second. With a fixed deviation Q errs as much on two codes as on any rotation of them, so that by the bound alone
each may be a mixture of what people would tell apart.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from infogan.config.spec import LatentSpec
from infogan.latents import log_q

GanLoss = Literal["bce", "lsgan"]


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
        spec: the latents.
        c: the codes that the images were made from.
        q_params: the Q head's output on these images.
    """
    log_q_c_given_x = log_q(spec, q_params, c).mean(dim=0)
    return log_q_c_given_x.new_tensor(spec.entropies_nats) + log_q_c_given_x


def equivariance_loss(
    means: Float[Tensor, "n j"], means_of_copies: Float[Tensor, "n j"], shifts: Float[Tensor, "n j"]
) -> Float[Tensor, ""]:
    """Returns half the squared error of how the codes of altered images differ from those of the images.

    Up to a constant it is -log of a Gaussian density with deviation 1, in nats; 0 if codes move as they should.

    Args:
        means: of Q's continuous codes, for images.
        means_of_copies: the same of altered copies.
        shifts: by how much each code of each copy should be larger.
    """
    return 0.5 * (means_of_copies - means - shifts).square().sum(dim=1).mean()


def joint_assignments(logits_a: Float[Tensor, "n m k"], logits_b: Float[Tensor, "n m k"]) -> Float[Tensor, "m k k"]:
    """Returns the joint distribution of two independent draws, one from each logits, over a batch; it is symmetric.

    Args:
        logits_a: m assignments of each image to k classes.
        logits_b: the same m of the same images, altered.
    """
    joint = torch.einsum("nmk,nml->mkl", logits_a.softmax(dim=2), logits_b.softmax(dim=2)) / len(logits_a)
    return (joint + joint.transpose(1, 2)) / 2


def pointwise_information(joint: Float[Tensor, "*m k l"]) -> Float[Tensor, "*m k l"]:
    """Returns log p(a, b) / p(a) p(b) in nats; up to a constant it is the gradient of `information`."""
    joint = joint.clamp_min(torch.finfo(joint.dtype).tiny)  # 0 log 0 = 0
    return joint.log() - joint.sum(dim=-1, keepdim=True).log() - joint.sum(dim=-2, keepdim=True).log()


def information(joint: Float[Tensor, "*m k l"]) -> Float[Tensor, "*m"]:
    """Returns the mutual information in nats of the two variables of a joint distribution, to be maximised.

    From 0, if they are independent, to ln k, if each tells the other and all k are equally frequent.
    """
    return (joint * pointwise_information(joint)).sum(dim=(-2, -1))


def smoothed_information(joint: Float[Tensor, "*m k l"], average: Float[Tensor, "*m k l"]) -> Float[Tensor, "*m"]:
    """Returns a term whose gradient is that of `information`, taken at an average of the joint distribution.

    A batch alone has some classes too often by chance, and a term that takes that for an imbalance moves images to
    wrong ones.

    Args:
        joint: of a batch.
        average: of many; no gradient flows through it.
    """
    return (joint * pointwise_information(average)).sum(dim=(-2, -1))
