"""Merging over-clusters: where the groups are known, and against every other merge of few clusters."""

import itertools

import pytest
import torch

from infogan.extensions.information import information
from infogan.extensions.merging import merge_clusters, merged_joint, with_itself


def same_partition(a, b):
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len(set(a.tolist())) == len(set(b.tolist()))


def joint_of(partition, within, noise=0.0, seed=0):
    """Clusters of one group go over into each other with probability `within`, of others only by noise."""
    k = len(partition)
    rng = torch.Generator().manual_seed(seed)
    together = (partition[:, None] == partition[None]).double()
    joint = (1 - within) * torch.eye(k) + within * together / together.sum(dim=1, keepdim=True)
    joint = joint + noise * torch.rand(k, k, generator=rng)
    joint = (joint + joint.T) / 2
    return joint / joint.sum()


@pytest.mark.parametrize(("n_clusters", "n_groups"), [(50, 10), (200, 80)])
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_clusters_that_go_over_into_each_other_are_one_group(n_clusters, n_groups, noise):
    partition = torch.arange(n_clusters) % n_groups
    partition = partition[torch.randperm(n_clusters, generator=torch.Generator().manual_seed(1))]
    groups = merge_clusters(joint_of(partition, 0.5, noise * 50 / n_clusters), n_groups)
    assert same_partition(groups, partition)


def test_a_cluster_that_is_never_used_does_no_harm():
    partition = torch.arange(12) % 3
    joint = joint_of(partition, 0.4)
    joint[7] = joint[:, 7] = 0
    groups = merge_clusters(joint / joint.sum(), 3)
    kept = torch.arange(12) != 7
    assert same_partition(groups[kept], partition[kept])


def test_few_clusters_are_merged_as_well_as_can_be():
    best_found, every = 0, torch.tensor(list(itertools.product(range(3), repeat=7)))
    for seed in range(10):
        joint = joint_of(torch.tensor([0, 0, 1, 1, 2, 2, 2]), 0.3, noise=0.05, seed=seed)
        joint = with_itself(joint)

        def kept(groups, joint=joint):
            return information(torch.nn.functional.one_hot(groups, 3).to(joint.dtype).mT @ joint)

        best, found = kept(every).max(), kept(merge_clusters(joint, 3))
        assert found > 0.95 * best
        best_found += found > best - 1e-9
    assert best_found >= 8  # single moves may end in a lesser optimum


def test_a_cluster_of_images_and_the_one_of_their_views_are_one_group():
    # Two kinds, narrow and wide; the narrow of either kind are in clusters 0 and 4, and their views in 1 and 5, ...
    flow = torch.zeros(8, 8, dtype=torch.float64)
    for image, view, other_kind in ((0, 1, 5), (2, 3, 7), (4, 5, 1), (6, 7, 3)):
        flow[image, view], flow[image, other_kind] = 0.6, 0.1
        flow[image, view ^ 2] = 0.3  # a view may be wider or narrower
    joint = (flow + flow.T) / (flow + flow.T).sum()
    groups = merge_clusters(joint, 2)
    assert same_partition(groups, torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))


def test_with_every_other_view_the_image_itself_a_joint_distribution_keeps_its_margins():
    joint = joint_of(torch.arange(6) % 2, 0.5, noise=0.1)
    found = with_itself(joint)
    torch.testing.assert_close(found.sum(dim=1), joint.sum(dim=1))
    torch.testing.assert_close(found - joint / 2, joint.sum(dim=1).diag() / 2)


def test_as_many_groups_as_clusters_are_the_clusters():
    joint = joint_of(torch.arange(6), 0.0, noise=0.1)
    assert sorted(merge_clusters(joint, 6).tolist()) == list(range(6))


def test_the_joint_distribution_of_groups_is_the_sum_over_their_clusters():
    joint = joint_of(torch.arange(5), 0.0, noise=0.3).float()
    found = merged_joint(joint, torch.tensor([0, 1, 1, 0, 2]), 4)
    assert found.shape == (4, 4)
    assert found[0, 1].item() == pytest.approx(joint[[0, 0, 3, 3], [1, 2, 1, 2]].sum().item())
    assert found[1, 1].item() == pytest.approx(joint[1:3, 1:3].sum().item())
    assert found[3].sum() == found[:, 3].sum() == 0
    assert found.sum().item() == pytest.approx(1)
