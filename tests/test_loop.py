"""A run from start to end: the same twice, the same in two halves, and untouched by its pictures."""

import dataclasses
import json

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from conftest import small_config
from states import assert_same_state, final_state, leaves, metrics

from infogan import (
    NonFiniteLossError,
    Trainer,
    UserError,
    auxiliary,
    load_dataset,
    load_nets,
    resume,
    sample_prior,
    train,
)
from infogan.data.batches import ShuffledBatches
from infogan.evaluation.scoring import quick_scores
from infogan.extensions import schedule
from infogan.system.runtime import resolve_device, resolve_precision
from infogan.training import loop
from infogan.training.recorder import RunRecorder, epoch_grids
from infogan.training.run import Run

# 90 images in batches of 30: an epoch is 3 steps, so that a few steps cross several.
EPOCHS = {"batch_size": 30, "steps": 8, "baseline": True}


@pytest.fixture(autouse=True, scope="module")
def few_digits(digits):
    """Has every run train on the same 90 real digits."""
    few = dataclasses.replace(digits, images=digits.images[:90], labels=digits.labels[:90])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "load_dataset", lambda name, data_dir, form: few)
        yield few


@pytest.fixture(scope="module")
def whole(few_digits, tmp_path_factory):
    return train(small_config(name="whole", **EPOCHS), tmp_path_factory.mktemp("whole"))


def test_a_run_writes_what_it_promises(whole):
    files = {str(path.relative_to(whole.out_dir)) for path in whole.out_dir.rglob("*") if path.is_file()}
    assert files == {
        *(f"runs/whole/{name}" for name in ("config.json", "environment.json", "metrics.jsonl", ".lock")),
        *(f"runs/whole/checkpoints/step_{step}.pt" for step in (0, 8)),
        *(f"samples/whole/Epoch_{epoch}.png" for epoch in (1, 2, 3)),
        *(f"samples/whole/sweep_{name}.png" for name in ("c1", "c2", "c3")),
        "samples/whole/grid_c2_c3.png",
        *(f"samples/whole/interpolation_{path}.png" for path in ("linear", "spherical")),
        "samples/whole/training.gif",
        *(f"track_loss/whole/{name}_Loss.png" for name in ("Generator", "Discriminator", "L1")),
    }
    rows = whole.read_metrics()
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [row["epoch"] for row in rows] == [1, 2, 2, 3]
    names = {"loss_d", "loss_g", "mi_c1", "mi_c2", "mi_c3"}
    assert names | {f"vanilla_{name}" for name in names} <= set(rows[0])


def test_two_runs_with_one_seed_are_identical_and_another_seed_is_not(train_small, whole):
    again = train_small(name="again", **EPOCHS)
    assert metrics(again) == metrics(whole)
    assert_same_state(final_state(again), final_state(whole))
    other = train_small(name="other", seed=1, **EPOCHS)
    assert metrics(other) != metrics(whole)


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_resumed_run_equals_the_uninterrupted_one(train_small, whole, stop_at):
    """Stopped within a row of metrics and an epoch (1, 5) and at the end of an epoch (3)."""
    half = train_small(name="half", **{**EPOCHS, "steps": stop_at})
    again = resume(half.folder, steps=8)
    assert metrics(again) == metrics(whole)
    assert_same_state(final_state(again), final_state(whole))
    assert json.loads((half.folder / "config.json").read_text())["steps"] == 8


def test_a_run_stopped_while_its_categories_come_about_goes_on_the_same(train_small, monkeypatch):
    """Stopped as over-clusters are merged (3), while L_I is ramped up (6), and once D is class-conditional (8)."""
    monkeypatch.setattr(schedule, "MI_DELAY_STEPS", 2)
    monkeypatch.setattr(schedule, "MI_RAMP_STEPS", 2)
    whole = train_small(name="phases", merge_step=3, steps=10)
    assert final_state(whole)["infogan"]["discriminator"]["d_head.by_category"].abs().max() > 0
    for stop_at in (3, 6, 8):
        half = train_small(name=f"stopped at {stop_at}", merge_step=3, steps=stop_at)
        again = resume(half.folder, steps=10)
        assert metrics(again) == metrics(whole)
        assert_same_state(final_state(again), final_state(whole))


def test_a_resumed_run_saves_what_auto_and_relative_folders_turned_out_to_be(train_small, tmp_path, monkeypatch):
    run = train_small(steps=1)
    monkeypatch.chdir(tmp_path)
    meant = {"data_dir": "digits", "device": "auto", "precision": "auto", "steps": 2}
    resume(run.folder, **meant)
    saved = run.read_config()
    assert saved.data_dir == str(tmp_path / "digits")
    assert saved.device == str(resolve_device("auto"))
    assert saved.precision == resolve_precision("auto", resolve_device("auto"))


def test_fewer_steps_than_the_run_has_are_refused(whole):
    before = whole.read_config()
    for given, message in (
        ({"steps": 7}, "--steps: .* at least step 8, .* got 7"),
        ({"epochs": 2}, "--epochs: .* got 2"),
    ):
        with pytest.raises(UserError, match=message):
            resume(whole.folder, **given)
    assert whole.read_config() == before


def test_a_run_goes_on_in_the_precision_that_auto_was(train_small, monkeypatch):
    known = {"amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    run = train_small(precision="auto", batch_size=8, steps=1)
    assert run.read_config().precision == "bfloat16"
    known.clear()  # as on another machine
    resume(run.folder, steps=2)
    assert run.read_config().precision == "bfloat16"
    resume(run.folder, steps=3, precision="float32")
    assert final_state(run)["config"]["precision"] == "float32"


@pytest.mark.parametrize(
    ("epochs", "changes", "warned"),
    [
        (None, {"steps": 151}, True),
        (None, {"steps": 152}, False),
        (75, {}, True),  # of 2 steps
        (76, {}, False),
        (None, {"steps": 151, "lambda_consistency": 0.0}, False),
    ],
)
def test_a_run_too_short_for_the_category_says_so(small, tmp_path, capsys, monkeypatch, epochs, changes, warned):
    monkeypatch.setattr(loop, "_fit", lambda *_: None)
    train(small(merge_step=1, **changes), tmp_path, epochs)
    message = "steps are too few for the categories: the weight of their L_I is ramped up from step 151 on"
    assert (message in capsys.readouterr().err) is warned


def test_epochs_become_steps_once_the_images_are_counted(small, tmp_path):
    run = train(small(batch_size=30, steps=100), tmp_path, epochs=2)
    assert run.read_config().steps == final_state(run)["step"] == 6
    assert resume(run.folder, epochs=3).read_config().steps == final_state(run)["step"] == 9


def test_a_run_on_images_of_one_s_own_has_the_file_s_name_and_is_resumed(
    train_small, few_digits, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "load_dataset", load_dataset)
    ink, paper = few_digits.images, 255 - few_digits.images
    np.save(tmp_path / "my digits.npy", torch.cat([ink, paper, ink], dim=1).numpy())  # green on magenta
    monkeypatch.chdir(tmp_path)
    run = train_small(dataset="my digits.npy", **EPOCHS)
    assert run.name == "my-digits-digits-seed0"
    assert iio.imread(run.samples / "sweep_c2.png").std() > 0
    monkeypatch.chdir(tmp_path.parent)
    again = resume(run.folder, steps=10)
    assert metrics(again)[-1]["step"] == final_state(again)["step"] == 10
    assert load_nets(run.folder).generator.draw[-2].out_channels == 3


def test_pictures_change_nothing_in_training(train_small, whole, monkeypatch):
    for draw in ("draw_samples", "draw_all"):
        monkeypatch.setattr(RunRecorder, draw, lambda self: None)
    without = train_small(name="without", **EPOCHS)
    assert not list(without.samples.iterdir())
    assert metrics(without) == metrics(whole)
    assert_same_state(final_state(without), final_state(whole))


def test_evaluating_changes_nothing_in_training_and_is_resumed(train_small, whole, few_digits):
    evaluated = train_small(name="evaluated", **EPOCHS, eval_every=3)
    rows = metrics(evaluated)
    scores = [row for row in rows if "eval_mi_c1" in row]
    assert [row for row in rows if row not in scores] == metrics(whole)
    assert_same_state(final_state(evaluated), final_state(whole))

    # Each row is what a look at the nets at that step finds.
    assert [row["step"] for row in scores] == [3, 6]
    names = [f"eval_{kind}" for kind in ("accuracy_c1", "nmi_c1", "mi_c1", "mi_c2", "mi_c3")]
    assert set(scores[0]) == {"step", *names, *(f"vanilla_{name}" for name in names)}
    half = train_small(name="half", **{**EPOCHS, "steps": 6}, eval_every=3)
    for prefix, baseline in (("", False), ("vanilla_", True)):
        nets = load_nets(half.latest_checkpoint(), baseline=baseline)
        found = quick_scores(nets.generator, nets.discriminator, nets.spec, few_digits)
        assert {prefix + name: value for name, value in found.items()}.items() <= scores[1].items()

    assert metrics(resume(half.folder, steps=8)) == rows
    assert (half.track_loss / "Evaluation.png").is_file()
    assert not (whole.track_loss / "Evaluation.png").exists()


def test_the_baseline_changes_nothing_in_training(train_small, whole):
    alone = train_small(name="alone", **{**EPOCHS, "baseline": False})
    kept = [{name: value for name, value in row.items() if "vanilla" not in name} for row in metrics(whole)]
    assert metrics(alone) == kept


def test_a_non_finite_loss_stops_the_run_and_keeps_the_last_good_state(small, tmp_path, monkeypatch):
    take = ShuffledBatches.at
    monkeypatch.setattr(
        ShuffledBatches,
        "at",
        lambda self, indices: take(self, indices) * (float("nan") if self._position == 5 else 1),
    )
    config = small(name="broken", batch_size=10, checkpoint_every=2, steps=20)
    with pytest.raises(NonFiniteLossError, match=r"step 5: loss_d .* is nan; .* the last good state is .*step_4\.pt"):
        train(config, tmp_path)
    run = Run(tmp_path, "broken")
    state = final_state(run)
    assert state["step"] == 4
    assert all(leaf.isfinite().all() for leaf in leaves(state).values() if isinstance(leaf, torch.Tensor))


def test_weights_that_are_not_finite_replace_no_checkpoint(small, tmp_path):
    """A learning rate beyond all bounds: the loss of step 1 is finite, the weights that follow from it are not."""
    config = small(name="wild", batch_size=10, lr_g=1e39, checkpoint_every=1)
    with pytest.raises(NonFiniteLossError, match=r"step 1: weights are not finite; .*step_0\.pt"):
        train(config, tmp_path)
    assert Run(tmp_path, "wild").latest_checkpoint().name == "step_0.pt"


def test_a_picture_that_cannot_be_written_costs_no_training(small, tmp_path, monkeypatch, capsys, whole):
    def full(*_):
        raise UserError("--out-dir: cannot write: no space")

    monkeypatch.setattr(auxiliary, "save_png", full)
    run = train(small(name="full", **EPOCHS), tmp_path)
    assert "warning: Epoch_1.png is not drawn: --out-dir: cannot write: no space" in capsys.readouterr().err
    assert metrics(run) == metrics(whole)
    assert_same_state(final_state(run), final_state(whole))


def test_a_damaged_grid_is_left_out_of_the_gif(whole, tmp_path):
    grids = epoch_grids(whole.samples)
    (tmp_path / "Epoch_2.png").write_bytes(grids[1].read_bytes()[:2000])
    path = auxiliary.training_gif([grids[0], tmp_path / "Epoch_2.png", grids[2]], tmp_path / "a.gif")
    assert len(iio.imread(path)) == 2
    assert auxiliary.training_gif([tmp_path / "Epoch_2.png"], tmp_path / "b.gif") is None


def test_a_checkpoint_s_name_cannot_lead_out_of_the_folder(whole, tmp_path):
    state = final_state(whole)
    torch.save({**state, "name": "../../evil"}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt: --name: expected a folder's name"):
        load_nets(tmp_path / "evil.pt")
    torch.save({name: value for name, value in state.items() if name != "config"}, tmp_path / "part.pt")
    with pytest.raises(UserError, match=r"part\.pt is not a whole checkpoint"):
        load_nets(tmp_path / "part.pt")


def test_sample_grids_are_one_size_in_order_and_not_all_alike(whole):
    grids = [iio.imread(path) for path in epoch_grids(whole.samples)]
    frames = iio.imread(whole.samples / "training.gif")
    assert len(frames) == len(grids) == 3
    assert frames.shape[1:] == grids[0].shape
    for frame, grid in zip(frames, grids, strict=True):
        assert abs(frame.astype(int) - grid).mean() < 12  # a GIF has fewer colours


def test_epoch_ten_comes_after_epoch_two(tmp_path):
    for n in (1, 10, 2, 100):
        (tmp_path / f"Epoch_{n}.png").touch()
    (tmp_path / "Epoch_last.png").touch()
    assert [path.stem for path in epoch_grids(tmp_path)] == ["Epoch_1", "Epoch_2", "Epoch_10", "Epoch_100"]


def test_many_short_epochs_make_fifty_grids_at_most(small):
    config = small(batch_size=30, steps=3 * 120)
    assert loop.sample_every(config, per_epoch=3) == 3  # 120 epochs in 40 grids
    assert loop.sample_every(dataclasses.replace(config, sample_every=1), per_epoch=3) == 1


def test_a_checkpoint_alone_restores_the_nets(small, whole, few_digits):
    nets = load_nets(whole.latest_checkpoint())
    assert (nets.name, nets.step, str(nets.spec)) == ("whole", 8, "cat10,slant,thickness")
    state = final_state(whole)
    reference = Trainer(small(name="whole", **EPOCHS), few_digits.images)
    reference.load_state_dict(state)
    z, c = sample_prior(nets.spec, 3, torch.Generator().manual_seed(0))
    assert reference.generator_ema is not None
    with torch.no_grad():
        assert torch.equal(nets.generator(z, c), reference.generator_ema.eval()(z, c))
        for mine, theirs in zip(
            nets.discriminator(nets.generator(z, c)), reference.discriminator.eval()(nets.generator(z, c)), strict=True
        ):
            assert torch.equal(mine, theirs)


def test_a_resume_that_asks_for_another_run_is_refused(whole):
    with pytest.raises(UserError, match=r"--resume: .* --codes cat3"):
        resume(whole.folder, codes="cat3")
    with pytest.raises(UserError, match="--out-dir: a resumed run stays in"):
        resume(whole.folder, out_dir="elsewhere")
    with pytest.raises(UserError, match="--resume: expected a run's folder"):
        resume(whole.out_dir)


def test_a_run_that_is_done_redraws_its_pictures(whole):
    (whole.samples / "sweep_c1.png").unlink()
    (whole.samples / "grid_c2_c3.png").unlink()
    before = metrics(whole)
    resume(whole.folder)
    assert (whole.samples / "sweep_c1.png").is_file() and (whole.samples / "grid_c2_c3.png").is_file()
    assert metrics(whole) == before


def test_evaluations_need_something_that_evaluates(small, tmp_path):
    with pytest.raises(UserError, match="eval_every: expected 0 without a monitor, got 3"):
        loop.train(small(eval_every=3), tmp_path)
    assert not list(tmp_path.iterdir())


def test_bad_input_leaves_no_folders(train_small, tmp_path):
    with pytest.raises(
        UserError, match="--batch-size: expected at most 90, as many training images as there are, got 91"
    ):
        train_small(batch_size=91)
    with pytest.raises(UserError, match="--device: expected auto, cpu, cuda or cuda:N, got 'tpu'"):
        train_small(device="tpu")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_refused(train_small):
    with pytest.raises(UserError, match="--device: expected one of this machine's 0 CUDA devices, or cpu, got 'cuda'"):
        train_small(device="cuda")


@pytest.mark.slow
def test_the_categorical_code_is_learned_on_real_digits(train_small, digits, monkeypatch):
    """After 600 steps Q knows the category of most samples, and it is mostly the digit; the vanilla probe's is not."""
    monkeypatch.setattr(loop, "load_dataset", lambda name, data_dir, form: digits)
    fields = {"width": 16, "batch_size": 64, "steps": 600, "merge_step": 300, "log_every": 50, "eval_every": 600}
    run = train_small(name="learned", baseline=True, **fields)
    *_, last, scores = run.read_metrics()
    assert last["mi_c1"] > 1.5
    assert last["vanilla_mi_c1"] < 0.5
    assert scores["eval_accuracy_c1"] > 0.6
    assert scores["vanilla_eval_accuracy_c1"] < 0.5


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_is_repeatable_resumes_exactly_and_loads_on_the_cpu(train_small, precision):
    fields = {**EPOCHS, "device": "cuda", "precision": precision}
    whole, again = (train_small(name=name, **fields) for name in ("whole", "again"))
    assert metrics(again) == metrics(whole)
    half = train_small(name="half", **{**fields, "steps": 5})
    resumed = resume(half.folder, steps=8)
    assert metrics(resumed) == metrics(whole)
    assert_same_state(final_state(resumed), final_state(whole))
    assert next(load_nets(whole.latest_checkpoint(), "cpu").generator.parameters()).device.type == "cpu"
