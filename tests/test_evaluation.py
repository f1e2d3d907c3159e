"""Every metric on answers known beforehand, and against a library that has it."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from torch import nn

from infogan.config.spec import LatentSpec
from infogan.data.datasets import ImageDataset
from infogan.evaluation import feature_distances
from infogan.evaluation.classifier import load_digit_classifier
from infogan.evaluation.clustering import cluster, smallest_category
from infogan.evaluation.factors import partial_correlations
from infogan.evaluation.feature_distances import frechet_distance, precision_recall_density_coverage
from infogan.evaluation.information import bootstrap_interval
from infogan.evaluation.quality import digit_histogram
from infogan.evaluation.reference import classify
from infogan.evaluation.subject import Subject
from infogan.models import build


class TestCluster:
    LABELS = np.repeat(np.arange(10), 20)

    def test_perfect_under_any_naming(self):
        naming = np.random.default_rng(0).permutation(10)
        result = cluster(naming[self.LABELS], self.LABELS, 10, 10)
        assert (result.accuracy, result.nmi, result.ari) == pytest.approx((1, 1, 1))
        assert result.code_to_digit == tuple(np.argsort(naming).tolist())
        np.testing.assert_array_equal(result.confusion, 20 * np.eye(10, dtype=int)[np.argsort(naming)])

    def test_constant_category(self):
        result = cluster(np.full(200, 4), self.LABELS, 10, 10)
        assert (result.accuracy, result.nmi, result.ari) == pytest.approx((0.1, 0, 0))
        matched = [digit for digit in result.code_to_digit if digit is not None]
        assert len(matched) == 1
        assert result.code_to_digit[4] is not None

    def test_shuffled_is_chance(self):
        labels = np.repeat(np.arange(10), 1000)
        result = cluster(np.random.default_rng(0).permutation(labels), labels, 10, 10)
        assert 0.1 < result.accuracy < 0.125
        assert result.nmi == pytest.approx(0, abs=0.005)
        assert result.ari == pytest.approx(0, abs=0.002)

    def test_two_digits_under_one_name(self):
        # 4 and 9 merged, category 9 unused: one of the two digits is lost, and nothing else.
        categories = np.where(self.LABELS == 9, 4, self.LABELS)
        result = cluster(categories, self.LABELS, 10, 10)
        assert result.accuracy == pytest.approx(0.9)
        assert result.code_to_digit[9] is None
        assert result.code_to_digit[4] in (4, 9)
        assert 0.9 < result.nmi < 1

    def test_the_matching_is_one_to_one_and_the_best(self):
        # Greedy matching would take the 6 first, and then has only 0 for the second category: 6 of 16.
        categories, labels = np.array([0] * 11 + [1] * 5), np.array([0] * 6 + [1] * 5 + [0] * 5)
        result = cluster(categories, labels, 2, n_classes=2)
        assert result.accuracy == pytest.approx(10 / 16)
        assert result.code_to_digit == (1, 0)

    def test_duplicated_images_change_nothing(self):
        rng = np.random.default_rng(0)
        categories = np.where(rng.random(200) < 0.7, self.LABELS, rng.integers(0, 10, 200))
        once, twice = (
            cluster(categories, self.LABELS, 10, 10),
            cluster(np.tile(categories, 2), np.tile(self.LABELS, 2), 10, 10),
        )
        assert twice.accuracy == once.accuracy
        assert twice.nmi == pytest.approx(once.nmi)

    def test_fewer_categories_than_classes(self):
        result = cluster(self.LABELS // 2, self.LABELS, 5, 10)
        assert result.accuracy == pytest.approx(0.5)
        assert result.confusion.shape == (5, 10)
        assert [digit // 2 for digit in result.code_to_digit if digit is not None] == [0, 1, 2, 3, 4]

    def test_more_categories_than_classes(self):
        categories = 2 * self.LABELS + np.tile([0, 1], 100)
        result = cluster(categories, self.LABELS, 20, 10)
        assert result.accuracy == pytest.approx(0.5)
        assert sum(digit is None for digit in result.code_to_digit) == 10
        assert sorted(digit for digit in result.code_to_digit if digit is not None) == list(range(10))

    def test_byte_labels_do_not_overflow(self):
        labels = self.LABELS.astype(np.uint8)
        assert cluster(labels, labels, 60, 10).accuracy == 1

    @settings(max_examples=50, deadline=None)
    @given(st.data())
    def test_naming_is_free_and_accuracy_within_its_bounds(self, data):
        k = data.draw(st.integers(1, 6))
        size = data.draw(st.integers(1, 60))
        rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
        categories, labels = rng.integers(0, k, size), rng.integers(0, 4, size)
        result = cluster(categories, labels, k, n_classes=4)
        assert np.bincount(labels).max() / size / k <= result.accuracy <= 1
        assert cluster(rng.permutation(k)[categories], labels, k, n_classes=4).accuracy == result.accuracy

    @pytest.mark.parametrize(
        ("categories", "labels", "match"),
        [
            ([], [], "at least one image"),
            ([10], [0], r"categories must be in 0\.\.9, got 10\.\.10"),
            ([-1], [0], r"categories must be in 0\.\.9, got -1"),
            ([0], [12], r"labels must be in 0\.\.9, got 12"),
        ],
    )
    def test_bad_input_is_refused(self, categories, labels, match):
        with pytest.raises(AssertionError, match=match):
            cluster(np.array(categories, dtype=int), np.array(labels, dtype=int), 10, 10)


def residual_correlations(codes, attributes, categories, n_categories):
    """Return the reference: correlate what linear regression on the controls leaves of code and attribute."""
    from sklearn.linear_model import LinearRegression

    one_hot = np.eye(n_categories)[categories]
    table = np.empty((codes.shape[1], attributes.shape[1]))
    for j in range(codes.shape[1]):
        controls = np.concatenate([np.delete(codes, j, axis=1), one_hot], axis=1)

        def left(y, controls=controls):
            return y - LinearRegression().fit(controls, y).predict(controls)

        for a in range(attributes.shape[1]):
            table[j, a] = np.corrcoef(left(codes[:, j]), left(attributes[:, a]))[0, 1]
    return table


class TestPartialCorrelations:
    @pytest.fixture
    def mixed(self):
        """Codes that share a cause with each other and with the category, and attributes of both."""
        rng = np.random.default_rng(0)
        categories = rng.integers(0, 10, 3000)
        codes = rng.normal(size=(3000, 3)) + rng.normal(size=(3000, 1)) + 0.3 * categories[:, None]
        attributes = codes @ rng.normal(size=(3, 4)) + (categories[:, None] - 4) ** 2 + rng.normal(size=(3000, 4))
        return codes, attributes, categories

    def test_known_gaussian(self):
        # attribute = c0 + 2 c1 + noise of deviation 2, with c0 and c1 correlated by 0.6 and a category's
        # offset. Given c1, c0 keeps the variance 1 - 0.36 = 0.64: correlation √0.64/√(0.64 + 4), and c1
        # 2√0.64/√(2.56 + 4).
        rng = np.random.default_rng(0)
        n = 200_000
        categories = rng.integers(0, 10, n)
        c0, free, noise = rng.normal(size=(3, n))
        c1 = 0.6 * c0 + 0.8 * free
        attribute = c0 + 2 * c1 + 2 * noise + 5 * categories
        found = partial_correlations(np.stack([c0, c1], 1), attribute[:, None], categories, 10)
        expected = [[0.8 / math.sqrt(0.64 + 4)], [1.6 / math.sqrt(2.56 + 4)]]
        np.testing.assert_allclose(found, expected, atol=0.01)

    def test_against_regression_residuals(self, mixed):
        codes, attributes, categories = mixed
        found = partial_correlations(codes, attributes, categories, 10)
        np.testing.assert_allclose(found, residual_correlations(codes, attributes, categories, 10), atol=1e-9)

    def test_against_the_inverse_covariance(self, mixed):
        codes, attributes, categories = mixed
        found = partial_correlations(codes, attributes, categories, 10)
        one_hot = np.eye(10)[categories][:, 1:]
        for a in range(4):
            inverse = np.linalg.inv(np.cov(np.concatenate([codes, attributes[:, [a]], one_hot], axis=1), rowvar=False))
            diagonal = inverse.diagonal()
            np.testing.assert_allclose(found[:, a], -inverse[:3, 3] / np.sqrt(diagonal[:3] * diagonal[3]), atol=1e-9)

    def test_perfect_and_opposite(self):
        codes = np.random.default_rng(0).normal(size=(500, 2))
        attributes = np.stack([3 * codes[:, 0] + 1, -codes[:, 1]], 1)
        # Once the code that fixes an attribute is controlled for, nothing of it is left for the other.
        expected = [[1, np.nan], [np.nan, -1]]
        np.testing.assert_allclose(partial_correlations(codes, attributes), expected, atol=1e-9)

    def test_shuffled_is_chance(self, mixed):
        codes, attributes, categories = mixed
        shuffled = np.random.default_rng(1).permutation(codes)
        found = partial_correlations(shuffled, attributes, categories, 10)
        np.testing.assert_allclose(found, 0, atol=4 / math.sqrt(3000))

    def test_the_category_alone_explains_nothing(self):
        # Code and attribute both follow the category, and beyond it nothing joins them.
        rng = np.random.default_rng(0)
        categories = rng.integers(0, 10, 20_000)
        code, attribute = categories + rng.normal(size=(2, 20_000))
        assert np.corrcoef(code, attribute)[0, 1] > 0.8
        found = partial_correlations(code[:, None], attribute[:, None], categories, 10)
        assert found[0, 0] == pytest.approx(0, abs=0.03)

    def test_one_code_and_no_category_is_pearson(self, mixed):
        codes, attributes, _ = mixed
        found = partial_correlations(codes[:, :1], attributes)
        expected = [np.corrcoef(codes[:, 0], column)[0, 1] for column in attributes.T]
        np.testing.assert_allclose(found[0], expected, atol=1e-12)

    def test_unused_categories_and_no_category_change_nothing(self, mixed):
        codes, attributes, categories = mixed
        np.testing.assert_allclose(
            partial_correlations(codes, attributes, 2 * categories, 20),
            partial_correlations(codes, attributes, categories, 10),
            atol=1e-9,
        )
        np.testing.assert_allclose(
            partial_correlations(codes, attributes, np.zeros(3000, int), 10),
            partial_correlations(codes, attributes),
            atol=1e-9,
        )

    def test_rows_with_nan_are_left_out(self, mixed):
        codes, attributes, categories = mixed
        holed = attributes.copy()
        holed[::3, 1] = np.nan
        kept = np.delete(np.arange(3000), np.s_[::3])
        np.testing.assert_allclose(
            partial_correlations(codes, holed, categories, 10),
            partial_correlations(codes[kept], attributes[kept], categories[kept], 10),
            atol=1e-12,
        )

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("constant", [0.0, 1e6 + 0.1])
    def test_constant_columns_are_nan_and_harm_no_other(self, mixed, constant):
        codes, attributes, categories = mixed
        whole = partial_correlations(codes[:, [0, 2]], attributes, categories, 10)
        codes, attributes = codes.copy(), attributes.copy()
        codes[:, 1], attributes[:, 3] = constant, constant
        found = partial_correlations(codes, attributes, categories, 10)
        assert np.isnan(found[1]).all()
        assert np.isnan(found[:, 3]).all()
        np.testing.assert_allclose(found[[0, 2], :3], whole[:, :3], atol=1e-9)

    @pytest.mark.filterwarnings("error")
    def test_duplicated_codes_are_nan_and_harm_no_other(self, mixed):
        codes, attributes, categories = mixed
        doubled = np.concatenate([codes, 5 - 2 * codes[:, [0]]], axis=1)
        found = partial_correlations(doubled, attributes, categories, 10)
        assert np.isnan(found[[0, 3]]).all()
        whole = partial_correlations(codes, attributes, categories, 10)
        np.testing.assert_allclose(found[[1, 2]], whole[[1, 2]], atol=1e-9)

    def test_too_few_rows_are_nan(self):
        rng = np.random.default_rng(0)
        codes, attributes, categories = (
            rng.normal(size=(5, 2)),
            rng.normal(size=(5, 1)),
            np.array([0, 1, 2, 0, 1]),
        )
        assert np.isnan(partial_correlations(codes, attributes, categories, 3)).all()
        assert np.isnan(partial_correlations(codes, np.full((5, 1), np.nan), categories, 3)).all()
        assert np.isfinite(partial_correlations(codes, attributes)).all()

    @settings(max_examples=30, deadline=None)
    @given(scale=st.floats(1e-3, 1e3), shift=st.floats(-1e3, 1e3), flip=st.booleans(), seed=st.integers(0, 10**6))
    def test_unit_and_origin_are_free(self, scale, shift, flip, seed):
        rng = np.random.default_rng(seed)
        codes = rng.normal(size=(200, 2))
        attributes = codes @ rng.normal(size=(2, 3)) + rng.normal(size=(200, 3))
        sign = -1 if flip else 1
        np.testing.assert_allclose(
            partial_correlations(sign * scale * codes + shift, attributes),
            sign * partial_correlations(codes, attributes),
            atol=1e-6,
        )

    def test_bad_input_is_refused(self):
        codes, attributes = np.ones((3, 1)), np.ones((3, 1))
        with pytest.raises(AssertionError, match="posterior_means must be finite"):
            partial_correlations(codes * np.nan, attributes)
        with pytest.raises(AssertionError, match="attributes must be finite or NaN"):
            partial_correlations(codes, attributes * np.inf)
        with pytest.raises(AssertionError, match=r"categories must be in 0\.\.1"):
            partial_correlations(codes, attributes, np.array([0, 1, 2]), 2)


def with_moments(mean, covariance, n, seed):
    """Return n samples whose mean and covariance are exactly these."""
    samples = np.random.default_rng(seed).normal(size=(n, len(mean)))
    samples -= samples.mean(0)
    white = samples @ np.linalg.inv(np.linalg.cholesky(np.cov(samples, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


class TestFrechetDistance:
    def test_known_gaussians(self):
        # Commuting covariances: |μ|² + Σ (σ_a − σ_b)² = 9 + 16 + (1 − 3)² + (2 − 5)² = 38.
        a = with_moments(np.zeros(2), np.diag([1.0, 4.0]), 50, 0)
        b = with_moments(np.array([3.0, -4.0]), np.diag([9.0, 25.0]), 80, 1)
        assert frechet_distance(a, b) == pytest.approx(38, rel=1e-9)

    def test_known_gaussians_that_do_not_commute(self):
        # For 2x2 matrices tr √M = √(tr M + 2 √det M).
        cov_a, cov_b = np.array([[2.0, 1.0], [1.0, 2.0]]), np.array([[3.0, 0.0], [0.0, 1.0]])
        product = cov_a @ cov_b
        root_trace = math.sqrt(np.trace(product) + 2 * math.sqrt(np.linalg.det(product)))
        a, b = with_moments(np.zeros(2), cov_a, 50, 0), with_moments(np.ones(2), cov_b, 50, 1)
        assert frechet_distance(a, b) == pytest.approx(2 + 4 + 4 - 2 * root_trace, rel=1e-9)

    def test_identical_and_duplicated_sets(self):
        x = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
        assert frechet_distance(x, np.tile(x, (2, 1))) == pytest.approx(0, abs=1e-4)

    def test_against_torchmetrics(self):
        from torchmetrics.image.fid import FrechetInceptionDistance  # only here: it takes seconds

        class Flatten(nn.Module):
            num_features = 12

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return x.flatten(1)

        rng = np.random.default_rng(0)
        a = rng.normal(size=(500, 12)) @ rng.normal(size=(12, 12))
        b = rng.normal(size=(400, 12)) @ rng.normal(size=(12, 12)) + 1
        metric = FrechetInceptionDistance(feature=Flatten()).set_dtype(torch.float64)
        metric.update(torch.from_numpy(a)[:, :, None, None], real=True)
        metric.update(torch.from_numpy(b)[:, :, None, None], real=False)
        assert frechet_distance(a, b) == pytest.approx(metric.compute().item(), rel=1e-6)

    def test_fewer_samples_than_features(self):
        # Two points each: rank-1 covariances along two axes, so that the cross term is 0 and the rest is
        # known.
        a, b = np.zeros((2, 50)), np.zeros((2, 50))
        a[:, 0], b[:, 1] = [1, -1], [3, -3]
        assert frechet_distance(a, b) == pytest.approx(2 + 18)
        rng = np.random.default_rng(0)
        x = rng.normal(size=(20, 50))
        assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)

    def test_one_feature(self):
        a, b = np.array([[0.0], [2.0]]), np.array([[10.0], [14.0]])
        assert frechet_distance(a, b) == pytest.approx((12 - 1) ** 2 + (math.sqrt(8) - math.sqrt(2)) ** 2)

    @settings(max_examples=30, deadline=None)
    @given(seed=st.integers(0, 10**6), shift=st.floats(-100, 100))
    def test_symmetric_and_grows_by_the_square_of_a_shift(self, seed, shift):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) * 2
        assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), abs=1e-8)
        assert frechet_distance(a, a + shift) == pytest.approx(3 * shift**2, rel=1e-6, abs=1e-8)

    def test_bad_input_is_refused(self):
        good = np.zeros((3, 2))
        with pytest.raises(AssertionError, match="features_a must have 2 rows or more, got 1"):
            frechet_distance(good[:1], good)
        with pytest.raises(AssertionError, match="features must be finite"):
            frechet_distance(good, good * np.nan)
        with pytest.raises(AssertionError, match="one dimension, got 2 and 3"):
            frechet_distance(good, np.zeros((3, 3)))


def brute_force_scores(real, fake, k):
    """Return the reference, straight from the definitions, one ball after another."""

    def radius(points, i):
        return sorted(math.dist(points[i], other) for other in np.delete(points, i, axis=0))[k - 1]

    in_real = np.array([[math.dist(x, y) <= radius(real, i) for y in fake] for i, x in enumerate(real)])
    in_fake = np.array([[math.dist(x, y) <= radius(fake, i) for x in real] for i, y in enumerate(fake)])
    return in_real.any(0).mean(), in_fake.any(0).mean(), in_real.sum(0).mean() / k, in_real.any(1).mean()


def direct_scores(real, fake, k):
    """Return the reference of brute_force_scores for many points: SciPy's distances, each from its differences."""
    own_real, own_fake, between = cdist(real, real), cdist(fake, fake), cdist(real, fake)
    in_real = between <= np.sort(own_real)[:, k, None]
    in_fake = between <= np.sort(own_fake)[:, k]
    return in_real.any(0).mean(), in_fake.any(1).mean(), in_real.sum(0).mean() / k, in_real.any(1).mean()


@pytest.fixture(scope="module")
def features(digits):
    """The digit classifier's features of 400 real digits: 64 of each, from float32."""
    return classify(load_digit_classifier(), digits.images[:400])[0].astype(float)


class TestManifoldScores:
    def scores(self, real, fake, k=5):
        result = precision_recall_density_coverage(real, fake, k)
        return result.precision, result.recall, result.density, result.coverage

    def test_identical_sets(self):
        x = np.random.default_rng(0).normal(size=(200, 8))
        assert self.scores(x, x) == pytest.approx((1, 1, 6 / 5, 1))
        assert self.scores(x.astype(np.float32), x.astype(np.float32)) == pytest.approx((1, 1, 6 / 5, 1))

    def test_distant_sets(self):
        x = np.random.default_rng(0).normal(size=(100, 8))
        assert self.scores(x, x + 100) == (0, 0, 0, 0)

    def test_one_distribution(self):
        rng = np.random.default_rng(0)
        n, k = 2000, 5
        _, _, density, coverage = self.scores(rng.normal(size=(n, 4)), rng.normal(size=(n, 4)))
        assert density == pytest.approx(1, abs=0.05)
        expected = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
        assert expected == pytest.approx(1 - 2**-k, abs=1e-3)
        assert coverage == pytest.approx(expected, abs=0.015)

    def test_a_single_mode_is_precise_and_covers_little(self):
        rng = np.random.default_rng(0)
        real = np.concatenate([rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + 50])
        precision, recall, _, coverage = self.scores(real, rng.normal(size=(1000, 2)))
        assert precision > 0.9
        assert recall < 0.55
        assert coverage == pytest.approx(0.5, abs=0.03)

    def test_one_duplicated_sample(self):
        # All fakes are one real image: precise, dense, but balls of radius 0 recall that image alone.
        real = np.random.default_rng(0).normal(size=(100, 8))
        precision, recall, _, coverage = self.scores(real, np.repeat(real[:1], 50, axis=0))
        assert (precision, recall) == (1, 0.01)
        assert coverage < 0.5

    def test_against_the_definitions(self):
        rng = np.random.default_rng(0)
        real, fake = rng.normal(size=(40, 2)), rng.normal(size=(30, 2)) + 0.5
        assert self.scores(real, fake, 3) == pytest.approx(brute_force_scores(real, fake, 3))

    def test_real_features_have_the_neighbours_of_the_definition(self, features):
        assert self.scores(features[:200], features[200:]) == pytest.approx(
            direct_scores(features[:200], features[200:], 5)
        )

    def test_duplicates_and_points_on_the_edge_of_a_ball_are_inside(self, features):
        # Of half of the images there is a copy, of some seven: balls of radius 0 and edges on which images lie.
        real = np.concatenate([features[:200], features[:100], np.repeat(features[:10], 6, axis=0)])
        fake = np.concatenate([features[150:350], features[5:15]])
        assert self.scores(real, fake) == pytest.approx(direct_scores(real, fake, 5))
        assert self.scores(real, real) == pytest.approx(direct_scores(real, real, 5))

    def test_distances_that_rounding_would_lose_are_kept(self, features):
        # |a|² is 5 × 10^15 times the squared distances: in |a|² + |b|² − 2ab nothing is left of it.
        real, fake = features[:200] + 1e8, features[200:] + 1e8
        squares = np.square(real).sum(1)
        lost = squares[:, None] + squares - 2 * real @ real.T
        assert np.abs(lost - cdist(real, real, "sqeuclidean")).max() > np.median(cdist(real, real, "sqeuclidean"))
        assert self.scores(real, fake) == pytest.approx(direct_scores(real, fake, 5))
        real[:100] -= 2e8  # and in two groups far from each other
        assert self.scores(real, fake) == pytest.approx(direct_scores(real, fake, 5))

    @settings(max_examples=25, deadline=None)
    @given(
        seed=st.integers(0, 10**6), k=st.integers(1, 6), n=st.integers(7, 60), offset=st.sampled_from([0.0, 1e3, 1e8])
    )
    def test_on_a_grid_where_most_distances_are_equal(self, seed, k, n, offset):
        rng = np.random.default_rng(seed)
        real, fake = (offset + rng.integers(0, 4, (m, 3)) for m in (n, 40))
        assert self.scores(real, fake, k) == pytest.approx(direct_scores(real, fake, k))

    def test_chunks_do_not_show(self, monkeypatch):
        rng = np.random.default_rng(0)
        real = rng.normal(size=(90, 3)).astype(np.float32)
        fake = np.concatenate([real[:40], rng.normal(size=(30, 3)).astype(np.float32)])
        whole = self.scores(real, fake)
        monkeypatch.setattr(feature_distances, "_CHUNK_BYTES", 8 * 70 * 7)
        assert self.scores(real, fake) == whole

    def test_bad_input_is_refused(self):
        good = np.zeros((6, 2))
        with pytest.raises(AssertionError, match="k must be 1 or more, got 0"):
            precision_recall_density_coverage(good, good, 0)
        with pytest.raises(AssertionError, match="fake must have more than k = 5 rows, got 5"):
            precision_recall_density_coverage(good, good[:5])
        with pytest.raises(AssertionError, match="features must be finite"):
            precision_recall_density_coverage(good + np.inf, good)
        with pytest.raises(AssertionError, match="one dimension, got 2 and 3"):
            precision_recall_density_coverage(good, np.zeros((6, 3)))


class TestBootstrapInterval:
    def test_agrees_with_the_normal_interval(self):
        values = np.random.default_rng(0).normal(3.0, 2.0, 10_000)
        low, high = bootstrap_interval(values)
        half = 1.96 * values.std() / 100
        assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
        assert high == pytest.approx(values.mean() + half, abs=0.1 * half)

    def test_claims_as_often_as_it_says(self):
        rng = np.random.default_rng(0)
        hits = 0
        for seed in range(300):
            low, high = bootstrap_interval(rng.normal(size=100), confidence=0.8, n_resamples=300, seed=seed)
            hits += low <= 0 <= high
        # 240 ± 7 hits are expected.
        assert 215 <= hits <= 265

    def test_a_constant_has_no_width(self):
        assert bootstrap_interval(np.full(50, 0.25)) == (0.25, 0.25)

    def test_against_the_definition(self):
        values = np.random.default_rng(0).normal(size=1000)
        rng = np.random.default_rng(5)
        means = [values[rng.integers(1000, size=1000)].mean() for _ in range(300)]
        found = bootstrap_interval(values, 0.9, 300, seed=5)
        assert found == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])), rel=1e-12)

    def test_seed_decides(self):
        values = np.random.default_rng(0).normal(size=200)
        assert bootstrap_interval(values, seed=1) == bootstrap_interval(values, seed=1)
        assert bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)

    @pytest.mark.parametrize("values", [[], [1.0], [1.0, math.nan]])
    def test_bad_input_is_refused(self, values):
        with pytest.raises(AssertionError, match="two or more finite numbers"):
            bootstrap_interval(np.array(values, dtype=float))


class TestDigitHistogram:
    def test_uniform(self):
        result = digit_histogram(np.repeat(np.arange(10), 7), np.ones(10))
        assert result.counts.tolist() == [7] * 10
        assert (result.n_covered, result.kl_nats) == (10, pytest.approx(0))

    def test_collapse_to_one_digit(self):
        result = digit_histogram(np.full(100, 3), np.ones(10))
        assert (result.n_covered, result.kl_nats) == (1, pytest.approx(math.log(10)))

    def test_half_of_the_digits(self):
        result = digit_histogram(np.repeat(np.arange(5), 3), np.ones(10))
        assert (result.n_covered, result.kl_nats) == (5, pytest.approx(math.log(2)))

    def test_random_samples_reach_the_floor(self):
        digits = np.random.default_rng(0).integers(0, 10, (200, 1000))
        mean = np.mean([digit_histogram(row, np.ones(10)).kl_nats for row in digits])
        assert mean == pytest.approx(9 / 2000, rel=0.1)

    def test_wanted_shares(self):
        digits = np.array([0, 0, 0, 1])
        assert digit_histogram(digits, np.array([30, 10])).kl_nats == pytest.approx(0)
        expected = 0.75 * math.log(0.75 / 0.25) + 0.25 * math.log(0.25 / 0.75)
        assert digit_histogram(digits, np.array([0.25, 0.75])).kl_nats == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("digits", "wanted", "match"),
        [
            ([], [1.0, 1.0], "at least one sample"),
            ([2], [1.0, 1.0], r"digits must be in 0\.\.1"),
            ([1], [0.0, 1.0], "wanted must be positive numbers"),
            ([1], [math.nan, 1.0], "wanted must be positive numbers"),
        ],
    )
    def test_bad_input_is_refused(self, digits, wanted, match):
        with pytest.raises(AssertionError, match=match):
            digit_histogram(np.array(digits, dtype=int), np.array(wanted))


@pytest.mark.parametrize(("counts", "smallest"), [((5, 3, 2), 0.2), ((7, 3, 0), 0.0)])
def test_the_smallest_category_is_known(counts, smallest):
    spec = LatentSpec.parse("uniform,cat3")
    categories = torch.arange(3).repeat_interleave(torch.tensor(counts))
    q = torch.zeros(len(categories), spec.q_dim)
    q[:, spec.q_slices[1]] = F.one_hot(categories, 3).float()
    none = torch.empty(0, dtype=torch.int64)
    images = torch.zeros(10, 1, 8, 8, dtype=torch.uint8)
    subject = Subject(*build(spec, (1, 8, 8), width=2), spec, ImageDataset("blank", images, none, images, none))
    subject.q_on_test = q
    assert smallest_category(subject) == {"c2": smallest}
