"""Values worked out by hand, and the bound's known values at perfect, chance and wrong Q."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infogan import LatentSpec, discriminator_loss, generator_loss, mutual_information_lower_bound, sample_prior
from infogan.losses import (
    equivariance_loss,
    information,
    joint_assignments,
    pointwise_information,
    smoothed_information,
)

LN10 = math.log(10)


def draw(spec, n=20_000, seed=0):
    return sample_prior(spec, n, torch.Generator().manual_seed(seed))[1]


def test_gan_losses_by_hand():
    real, fake = torch.tensor([0.0, 2.0]), torch.tensor([-1.0, 0.0, 1.0])
    log_d_real = (math.log(0.5) - math.log(1 + math.exp(-2))) / 2
    log_not_d_fake = (-math.log(1 + math.exp(-1)) - math.log(2) - math.log(1 + math.e)) / 3
    assert discriminator_loss(real, fake).item() == pytest.approx(-(log_d_real + log_not_d_fake), abs=1e-6)
    log_d_fake = (-math.log(1 + math.e) - math.log(2) - math.log(1 + math.exp(-1))) / 3
    assert generator_loss(fake).item() == pytest.approx(-log_d_fake, abs=1e-6)
    assert discriminator_loss(real, fake, "lsgan").item() == pytest.approx(0.5 * (1 + 1) / 2 + 0.5 * 2 / 3)
    assert generator_loss(fake, "lsgan").item() == pytest.approx(0.5 * (4 + 1 + 0) / 3)


def test_gan_losses_at_chance_and_perfect():
    zeros, sure = torch.zeros(3), torch.full((3,), 50.0)
    assert discriminator_loss(zeros, zeros).item() == pytest.approx(2 * math.log(2))
    assert generator_loss(zeros).item() == pytest.approx(math.log(2))
    assert discriminator_loss(sure, -sure).item() == pytest.approx(0, abs=1e-6)
    # Where D is certain the loss must still be finite, and its gradient there: no log of 0.
    hopeless = torch.full((3,), -1000.0, requires_grad=True)
    generator_loss(hopeless).backward()
    assert hopeless.grad is not None
    assert torch.allclose(hopeless.grad, torch.full((3,), -1 / 3))


def test_categorical_bound_is_ln_k_for_a_perfect_q_and_0_at_chance():
    spec = LatentSpec.parse("cat10")
    c = draw(spec)
    perfect = mutual_information_lower_bound(spec, c, 100 * c)
    assert perfect.item() == pytest.approx(LN10, abs=1e-5)
    assert mutual_information_lower_bound(spec, c, torch.zeros_like(c)).item() == pytest.approx(0, abs=1e-5)
    wrong = mutual_information_lower_bound(spec, c, 100 * c.roll(1, dims=1))
    assert wrong.item() < -50


@given(st.integers(2, 12), st.integers(0, 1000), st.floats(0, 30))
@settings(deadline=None, max_examples=50)
def test_categorical_bound_never_exceeds_ln_k(k, seed, scale):
    spec = LatentSpec.parse(f"cat{k}")
    c = draw(spec, 64, seed)
    logits = scale * (torch.randn(64, k, generator=torch.Generator().manual_seed(seed)) + c)
    assert mutual_information_lower_bound(spec, c, logits).item() <= math.log(k) + 1e-6


@pytest.mark.parametrize("q_std", [None, 0.5773503])
def test_uniform_code_at_chance_is_scored_under_its_own_prior(q_std):
    # Q's best guess without seeing the image is N(0, 1/3): ln 2 - ½ ln(2πe/3) = ½ ln(6/πe) = -0.1765 nats.
    spec = LatentSpec.parse("uniform", q_std=q_std)
    log_std = 3 * math.atanh(math.log(1 / math.sqrt(3)) / 3)  # through the soft bound
    q_params = torch.tensor([[0.0, log_std] if q_std is None else [0.0]])
    c = draw(spec, 200_000)
    bound = mutual_information_lower_bound(spec, c, q_params.expand(len(c), -1))
    assert bound.item() == pytest.approx(0.5 * math.log(6 / (math.pi * math.e)), abs=5e-3)


@pytest.mark.parametrize("q_std", [1.0, 0.6])
@pytest.mark.parametrize("code", ["uniform", "gaussian"])
def test_a_fixed_deviation_bounds_the_bound(code, q_std):
    spec = LatentSpec.parse(code, q_std=q_std)
    c = draw(spec)
    ((at_chance, most),) = spec.mi_ranges_nats
    assert mutual_information_lower_bound(spec, c, torch.zeros_like(c)).item() == pytest.approx(at_chance, abs=0.02)
    assert mutual_information_lower_bound(spec, c, c).item() == pytest.approx(most, abs=1e-5)


def test_gaussian_code_is_0_nats_at_chance():
    spec = LatentSpec.parse("gaussian", q_std=1.0)
    c = draw(spec, 200_000)
    assert mutual_information_lower_bound(spec, c, torch.zeros_like(c)).item() == pytest.approx(0, abs=5e-3)


def test_gaussian_channel_reaches_its_mutual_information():
    # c ~ N(0, 1) seen with noise of deviation s: Q = N(y/(1+s²), s²/(1+s²)) gives I = ½ ln(1 + 1/s²).
    s = 0.5
    q_std = math.sqrt(s**2 / (1 + s**2))
    spec = LatentSpec.parse("gaussian", q_std=q_std)
    c = draw(spec, 200_000)
    y = c + s * torch.randn(c.shape, generator=torch.Generator().manual_seed(1))
    bound = mutual_information_lower_bound(spec, c, y / (1 + s**2))
    assert bound.item() == pytest.approx(0.5 * math.log(1 + 1 / s**2), abs=5e-3)


def test_several_codes_keep_their_order_and_sizes():
    spec = LatentSpec.parse("cat2,uniform,cat7,cat3")
    c = draw(spec, 5000)
    q_params = torch.zeros(len(c), spec.q_dim)
    q_params[:, spec.q_slices[2]] = 100 * c[:, spec.c_slices[2]]  # only the 7-way code is known
    bound = mutual_information_lower_bound(spec, c, q_params)
    assert bound[2].item() == pytest.approx(math.log(7), abs=1e-4)
    assert bound[[0, 3]].tolist() == pytest.approx([0, 0], abs=1e-4)


def test_a_single_image_can_be_scored():
    spec = LatentSpec.parse("cat3,uniform")
    c = draw(spec, 1)
    assert mutual_information_lower_bound(spec, c, torch.zeros(1, spec.q_dim)).shape == (2,)


def test_gradient_of_the_bound_is_one_hot_minus_softmax():
    spec = LatentSpec.parse("cat4")
    c = draw(spec, 8)
    logits = torch.randn(8, 4, generator=torch.Generator().manual_seed(2), requires_grad=True)
    mutual_information_lower_bound(spec, c, logits).sum().backward()
    assert torch.allclose(logits.grad, (c - logits.softmax(1)).detach() / 8, atol=1e-6)


class TestInformation:
    def of(self, logits_a, logits_b):
        return information(joint_assignments(logits_a, logits_b))

    def test_certain_equal_and_balanced_assignments_have_ln_k(self):
        certain = 100 * torch.eye(5).repeat(4, 1)[:, None]
        assert self.of(certain, certain).item() == pytest.approx(math.log(5), abs=1e-5)

    def test_independent_assignments_have_none(self):
        first = 100 * torch.eye(2).repeat_interleave(2, dim=0)[:, None]
        second = 100 * torch.eye(2).repeat(2, 1)[:, None]
        assert self.of(first, second).item() == pytest.approx(0, abs=1e-6)
        undecided = torch.zeros(6, 1, 3)
        assert self.of(undecided, undecided).item() == pytest.approx(0, abs=1e-6)

    def test_all_in_one_class_has_none(self):
        assert self.of(*[100 * torch.eye(4)[:1].repeat(8, 1)[:, None]] * 2).item() == pytest.approx(0, abs=1e-5)

    def test_copies_of_which_every_tenth_is_assigned_otherwise(self):
        # A binary symmetric channel: ln 2 - H(0.1).
        certain = 100 * torch.eye(2).repeat(10, 1)[:, None]
        copy = certain.clone()
        copy[:2] = copy[:2].flip(2)
        entropy = -0.1 * math.log(0.1) - 0.9 * math.log(0.9)
        assert self.of(certain, copy).item() == pytest.approx(math.log(2) - entropy, abs=1e-5)

    def test_uneven_classes_have_their_entropy(self):
        certain = 100 * torch.eye(3)[[0, 0, 1, 2]][:, None]
        assert self.of(certain, certain).item() == pytest.approx(1.5 * math.log(2), abs=1e-5)

    def test_each_assignment_is_by_itself(self):
        rng = torch.Generator().manual_seed(0)
        a, b = torch.randn(2, 16, 3, 4, generator=rng)
        together = self.of(a, b)
        for i in range(3):
            assert together[i].item() == pytest.approx(self.of(a[:, i : i + 1], b[:, i : i + 1]).item(), abs=1e-6)

    def test_the_joint_distribution_is_one_and_symmetric(self):
        a, b = torch.randn(2, 16, 3, 4, generator=torch.Generator().manual_seed(0))
        joint = joint_assignments(a, b)
        torch.testing.assert_close(joint.sum(dim=(1, 2)), torch.ones(3))
        assert torch.equal(joint, joint.transpose(1, 2))

    def test_certainty_has_a_finite_gradient(self):
        logits = (1000 * torch.eye(3).repeat(2, 1)[:, None]).requires_grad_()
        self.of(logits, logits.detach()).sum().backward()
        assert logits.grad is not None and logits.grad.isfinite().all()

    def test_its_gradient_is_the_pointwise_information_but_for_a_constant(self):
        joint = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(0))
        joint = (joint / joint.sum(dim=(1, 2), keepdim=True)).requires_grad_()
        (gradient,) = torch.autograd.grad(information(joint).sum(), joint)
        torch.testing.assert_close(gradient, pointwise_information(joint) - 1, atol=1e-5, rtol=1e-4)

    def test_at_the_batch_s_own_average_the_smoothed_term_and_its_gradient_are_the_information_s(self):
        logits = torch.randn(2, 16, 3, 10, generator=torch.Generator().manual_seed(0)).requires_grad_()
        joint = joint_assignments(*logits)
        value = smoothed_information(joint, joint.detach())
        (found,) = torch.autograd.grad(value.sum(), logits, retain_graph=True)
        exact = information(joint)
        (wanted,) = torch.autograd.grad(exact.sum(), logits)
        torch.testing.assert_close(value, exact)
        torch.testing.assert_close(found, wanted)

    def test_smoothed_an_imbalance_of_one_batch_alone_is_forgiven(self):
        """Where classes are even in the long run, an uneven batch of certain images moves nothing to rarer classes."""
        logits = (4.0 * torch.eye(2)[[0, 0, 0, 1]].unsqueeze(1)).requires_grad_()

        def pull_to_the_rarer_class(average):
            value = smoothed_information(joint_assignments(logits, logits), average)
            (gradient,) = torch.autograd.grad(value.sum(), logits)
            return gradient[0, 0, 1] - gradient[3, 0, 0]

        uneven = joint_assignments(logits, logits).detach()
        even = 0.02 * uneven + 0.98 * torch.eye(2).div(2)
        # Of a class that always comes three times as often the images are pulled away, to the other.
        assert pull_to_the_rarer_class(uneven) > 3 * abs(pull_to_the_rarer_class(even))


def test_equivariance_is_half_the_squared_error_of_how_codes_move():
    means, shifts = torch.randn(8, 2), torch.randn(8, 2)
    assert equivariance_loss(means, means + shifts, shifts).item() == pytest.approx(0, abs=1e-12)
    assert equivariance_loss(means, means, torch.tensor([[0.3, 0.4]]).expand(8, 2)).item() == pytest.approx(0.125)
    # It only sees the difference: what codes are of the images themselves is left to the bound.
    assert equivariance_loss(means + 5, means + 5 + shifts, shifts).item() == pytest.approx(0, abs=1e-10)
