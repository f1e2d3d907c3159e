"""Image quality by features: it repeats, knows its floor, and grows with all that makes images worse."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats
import torch
import torch.nn.functional as F

from infogan import LatentSpec, Trainer, load_dataset
from infogan.data.batches import to_unit_range
from infogan.data.datasets import ImageDataset
from infogan.evaluation import registry
from infogan.evaluation.classifier import load_digit_classifier
from infogan.evaluation.feature_distances import frechet_distance
from infogan.evaluation.feature_net import FEATURE_DIM, learned_features, load_feature_net
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.image_features import features_by, measure_feature_reference
from infogan.evaluation.random_features import N_FEATURES, make_random_net, random_features
from infogan.evaluation.sampling import Samples, draw_samples
from infogan.evaluation.subject import Subject
from infogan.evaluation.tables import run_tables
from infogan.models import build

KEYS = ("frechet_distance", "precision", "recall", "density", "coverage")


def without_test_images(digits):
    return ImageDataset.without_labels("mine", digits.images[:1000])


def scores_of(samples, dataset):
    """What is measured of given samples."""
    spec = LatentSpec.parse("cat10", 4)
    reference = measure_feature_reference(dataset, len(samples), seed=0)
    tiny = FreshQ(width=4, n_images=8, epochs=1, batch_size=4)
    subject = Subject(*build(spec, width=4), spec, dataset, None, None, len(samples), 0, tiny, reference)
    subject.samples = Samples(torch.zeros(len(samples), 10), samples)
    scores = {}
    for record in registry._REGISTERED.values():
        if record.place[0] in ("features", "random_features"):
            assert record.needs <= subject.available
            record.store(scores, subject)
    return scores


def test_the_net_is_the_same_whatever_was_drawn_before(digits):
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        found.append(random_features(make_random_net(digits.images), digits.test_images[:20]))
    assert (found[0] == found[1]).all() and found[0].shape == (20, N_FEATURES)


@pytest.mark.parametrize("shape", [(3, 32, 32), (3, 64, 64), (1, 8, 30), (3, 45, 70), (2, 28, 28)])
def test_images_of_any_size_have_features_that_differ(digits, shape):
    channels, *size = shape
    images = F.interpolate(digits.images[:50].float(), size).byte().expand(-1, channels, -1, -1)
    for features, n in (
        (random_features(make_random_net(images), images), N_FEATURES),
        (learned_features(load_feature_net(), images), FEATURE_DIM),
    ):
        assert features.shape == (50, n) and features.std(axis=0).max() > 0.1


@pytest.mark.parametrize("kept_apart", [True, False])
def test_real_images_are_at_the_floor_and_one_image_over_and_over_is_not(digits, kept_apart):
    dataset = dataclasses.replace(digits, measurable=frozenset()) if kept_apart else without_test_images(digits)
    measured = scores_of(digits.images[2000:2500], dataset)
    of_both, others = measured["features"], measured["random_features"]
    assert of_both["n"] == others["n_frechet"] == 500
    assert of_both["frechet_distance"] == pytest.approx(of_both["floor"]["frechet_distance"], rel=0.3)
    floor = others["floor"]
    assert others["frechet_distance"] == pytest.approx(floor["frechet_distance"], rel=0.3)
    assert others["precision"] == pytest.approx(floor["precision"], abs=0.1)
    measured = scores_of(digits.images[:1].repeat(500, 1, 1, 1), dataset)
    one = measured["random_features"]
    assert one["frechet_distance"] > 10 * floor["frechet_distance"] and one["recall"] < 0.01
    assert measured["features"]["frechet_distance"] > 10 * of_both["floor"]["frechet_distance"]
    (table,) = run_tables({"InfoGAN": measured})
    assert table.title == "image quality by features"
    assert [row[0] for row in table.rows] == ["InfoGAN", "real training images", "at chance"]
    floors = (of_both["floor"]["frechet_distance"], floor["frechet_distance"])
    assert table.rows[1][1:3] == [f"{distance:.3f}" for distance in floors]


def test_too_few_images_have_no_reference(digits):
    assert measure_feature_reference(ImageDataset.without_labels("few", digits.images[:10]), 100, seed=0) is None


def digit_features(classifier, images):
    with torch.no_grad():
        return classifier.features(to_unit_range(images)).double().numpy()


def distances(real, worse):
    """The distances to real images of each of several sets, in random features and in those of both nets."""
    nets = make_random_net(real), load_feature_net()
    features = features_by(*nets, real)
    found = [features_by(*nets, images) for images in worse]
    return [[frechet_distance(each[:, :n], features[:, :n]) for each in found] for n in (N_FEATURES, features.shape[1])]


def made_worse(images, labels, foreign):
    """Sets of images that get worse step by step, by name; the first of each is as it was."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(images.shape, generator=rng)
    shuffled = torch.randperm(len(images), generator=rng)
    n = len(images)

    def blurred(sigma):
        kernel = torch.exp(-torch.arange(-6, 7).square() / (2 * sigma**2))
        kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
        rows = F.conv2d(images.float(), kernel, padding="same", groups=images.shape[1])
        return F.conv2d(rows, kernel.mT, padding="same", groups=images.shape[1]).round().byte()

    return {
        "blur": [images, *(blurred(sigma) for sigma in (0.6, 1.0, 2.0))],
        "noise": [images, *((images + s * noise).round().clamp(0, 255).byte() for s in (20, 40, 80))],
        "dropped classes": [images, *(images[labels < 10 - k] for k in (2, 5, 8))],
        "few images repeated": [images, *(images[shuffled[torch.arange(n) % k]] for k in (n // 8, n // 64))],
        "foreign": [images, *(torch.cat([images[shuffled[k:]], foreign[:k]]) for k in (n // 20, n // 4))],
    }


def test_the_distance_grows_with_all_that_makes_digits_worse(digits):
    real, others = torch.randperm(1600, generator=torch.Generator().manual_seed(1)).split(800)
    foreign = digits.images[others].rot90(1, dims=(2, 3))
    for name, sets in made_worse(digits.images[others], digits.labels[others], foreign).items():
        for found in distances(digits.images[real], sets):
            assert all(a < b for a, b in itertools.pairwise(found)), (name, found)


@pytest.mark.slow
def test_the_distance_grows_with_all_that_makes_clothes_worse(data_dir, digits):
    clothes = load_dataset("fashion", data_dir)
    sets = made_worse(clothes.test_images[:5000], clothes.test_labels[:5000], digits.images)
    for name, worse in sets.items():
        for found in distances(clothes.images[:5000], worse):
            assert all(a < b for a, b in itertools.pairwise(found)), (name, found)


@pytest.mark.slow
def test_it_ranks_models_of_digits_as_the_digit_distance_does(digits, small):
    # G and its EMA, of the paper's objective with either GAN loss, from blobs to digits.
    free = {"lambda_consistency": 0.0, "lambda_equivariance": 0.0, "lr_heads": None}
    classifier, real = load_digit_classifier(), digits.images[:2000]
    nets = make_random_net(digits.images), load_feature_net()
    real_features = features_by(*nets, real), digit_features(classifier, real)
    found = []
    for gan_loss in ("bce", "lsgan"):
        trainer = Trainer(small(gan_loss=gan_loss, width=16, batch_size=64, **free), digits.images)
        for steps in (300, 400, 500, 650, 800, 1000):
            while trainer.step < steps:
                trainer.train_step()
            for generator in (trainer.generator, trainer.generator_ema):
                samples = draw_samples(generator, trainer.spec, 2000, torch.Generator().manual_seed(0), None).images
                features = features_by(*nets, samples), digit_features(classifier, samples)
                found.append([frechet_distance(*pair) for pair in zip(features, real_features, strict=True)])
    by_features, by_digits = np.array(found).T
    assert by_digits.max() > 20 * by_digits.min()
    assert scipy.stats.spearmanr(by_features, by_digits).statistic > 0.9
