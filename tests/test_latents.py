import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from infogan import LatentSpec, UserError, posterior_categories, posterior_means, sample_prior, with_code
from infogan.circular import wrapped
from infogan.config.spec import Categorical, Circular, Gaussian, Uniform
from infogan.latents import MAX_ABS_LOG_STD, log_q, quantile, traversal_values

codes = st.one_of(
    st.integers(2, 7).map(Categorical),
    st.just(Uniform()),
    st.just(Gaussian()),
    st.just(Circular()),
)
specs = st.builds(
    LatentSpec,
    st.lists(codes, min_size=1, max_size=5).map(tuple),
    noise_dim=st.integers(1, 8),
    noise=st.sampled_from(["normal", "uniform"]),
    q_std=st.sampled_from([None, 0.5]),
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@given(spec=specs, n=st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_prior_and_score_have_one_layout_for_every_spec(spec, n):
    z, c = sample_prior(spec, n, rng())
    assert z.shape == (n, spec.noise_dim)
    assert c.shape == (n, spec.c_dim)
    for i in spec.categorical:
        one_hot = c[:, spec.c_slices[i]]
        assert torch.equal(one_hot.sum(1), torch.ones(n))
        assert torch.equal(one_hot.max(1).values, torch.ones(n))
    q_params = torch.zeros(n, spec.q_dim)
    assert log_q(spec, q_params, c).shape == (n, len(spec.codes))
    assert posterior_categories(spec, q_params).shape == (n, len(spec.categorical))
    assert posterior_means(spec, q_params).shape == (n, len(spec.continuous))


def test_prior_has_the_moments_it_claims():
    spec = LatentSpec.parse("cat4,uniform,gaussian", noise_dim=1, noise="uniform")
    z, c = sample_prior(spec, 40_000, rng())
    assert c[:, :4].mean(0) == pytest.approx(torch.full((4,), 0.25), abs=0.01)
    uniform, gaussian = c[:, 4], c[:, 5]
    for draws in (uniform, z[:, 0]):
        assert draws.abs().max() <= 1
        assert draws.var().item() == pytest.approx(1 / 3, abs=0.01)
    assert gaussian.mean().item() == pytest.approx(0, abs=0.02)
    assert gaussian.var().item() == pytest.approx(1, abs=0.03)


def test_log_q_agrees_with_torch_distributions():
    spec = LatentSpec.parse("cat5,uniform,gaussian")
    _, c = sample_prior(spec, 32, rng())
    q_params = torch.randn(32, spec.q_dim, generator=rng(1))
    scores = log_q(spec, q_params, c)
    category = torch.distributions.Categorical(logits=q_params[:, :5])
    assert torch.allclose(scores[:, 0], category.log_prob(c[:, :5].argmax(1)), atol=1e-6)
    for column, start in ((1, 5), (2, 7)):
        std = (MAX_ABS_LOG_STD * (q_params[:, start + 1] / MAX_ABS_LOG_STD).tanh()).exp()
        normal = torch.distributions.Normal(q_params[:, start], std)
        assert torch.allclose(scores[:, column], normal.log_prob(c[:, 4 + column]), atol=1e-5)


@pytest.mark.parametrize("q_std", [0.5, None])
def test_the_density_of_an_angle_is_that_of_von_mises(q_std):
    spec = LatentSpec.parse("cat2,circular", q_std=q_std)
    _, c = sample_prior(spec, 32, rng())
    q_params = torch.randn(32, spec.q_dim, generator=rng(1))
    if q_std is None:
        std = (MAX_ABS_LOG_STD * (q_params[:, 4] / MAX_ABS_LOG_STD).tanh()).exp()
    else:
        std = torch.full((32,), q_std)
    direction = torch.atan2(q_params[:, 3], q_params[:, 2])
    von_mises = torch.distributions.VonMises(direction, std**-2)
    # Of half turns: a density is larger by a factor of pi than of radians.
    expected = von_mises.log_prob(math.pi * c[:, 2]) + math.log(math.pi)
    assert torch.allclose(log_q(spec, q_params, c)[:, 1], expected, atol=1e-4)
    assert torch.allclose(posterior_means(spec, q_params)[:, 0], direction / math.pi, atol=1e-6)


def test_the_ends_of_an_angle_are_one():
    spec = LatentSpec.parse("circular", q_std=1.0)
    q_params = torch.randn(16, spec.q_dim, generator=rng(1))
    scores = [log_q(spec, q_params, torch.full((16, 1), end)) for end in (-1.0, 1.0)]
    assert torch.allclose(*scores, atol=1e-5)
    assert wrapped(torch.tensor([-1.5, -1.0, 0.25, 1.0, 3.1])).tolist() == pytest.approx([0.5, -1, 0.25, -1, -0.9])


def test_fixed_deviation_is_scored_with_that_deviation():
    spec = LatentSpec.parse("uniform", q_std=0.3)
    c, mean = torch.tensor([[0.2], [-0.9]]), torch.tensor([[0.1], [0.4]])
    expected = torch.distributions.Normal(mean[:, 0], 0.3).log_prob(c[:, 0])
    assert torch.allclose(log_q(spec, mean, c)[:, 0], expected)


def test_learned_deviation_is_the_exponential_near_zero_and_bounded_far_out():
    spec = LatentSpec.parse("gaussian")
    c = torch.zeros(1, 1)

    def density_at_mean(raw):
        return log_q(spec, torch.tensor([[0.0, raw]]), c).item()

    peak = -0.5 * math.log(2 * math.pi)
    assert density_at_mean(0.1) == pytest.approx(peak - 0.1, abs=1e-3)
    assert density_at_mean(1e6) == pytest.approx(peak - MAX_ABS_LOG_STD, abs=1e-5)
    assert density_at_mean(-1e6) == pytest.approx(peak + MAX_ABS_LOG_STD, abs=1e-5)


def test_with_code_changes_one_code_and_leaves_its_argument_alone():
    spec = LatentSpec.parse("cat3,uniform")
    _, c = sample_prior(spec, 4, rng())
    before = c.clone()
    changed = with_code(spec, c, 0, 2)
    assert torch.equal(changed[:, :3], torch.tensor([[0.0, 0.0, 1.0]]).expand(4, 3))
    assert torch.equal(changed[:, 3:], before[:, 3:])
    assert torch.equal(with_code(spec, c, 1, torch.arange(4.0))[:, 3], torch.arange(4.0))
    assert torch.equal(with_code(spec, c, "c2", 0.5), with_code(spec, c, 1, 0.5))
    assert torch.equal(c, before)


@pytest.mark.parametrize("category", [-1, 3, 0.5])
def test_a_category_that_is_not_there_is_refused(category):
    spec = LatentSpec.parse("cat3,uniform")
    with pytest.raises(UserError, match="c1: expected an integer from 0 to 2"):
        with_code(spec, torch.zeros(1, 4), 0, category)


def test_traversals_walk_the_prior_by_quantile():
    assert traversal_values(Categorical(3), 11).tolist() == [0, 1, 2]
    assert traversal_values(Uniform(), 5).tolist() == [-1, -0.5, 0, 0.5, 1]
    gaussian = traversal_values(Gaussian(), 3)
    assert gaussian.tolist() == pytest.approx([-2.3263, 0, 2.3263], abs=1e-3)
    assert quantile(Categorical(4), torch.tensor([0.0, 0.26, 0.99, 1.0])).tolist() == [0, 1, 3, 3]
