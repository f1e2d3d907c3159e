"""Mutual information of assignments of images and their augmented views to clusters, worked out by hand."""

import math

import pytest
import torch

from infogan.extensions.information import (
    entropy,
    information,
    joint_assignments,
    pointwise_information,
    smoothed_information,
)


def information_of(logits_a, logits_b):
    return information(joint_assignments(logits_a, logits_b))


def test_certain_equal_and_balanced_assignments_have_ln_k():
    certain = 100 * torch.eye(5).repeat(4, 1)[:, None]
    assert information_of(certain, certain).item() == pytest.approx(math.log(5), abs=1e-5)


def test_independent_assignments_have_none():
    first = 100 * torch.eye(2).repeat_interleave(2, dim=0)[:, None]
    second = 100 * torch.eye(2).repeat(2, 1)[:, None]
    assert information_of(first, second).item() == pytest.approx(0, abs=1e-6)
    undecided = torch.zeros(6, 1, 3)
    assert information_of(undecided, undecided).item() == pytest.approx(0, abs=1e-6)


def test_all_in_one_cluster_has_none():
    assert information_of(*[100 * torch.eye(4)[:1].repeat(8, 1)[:, None]] * 2).item() == pytest.approx(0, abs=1e-5)


def test_views_of_which_every_tenth_is_assigned_otherwise():
    # A binary symmetric channel: ln 2 - H(0.1).
    certain = 100 * torch.eye(2).repeat(10, 1)[:, None]
    views = certain.clone()
    views[:2] = views[:2].flip(2)
    entropy = -0.1 * math.log(0.1) - 0.9 * math.log(0.9)
    assert information_of(certain, views).item() == pytest.approx(math.log(2) - entropy, abs=1e-5)


def test_uneven_clusters_have_their_entropy():
    certain = 100 * torch.eye(3)[[0, 0, 1, 2]][:, None]
    assert information_of(certain, certain).item() == pytest.approx(1.5 * math.log(2), abs=1e-5)


@pytest.mark.parametrize(
    ("shares", "nats"), [([0.25] * 4, math.log(4)), ([1.0, 0.0, 0.0], 0.0), ([0.5, 0.25, 0.25], 1.5 * math.log(2))]
)
def test_entropy_is_of_the_shares_whatever_the_views(shares, nats):
    shares = torch.tensor(shares)
    for joint in (shares.diag(), torch.outer(shares, shares)):
        joint.requires_grad_()
        found = entropy(joint)
        assert found.item() == pytest.approx(nats, abs=1e-6)
        (gradient,) = torch.autograd.grad(found, joint)
        assert gradient.isfinite().all()


def test_each_assignment_is_by_itself():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 16, 3, 4, generator=rng)
    together = information_of(a, b)
    for i in range(3):
        assert together[i].item() == pytest.approx(information_of(a[:, i : i + 1], b[:, i : i + 1]).item(), abs=1e-6)


def test_the_joint_distribution_is_one_and_symmetric():
    a, b = torch.randn(2, 16, 3, 4, generator=torch.Generator().manual_seed(0))
    joint = joint_assignments(a, b)
    torch.testing.assert_close(joint.sum(dim=(1, 2)), torch.ones(3))
    assert torch.equal(joint, joint.transpose(1, 2))


def test_certainty_has_a_finite_gradient():
    logits = (1000 * torch.eye(3).repeat(2, 1)[:, None]).requires_grad_()
    information_of(logits, logits.detach()).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


def test_its_gradient_is_the_pointwise_information_but_for_a_constant():
    joint = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
    joint = (joint / joint.sum(dim=(1, 2), keepdim=True)).requires_grad_()
    (gradient,) = torch.autograd.grad(information(joint).sum(), joint)
    torch.testing.assert_close(gradient, pointwise_information(joint) - 1, atol=1e-5, rtol=1e-4)


def test_at_the_batch_s_own_average_the_smoothed_term_and_its_gradient_are_the_information_s():
    logits = torch.randn(2, 16, 3, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
    joint = joint_assignments(*logits)
    value = smoothed_information(joint, joint.detach())
    (found,) = torch.autograd.grad(value.sum(), logits, retain_graph=True)
    exact = information(joint)
    (wanted,) = torch.autograd.grad(exact.sum(), logits)
    torch.testing.assert_close(value, exact)
    torch.testing.assert_close(found, wanted)


def test_smoothed_an_imbalance_of_one_batch_alone_is_forgiven():
    """Where clusters are even in the long run, an uneven batch of certain images moves nothing to rarer ones."""
    logits = (4.0 * torch.eye(2)[[0, 0, 0, 1]].unsqueeze(1)).requires_grad_()

    def pull_to_the_rarer_cluster(average):
        value = smoothed_information(joint_assignments(logits, logits), average)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        return gradient[0, 0, 1] - gradient[3, 0, 0]

    uneven = joint_assignments(logits, logits).detach()
    even = 0.02 * uneven + 0.98 * torch.eye(2).div(2)
    # Of a cluster that always comes three times as often the images are pulled away, to the other.
    assert pull_to_the_rarer_cluster(uneven) > 3 * abs(pull_to_the_rarer_cluster(even))
