"""Values worked out by hand, and the bound's known values at perfect, chance and wrong Q."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infogan import LatentSpec, discriminator_loss, generator_loss, mutual_information_lower_bound, sample_prior

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
@pytest.mark.parametrize("code", ["uniform", "gaussian", "circular"])
def test_a_fixed_deviation_bounds_the_bound(code, q_std):
    spec = LatentSpec.parse(code, q_std=q_std)
    c = draw(spec)
    ((at_chance, most),) = spec.mi_ranges_nats
    known = torch.cat([torch.cos(math.pi * c), torch.sin(math.pi * c)], dim=1) if code == "circular" else c
    no_news = torch.tensor([[1.0, 0.0]]).expand_as(known) if code == "circular" else torch.zeros_like(c)
    assert mutual_information_lower_bound(spec, c, no_news).item() == pytest.approx(at_chance, abs=0.02)
    assert mutual_information_lower_bound(spec, c, known).item() == pytest.approx(most, abs=1e-5)


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
