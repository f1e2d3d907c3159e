"""Scores nets: how much the codes say, what each one controls, how good the images are, as plain numbers.

`evaluate_nets` draws fresh samples and puts the metrics of `infogan.evaluation.metrics` to work on them and on the test
images of a data set, whose labels are used for nothing but this. It changes neither the nets nor any global random
state: nets run in evaluation mode, and all draws come from generators of their own, on the CPU, so that a seed
means the same samples on every device.

Images are rounded to 256 grey levels before anything is measured, as a file would hold them: a signal between G
and Q that is finer than that cannot pass for information that a person could see.

Axes: n samples, m test images, i codes, j continuous codes, a attributes, q columns of Q's output, ch h w image.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn
from tqdm import tqdm

from infogan.auxiliary import to_uint8
from infogan.config.spec import Categorical, LatentSpec
from infogan.data.datasets import ImageDataset, to_unit_range
from infogan.evaluation.classifier import DigitClassifier, load_digit_classifier
from infogan.evaluation.inception import InceptionReference, inception_scores
from infogan.evaluation.metrics import (
    Clustering,
    ManifoldScores,
    bootstrap_interval,
    cluster,
    digit_histogram,
    frechet_distance,
    partial_correlations,
    precision_recall_density_coverage,
)
from infogan.evaluation.morphometrics import ATTRIBUTES, measure_digits
from infogan.latents import (
    log_q,
    posterior_categories,
    posterior_means,
    sample_prior,
    traversal_values,
    with_code,
)
from infogan.losses import mutual_information_lower_bound
from infogan.models import Discriminator
from infogan.system.runtime import evaluating, seeded

DIGIT_DATASETS = ("mnist", "mnist5k")
N_SWEEP_ROWS = 200  # of categories and noises, for each continuous code
N_SWEEP_VALUES = 11
N_CALIBRATION_IMAGES = 5000
MOST_MANIFOLD_IMAGES = 5000  # the cost of precision and recall grows with the square
NEIGHBOURS = 5
N_QUICK_IMAGES = 2000  # test images, and as many samples, of an evaluation while training
BATCH_SIZE = 250


@dataclass(frozen=True)
class FreshQ:
    """What a Q from scratch is given to learn with; part of every result, since another budget finds another bound.

    4 passes over 20,480 images take 15 seconds on one core, and bring the bound on a trained MNIST generator
    within 0.02 nats (category) and 0.1 nats (continuous) of what twice as many do; on images that hold nothing of
    the codes it ends within 0.005 nats of the prior's own bound.

    Attributes:
        width: of its nets, which are those of `models.Discriminator` without D's head.
        n_images: generated for its training, none of which it is scored on.
        epochs: passes over them.
        batch_size: images per update.
        peak_learning_rate: Adam's, reached after 30% of the updates, then lowered along a cosine to almost 0.
    """

    width: int = 16
    n_images: int = 20_480
    epochs: int = 4
    batch_size: int = 128
    peak_learning_rate: float = 4e-3


@dataclass(frozen=True, eq=False)
class Samples:
    """Images of a generator, and the codes that they were made from; on the CPU."""

    c: Float[Tensor, "n c"]
    images: UInt8[Tensor, "n ch h w"]


@dataclass(frozen=True, eq=False)
class DigitReference:
    """Real digits as the judge and the ruler see them: measured once, and held against the samples of each model.

    Attributes:
        classifier: the frozen judge.
        attributes: of every test image, in the order of `digits.ATTRIBUTES`.
        test_features: of test images in random order, in the judge's feature space.
        train_features: of as many training images.
        class_counts: training images of each digit.
        floor_distance: Fréchet digit distance of the training images to the test images.
        floor_scores: precision, recall, density and coverage of the training images against the test images.
    """

    classifier: DigitClassifier
    attributes: Float[np.ndarray, "m 6"]
    test_features: Float[np.ndarray, "r 64"]
    train_features: Float[np.ndarray, "r 64"]
    class_counts: Int[np.ndarray, " 10"]
    floor_distance: float
    floor_scores: ManifoldScores


def measure_reference(dataset: ImageDataset, n_samples: int, seed: int, device: torch.device | str) -> DigitReference:
    """Returns what samples of digits are held against; 10,000 test images take half a minute on one core.

    Args:
        dataset: of digits.
        n_samples: samples that will be compared; fewer real images are used if that is fewer.
        seed: which real images these are.
        device: where the classifier works.
    """
    classifier = load_digit_classifier(device=device)
    rng = torch.Generator().manual_seed(seed)
    n = min(n_samples, len(dataset.test_images), len(dataset.images))
    test, train = (
        _judge(classifier, images[torch.randperm(len(images), generator=rng)[:n]])[0]
        for images in (dataset.test_images, dataset.images)
    )
    return DigitReference(
        classifier,
        _measure(dataset.test_images, "test images"),
        test,
        train,
        np.bincount(dataset.labels.numpy(), minlength=10),
        frechet_distance(train, test),
        _manifold_scores(test, train),
    )


def evaluate_nets(
    generator: nn.Module,
    discriminator: Discriminator,
    spec: LatentSpec,
    dataset: ImageDataset,
    reference: DigitReference | None,
    n_samples: int = 10_000,
    seed: int = 0,
    fresh_q: FreshQ | None = None,
    inception: InceptionReference | None = None,
) -> dict[str, Any]:
    """Returns every measure of one model, ready for JSON: numbers, lists and dictionaries, None where undefined.

    - `mutual_information`: `information` of each code by the run's own Q as it is (`own_q`), by the same Q with its
      BatchNorm statistics taken on generated images (`own_q_calibrated`), and by a Q trained from scratch
      (`fresh_q`).
    - `clustering`: of the test images by each categorical code; see `evaluation.Clustering`.
    - `factors`: what each continuous code controls, on test images, samples and sweeps; see `factor_scores`.
    - `quality`: of the samples, as the digit classifier sees them; see `quality_scores`.
    - `inception`: Inception FID and KID of the samples, if its reference is given; see `inception.inception_scores`.

    Factors and quality are of digits alone.

    Args:
        generator: G; not changed.
        discriminator: D and Q; not changed.
        spec: the latents.
        dataset: its test images are scored.
        reference: of the same data set, or None if it is not one of digits.
        n_samples: fresh samples of G.
        seed: of all draws and of the fresh Q.
        fresh_q: the budget of the Q trained from scratch.
        inception: the Inception network with real images of the same data set.
    """
    fresh_q = fresh_q or FreshQ()
    rng = torch.Generator().manual_seed(seed)
    samples = draw_samples(generator, spec, n_samples, rng, "samples")
    pool = draw_samples(generator, spec, fresh_q.n_images, rng, "images for the fresh Q")
    qs = {
        "own_q": (spec, discriminator),
        "own_q_calibrated": (spec, calibrated(discriminator, pool.images[:N_CALIBRATION_IMAGES])),
        "fresh_q": train_fresh_q(spec, pool, fresh_q, seed, _device(generator)),
    }
    mutual_information: dict[str, dict[str, Any]] = {
        name: {"code": str(code), "entropy_nats": code.entropy_nats}
        for name, code in zip(spec.names, spec.codes, strict=True)
    }
    for kind, (q_spec, net) in qs.items():
        for name, value in information(q_spec, q_outputs(net, samples.images), samples.c, seed).items():
            mutual_information[name][kind] = value

    q_on_test = q_outputs(discriminator, dataset.test_images)
    clusterings = cluster_by_codes(spec, q_on_test, dataset.test_labels.numpy())
    scores: dict[str, Any] = {
        "mutual_information": mutual_information,
        "clustering": {name: _clustering_dict(value) for name, value in clusterings.items()},
    }
    if reference is not None:
        digits = _judge(reference.classifier, samples.images)[1]
        if spec.continuous:
            scores["factors"] = factor_scores(generator, spec, q_on_test, samples, reference, rng)
        scores["quality"] = quality_scores(spec, samples, digits, reference)
    if inception is not None:
        scores["inception"] = inception_scores(samples.images, inception, seed)
    return scores


def quick_scores(
    generator: nn.Module, discriminator: Discriminator, spec: LatentSpec, dataset: ImageDataset, seed: int = 0
) -> dict[str, float]:
    """Returns what can be measured in a second or two while training: the run's own Q on a part of the test images.

    `eval_accuracy_<code>` and `eval_nmi_<code>` of the categorical codes on `N_QUICK_IMAGES` test images, and
    `eval_mi_<code>`, L_I in nats, of all codes on as many samples; in evaluation mode, as `own_q` of
    `evaluate_nets`. A seed means the same images and latents every time, so that a curve shows learning alone.
    Neither the nets nor any global random state are changed.

    Args:
        generator: G.
        discriminator: D and Q.
        spec: the latents.
        dataset: its test images and their labels are used.
        seed: of the images and the latents.
    """
    rng = torch.Generator().manual_seed(seed)
    kept = torch.randperm(len(dataset.test_images), generator=rng)[:N_QUICK_IMAGES]
    q_on_test = q_outputs(discriminator, dataset.test_images[kept])
    scores = {}
    for name, clustering in cluster_by_codes(spec, q_on_test, dataset.test_labels[kept].numpy()).items():
        scores |= {f"eval_accuracy_{name}": clustering.accuracy, f"eval_nmi_{name}": clustering.nmi}
    samples = draw_samples(generator, spec, N_QUICK_IMAGES, rng, what=None)
    bounds = mutual_information_lower_bound(spec, samples.c, q_outputs(discriminator, samples.images))
    return scores | {f"eval_mi_{name}": bound for name, bound in zip(spec.names, bounds.tolist(), strict=True)}


# Samples, and Q on them


def draw_samples(
    generator: nn.Module, spec: LatentSpec, n: int, rng: torch.Generator, what: str | None = "samples"
) -> Samples:
    """Returns n fresh samples of G.

    Args:
        generator: G; not changed.
        spec: the latents.
        n: how many.
        rng: drawn from, and advanced.
        what: they are for, beside the bar; None for no bar.
    """
    z, c = sample_prior(spec, n, rng)
    return Samples(c, _generate(generator, z, c, what))


def _generate(
    generator: nn.Module, z: Float[Tensor, "n z"], c: Float[Tensor, "n c"], what: str | None
) -> UInt8[Tensor, "n ch h w"]:
    device = _device(generator)
    batches = zip(z.split(BATCH_SIZE), c.split(BATCH_SIZE), strict=True)
    with evaluating(generator), _bar(len(z), what) as bar:
        drawn = []
        for z_batch, c_batch in batches:
            drawn.append(torch.from_numpy(to_uint8(generator(z_batch.to(device), c_batch.to(device)).cpu())))
            bar.update(len(z_batch))
    return torch.cat(drawn)


def q_outputs(discriminator: Discriminator, images: UInt8[Tensor, "n ch h w"]) -> Float[Tensor, "n q"]:
    """Returns Q's output on images, in evaluation mode, on the CPU."""
    with evaluating(discriminator):
        return torch.cat([discriminator.q_head(discriminator.trunk(x)).cpu() for x in _batches(discriminator, images)])


def _batches(net: nn.Module, images: UInt8[Tensor, "n ch h w"]) -> Iterator[Float[Tensor, "b ch h w"]]:
    device = _device(net)
    return (to_unit_range(x.to(device)) for x in images.split(BATCH_SIZE))


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device


def _bar(total: int, what: str | None) -> tqdm:
    hidden = True if what is None else None  # None: shown, but not in a log file
    return tqdm(total=total, desc=what, unit="img", leave=False, disable=hidden)


# Information


def information(
    spec: LatentSpec, q_params: Float[Tensor, "n q"], c: Float[Tensor, "n c"], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Returns L_I(c_i; G, Q) of each code: `nats`, and a 95% bootstrap interval over the images, `interval_95`.

    See `losses.mutual_information_lower_bound` for what it is, its value at chance and its limit.

    Args:
        spec: the latents.
        q_params: Q's output on samples.
        c: the codes these were made from.
        seed: of the bootstrap.
    """
    values = (log_q(spec, q_params, c).double() + torch.tensor(spec.entropies_nats).double()).numpy()
    return {
        name: {"nats": float(column.mean()), "interval_95": list(bootstrap_interval(column, seed=seed))}
        for name, column in zip(spec.names, values.T, strict=True)
    }


def calibrated(discriminator: Discriminator, images: UInt8[Tensor, "n ch h w"]) -> Discriminator:
    """Returns a copy of D and Q whose BatchNorm statistics are those of the given images.

    While training, Q learns on generated batches normalised by themselves; the running statistics of the trunk that
    evaluation mode uses are averages over real and generated images. On samples alone they are off, and the bound
    of the net as it is falls short of what its weights can read.
    """
    net = copy.deepcopy(discriminator)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # equal weights for all batches
    net.train()
    with torch.no_grad():
        for x in _batches(net, images):
            if len(x) > 1:  # a batch of one has no variance
                net(x)
    return net.eval()


def train_fresh_q(
    spec: LatentSpec, samples: Samples, budget: FreshQ, seed: int, device: torch.device | str
) -> tuple[LatentSpec, Discriminator]:
    """Returns a Q trained from scratch on samples, to maximise L_I alone, and the spec of its output.

    It learns a deviation for each image and continuous code, whatever the run's own Q does, so that its bounds of
    different runs can be compared.

    Args:
        spec: the latents.
        samples: to learn from.
        budget: how long, and of which size.
        seed: of its weights and of the order of the images; no global random state is changed.
        device: where it learns.
    """
    spec = replace(spec, q_std=None)
    channels, height, width_px = samples.images.shape[1:]
    with seeded(seed):
        net = Discriminator(spec, (channels, height, width_px), budget.width).to(device)
    parameters = [*net.trunk.parameters(), *net.q_head.parameters()]
    n_batches = len(samples.images) // budget.batch_size
    optimizer = torch.optim.Adam(parameters, budget.peak_learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, budget.peak_learning_rate, total_steps=budget.epochs * n_batches + 1
    )
    images, c = samples.images.to(device), samples.c.to(device)
    order_rng = torch.Generator().manual_seed(seed)
    with _bar(budget.epochs * n_batches * budget.batch_size, "fresh Q") as bar:
        for _ in range(budget.epochs):
            order = torch.randperm(len(images), generator=order_rng).to(device)
            for batch in order[: n_batches * budget.batch_size].split(budget.batch_size):
                q_params = net.q_head(net.trunk(to_unit_range(images[batch])))
                loss = -mutual_information_lower_bound(spec, c[batch], q_params).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update(len(batch))
    return spec, net.eval()


# Clustering


def cluster_by_codes(
    spec: LatentSpec, q_params: Float[Tensor, "n q"], labels: Int[np.ndarray, " n"], n_classes: int = 10
) -> dict[str, Clustering]:
    """Returns the clustering of images by argmax Q(c|x) of each categorical code, by the code's name.

    Args:
        spec: the latents.
        q_params: Q's output on the images.
        labels: their classes.
        n_classes: classes there are.
    """
    categories = posterior_categories(spec, q_params).numpy()
    return {
        spec.names[i]: cluster(categories[:, column], labels, _n_categories(spec, i), n_classes)
        for column, i in enumerate(spec.categorical)
    }


def _n_categories(spec: LatentSpec, position: int) -> int:
    code = spec.codes[position]
    assert isinstance(code, Categorical)
    return code.n_categories


def _clustering_dict(clustering: Clustering) -> dict[str, Any]:
    return {
        "accuracy": clustering.accuracy,
        "nmi": clustering.nmi,
        "ari": clustering.ari,
        "code_to_digit": list(clustering.code_to_digit),
        "confusion": clustering.confusion.tolist(),
    }


# Factors


def factor_scores(
    generator: nn.Module,
    spec: LatentSpec,
    q_on_test: Float[Tensor, "m q"],
    samples: Samples,
    reference: DigitReference,
    rng: torch.Generator,
) -> dict[str, Any]:
    """Returns what each continuous code controls, by the code's name, over `digits.ATTRIBUTES`.

    - `test_images`: the partial correlation of Q's mean with each attribute of the test images, controlling for the
      first category (argmax of Q) and the other continuous codes; see `evaluation.partial_correlations`.
    - `samples`: the same of the codes themselves with the attributes of the images made from them.
    - `sweeps`: see `sweep_scores`.

    Args:
        generator: G; not changed.
        spec: the latents; one continuous code or more.
        q_on_test: Q's output on the test images.
        samples: of G.
        reference: with the attributes of the test images.
        rng: of the sweeps; advanced.
    """
    columns = [spec.c_slices[i].start for i in spec.continuous]
    test_categories = sample_categories = None
    n_categories = 0
    if spec.categorical:
        first = spec.categorical[0]
        n_categories = _n_categories(spec, first)
        test_categories = posterior_categories(spec, q_on_test)[:, 0].numpy()
        sample_categories = samples.c[:, spec.c_slices[first]].argmax(dim=1).numpy()
    on_test = partial_correlations(
        posterior_means(spec, q_on_test).numpy(), reference.attributes, test_categories, n_categories
    )
    of_samples = _measure(samples.images, "attributes of samples")
    on_samples = partial_correlations(samples.c[:, columns].numpy(), of_samples, sample_categories, n_categories)
    names = [spec.names[i] for i in spec.continuous]
    spread = np.subtract(*np.nanpercentile(reference.attributes, [95, 5], axis=0))

    def images_of(z: Float[Tensor, "n z"], c: Float[Tensor, "n c"]) -> UInt8[Tensor, "n ch h w"]:
        return _generate(generator, z, c, "sweeps")

    return {
        "attributes": list(ATTRIBUTES),
        "test_images": {name: _numbers(row) for name, row in zip(names, on_test, strict=True)},
        "samples": {name: _numbers(row) for name, row in zip(names, on_samples, strict=True)},
        "sweeps": {
            spec.names[i]: sweep_scores(images_of, spec, i, reference.classifier, spread, rng) for i in spec.continuous
        },
    }


def sweep_scores(
    images_of: Callable[[Tensor, Tensor], UInt8[Tensor, "n 1 28 28"]],
    spec: LatentSpec,
    position: int,
    classifier: DigitClassifier,
    spread: Float[np.ndarray, " 6"],
    rng: torch.Generator,
) -> dict[str, Any]:
    """Returns what a sweep of one continuous code does to an image: `range_covered`, `shared_direction`, `digit_kept`.

    `N_SWEEP_ROWS` images, with the values of the first category in turn and all else from the prior, are each drawn
    at `N_SWEEP_VALUES` values of the code from its low end to its high end (see `latents.quantile`).

    - `range_covered`: for each attribute, the median over the images of its change from the low end to the high
      end, as a share of its 5% to 95% range in real digits: 0 if the code does nothing to it, near ±1 if it runs
      through what is real. A row in which an end has no outline is left out.
    - `shared_direction`: for each attribute, the share of the first category's values whose own median change has the
      sign that most have: 1 if the code means the same in all of them, about 0.6 for ten signs at random; None
      without a categorical code. A value in which the attribute does not change counts against it.
    - `digit_kept`: the share of images that the classifier reads as one digit all along the sweep, in [0, 1]; 1 for
      a code that does nothing.

    Args:
        images_of: makes images from z and c.
        spec: the latents.
        position: of the code.
        classifier: the judge.
        spread: the range of each attribute from 5% to 95% of real digits.
        rng: drawn from, and advanced.
    """
    z, c = sample_prior(spec, N_SWEEP_ROWS, rng)
    categories = None
    if spec.categorical:
        first = spec.categorical[0]
        categories = torch.arange(N_SWEEP_ROWS) % _n_categories(spec, first)
        c = with_code(spec, c, first, categories.float())
    values = traversal_values(spec.codes[position], N_SWEEP_VALUES)
    along = torch.stack([images_of(z, with_code(spec, c, position, value)) for value in values.tolist()])
    digits = np.stack([_judge(classifier, images)[1] for images in along])
    low, high = np.split(_measure(torch.cat([along[0], along[-1]]), "sweeps"), 2)
    change = high - low
    has_outlines = ~np.isnan(change).any(axis=1)
    shared = np.full(len(spread), np.nan)
    if categories is not None:
        shared = _shared_direction(change[has_outlines], categories.numpy()[has_outlines])
    return {
        "range_covered": _numbers(_median(change[has_outlines]) / spread),
        "shared_direction": _numbers(shared),
        "digit_kept": float((digits == digits[0]).all(axis=0).mean()),
    }


def _shared_direction(change: Float[np.ndarray, "n 6"], categories: Int[np.ndarray, " n"]) -> Float[np.ndarray, " 6"]:
    """Returns for each attribute the share of categories in which it changes the way it does in most."""
    if not len(change):
        return np.full(change.shape[1], np.nan)
    signs = np.sign([_median(change[categories == category]) for category in np.unique(categories)])
    return np.maximum((signs > 0).mean(axis=0), (signs < 0).mean(axis=0))


def _median(rows: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    return np.median(rows, axis=0) if len(rows) else np.full(rows.shape[1], np.nan)


# Quality


def quality_scores(
    spec: LatentSpec, samples: Samples, digits: Int[np.ndarray, " n"], reference: DigitReference
) -> dict[str, Any]:
    """Returns how good and how varied samples are, in the eyes of the frozen digit classifier.

    - `frechet_digit_distance`, with its `floor`: that of as many training images. Both against the same test images.
    - `precision`, `recall`, `density`, `coverage` against the test images, with their `floor`; at most
      `MOST_MANIFOLD_IMAGES` of each.
    - `digits`: how many samples are read as each digit, how many digits there are, and the KL divergence (nats) to
      the shares of the training images; see `evaluation.DigitHistogram`.
    - `agreement`: for each categorical code the share of samples whose digit is the one matched to their category,
      in [0, 1]; about 0.11 at chance.

    Args:
        spec: the latents.
        samples: of G.
        digits: the classifier's reading of each.
        reference: the real digits.
    """
    features = _judge(reference.classifier, samples.images[: len(reference.test_features)])[0]
    histogram = digit_histogram(digits, wanted=reference.class_counts)
    agreement = {
        spec.names[i]: cluster(samples.c[:, spec.c_slices[i]].argmax(dim=1).numpy(), digits, _n_categories(spec, i))
        for i in spec.categorical
    }
    manifold, floor = _manifold_scores(reference.test_features, features), reference.floor_scores
    return {
        "frechet_digit_distance": frechet_distance(features, reference.test_features),
        "frechet_digit_distance_floor": reference.floor_distance,
        "n_frechet": len(features),
        **asdict(manifold),
        "floor": asdict(floor),
        "n_manifold": min(len(features), MOST_MANIFOLD_IMAGES),
        "k": NEIGHBOURS,
        "digits": {
            "counts": histogram.counts.tolist(),
            "n_covered": histogram.n_covered,
            "kl_nats": histogram.kl_nats,
        },
        "agreement": {name: clustering.accuracy for name, clustering in agreement.items()},
    }


def _manifold_scores(real: Float[np.ndarray, "r 64"], fake: Float[np.ndarray, "s 64"]) -> ManifoldScores:
    return precision_recall_density_coverage(real[:MOST_MANIFOLD_IMAGES], fake[:MOST_MANIFOLD_IMAGES], NEIGHBOURS)


@torch.no_grad()
def _judge(
    classifier: DigitClassifier, images: UInt8[Tensor, "n 1 28 28"]
) -> tuple[Float[np.ndarray, "n 64"], Int[np.ndarray, " n"]]:
    """Returns the classifier's features of images, and the digit that it reads in each."""
    features = torch.cat([classifier.features(x) for x in _batches(classifier, images)])
    return features.cpu().numpy(), classifier.head(features).argmax(dim=1).cpu().numpy()


def _measure(images: UInt8[Tensor, "n 1 28 28"], what: str) -> Float[np.ndarray, "n 6"]:
    """Returns `digits.measure_digits` of images, with a bar."""
    rows = []
    with _bar(len(images), what) as bar:
        for chunk in images[:, 0].split(BATCH_SIZE):
            rows.append(measure_digits(chunk.numpy()))
            bar.update(len(chunk))
    return np.concatenate(rows)


def _numbers(values: Float[np.ndarray, " k"]) -> list[float | None]:
    """Returns numbers as JSON knows them, which has no NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]
