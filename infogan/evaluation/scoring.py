"""Puts the registered metrics to work: on the nets of a run, on given nets, and in short while training.

Labels are used for nothing but scores. Nets, data and global random state are left as they are.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from infogan.config.datasets import is_own_images
from infogan.config.options import MAX_SEED, whole_number
from infogan.config.spec import LatentSpec
from infogan.data.datasets import ImageDataset, load_scored_dataset
from infogan.evaluation import registry
from infogan.evaluation.clustering import cluster_by_codes
from infogan.evaluation.files import EVALUATION_FORMAT
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.image_features import FeatureReference, measure_feature_reference
from infogan.evaluation.inception import InceptionReference, measure_inception_reference
from infogan.evaluation.reference import NEIGHBOURS, DigitReference, measure_reference
from infogan.evaluation.sampling import draw_samples, q_outputs
from infogan.evaluation.subject import (
    CATEGORICAL,
    CONTINUOUS,
    DIGITS,
    FACTORS,
    FEATURES,
    INCEPTION,
    NO_DIGITS,
    STACKED_DIGITS,
    Subject,
    count_classes,
)
from infogan.losses import mutual_information_lower_bound
from infogan.models import Discriminator
from infogan.system.console import forgiving_console
from infogan.system.errors import UserError
from infogan.system.paths import given_folder
from infogan.system.runtime import keep_freed_memory, kept_global_state, resolve_device
from infogan.training.checkpoint import TrainedNets, find_checkpoint, load_nets
from infogan.training.environment import environment, read_sessions
from infogan.training.run import Run

MAX_SAMPLES = 1_000_000
MOST_TRAINING_IMAGES = 10_000  # that are scored where no others are there
N_QUICK_IMAGES = 2000  # test images, and as many samples, of an evaluation while training


def _images_of(nets: TrainedNets, data_dir: Path, elsewhere: str | Path | None) -> ImageDataset:
    """Returns the images that a run is scored by: those that it has, where they lie now.

    Raises:
        UserError: They cannot be read, or are others.
    """
    name = nets.config.dataset
    if elsewhere is not None:
        if not (is_own_images(name) and is_own_images(str(elsewhere))):
            raise UserError(f"--dataset: expected images of one's own, which may have moved, got {str(elsewhere)!r}")
        name = str(elsewhere)
    found = load_scored_dataset(name, data_dir, nets.config.image_form)
    if is_own_images(name):
        found.check_same(nets.images_sha256)
    return found


@forgiving_console()
@kept_global_state()
def evaluate(
    run: str | Path,
    data_dir: str | Path | None = None,
    device: str | torch.device = "auto",
    seed: int = 0,
    n_samples: int = 10_000,
    fresh_q: FreshQ | None = None,
    inception: str | Path | None = None,
    dataset: str | Path | None = None,
    features: bool = False,
) -> dict[str, Any]:
    """Returns what `evaluation.json` holds: the scores of a run's newest checkpoint, and how they came about.

    `trained` says on what the run was trained, session by session, and `train_seconds` how long its steps took.
    Under `infogan`, and for a run with `--baseline` under `vanilla`, are the scores of `evaluate_nets`. Nothing is
    written; everything but `environment` is the same whenever it is repeated on one device.

    Args:
        run: The run, as in `runs/NAME`, or a checkpoint; only read.
        data_dir: Folder of the IDX files; by default where the run had them, if it is there, else `data`.
        device: Where the nets work: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: Of all that is drawn.
        n_samples: Fresh samples of each model.
        fresh_q: Budget of the Q trained from scratch.
        inception: TorchScript file of the Inception network, if its FID and KID are wanted.
        dataset: Where images of one's own lie now; by default where the run had them.
        features: Whether the image quality of digits is measured by features too, as that of all else is.

    Raises:
        UserError: A checkpoint or data that cannot be read; other images than the run's; too few samples.
    """
    n_samples = whole_number(n_samples, "n_samples", NEIGHBOURS + 1, MAX_SAMPLES)
    seed = whole_number(seed, "seed", 0, MAX_SEED)
    fresh_q = fresh_q or FreshQ()
    path = find_checkpoint(run, argument="run")
    device = resolve_device(str(device))
    keep_freed_memory()
    nets = load_nets(path, device)
    if data_dir is None:
        data_dir = nets.config.data_dir if Path(nets.config.data_dir).is_dir() else "data"
    data_dir = given_folder(data_dir, "--data-dir")
    data = _images_of(nets, data_dir, dataset)
    reference = feature_reference = inception_reference = None
    if features or DIGITS not in data.measurable:
        feature_reference = measure_feature_reference(data, n_samples, seed, device)
    has_test_images = len(data.test_images) > 0
    if not has_test_images:  # all were learned from; no label was, so that these score what was found all the same
        n = len(data.images)
        kept = torch.linspace(0, n - 1, min(n, MOST_TRAINING_IMAGES)).round().long()  # of every class, if sorted by it
        labels = data.labels[kept] if len(data.labels) else data.labels
        data = replace(data, test_images=data.images[kept], test_labels=labels)
    if DIGITS in data.measurable:
        reference = measure_reference(data, n_samples, seed, device)
    if inception is not None:
        order = torch.randperm(len(data.test_images), generator=torch.Generator().manual_seed(seed))
        inception_reference = measure_inception_reference(inception, data.test_images[order[:n_samples]], device)
    models = {"infogan": nets}
    if nets.config.baseline:
        models["vanilla"] = load_nets(path, device, baseline=True)
    subjects = {
        name: Subject(
            of_model.generator,
            of_model.discriminator,
            of_model.spec,
            data,
            reference,
            inception_reference,
            n_samples,
            seed,
            fresh_q,
            feature_reference,
        )
        for name, of_model in models.items()
    }
    of_run = Run.of_checkpoint(path)
    sessions = [] if of_run is None else read_sessions(of_run.folder)
    return {
        "format": EVALUATION_FORMAT,
        "run": nets.name,
        "step": nets.step,
        "scored": {
            "dataset": data.name,
            "class_names": list(data.class_names),
            "measurable": sorted(data.measurable),
            "images": "test images" if has_test_images else "training images",
            "n_test_images": len(data.test_images),
            "n_samples": n_samples,
            "seed": seed,
        },
        "skipped": _skipped(subjects["infogan"]),
        "classifier_sha256": None if reference is None else reference.classifier.sha256,
        "feature_net_sha256": None if feature_reference is None else feature_reference.feature_net.sha256,
        "fresh_q": asdict(fresh_q),
        "config": nets.config.portable(),
        "trained": [_without_command(session) for session in sessions],
        "train_seconds": nets.seconds,
        "environment": _without_command(environment()),
        **{
            name: {"averaged_generator": models[name].averaged_generator, **registry.measure(subject)}
            for name, subject in subjects.items()
        },
    }


def _skipped(subject: Subject) -> list[str]:
    """Returns a line for each thing that metrics need and the data set has not."""
    # What the codes or the call leave out is no surprise, nor that photographs come without factors.
    expected = {CATEGORICAL, CONTINUOUS, INCEPTION, FACTORS, STACKED_DIGITS, NO_DIGITS, FEATURES}
    unmet = registry.unmet_needs(subject.available | expected)
    return [f"{', '.join(titles)}: need {need}, not {subject.dataset.name}" for need, titles in unmet.items()]


def _without_command(session: dict[str, Any]) -> dict[str, Any]:
    """Returns what a process ran on, without its command, which names folders of one machine."""
    return {name: value for name, value in session.items() if name != "command"}


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
    feature_reference: FeatureReference | None = None,
) -> dict[str, Any]:
    """Returns the scores of one model, ready for JSON: numbers, lists and dictionaries, None where undefined.

    - `mutual_information`: L_I of each code by three Qs; see `information`.
    - `clustering`: of the test images by each categorical code; see `clustering`.
    - `factors`: what each continuous code controls; see `factors` and `sweeps`. Of digits alone.
    - `quality`: of the samples, by the digit classifier; see `quality`. Of digits alone.
    - `features`, `random_features`: quality of the samples, if its reference is given; see `image_features`.
    - `mode_coverage`: of the samples; see `mode_coverage`. Of stacked MNIST alone.
    - `disentanglement`: of the codes of the test images; see `known_factors`. Of images with known factors alone.
    - `inception`: Inception FID and KID of the samples, if its reference is given; see `inception`.
    - `metrics`: those that were registered from elsewhere.

    Args:
        generator: G; not changed.
        discriminator: D and Q; not changed.
        spec: The latents.
        dataset: Its test images are scored.
        reference: Of the same data set, or None if it is not one of digits.
        n_samples: Fresh samples of G.
        seed: Of all draws and of the fresh Q.
        fresh_q: Budget of the Q trained from scratch.
        inception: The Inception network with real images of the same data set.
        feature_reference: Real images of the same data set as `image_features` sees them.
    """
    fresh_q = fresh_q or FreshQ()
    return registry.measure(
        Subject(
            generator,
            discriminator,
            spec,
            dataset,
            reference,
            inception,
            n_samples,
            seed,
            fresh_q,
            feature_reference,
        )
    )


def quick_scores(
    generator: nn.Module, discriminator: Discriminator, spec: LatentSpec, dataset: ImageDataset, seed: int = 0
) -> dict[str, float]:
    """Returns what can be measured in a second or two while training: the run's own Q on a part of the test images.

    `eval_accuracy_<code>` and `eval_nmi_<code>` of the categorical codes on `N_QUICK_IMAGES` test images with labels,
    if there are any, and
    `eval_mi_<code>`, L_I in nats, of all codes on as many samples; in evaluation mode, as `own_q` of
    `evaluate_nets`. A seed means the same images and latents every time, so that a curve shows learning alone.
    Neither the nets nor any global random state are changed.

    Args:
        generator: G.
        discriminator: D and Q.
        spec: The latents.
        dataset: Its test images and their labels are used.
        seed: Of the images and the latents.
    """
    rng = torch.Generator().manual_seed(seed)
    kept = torch.randperm(len(dataset.test_images), generator=rng)[:N_QUICK_IMAGES]
    scores = {}
    if len(dataset.test_labels):
        q_on_test = q_outputs(discriminator, dataset.test_images[kept])
        labels, n_classes = dataset.test_labels[kept].numpy(), count_classes(dataset)
        for name, found in cluster_by_codes(spec, q_on_test, labels, n_classes).items():
            scores |= {f"eval_accuracy_{name}": found.accuracy, f"eval_nmi_{name}": found.nmi}
    samples = draw_samples(generator, spec, N_QUICK_IMAGES, rng, what=None)
    bounds = mutual_information_lower_bound(spec, samples.c, q_outputs(discriminator, samples.images))
    return scores | {f"eval_mi_{name}": bound for name, bound in zip(spec.names, bounds.tolist(), strict=True)}
