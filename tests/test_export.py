"""Exports: every format loads again and agrees with the trained nets; what cannot be exported or read is refused."""

import functools
import json
import os
import shutil
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from conftest import small_config

import infogan.config.export_formats
from infogan import UserError, auxiliary, evaluating, load_nets, sample_prior, train
from infogan.config.export_formats import EXPORT_FORMATS
from infogan.data.batches import to_unit_range
from infogan.export import export_run, exporting
from infogan.export.card import training_command
from infogan.export.formats import FORMATS
from infogan.export.huggingface import InfoGAN
from infogan.inversion import encoder_training
from infogan.inversion.encoder_training import kept_encoder
from infogan.weights.files import METADATA_KEY, read_description, write_json


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few steps on real digits, with a vanilla GAN beside it, and without pictures at its end."""
    config = small_config(name="tiny", baseline=True, codes="cat10,slant,circular")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auxiliary, "GALLERY", {})
        run = train(config, tmp_path_factory.mktemp("runs"))
    return run


@pytest.fixture(scope="module")
def exports(run, tmp_path_factory):
    """The run's nets in every format, each made once."""
    folder = tmp_path_factory.mktemp("exports")

    @functools.cache
    def make(format):
        return export_run(run.folder, format, folder / f"tiny{EXPORT_FORMATS[format].ending}")

    return make


@pytest.fixture
def weights(exports):
    return exports("safetensors").path


@pytest.fixture
def altered(weights, tmp_path):
    """Writes the file again with its tensors or its description changed."""

    def write(change_tensors=lambda tensors: None, change_description=lambda description: None):
        tensors, description = safetensors.torch.load_file(weights), read_description(weights)
        change_tensors(tensors)
        change_description(description)
        path = tmp_path / "altered.safetensors"
        safetensors.torch.save_file(tensors, path, {METADATA_KEY: json.dumps(description)})
        return path

    return write


def answers(nets, x):
    """What G, D and Q of these nets answer."""
    z, c = sample_prior(nets.spec, 7, torch.Generator().manual_seed(3))
    with evaluating(nets.generator, nets.discriminator):
        return nets.generator(z, c), *nets.discriminator(x)


def assert_close(found, expected, tolerance=1e-5):
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).abs().max() < tolerance * max(1, theirs.abs().max())


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_written_and_agrees(exports, format):
    exported = exports(format)
    outputs = [difference.output for difference in exported.differences]
    assert outputs == ["generator image", "discriminator d_logits", "discriminator q_params"]
    assert all(difference.largest < 1e-5 for difference in exported.differences)
    assert exported.differences[0].scale > 1e-3
    assert not [file for file in exported.path.parent.iterdir() if file.name.startswith(".")]  # nothing is left over


def test_the_formats_that_the_command_line_knows_are_those_that_are_written():
    assert EXPORT_FORMATS.keys() == FORMATS.keys()


@pytest.mark.parametrize("format", ["safetensors", "huggingface"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_weights_load_back_as_the_run_s_nets(run, digits, tmp_path, format, dtype):
    path = export_run(run.folder, format, tmp_path / f"model{EXPORT_FORMATS[format].ending}", dtype=dtype).path
    nets, trained = load_nets(path), load_nets(run.folder)
    x = to_unit_range(digits.test_images[:64])
    assert_close(answers(nets, x), answers(trained, x), {"float32": 1e-5, "float16": 3e-3}[dtype])
    assert (nets.name, nets.step, nets.seconds, nets.spec) == ("tiny", 6, trained.seconds, trained.spec)
    assert nets.config.width == 4 and not nets.config.baseline and nets.config.data_dir == "data"
    assert nets.averaged_generator and nets.image_shape == (1, 28, 28)
    assert not [name for name in nets.discriminator.state_dict() if "overcluster" in name or "running" in name]
    again = export_run(path, "safetensors", tmp_path / "again.safetensors").path
    assert_close(answers(load_nets(again), x), answers(nets, x))


def test_a_folder_for_hugging_face_loads_with_its_own_tools(run, exports, digits, tmp_path):
    folder = exports("huggingface").path
    assert {"README.md", "config.json", "model.safetensors", "sweep_c2.png"} <= {file.name for file in folder.iterdir()}
    model = InfoGAN.from_pretrained(folder)
    x = to_unit_range(digits.test_images[:64])
    assert_close(answers(model, x), answers(load_nets(run.folder), x))
    with torch.no_grad():
        model.generator.project[1].weight *= 2  # as one who goes on with it
    model.save_pretrained(tmp_path / "changed")
    assert_close(answers(load_nets(tmp_path / "changed"), x), answers(model, x))


def test_the_graphs_take_any_batch_without_this_package(exports, tmp_path):
    onnx, scripted = (exports(format).path for format in ("onnx", "torchscript"))
    code = f"""
import numpy, onnxruntime, torch
session = onnxruntime.InferenceSession({str(onnx / "generator.onnx")!r})
scripted = torch.jit.load({str(scripted / "generator.pt")!r})
for n in (1, 5):
    z, c = numpy.ones((n, 62), "float32"), numpy.ones((n, 12), "float32")
    (image,) = session.run(["image"], {{"z": z, "c": c}})
    assert image.shape == (n, 1, 28, 28), image.shape
    assert abs(image - scripted(torch.from_numpy(z), torch.from_numpy(c)).numpy()).max() < 1e-5
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads((onnx / "config.json").read_text())["train_config"]["codes"] == "cat10,slant,circular"


def test_the_script_says_how_far_it_is_from_the_run(run, tmp_path, monkeypatch, script_here):
    monkeypatch.chdir(run.out_dir)  # its newest run
    code, shown, _ = script_here("export.py", "--format", "safetensors", "--dtype", "float16", "--name", "my model")
    assert code == 0
    assert "generator image: differs from the trained nets by" in shown
    assert shown.splitlines()[-1].startswith("exports/my model.safetensors (")
    assert load_nets(run.out_dir / "exports/my model.safetensors").name == "my model"
    code, _, refusal = script_here("export.py", "--format", "safetensors", "--name", "my model")
    assert (code, refusal) == (
        2,
        "error: --output: expected a path where nothing is yet, got 'exports/my model.safetensors'\n",
    )
    shutil.rmtree(run.out_dir / "exports")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "the following arguments are required: --format"),
        (["--format", "pickle"], "argument --format: invalid choice: 'pickle'"),
        (["--format", "onnx", "--dtype", "float16"], "--dtype: expected float32 with --format onnx, got 'float16'"),
        (["--format", "onnx", "--seeds", "a"], "--seeds: expected with --format huggingface"),
        (["nowhere", "--format", "onnx"], "run: expected a run's folder, as in runs/<name>, exported weights"),
        (["--format", "onnx"], "run: expected a run or file, or a run under 'runs', got none"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, monkeypatch, script_here, flags, message):
    monkeypatch.chdir(tmp_path)
    code, shown, refusal = script_here("export.py", *flags)
    assert code == 2 and not shown and refusal.startswith(f"error: {message}") and refusal.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_safetensors_file_is_called_so(run, tmp_path):
    with pytest.raises(UserError, match=r"--output: expected a file that ends in \.safetensors, got .*tiny\.pt"):
        export_run(run.folder, "safetensors", tmp_path / "tiny.pt")


def test_a_run_without_checkpoints_is_refused(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "runs/tiny", ignore=shutil.ignore_patterns("*.pt"))
    with pytest.raises(UserError, match=r"expected a checkpoint in .*checkpoints, got none"):
        export_run(tmp_path / "runs/tiny", "safetensors", tmp_path / "tiny.safetensors")
    assert not (tmp_path / "tiny.safetensors").exists()


def test_a_missing_package_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setattr(infogan.config.export_formats.importlib.util, "find_spec", lambda name: None)
    expected = "--format onnx: needs packages that are not installed: pip install onnx onnxscript onnxruntime"
    with pytest.raises(UserError, match=expected):
        export_run(run.folder, "onnx", tmp_path / "onnx")
    assert not list(tmp_path.iterdir())


def test_an_export_that_answers_otherwise_is_not_kept(run, tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.TOLERANCES, "float32", 0.0)
    with pytest.raises(UserError, match=r"exported generator image differs by .*; nothing was written"):
        export_run(run.folder, "safetensors", tmp_path / "tiny.safetensors")
    assert not list(tmp_path.iterdir())


def test_damaged_weights_are_refused_in_one_line(weights, altered, tmp_path):
    def scaled(tensors):
        tensors["generator.project.1.weight"] *= 1.001

    def of_another_shape(tensors):
        tensors["generator.project.1.weight"] = torch.zeros(64, 3)

    truncated, other, empty = (tmp_path / f"{name}.safetensors" for name in ("truncated", "other", "empty"))
    truncated.write_bytes(weights.read_bytes()[:-100])
    safetensors.torch.save_file({"weight": torch.zeros(3)}, other)
    empty.touch()
    cases = {
        truncated: "is no safetensors file, or it is truncated",
        empty: "is no safetensors file, or it is truncated",
        other: "holds no weights of this package",
        altered(scaled): "the weights were altered",
        altered(of_another_shape): r"expected generator.project.1.weight of shape \[64, 75\], got \[64, 3\]",
        altered(lambda tensors: tensors.pop("discriminator.d_head.by_category")): "is in the description alone",
        altered(lambda tensors: tensors.update(more=torch.zeros(1))): "more is in the file alone",
        altered(change_description=lambda it: it.pop("step")): "the description is damaged: see step",
        altered(change_description=lambda it: it.update(format="2")): "expected the description of weights of format",
        altered(change_description=lambda it: it["train_config"].update(codes="cat")): "codes: expected",
        altered(change_description=lambda it: it.update(image_shape=["a"])): "no description that fits",
    }
    for path, message in cases.items():
        with pytest.raises(UserError, match=message) as refusal:
            load_nets(path)
        assert str(path) in str(refusal.value) and "\n" not in str(refusal.value)


def test_shapes_are_compared_before_memory_is_taken(altered):
    # Nets of half a terabyte: to make them would fail in another way.
    with pytest.raises(UserError, match=r"expected discriminator.d_head.by_category of shape \[10, 16384\]"):
        load_nets(altered(change_description=lambda it: it["train_config"].update(width=2**10, noise_dim=10_000)))


def test_a_config_that_does_not_fit_its_folder_is_refused(exports, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(exports("huggingface").path, folder)
    config = json.loads((folder / "config.json").read_text())
    config["train_config"]["noise_dim"] = 61
    write_json(folder / "config.json", config)
    with pytest.raises(UserError, match=r"generator.project.1.weight of shape \[64, 74\], got \[64, 75\]"):
        load_nets(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config.json is no JSON"):
        load_nets(folder)


@pytest.mark.parametrize("format", ["safetensors", "huggingface", "torchscript"])
def test_the_encoder_goes_with_the_nets(run, digits, tmp_path, monkeypatch, format):
    few_steps = functools.partial(encoder_training.train_encoder, steps=2)
    monkeypatch.setattr(encoder_training, "train_encoder", few_steps)
    shutil.copytree(run.folder, tmp_path / "runs/tiny")
    exported = export_run(
        tmp_path / "runs/tiny", format, tmp_path / f"model{EXPORT_FORMATS[format].ending}", train_encoder=True
    )
    assert exported.differences[-1].output == "encoder z" and exported.differences[-1].largest < 1e-5
    if format in ("safetensors", "huggingface"):
        x = to_unit_range(digits.test_images[:8])
        kept, came = (kept_encoder(load_nets(path)) for path in (tmp_path / "runs/tiny", exported.path))
        assert_close([came(x)], [kept(x)])
        assert not [*exported.path.parent.glob("*encoder*")]  # none was trained anew


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a matter of Unix")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"weights: expected a regular file, got '.*model.safetensors'"):
        load_nets(tmp_path / "model.safetensors")


@pytest.mark.parametrize("step", [-1, True, 2**70, "7"])
def test_a_step_that_is_no_count_is_refused(altered, step):
    with pytest.raises(UserError, match=r"the description is damaged: see step|is no JSON: expected integers"):
        load_nets(altered(change_description=lambda it: it.update(step=step)))


def test_exported_weights_have_no_vanilla_gan(weights):
    with pytest.raises(UserError, match="it holds no vanilla GAN"):
        load_nets(weights, baseline=True)


def test_the_command_on_a_card_is_what_differs_from_the_preset():
    config = small_config(width=8, class_conditional_d=False, q_std=None, name="mine", seed=3)
    assert training_command(config) == (
        "python scripts/train.py --preset digits --seed 3 --steps 6 --precision float32 --dataset mnist5k "
        "--batch-size 32 --q-std learned --width 8 --no-class-conditional-d --lr-decay 0.0"
    )
