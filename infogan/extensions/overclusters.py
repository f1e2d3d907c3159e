"""Groups of finer classes: which of them are one category, told by how images and their altered copies fall into them.

The agglomerative information bottleneck (Slonim & Tishby 1999): two classes are merged where that costs least of the
information that an image's class holds of its copy's. Then single classes change groups as long as it gains some.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from infogan.losses import information

LEAST_GAIN_NATS = 1e-6


def group_classes(joint: Float[Tensor, "k k"], n_groups: int) -> Int[Tensor, " k"]:
    """Returns the group of each class, so that groups hold much information of their copies' classes.

    Args:
        joint: the joint distribution of the classes of images and copies; symmetric.
        n_groups: at most k.
    """
    # In float64 and on the CPU, so that ties are broken alike everywhere.
    joint = joint.detach().cpu().double()
    return _moved(joint, _merged(joint, n_groups), n_groups)


def best_grouping(joints: Float[Tensor, "m k k"], n_groups: int) -> tuple[int, Int[Tensor, " k"]]:
    """Returns which of m sets of classes tells most once its classes are grouped, and the group of each of its classes.

    Args:
        joints: the joint distributions of the classes of images and copies; symmetric.
        n_groups: at most k.
    """
    groups = [group_classes(joint, n_groups).to(joints.device) for joint in joints]
    found = torch.stack([grouped(*of_set, n_groups) for of_set in zip(joints, groups, strict=True)])
    best = int(information(found).argmax())
    return best, groups[best]


def grouped(joint: Float[Tensor, "k k"], groups: Int[Tensor, " k"], n_groups: int) -> Float[Tensor, "g g"]:
    """Returns the joint distribution of the groups of images and copies."""
    members = one_hot(groups, n_groups).to(joint.dtype)
    return members.T @ joint @ members


def _merged(joint: Float[Tensor, "k k"], n_groups: int) -> Int[Tensor, " k"]:
    groups = torch.arange(len(joint))
    rows = joint.clone()  # of each group: the joint distribution with its copies' classes
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
    classes = torch.arange(len(joint))
    while True:
        rows = one_hot(groups, n_groups).to(joint.dtype).T @ joint
        before = _row_information(rows)
        # What each class takes from its group by leaving, and gives to each group by joining it.
        left = _row_information((rows[groups] - joint).clamp_min(0)) - before[groups]
        gains = left[:, None] + _row_information(rows + joint[:, None]) - before
        gains[classes, groups] = 0
        if gains.max() <= LEAST_GAIN_NATS:
            return groups
        moved, group = divmod(int(gains.argmax()), n_groups)
        groups = torch.where(classes == moved, group, groups)
