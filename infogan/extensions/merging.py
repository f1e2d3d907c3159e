"""Merging over-clusters: which of them are one category, by how images and their augmented views fall into them.

The agglomerative information bottleneck (Slonim & Tishby 1999): two clusters are merged where that costs least of the
mutual information between an image's cluster and its view's. Then single clusters change groups while it gains some.

An image counts as a view of itself for half of its views. Else, two clusters of which one has a kind of images and the
other their views would stay apart, since each says much about the other; and with the image as its own view they go
over into the same clusters, and merging them costs nothing.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

LEAST_GAIN_NATS = 1e-6


def merge_clusters(joint: Float[Tensor, "k k"], n_groups: int) -> Int[Tensor, " k"]:
    """Returns the group of each cluster, so that the groups of images and views have much mutual information.

    Args:
        joint: The joint distribution of the clusters of images and views; symmetric.
        n_groups: At most k.
    """
    # In float64 and on the CPU, so that ties are broken equally everywhere.
    joint = with_itself(joint.detach().cpu().double())
    return _moved(joint, _merged(joint, n_groups), n_groups)


def with_itself(joint: Float[Tensor, "*m k k"]) -> Float[Tensor, "*m k k"]:
    """Returns the joint distribution of clusters, were every other view the image itself."""
    return (joint + joint.sum(dim=-1).diag_embed()) / 2


def merged_joint(joint: Float[Tensor, "k k"], groups: Int[Tensor, " k"], n_groups: int) -> Float[Tensor, "g g"]:
    """Returns the joint distribution of the groups of images and views."""
    members = one_hot(groups, n_groups).to(joint.dtype)
    return members.T @ joint @ members


def _merged(joint: Float[Tensor, "k k"], n_groups: int) -> Int[Tensor, " k"]:
    groups = torch.arange(len(joint))
    rows = joint.clone()  # of each group: the joint distribution with the views' clusters
    costs = torch.stack([_merging_costs(rows, i) for i in range(len(rows))])
    for last in range(len(rows) - 1, n_groups - 1, -1):
        kept, gone = sorted(divmod(int(costs.argmin()), len(costs)))
        rows[kept] += rows[gone]
        groups[groups == gone] = kept
        # The last group takes the free place.
        rows[gone], costs[gone], costs[:, gone] = rows[last], costs[last], costs[:, last]
        groups[groups == last] = gone
        rows, costs = rows[:last], costs[:last, :last]
        costs.fill_diagonal_(torch.inf)
        costs[kept] = costs[:, kept] = _merging_costs(rows, kept)
    return groups


def _merging_costs(rows: Float[Tensor, "g k"], i: int) -> Float[Tensor, " g"]:
    """Returns the information in nats that is lost if group i is merged with another; infinite for itself."""
    costs = _row_information(rows) + _row_information(rows[i]) - _row_information(rows + rows[i])
    costs[i] = torch.inf
    return costs


def _row_information(rows: Float[Tensor, "*g k"]) -> Float[Tensor, "*g"]:
    """Returns what each row adds to the mutual information, up to what merging leaves as it is."""
    totals = rows.sum(dim=-1)
    return torch.xlogy(rows, rows).sum(dim=-1) - torch.xlogy(totals, totals)


def _moved(joint: Float[Tensor, "k k"], groups: Int[Tensor, " k"], n_groups: int) -> Int[Tensor, " k"]:
    clusters = torch.arange(len(joint))
    while True:
        rows = one_hot(groups, n_groups).to(joint.dtype).T @ joint
        before = _row_information(rows)
        # What each cluster takes from its group by leaving, and gives to each group by joining it.
        left = _row_information((rows[groups] - joint).clamp_min(0)) - before[groups]
        gains = left[:, None] + _row_information(rows + joint[:, None]) - before
        gains[clusters, groups] = 0
        if gains.max() <= LEAST_GAIN_NATS:
            return groups
        moved, group = divmod(int(gains.argmax()), n_groups)
        groups = torch.where(clusters == moved, group, groups)
