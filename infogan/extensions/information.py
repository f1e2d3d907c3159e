"""Mutual information of two assignments of images to clusters, in nats.

    I(k; k')        where  k ~ Q(k | x),  k' ~ Q(k' | t(x)),  x ~ data

It is large if the clusters do not depend on the transformation t, are certain, and are equally frequent (Ji et al.
2019, IIC, arXiv 1807.06653, equation 3).

Axes: n images, m assignments, k l clusters.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def joint_assignments(logits_a: Float[Tensor, "n m k"], logits_b: Float[Tensor, "n m k"]) -> Float[Tensor, "m k k"]:
    """Returns the joint distribution of two independent draws, one from each logits, over a batch; it is symmetric.

    Args:
        logits_a: M assignments of each image to k clusters.
        logits_b: The same m of augmented views of the images.
    """
    joint = torch.einsum("nmk,nml->mkl", logits_a.softmax(dim=2), logits_b.softmax(dim=2)) / len(logits_a)
    return (joint + joint.transpose(1, 2)) / 2


def pointwise_information(joint: Float[Tensor, "*m k l"]) -> Float[Tensor, "*m k l"]:
    """Returns log p(a, b) / p(a) p(b) in nats; up to a constant it is the gradient of `information`."""
    joint = joint.clamp_min(torch.finfo(joint.dtype).tiny)  # 0 log 0 = 0
    return joint.log() - joint.sum(dim=-1, keepdim=True).log() - joint.sum(dim=-2, keepdim=True).log()


def information(joint: Float[Tensor, "*m k l"]) -> Float[Tensor, "*m"]:
    """Returns the mutual information in nats of the two variables of a joint distribution, to be maximised.

    From 0, if they are independent, to ln k, if each determines the other and all k are equally frequent.
    """
    return (joint * pointwise_information(joint)).sum(dim=(-2, -1))


def entropy(joint: Float[Tensor, "*m k k"]) -> Float[Tensor, "*m"]:
    """Returns the entropy in nats of how many images each cluster has, from a symmetric joint distribution.

    From 0, if one has them all, to ln k, if all have as many. Added to `information` it keeps clusters in use.
    """
    shares = joint.sum(dim=-1).clamp_min(torch.finfo(joint.dtype).tiny)  # 0 log 0 = 0
    return -(shares * shares.log()).sum(dim=-1)


def smoothed_information(joint: Float[Tensor, "*m k l"], average: Float[Tensor, "*m k l"]) -> Float[Tensor, "*m"]:
    """Returns a term whose gradient is that of `information`, taken at an average of the joint distribution.

    By chance a single batch has some clusters too often. A term that takes this for an imbalance moves images to
    wrong clusters.

    Args:
        joint: Of a batch.
        average: Of many batches; no gradient flows through it.
    """
    return (joint * pointwise_information(average)).sum(dim=(-2, -1))
