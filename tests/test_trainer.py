"""A run from start to end: the same twice, the same in two halves, and untouched by its pictures."""

import dataclasses
import itertools
import json
import math

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from conftest import small_config

from infogan import (
    NonFiniteLossError,
    TrainConfig,
    Trainer,
    UserError,
    load_dataset,
    load_nets,
    sample_prior,
    train,
)
from infogan.evaluation.scoring import quick_scores
from infogan.models import OverclusteredQ, ProjectionHead
from infogan.system.runtime import resolve_device, resolve_precision
from infogan.training import trainer
from infogan.training.run import Run, load_checkpoint


@pytest.fixture(autouse=True, scope="module")
def few_digits(digits):
    """Has every run train on the same 90 real digits."""
    few = dataclasses.replace(digits, images=digits.images[:90], labels=digits.labels[:90])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "load_dataset", lambda name, data_dir: few)
        yield few


def leaves(value, path=""):
    if isinstance(value, dict):
        return {p: leaf for key, v in value.items() for p, leaf in leaves(v, f"{path}/{key}").items()}
    if isinstance(value, list | tuple):
        return {p: leaf for i, v in enumerate(value) for p, leaf in leaves(v, f"{path}/{i}").items()}
    return {path: value}


# What may differ between equal runs; beartype, which checks signatures here, draws from Python's generator.
NOT_COMPARED = ("/log/seconds", "/name", "/config/name", "/config/steps", "/config/eval_every", "/rng/python")


def assert_same_state(a, b):
    a, b = leaves(a), leaves(b)
    assert a.keys() == b.keys()
    for path, value in a.items():
        if not path.startswith(NOT_COMPARED):
            same = torch.equal(value, b[path]) if isinstance(value, torch.Tensor) else value == b[path]
            assert same, path


def final_state(run):
    return load_checkpoint(run.latest_checkpoint())


def metrics(run):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in run.read_metrics()]


# 90 images in batches of 30: an epoch is 3 steps, so that a few steps cross several.
EPOCHS = {"batch_size": 30, "steps": 8, "baseline": True}


@pytest.fixture(scope="module")
def whole(few_digits, tmp_path_factory):
    return train(small_config(tmp_path_factory.mktemp("whole"), name="whole", **EPOCHS))


def test_a_run_writes_what_it_promises(whole):
    files = {str(path.relative_to(whole.out_dir)) for path in whole.out_dir.rglob("*") if path.is_file()}
    assert files == {
        *(f"runs/whole/{name}" for name in ("config.json", "environment.json", "metrics.jsonl")),
        *(f"runs/whole/checkpoints/step_{step}.pt" for step in (0, 8)),
        *(f"samples/whole/Epoch_{epoch}.png" for epoch in (1, 2, 3)),
        *(f"samples/whole/sweep_{name}.png" for name in ("c1", "c2", "c3")),
        "samples/whole/training.gif",
        *(f"track_loss/whole/{name}_Loss.png" for name in ("Generator", "Discriminator", "L1")),
    }
    rows = whole.read_metrics()
    assert [row["step"] for row in rows] == [2, 4, 6, 8]
    assert [row["epoch"] for row in rows] == [1, 2, 2, 3]
    names = {"loss_d", "loss_g", "mi_c1", "mi_c2", "mi_c3"}
    assert names | {f"vanilla_{name}" for name in names} <= set(rows[0])


def test_two_runs_with_one_seed_are_identical_and_another_seed_is_not(small, whole):
    again = train(small(name="again", **EPOCHS))
    assert metrics(again) == metrics(whole)
    assert_same_state(final_state(again), final_state(whole))
    other = train(small(name="other", seed=1, **EPOCHS))
    assert metrics(other) != metrics(whole)


@pytest.mark.parametrize("stop_at", [1, 3, 5])
def test_a_resumed_run_equals_the_uninterrupted_one(small, whole, stop_at):
    """Stopped within a row of metrics and an epoch (1, 5) and at the end of an epoch (3)."""
    half = train(small(name="half", **{**EPOCHS, "steps": stop_at}))
    resumed = train(TrainConfig(resume=str(half.folder), steps=8))
    assert metrics(resumed) == metrics(whole)
    assert_same_state(final_state(resumed), final_state(whole))
    assert json.loads((half.folder / "config.json").read_text())["steps"] == 8


@pytest.mark.parametrize("stop_at", [3, 6, 8])
def test_a_run_stopped_while_its_categories_come_about_goes_on_the_same(small, monkeypatch, stop_at):
    """Stopped as the classes are grouped (3), while L_I sets in (6), and once D judges by category (8)."""
    monkeypatch.setattr(trainer, "CATEGORY_DELAY_STEPS", 2)
    monkeypatch.setattr(trainer, "CATEGORY_RAMP_STEPS", 2)
    whole = train(small(name="phases", settle_step=3, steps=10))
    half = train(small(name="half", settle_step=3, steps=stop_at))
    resumed = train(TrainConfig(resume=str(half.folder), steps=10))
    assert metrics(resumed) == metrics(whole)
    assert_same_state(final_state(resumed), final_state(whole))
    assert final_state(whole)["infogan"]["discriminator"]["d_head.by_category"].abs().max() > 0


def test_a_resumed_run_saves_what_auto_and_relative_folders_turned_out_to_be(small, tmp_path, monkeypatch):
    run = train(small(steps=1))
    monkeypatch.chdir(tmp_path)
    meant = {"data_dir": "digits", "device": "auto", "precision": "auto", "steps": 2}
    train(TrainConfig(resume=str(run.folder)), meant)
    saved = run.read_config()
    assert saved["data_dir"] == str(tmp_path / "digits")
    assert saved["device"] == str(resolve_device("auto"))
    assert saved["precision"] == resolve_precision("auto", resolve_device("auto"))


def test_fewer_steps_than_the_run_has_are_refused(whole):
    before = whole.read_config()
    for given, message in (
        ({"steps": 7}, "--steps: .* at least step 8, .* got 7"),
        ({"epochs": 2}, "--epochs: .* got 2"),
    ):
        with pytest.raises(UserError, match=message):
            train(TrainConfig(resume=str(whole.folder)), given)
    assert whole.read_config() == before


def test_a_run_goes_on_in_the_precision_that_auto_was(small, monkeypatch):
    known = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    run = train(small(precision="auto", batch_size=8, steps=1))
    assert run.read_config()["precision"] == "bfloat16"
    known.clear()  # as on another machine
    train(TrainConfig(resume=str(run.folder), steps=2))
    assert run.read_config()["precision"] == "bfloat16"
    train(TrainConfig(resume=str(run.folder), steps=3), {"precision": "float32", "steps": 3})
    assert final_state(run)["config"]["precision"] == "float32"


@pytest.mark.parametrize("mi_updates", ["both", "g"])
@pytest.mark.parametrize(("ema_decay", "precision"), [(0.0, "float32"), (0.9, "float32"), (0.9, "bfloat16")])
def test_a_trainer_resumes_in_memory_too(small, digits, mi_updates, ema_decay, precision):
    weight = float(mi_updates == "both")
    terms = {"lambda_consistency": weight, "lambda_equivariance": weight, "settle_step": 1}
    config = small(mi_updates=mi_updates, ema_decay=ema_decay, precision=precision, **terms)
    whole, half, resumed = (Trainer(config, digits.images) for _ in range(3))
    for _ in range(4):
        whole.train_step()
    for _ in range(2):
        half.train_step()
    resumed.load_state_dict(half.state_dict())
    for _ in range(2):
        resumed.train_step()
    state = resumed.state_dict()
    # The global generators are shared by the three trainers of this process.
    assert_same_state({**state, "rng": 0}, {**whole.state_dict(), "rng": 0})


def test_rates_fall_to_zero_on_a_line_over_the_last_steps(small, digits):
    training = Trainer(small(steps=8, lr_decay=0.5, baseline=True), digits.images)
    full = {1e-3, 4e-4, 2e-3}

    def shares():
        groups = [
            g
            for step in (training._infogan, training._vanilla)
            for o in (step.opt_d, step.opt_g)
            for g in o.param_groups
        ]
        assert {g["full_lr"] for g in groups} == full
        return {g["lr"] / g["full_lr"] for g in groups}

    found = []
    for _ in range(8):
        training.train_step()
        (share,) = shares()
        found.append(share)
    assert found == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])
    assert Trainer(small(epochs=2, lr_decay=0.5), digits.images).total_steps == 2 * (len(digits.images) // 32)


def test_the_category_is_settled_in_time_and_sets_in_little_by_little(small, digits, monkeypatch):
    monkeypatch.setattr(trainer, "CATEGORY_DELAY_STEPS", 1)
    monkeypatch.setattr(trainer, "CATEGORY_RAMP_STEPS", 2)
    training = Trainer(small(settle_step=2, baseline=True), digits.images)
    q_head = training.discriminator.q_head
    started = []
    monkeypatch.setattr(q_head, "settle", lambda: started.append(training.step))
    joints, weights, established = [], [], []
    for _ in range(7):
        metrics = training.train_step()
        assert 0 <= metrics["consistency_c1"] <= math.log(training.config.overclusters)
        joints.append((q_head.class_joints.clone(), q_head.category_joints[0].clone()))
        weights.append(training._infogan.lambdas.tolist())
        established.append(training._infogan.established)
    assert started == [2]
    cont = training.config.lambda_cont
    assert weights == [[w, cont, cont] for w in (0, 0, 0, 0, 0.5, 1, 1)]
    assert established == [*5 * [False], True, True]
    assert training.discriminator.d_head.by_category.all()
    assert not training._vanilla.discriminator.d_head.by_category.any()
    changed = [tuple(not torch.equal(*pair) for pair in zip(a, b, strict=True)) for a, b in itertools.pairwise(joints)]
    assert changed == [(True, False), *5 * [(False, True)]]


def test_without_consistency_there_are_no_finer_classes_and_nothing_waits_for_them(small, digits):
    training = Trainer(small(lambda_consistency=0.0, settle_step=100), digits.images)
    metrics = training.train_step()
    assert "consistency_c1" not in metrics and "equivariance" in metrics
    assert not isinstance(training.discriminator.q_head, OverclusteredQ)
    assert not isinstance(training.discriminator.d_head, ProjectionHead)
    assert training._infogan.lambdas.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("weights", "made"),
    [
        ({}, True),
        ({"lambda_consistency": 0.0}, True),
        ({"lambda_equivariance": 0.0}, True),
        ({"lambda_consistency": 0.0, "lambda_equivariance": 0.0}, False),
    ],
)
def test_copies_are_made_only_for_the_terms_that_need_them(small, digits, monkeypatch, weights, made):
    seen = []
    training = Trainer(small(**weights), digits.images)
    learn = training._infogan.update_discriminator

    def note(x_real, x_fake, c, copies):
        seen.append(copies)
        return learn(x_real, x_fake, c, copies)

    monkeypatch.setattr(training._infogan, "update_discriminator", note)
    metrics = training.train_step()
    assert (seen[0] is not None) is made
    assert ("consistency_c1" in metrics) is (made and weights.get("lambda_consistency") != 0)
    assert ("equivariance" in metrics) is (made and weights.get("lambda_equivariance") != 0)


def test_copies_differ_in_contrast_as_far_as_asked(small, digits, monkeypatch):
    copies = []
    for contrast in (0.0, 0.4):
        training = Trainer(small(contrast=contrast), digits.images)
        monkeypatch.setattr(training._infogan, "update_discriminator", lambda *parts: copies.append(parts[3]) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            training.train_step()
    plain, other = copies
    assert torch.equal(plain.affines, other.affines)
    u, altered = (plain.images + 1) / 2, (other.images + 1) / 2
    weakest, strongest = ((math.exp(sign * 0.4) * u ** math.exp(-sign * 0.4)).clamp_max(1) for sign in (-1, 1))
    assert ((altered >= weakest - 1e-5) & (altered <= strongest + 1e-5)).all()
    assert (altered - u).flatten(1).abs().amax(dim=1).min() > 0.01


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"steps": 151, "settle_step": 1}, True),
        ({"steps": 152, "settle_step": 1}, False),
        ({"epochs": 75, "settle_step": 1}, True),  # of 2 steps
        ({"epochs": 76, "settle_step": 1}, False),
        ({"steps": 151, "settle_step": 1, "lambda_consistency": 0.0}, False),
    ],
)
def test_a_run_too_short_for_the_category_says_so(small, capsys, monkeypatch, changes, warned):
    monkeypatch.setattr(trainer._Session, "fit", lambda self: None)
    train(small(**changes))
    assert (
        "steps are too few for the categories: their L_I sets in after step 151" in capsys.readouterr().err
    ) is warned


def test_a_run_on_images_of_one_s_own_has_the_file_s_name_and_is_resumed(small, few_digits, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "load_dataset", load_dataset)
    ink, paper = few_digits.images, 255 - few_digits.images
    np.save(tmp_path / "my digits.npy", torch.cat([ink, paper, ink], dim=1).numpy())  # green on magenta
    monkeypatch.chdir(tmp_path)
    run = train(small(dataset="my digits.npy", **EPOCHS))
    assert run.name == "my-digits-fast-seed0"
    assert iio.imread(run.samples / "sweep_c2.png").std() > 0
    monkeypatch.chdir(tmp_path.parent)
    again = train(small(resume=str(run.folder)), {"steps": 10})
    assert metrics(again)[-1]["step"] == final_state(again)["step"] == 10
    assert load_nets(run.folder).generator.draw[-2].out_channels == 3


def test_pictures_change_nothing_in_training(small, whole, monkeypatch):
    for draw in ("draw_samples", "draw_all"):
        monkeypatch.setattr(trainer._Session, draw, lambda self: None)
    without = train(small(name="without", **EPOCHS))
    assert not list(without.samples.iterdir())
    assert metrics(without) == metrics(whole)
    assert_same_state(final_state(without), final_state(whole))


def test_evaluating_changes_nothing_in_training_and_is_resumed(small, whole, few_digits):
    evaluated = train(small(name="evaluated", **EPOCHS, eval_every=3))
    rows = metrics(evaluated)
    scores = [row for row in rows if "eval_mi_c1" in row]
    assert [row for row in rows if row not in scores] == metrics(whole)
    assert_same_state(final_state(evaluated), final_state(whole))

    # Each row is what a look at the nets at that step finds.
    assert [row["step"] for row in scores] == [3, 6]
    names = [f"eval_{kind}" for kind in ("accuracy_c1", "nmi_c1", "mi_c1", "mi_c2", "mi_c3")]
    assert set(scores[0]) == {"step", *names, *(f"vanilla_{name}" for name in names)}
    half = train(small(name="half", **{**EPOCHS, "steps": 6}, eval_every=3))
    for prefix, baseline in (("", False), ("vanilla_", True)):
        nets = load_nets(half.latest_checkpoint(), baseline=baseline)
        found = quick_scores(nets.generator, nets.discriminator, nets.spec, few_digits)
        assert {prefix + name: value for name, value in found.items()}.items() <= scores[1].items()

    config = small(name="half", resume=str(half.folder), **EPOCHS, eval_every=3)
    assert metrics(train(config, {"resume": str(half.folder), "steps": 8})) == rows
    assert (half.track_loss / "Evaluation.png").is_file()
    assert not (whole.track_loss / "Evaluation.png").exists()


def test_the_baseline_changes_nothing_in_training(small, whole):
    alone = train(small(name="alone", **{**EPOCHS, "baseline": False}))
    kept = [{name: value for name, value in row.items() if "vanilla" not in name} for row in metrics(whole)]
    assert metrics(alone) == kept


def test_a_non_finite_loss_stops_the_run_and_keeps_the_last_good_state(small, monkeypatch):
    take = trainer.ShuffledBatches.next
    monkeypatch.setattr(
        trainer.ShuffledBatches,
        "next",
        lambda self: take(self) * (float("nan") if self._position == 5 else 1),
    )
    config = small(name="broken", batch_size=10, checkpoint_every=2, steps=20)
    with pytest.raises(NonFiniteLossError, match=r"step 5: loss_d .* is nan; .* the last good state is .*step_4\.pt"):
        train(config)
    run = Run(trainer.Path(config.out_dir), "broken")
    state = final_state(run)
    assert state["step"] == 4
    assert all(leaf.isfinite().all() for leaf in leaves(state).values() if isinstance(leaf, torch.Tensor))


def test_weights_that_are_not_finite_replace_no_checkpoint(small):
    """A learning rate beyond all bounds: the loss of step 1 is finite, the weights that follow from it are not."""
    config = small(name="wild", batch_size=10, lr_g=1e39, checkpoint_every=1)
    with pytest.raises(NonFiniteLossError, match=r"step 1: weights are not finite; .*step_0\.pt"):
        train(config)
    assert Run(trainer.Path(config.out_dir), "wild").latest_checkpoint().name == "step_0.pt"


def test_a_picture_that_cannot_be_written_costs_no_training(small, monkeypatch):
    def full(*_):
        raise UserError("--out-dir: cannot write: no space")

    monkeypatch.setattr(trainer.auxiliary, "save_png", full)
    config = small(name="full", **EPOCHS)
    with pytest.raises(UserError, match="no space"):
        train(config)
    assert Run(trainer.Path(config.out_dir), "full").latest_checkpoint().name == "step_3.pt"


def test_a_damaged_grid_is_left_out_of_the_gif(whole, tmp_path):
    grids = trainer.epoch_grids(whole.samples)
    (tmp_path / "Epoch_2.png").write_bytes(grids[1].read_bytes()[:2000])
    path = trainer.auxiliary.training_gif([grids[0], tmp_path / "Epoch_2.png", grids[2]], tmp_path / "a.gif")
    assert len(iio.imread(path)) == 2
    assert trainer.auxiliary.training_gif([tmp_path / "Epoch_2.png"], tmp_path / "b.gif") is None


def test_images_of_another_kind_are_refused(small):
    for images in (torch.rand(20, 1, 28, 28), torch.zeros(20, 28, 28, dtype=torch.uint8)):
        with pytest.raises(UserError, match=r"images: expected uint8 in \[0, 255\] of shape"):
            Trainer(small(batch_size=4), images)


def test_a_state_of_other_images_is_refused(small, digits):
    state = Trainer(small(), digits.images[:90]).state_dict()
    with pytest.raises(UserError, match=r"--n-images 90 \(expected 60\)"):
        Trainer(small(), digits.images[:60]).load_state_dict(state)


def test_a_state_of_another_configuration_is_refused(small, digits):
    state = Trainer(small(), digits.images).state_dict()
    with pytest.raises(UserError, match=r"--sync-batchnorm True \(expected False\)"):
        Trainer(small(sync_batchnorm=False), digits.images).load_state_dict(state)


def test_a_checkpoint_s_name_cannot_lead_out_of_the_folder(whole, tmp_path):
    state = final_state(whole)
    torch.save({**state, "name": "../../evil"}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"evil\.pt: --name: expected a folder's name"):
        load_nets(tmp_path / "evil.pt")
    torch.save({name: value for name, value in state.items() if name != "config"}, tmp_path / "part.pt")
    with pytest.raises(UserError, match=r"part\.pt is not a whole checkpoint"):
        load_nets(tmp_path / "part.pt")


def test_sample_grids_are_one_size_in_order_and_not_all_alike(whole):
    grids = [iio.imread(path) for path in trainer.epoch_grids(whole.samples)]
    frames = iio.imread(whole.samples / "training.gif")
    assert len(frames) == len(grids) == 3
    assert frames.shape[1:] == grids[0].shape
    for frame, grid in zip(frames, grids, strict=True):
        assert abs(frame.astype(int) - grid).mean() < 12  # a GIF has fewer colours


def test_epoch_ten_comes_after_epoch_two(tmp_path):
    for n in (1, 10, 2, 100):
        (tmp_path / f"Epoch_{n}.png").touch()
    (tmp_path / "Epoch_last.png").touch()
    assert [path.stem for path in trainer.epoch_grids(tmp_path)] == ["Epoch_1", "Epoch_2", "Epoch_10", "Epoch_100"]


def test_many_short_epochs_make_fifty_grids_at_most(small, monkeypatch):
    monkeypatch.setattr(trainer._Session, "save_checkpoint", lambda self: None)
    session = trainer._Session.start(small(name="many", batch_size=30, steps=3 * 120))
    assert session.sample_every == 3  # 120 epochs in 40 grids
    session = trainer._Session.start(small(name="given", batch_size=30, epochs=120, sample_every=1))
    assert (session.total_steps, session.sample_every) == (360, 1)


def test_a_checkpoint_alone_restores_the_nets(small, whole, few_digits):
    nets = load_nets(whole.latest_checkpoint())
    assert (nets.name, nets.step, str(nets.spec)) == ("whole", 8, "cat10,uniform,uniform")
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


def test_the_average_follows_the_weights_and_not_training(small, digits):
    averaged, plain = (Trainer(small(ema_decay=decay), digits.images) for decay in (0.5, 0.0))
    history = []
    for _ in range(3):
        averaged.train_step(), plain.train_step()
        history.append(averaged.generator.project[0].weight.detach().clone())
    assert torch.equal(history[-1], plain.generator.project[0].weight)
    assert averaged.generator_ema is not None
    # Decays (1 + k)/(10 + k), k = 0, 1, 2, since all are below 0.5; the start counts for nothing but its share.
    start = Trainer(small(), digits.images).generator.project[0].weight
    expected = start
    for decay, weight in zip((1 / 10, 2 / 11, 3 / 12), history, strict=True):
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(averaged.generator_ema.project[0].weight, expected, atol=1e-6)


def test_a_checkpoint_of_another_spec_is_refused_with_every_difference(small, digits):
    state = Trainer(small(codes="cat10", noise_dim=5), digits.images).state_dict()
    other = Trainer(small(codes="cat3", noise_dim=6), digits.images)
    with pytest.raises(UserError, match=r"--codes cat10 \(expected cat3\); --noise-dim 5 \(expected 6\)"):
        other.load_state_dict(state)


def test_a_resume_that_asks_for_another_run_is_refused(small, whole):
    with pytest.raises(UserError, match=r"--resume: .* --codes cat3"):
        train(TrainConfig(resume=str(whole.folder), codes="cat3"))
    with pytest.raises(UserError, match="--out-dir: a resumed run stays in"):
        train(TrainConfig(resume=str(whole.folder), out_dir="elsewhere"))
    with pytest.raises(UserError, match="--resume: expected a run's folder"):
        train(small(resume=str(whole.out_dir)))


def test_a_run_that_is_done_redraws_its_pictures(small, whole):
    (whole.samples / "sweep_c1.png").unlink()
    before = metrics(whole)
    train(TrainConfig(resume=str(whole.folder)))
    assert (whole.samples / "sweep_c1.png").is_file()
    assert metrics(whole) == before


def test_bad_input_leaves_no_folders(small, tmp_path):
    with pytest.raises(UserError, match="--batch-size: expected at most the 90 images"):
        train(small(batch_size=91))
    with pytest.raises(UserError, match="--device: expected auto, cpu, cuda or cuda:N, got 'tpu'"):
        train(small(device="tpu"))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_there_is_refused(small):
    with pytest.raises(UserError, match="--device: expected one of this machine's 0 CUDA devices, or cpu, got 'cuda'"):
        train(small(device="cuda"))


@pytest.mark.slow
def test_the_categorical_code_is_learned_on_real_digits(small, digits, monkeypatch):
    """After 600 steps Q knows the category of most samples, and it is mostly the digit; the vanilla probe's is not."""
    monkeypatch.setattr(trainer, "load_dataset", lambda name, data_dir: digits)
    fields = {"width": 16, "batch_size": 64, "steps": 600, "settle_step": 300, "log_every": 50, "eval_every": 600}
    run = train(small(name="learned", baseline=True, **fields))
    *_, last, scores = run.read_metrics()
    assert last["mi_c1"] > 1.5
    assert last["vanilla_mi_c1"] < 0.5
    assert scores["eval_accuracy_c1"] > 0.6
    assert scores["vanilla_eval_accuracy_c1"] < 0.5


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_cuda_is_repeatable_resumes_exactly_and_loads_on_the_cpu(small, precision):
    fields = {**EPOCHS, "device": "cuda", "precision": precision}
    whole, again = (train(small(name=name, **fields)) for name in ("whole", "again"))
    assert metrics(again) == metrics(whole)
    half = train(small(name="half", **{**fields, "steps": 5}))
    resumed = train(TrainConfig(resume=str(half.folder), steps=8))
    assert metrics(resumed) == metrics(whole)
    assert_same_state(final_state(resumed), final_state(whole))
    assert next(load_nets(whole.latest_checkpoint(), "cpu").generator.parameters()).device.type == "cpu"
