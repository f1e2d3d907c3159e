"""Scores of nets on answers known beforehand: plain codes, codes without effect, perfect and constant samples."""

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infogan import Discriminator, Generator, LatentSpec, sample_prior
from infogan.auxiliary import to_uint8
from infogan.data.batches import to_unit_range
from infogan.evaluation import registry, subject
from infogan.evaluation.classifier import classifier_accuracy, load_digit_classifier
from infogan.evaluation.clustering import cluster_by_codes
from infogan.evaluation.feature_distances import ManifoldScores
from infogan.evaluation.fresh_q import FreshQ, calibrated, train_fresh_q
from infogan.evaluation.information import information
from infogan.evaluation.morphometrics import ATTRIBUTES
from infogan.evaluation.reference import DigitReference, measure_reference
from infogan.evaluation.sampling import Samples, draw_samples, q_outputs
from infogan.evaluation.scoring import evaluate_nets
from infogan.evaluation.subject import Subject
from infogan.evaluation.sweeps import sweep_scores
from infogan.system.runtime import rng_state, set_rng_state

SPEC = LatentSpec.parse("cat10,uniform,uniform")
SLANT = ATTRIBUTES.index("slant")
SMALL_Q = FreshQ(width=8, n_images=2048, epochs=4, batch_size=32)


@pytest.fixture(scope="module", autouse=True)
def global_state_stays():
    before = rng_state()
    yield
    set_rng_state(before)


@pytest.fixture(scope="module")
def reference(digits):
    return measure_reference(digits, 500, seed=0, device="cpu")


def equal(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class ShearedDigits(nn.Module):
    """A perfect generator: c1 is the digit, c2 shears it by ±0.4 rows, c3 and the noise do nothing."""

    def __init__(self, digits) -> None:
        super().__init__()
        # The least slanted of the first of each digit, so that the shear is what slants them.
        chosen = [digits.images[digits.labels == k][:1] for k in range(10)]
        self.digits = nn.Parameter(to_unit_range(torch.cat(chosen)), requires_grad=False)

    def forward(self, z, c):
        x = self.digits[c[:, :10].argmax(dim=1)]
        theta = torch.zeros(len(x), 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = 1
        theta[:, 0, 1] = 0.4 * c[:, 10]
        return F.grid_sample(x + 1, F.affine_grid(theta, list(x.shape), align_corners=False), align_corners=False) - 1


class TestInformation:
    def test_a_certain_q_reaches_the_entropy_and_an_ignorant_one_0(self):
        spec = LatentSpec.parse("cat10,cat4")
        _, c = sample_prior(spec, 300, torch.Generator().manual_seed(0))
        q_params = torch.cat([100 * c[:, :10], torch.zeros(300, 4)], dim=1)
        found = information(spec, q_params, c)
        assert found["c1"]["nats"] == pytest.approx(math.log(10))
        assert found["c1"]["interval_95"] == pytest.approx([math.log(10)] * 2)
        assert found["c2"]["nats"] == pytest.approx(0, abs=1e-6)

    def test_the_best_gaussian_of_the_prior_is_just_below_0_and_inside_its_interval(self):
        spec = LatentSpec.parse("uniform")
        _, c = sample_prior(spec, 20_000, torch.Generator().manual_seed(0))
        # Q's deviation is that of U(-1, 1), 1/√3; its raw output is 3 atanh(ln(σ)/3), see latents.MAX_ABS_LOG_STD.
        raw = 3 * math.atanh(-0.5 * math.log(3) / 3)
        found = information(spec, torch.tensor([[0.0, raw]]).expand(20_000, 2), c)["c1"]
        assert found["nats"] == pytest.approx(0.5 * math.log(6 / (math.pi * math.e)), abs=0.01)
        low, high = found["interval_95"]
        assert low < 0.5 * math.log(6 / (math.pi * math.e)) < high
        assert high - low < 0.03


class TestCalibrated:
    def test_a_calibrated_net_reads_images_as_it_does_while_training(self, digits):
        torch.manual_seed(0)
        net = Discriminator(SPEC, width=8)
        images = digits.images[:250]  # one batch
        expected = net.train()(to_unit_range(images))[1].detach()
        net.load_state_dict({k: v + 3 if "running_mean" in k else v for k, v in net.state_dict().items()})
        before = copy.deepcopy(net)
        torch.testing.assert_close(q_outputs(calibrated(net, images), images), expected, atol=0.02, rtol=0.02)
        assert (q_outputs(net, images) - expected).abs().max() > 0.2
        assert equal(net, before)
        assert net.training


@pytest.fixture(scope="module")
def painted():
    """Images of which one row is bright, that of the category, and independent codes."""
    rng = torch.Generator().manual_seed(0)
    _, c = sample_prior(SPEC, 2560, rng)
    images = torch.randint(0, 64, (2560, 1, 28, 28), generator=rng, dtype=torch.uint8)
    images[torch.arange(2560), 0, 2 * c[:, :10].argmax(dim=1) + 4] += 128
    _, other = sample_prior(SPEC, 2560, rng)
    return images, c, other


class TestFreshQ:
    def score(self, images, c):
        spec, net = train_fresh_q(SPEC, Samples(c[:2048], images[:2048]), SMALL_Q, seed=0, device="cpu")
        return information(spec, q_outputs(net, images[2048:]), c[2048:])

    def test_a_painted_category_is_found(self, painted):
        images, c, _ = painted
        assert math.log(10) - 0.1 < self.score(images, c)["c1"]["nats"] <= math.log(10)

    def test_images_that_know_nothing_of_the_codes_give_nothing(self, painted):
        images, _, other = painted
        for found in self.score(images, other).values():
            assert -0.5 < found["nats"] < 0.03

    def test_a_seed_fixes_it_and_a_fixed_deviation_of_the_run_does_not_bind_it(self, painted):
        images, c, _ = painted
        samples = Samples(c[:256], images[:256])
        budget = FreshQ(width=4, n_images=256, epochs=1, batch_size=64)
        state = torch.get_rng_state()
        first, again, other = (train_fresh_q(SPEC, samples, budget, seed, "cpu")[1] for seed in (0, 0, 1))
        assert equal(first, again)
        assert not equal(first, other)
        assert torch.equal(torch.get_rng_state(), state)
        fixed = LatentSpec.parse("cat10,uniform,uniform", q_std=1.0)
        spec, net = train_fresh_q(fixed, samples, budget, 0, "cpu")
        assert spec == SPEC
        assert equal(net, first)


def test_each_categorical_code_clusters_by_itself(digits):
    labels = digits.test_labels
    spec = LatentSpec.parse("cat10,uniform,cat5")
    naming = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    q_params = torch.zeros(len(labels), spec.q_dim)
    q_params[:, :10] = F.one_hot(naming[labels], 10)
    q_params[:, 12] = 1  # the first of five, always
    found = cluster_by_codes(spec, q_params, labels.numpy(), 10)
    assert found.keys() == {"c1", "c3"}
    assert found["c1"].accuracy == 1
    assert list(found["c1"].code_to_digit) == torch.argsort(naming).tolist()
    assert found["c3"].accuracy == pytest.approx(torch.bincount(labels).max().item() / len(labels))


class TestSweeps:
    SPREAD = np.array([10.0, 10, 1, 0.5, 5, 5])

    def sweep(self, images_of, position, reference):
        z, c = sample_prior(SPEC, 200, torch.Generator().manual_seed(0))
        found = sweep_scores(images_of, SPEC, position, reference.classifier, self.SPREAD, z, c)
        return {key: value if key == "digit_kept" else value.tolist() for key, value in found.items()}

    def test_a_code_that_does_nothing(self, digits, reference):
        def images_of(z, c):
            return digits.images[c[:, :10].argmax(dim=1)]

        found = self.sweep(images_of, 1, reference)
        assert found == {"range_covered": [0.0] * 6, "shared_direction": [0.0] * 6, "digit_kept": 1.0}

    def test_a_code_that_shears_a_bar(self, reference):
        def images_of(z, c):
            y, x = torch.meshgrid(torch.arange(28.0), torch.arange(28.0), indexing="ij")
            shift = 0.4 * c[:, 11, None, None] * (y - 13.5)
            ink = (3 - (x - 13.5 + shift).abs()).clamp(0, 1) * ((y - 13.5).abs() < 9)
            return ink.mul(255).to(torch.uint8)[:, None]

        found = self.sweep(images_of, 2, reference)
        # From a slant of -atan(0.4) to one of atan(0.4), over a range of 0.5.
        assert found["range_covered"][SLANT] == pytest.approx(2 * math.atan(0.4) / 0.5, abs=0.05)
        assert found["range_covered"][ATTRIBUTES.index("height")] == pytest.approx(0, abs=0.05)
        assert found["shared_direction"][SLANT] == 1

    def test_a_code_that_shears_three_categories_the_other_way(self, digits, reference):
        perfect = ShearedDigits(digits)

        def images_of(z, c):
            turned = c.clone()
            turned[:, 10] *= torch.where(c[:, :10].argmax(dim=1) < 3, -1.0, 1.0)
            return torch.from_numpy(to_uint8(perfect(z, turned)))

        found = self.sweep(images_of, 1, reference)
        assert found["shared_direction"][SLANT] == pytest.approx(0.7)

    def test_a_code_that_changes_the_digit(self, digits, reference):
        one, zero = (digits.images[digits.labels == k][:1] for k in (1, 0))

        def images_of(z, c):
            return torch.where(c[:, 10, None, None, None] > 0.5, zero, one)

        found = self.sweep(images_of, 1, reference)
        assert found["digit_kept"] == 0
        assert found["range_covered"][ATTRIBUTES.index("width")] > 1

    def test_images_without_an_outline_have_no_range(self, reference):
        def images_of(z, c):
            return torch.zeros(len(z), 1, 28, 28, dtype=torch.uint8)

        found = self.sweep(images_of, 1, reference)
        assert np.isnan([found["range_covered"], found["shared_direction"]]).all()
        assert found["digit_kept"] == 1


class TestQuality:
    def quality(self, digits, reference, samples):
        """The part of the registry that is of quality, of given samples."""
        given = Subject(ShearedDigits(digits), Discriminator(SPEC, width=4), SPEC, digits, reference, n_samples=1)
        given.samples = samples
        scores = {}
        for record in registry._REGISTERED.values():
            if record.place[0] == "quality":
                record.store(scores, given)
        return scores["quality"]

    def codes_of(self, labels):
        return torch.cat([F.one_hot(labels, 10).float(), torch.zeros(len(labels), 2)], dim=1)

    def test_the_test_images_themselves_are_perfect_samples(self, digits, reference):
        samples = Samples(self.codes_of(digits.test_labels), digits.test_images)
        found = self.quality(digits, reference, samples)
        assert found["frechet_digit_distance"] == pytest.approx(0, abs=1e-3)
        assert found["frechet_digit_distance_floor"] > 0.05
        perfect = ManifoldScores(1, 1, 6 / 5, 1)  # 6 of 5 neighbours: a ball holds its own centre too
        assert [found[key] for key in ("precision", "recall", "density", "coverage")] == pytest.approx(
            [perfect.precision, perfect.recall, perfect.density, perfect.coverage], abs=0.01
        )
        assert found["agreement"]["c1"] >= 0.995  # the classifier misreads one of them
        assert found["digits"]["n_covered"] == 10
        assert found["n_frechet"] == found["n_manifold"] == 500

    def test_one_image_over_and_over(self, digits, reference):
        c = self.codes_of(torch.arange(500) % 10)
        samples = Samples(c, digits.test_images[:1].repeat(500, 1, 1, 1))
        found = self.quality(digits, reference, samples)
        (digit,) = np.flatnonzero(found["digits"]["counts"])
        assert found["frechet_digit_distance"] > 10 * found["frechet_digit_distance_floor"]
        assert found["coverage"] < 0.1
        assert found["digits"]["n_covered"] == 1
        assert found["digits"]["kl_nats"] == pytest.approx(math.log(4500 / reference.class_counts[digit]))
        assert found["agreement"]["c1"] == pytest.approx(0.1)


class TestReference:
    def test_it_is_of_the_images_kept_out_and_of_as_many_others(self, digits, reference):
        assert isinstance(reference, DigitReference)
        assert len(reference.attributes) == len(digits.test_images) == 500
        assert reference.test_features.shape == reference.train_features.shape == (500, 64)
        assert reference.class_counts.sum() == 4500
        # The features are those of the test images, in another order.
        with torch.no_grad():
            features = load_digit_classifier().features(to_unit_range(digits.test_images)).numpy()
        np.testing.assert_allclose(np.sort(reference.test_features, 0), np.sort(features, 0), atol=1e-4)
        assert reference.floor_scores.coverage == pytest.approx(0.97, abs=0.03)

    def test_fewer_samples_take_fewer_real_images(self, digits):
        few = measure_reference(digits, 100, seed=0, device="cpu")
        assert len(few.test_features) == len(few.train_features) == 100


@pytest.fixture(scope="module")
def perfect(digits, reference):
    """The scores of a generator whose codes are plain to see, with an untrained D and Q."""
    torch.manual_seed(0)
    generator, discriminator = ShearedDigits(digits), Discriminator(SPEC, width=4)
    return evaluate_nets(generator, discriminator, SPEC, digits, reference, 500, seed=0, fresh_q=SMALL_Q)


def test_a_generator_with_plain_codes_is_seen_through(digits, perfect):
    c1, c2, c3 = (perfect["mutual_information"][name] for name in ("c1", "c2", "c3"))
    assert c1["fresh_q"]["nats"] > math.log(10) - 0.25
    assert c2["fresh_q"]["nats"] > 0.5
    assert c3["fresh_q"]["nats"] < 0.03  # it does nothing
    assert c1["own_q"]["nats"] < 0.1  # untrained
    factors = perfect["factors"]
    assert abs(factors["samples"]["c2"][SLANT]) > 0.9
    assert abs(factors["samples"]["c3"][SLANT]) < 0.2
    assert abs(factors["sweeps"]["c2"]["range_covered"][SLANT]) > 0.5
    assert factors["sweeps"]["c2"]["shared_direction"][SLANT] == 1
    assert factors["sweeps"]["c3"] == {"range_covered": [0.0] * 6, "shared_direction": [0.0] * 6, "digit_kept": 1.0}
    assert perfect["quality"]["agreement"]["c1"] > 0.9
    # Ten images, sheared: all that is there is real, and hardly any of what is real is there.
    assert perfect["quality"]["recall"] < 0.3


def test_evaluating_changes_nothing_and_repeats_itself(digits, reference, monkeypatch):
    monkeypatch.setattr(subject, "N_SWEEP_ROWS", 20)
    torch.manual_seed(0)
    generator, discriminator = Generator(SPEC, width=4), Discriminator(SPEC, width=4).train()
    before = copy.deepcopy((generator, discriminator))
    state = rng_state()
    images, labels = digits.test_images.clone(), digits.test_labels.clone()

    def score():
        tiny = FreshQ(width=4, n_images=128, epochs=1, batch_size=64)
        return evaluate_nets(generator, discriminator, SPEC, digits, reference, 100, seed=3, fresh_q=tiny)

    assert score() == score()
    assert equal(generator, before[0])
    assert equal(discriminator, before[1])
    assert generator.training
    assert discriminator.training
    after = rng_state()  # not that of Python: it is beartype that draws from it, in tests alone
    assert torch.equal(after["torch"], state["torch"])
    assert torch.equal(after["numpy"][1], state["numpy"][1])
    assert torch.equal(images, digits.test_images)
    assert torch.equal(labels, digits.test_labels)


def test_a_seed_fixes_the_samples():
    torch.manual_seed(0)
    generator = Generator(SPEC, width=4)
    drawn = [draw_samples(generator, SPEC, 20, torch.Generator().manual_seed(seed)).images for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize("codes", ["cat10", "gaussian", "cat3,cat4,gaussian"])
def test_any_codes_can_be_scored(digits, reference, codes, monkeypatch):
    monkeypatch.setattr(subject, "N_SWEEP_ROWS", 20)
    torch.manual_seed(0)
    spec = LatentSpec.parse(codes)
    tiny = FreshQ(width=4, n_images=128, epochs=1, batch_size=64)
    nets = Generator(spec, width=4), Discriminator(spec, width=4)
    found = evaluate_nets(*nets, spec, digits, reference, 120, fresh_q=tiny)
    assert list(found["mutual_information"]) == list(spec.names)
    assert list(found["clustering"]) == [spec.names[i] for i in spec.categorical]
    assert list(found["quality"]["agreement"]) == list(found["clustering"])
    assert list(found.get("factors", {"sweeps": {}})["sweeps"]) == [spec.names[i] for i in spec.continuous]


def test_the_classifier_reads_the_digits_that_the_generator_shows(digits):
    generator = ShearedDigits(digits)
    shown = ((generator.digits + 1) * 127.5).round().to(torch.uint8)
    assert classifier_accuracy(load_digit_classifier().logits, shown, torch.arange(10)) == 1
