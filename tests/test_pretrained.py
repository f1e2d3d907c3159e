"""The weights that the package ships: loaded by their name, they read real images as their evaluation says."""

import dataclasses
import json

import pytest
import torch
from conftest import ROOT

from infogan import TrainConfig, load_nets, posterior_categories
from infogan.data.datasets import load_dataset
from infogan.evaluation.sampling import q_outputs
from infogan.export import export_run
from infogan.weights.pretrained import FOLDER, pretrained_names

MAX_BYTES = 8_000_000
# The evaluations that each card was made with; docs/export.md has the commands.
SEEDS = {"fashion-seed0": "fashion-seed*.json", "mnist-digits-seed0": "mnist-digits-seed*.json"}
NAMES = pretrained_names()


def test_the_documented_weights_are_shipped():
    assert set(NAMES) == SEEDS.keys()
    shown = (ROOT / "docs" / "export.md").read_text()
    assert all(f"--output infogan/pretrained/{name}" in shown and seeds in shown for name, seeds in SEEDS.items())


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_are_small_and_say_where_they_are_from(name):
    files = {file.name: file for file in (FOLDER / name).iterdir()}
    assert {"model.safetensors", "config.json", "README.md", "evaluation.json"} <= files.keys()
    assert sum(file.stat().st_size for file in files.values()) < MAX_BYTES
    card = files["README.md"].read_text()
    evaluation = json.loads(files["evaluation.json"].read_text())
    commits = [session["commit"] for session in evaluation["trained"]]
    accuracy = evaluation["infogan"]["clustering"]["c1"]["accuracy"]
    for said in (f"| c1 accuracy ↑ | {accuracy:.3f} |", "python scripts/train.py --preset", "@inproceedings", *commits):
        assert said in card
    assert all((FOLDER / name / picture).is_file() for picture in files if f"({picture})" in card)
    assert card.count("](sweep_c") == len(load_nets(name).spec.codes)
    assert "data_dir" not in json.loads(files["config.json"].read_text())["train_config"]


@pytest.mark.parametrize("name", NAMES)
def test_shipped_weights_are_what_the_export_makes(name, tmp_path):
    seeds = sorted((ROOT / "docs" / "results").glob(SEEDS[name]))
    again = export_run(name, "huggingface", tmp_path / name, dtype="float16", seeds=seeds, device="cpu").path
    for file in ("README.md", "evaluation.json", "model.safetensors"):
        assert (again / file).read_bytes() == (FOLDER / name / file).read_bytes(), file
    made, shipped = (json.loads((folder / "config.json").read_text()) for folder in (again, FOLDER / name))
    saved = TrainConfig.from_dict(shipped["train_config"])  # by an earlier version, maybe
    assert TrainConfig.from_dict(made["train_config"]) == dataclasses.replace(saved, name=made["name"])
    assert shipped["sha256"] == made["sha256"]


def test_shipped_weights_read_real_digits_as_their_evaluation_says(digits):
    images, labels = torch.cat([digits.images, digits.test_images]), torch.cat([digits.labels, digits.test_labels])
    check_accuracy("mnist-digits-seed0", images, labels)


def test_shipped_weights_read_real_clothes_as_their_evaluation_says(data_dir):
    clothes = load_dataset("fashion", data_dir)
    check_accuracy("fashion-seed0", clothes.test_images, clothes.test_labels)


def check_accuracy(name, images, labels):
    nets = load_nets(name)
    clustering = json.loads((FOLDER / name / "evaluation.json").read_text())["infogan"]["clustering"]["c1"]
    read = posterior_categories(nets.spec, q_outputs(nets.discriminator, images))[:, 0]
    accuracy = (torch.tensor(clustering["code_to_digit"])[read] == labels).float().mean().item()
    assert accuracy == pytest.approx(clustering["accuracy"], abs=0.01)
