"""One change, one place: a data set, a loss term, a metric, a picture and a resolution, from outside the package."""

import copy

import imageio.v3 as iio
import pytest
import torch

import infogan
from infogan import TrainConfig, UserError, auxiliary, extensions
from infogan.config.datasets import DATASETS
from infogan.data import ImageDataset, load_dataset, register_dataset
from infogan.evaluation import register_metric
from infogan.evaluation import registry as metrics
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.report import report_tables
from infogan.evaluation.tables import describe_evaluation
from infogan.extensions import register_term

FEW = FreshQ(width=4, n_images=256, epochs=1)  # enough to go through it


@pytest.fixture(autouse=True)
def kept_registries():
    """What a test registers ends with it."""
    registries = (DATASETS, extensions.TERMS, auxiliary.GALLERY, metrics._REGISTERED)
    before = [copy.copy(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


@pytest.fixture
def inverted(digits):
    """The name of a registered data set: black digits on white, in two classes, odd and even."""

    @register_dataset("inverted")
    def load(data_dir):
        return ImageDataset(
            "inverted",
            255 - digits.images[:200],
            digits.labels[:200] % 2,
            255 - digits.test_images[:60],
            digits.test_labels[:60] % 2,
            class_names=("even", "odd"),
        )

    return "inverted"


def config(**changes):
    fields = {"width": 4, "batch_size": 32, "steps": 4, "log_every": 2, "device": "cpu", "precision": "float32"}
    return TrainConfig(**{**fields, **changes})


def test_a_data_set_is_a_loader_and_its_name(inverted, tmp_path):
    run = infogan.train(config(dataset=inverted, eval_every=2), tmp_path)
    assert run.name == "inverted-digits-seed0"
    assert run.read_config().dataset == inverted
    scores = [row for row in run.read_metrics() if "eval_accuracy_c1" in row]
    assert [row["step"] for row in scores] == [2, 4]
    picture = iio.imread(run.samples / "sweep_c1.png")
    assert picture.ndim == 3
    evaluation = infogan.evaluate(run.folder, n_samples=100, fresh_q=FEW)
    assert evaluation["scored"]["dataset"] == inverted
    confusion = torch.tensor(evaluation["infogan"]["clustering"]["c1"]["confusion"])
    assert confusion.shape == (10, 2) and confusion.sum() == 60
    with pytest.raises(UserError, match=r"--dataset: expected auto, .*inverted, or a folder, .*, got 'other'"):
        load_dataset("other", tmp_path)


def test_a_run_is_read_where_its_data_set_and_its_terms_are_not_registered(inverted, tmp_path, one_picture):
    register_term("ink", update="g")(lambda batch: batch.x_fake.mean())
    run = infogan.train(config(dataset=inverted, terms="ink=1"), tmp_path)
    exported = infogan.export.export_run(run.folder, "safetensors", tmp_path / "exported.safetensors").path
    del DATASETS[inverted], extensions.TERMS["ink"]
    for file in (run.folder, exported):
        assert infogan.load_nets(file).config.dataset == inverted
    with pytest.raises(UserError, match=r"--dataset: expected auto, .* got 'inverted'"):
        infogan.evaluate(run.folder)


@pytest.mark.parametrize("name", ["loss_d", "mi_c1", "consistency_c12", "r1", "step", "seconds", "vanilla_ink"])
def test_a_term_takes_no_name_that_metrics_have(name):
    with pytest.raises(UserError, match=f"register_term: expected a name that is no field of metrics.jsonl, .*{name}"):
        register_term(name)
    assert not extensions.TERMS


def test_all_fields_of_metrics_are_names_that_a_term_cannot_take(tmp_path, one_picture):
    every = {"baseline": True, "lambda_r1": 1.0, "lambda_independence": 1.0, "eval_every": 2}
    run = infogan.train(config(dataset="mnist5k", **every), tmp_path)
    fields = {name for row in run.read_metrics() for name in row}
    assert {"consistency_c1", "equivariance", "independence", "r1", "vanilla_loss_d", "eval_mi_c1"} <= fields
    assert not [name for name in fields if not extensions.TAKEN_NAMES.fullmatch(name)]


def test_a_loss_term_is_a_function_and_a_weight(digits, tmp_path, one_picture):
    @register_term("ink", update="g")
    def ink(batch):
        """Mean intensity of generated images: a weight of it makes them dark."""
        return batch.x_fake.mean()

    @register_term("feature_size")
    def feature_size(batch):
        return batch.features_real.square().mean()

    runs = {}
    for weight in (0.0, 50.0):
        trainer = infogan.Trainer(config(terms=f"ink={weight},feature_size=0.1", steps=20, lr_g=1e-2), digits.images)
        runs[weight] = [trainer.train_step() for _ in range(20)]
    assert runs[50.0][0]["ink"].item() == pytest.approx(runs[0.0][0]["ink"].item(), abs=1e-6)  # before any update
    assert runs[50.0][-1]["ink"] < runs[0.0][-1]["ink"] - 0.1
    run = infogan.train(config(dataset="mnist5k", terms="ink=1"), tmp_path)
    assert all(-1 <= row["ink"] <= 1 for row in run.read_metrics())
    assert infogan.load_nets(run.folder).config.term_weights == {"ink": 1.0}
    with pytest.raises(UserError, match=r"--terms: expected terms that are registered \(ink, feature_size\), got tv"):
        infogan.Trainer(config(terms="tv=1"), digits.images)
    with pytest.raises(UserError, match=r"--terms: expected name=weight, separated by commas, .*got 'ink'"):
        config(terms="ink")


def test_a_metric_is_a_function_with_what_tables_say_of_it(inverted, tmp_path, one_picture):
    @register_metric(label="mean brightness", range=(0, 1), at_chance=None, higher_is_better=True)
    def brightness(subject):
        return subject.samples.images.float().mean().item() / 255

    run = infogan.train(config(dataset=inverted), tmp_path)
    evaluation = infogan.evaluate(run.folder, n_samples=100, fresh_q=FEW)
    found = evaluation["infogan"]["metrics"]["brightness"]
    assert 0.3 < found < 0.7  # untrained images are grey
    assert "mean brightness" in describe_evaluation(evaluation)
    tables = report_tables([evaluation, evaluation], 0.95)
    assert any("mean brightness" in column for table in tables for column in table.header)


def test_a_picture_is_an_entry_of_the_gallery_for_training_and_for_interpolate(tmp_path, script_here):
    @auxiliary.register_picture("corners")
    def corners(spec, options):
        """Yields the grid of c2 and c3 at two values each."""
        yield auxiliary.Picture("corners", "corners of c2 and c3", auxiliary.two_code_latents(spec, 1, 2, n=2))

    run = infogan.train(config(dataset="mnist5k"), tmp_path)
    drawn = iio.imread(run.samples / "corners.png")
    (run.samples / "corners.png").unlink()
    code, out, _ = script_here("interpolate.py", "--checkpoint", run.folder)
    assert code == 0 and "corners.png" in out
    assert (iio.imread(run.samples / "corners.png") == drawn).all()


def test_another_resolution_and_depth_is_a_call():
    spec = infogan.LatentSpec.parse("cat10,uniform")
    generator, discriminator = infogan.build(spec, (3, 64, 64), width=32)
    assert sum(isinstance(layer, torch.nn.ConvTranspose2d) for layer in generator.draw) == 4
    z, c = infogan.sample_prior(spec, 2, torch.Generator().manual_seed(0))
    x = generator(z, c)
    d_logits, q_params = discriminator(x)
    assert (x.shape, d_logits.shape, q_params.shape) == ((2, 3, 64, 64), (2,), (2, spec.q_dim))
