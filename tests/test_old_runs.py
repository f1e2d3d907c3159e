"""Runs that an earlier version wrote: fields that did not exist yet, that were renamed, and that are gone."""

import dataclasses
import json

import pytest
import torch

from infogan import TrainConfig, Trainer, UserError, load_nets, resume, train
from infogan.training.checkpoint import load_checkpoint

FIELDS = {"dataset": "mnist5k", "width": 4, "batch_size": 32, "device": "cpu", "precision": "float32", "log_every": 2}
# What the fields were called before the package was rebuilt in rooms.
FORMER = {
    "merge_step": "settle_step",
    "class_conditional_d": "d_by_category",
    "augment_rotation": "rotate",
    "augment_scale": "scale",
    "augment_shear": "shear",
    "augment_translation": "shift",
    "augment_contrast": "contrast",
}
FORMER_WEIGHTS = {"q_head.overclusters.": "q_head.classes.", "q_head.overcluster_joints": "q_head.class_joints"}


def as_before(config):
    """A configuration as the version before the rebuilding saved it."""
    values = {FORMER.get(name, name): value for name, value in config.items() if name != "terms"}
    return {**values, "preset": "fast", "mi_updates": "both", "epochs": None}


def written_before(run):
    """Rewrites a run's configuration and newest checkpoint as the version before wrote them."""
    path = run.latest_checkpoint()
    state = torch.load(path, weights_only=True)
    state["config"] = as_before(state["config"])
    del state["extensions"]
    weights = state["infogan"]["discriminator"]
    for name in list(weights):
        for now, before in FORMER_WEIGHTS.items():
            if name.startswith(now):
                weights[name.replace(now, before)] = weights.pop(name)
    torch.save(state, path)
    file = run.folder / "config.json"
    file.write_text(json.dumps(as_before(json.loads(file.read_text()))))


def test_a_run_of_the_version_before_is_read_and_goes_on_as_if_written_today(tmp_path, one_picture):
    config = TrainConfig.from_preset("paper", **FIELDS, steps=4)
    today, before = (train(config, tmp_path / folder) for folder in ("today", "before"))
    written_before(before)
    nets, expected = load_nets(before.folder), load_nets(today.folder)
    assert "extensions" not in load_checkpoint(before.latest_checkpoint())
    for name, weight in expected.discriminator.state_dict().items():
        assert torch.equal(nets.discriminator.state_dict()[name], weight), name
    assert nets.config.merge_step == config.merge_step
    states = [load_checkpoint(resume(run.folder, steps=6).latest_checkpoint()) for run in (today, before)]
    for net in ("generator", "discriminator"):
        for name, weight in states[0]["infogan"][net].items():
            assert torch.equal(states[1]["infogan"][net][name], weight), name


@pytest.mark.parametrize(
    "fields", [{"codes": "cat10,uniform,uniform"}, {"codes": "slant,thickness", "lambda_consistency": 0.0}]
)
def test_a_run_whose_terms_were_others_is_read_and_not_trained_further(tmp_path, one_picture, fields):
    run = train(TrainConfig(**FIELDS, **fields, steps=2), tmp_path)
    expected = load_nets(run.folder).discriminator.state_dict()
    written_before(run)
    nets = load_nets(run.folder)
    assert nets.config.preset == "digits"
    for name, weight in expected.items():
        assert torch.equal(nets.discriminator.state_dict()[name], weight), name
    with pytest.raises(UserError, match="an earlier version trained it, with other terms: it can be used, but not"):
        resume(run.folder, steps=4)


def test_a_run_whose_slopes_were_fixed_is_read_with_named_codes_and_not_trained_further(tmp_path, one_picture):
    run = train(TrainConfig(**FIELDS, codes="cat10,slant,width", steps=2, lr_decay=0.0), tmp_path)
    path = run.latest_checkpoint()
    state, file = torch.load(path, weights_only=True), run.folder / "config.json"
    for saved in (state["config"], values := json.loads(file.read_text())):
        saved |= {"codes": "cat10,uniform,uniform", "slope_slant": 2.0, "slope_width": 3.0}
    torch.save(state, path)
    file.write_text(json.dumps(values))
    assert load_nets(run.folder).spec.titles == ("c1", "c2 (slant)", "c3 (width)")
    with pytest.raises(UserError, match="its codes follow slant and width by fixed slopes, as an earlier") as error:
        resume(run.folder, steps=4)
    assert "\n" not in str(error.value)


def test_a_run_whose_codes_were_stratified_is_read_and_not_trained_further(tmp_path, one_picture):
    run = train(TrainConfig(**FIELDS, codes="cat10,uniform", steps=2), tmp_path)
    path = run.latest_checkpoint()
    state = torch.load(path, weights_only=True)
    state["config"]["stratified_codes"] = True
    torch.save(state, path)
    assert load_nets(run.folder).step == 2
    with pytest.raises(UserError, match="its codes are stratified, as an earlier version had them: it can be used"):
        resume(run.folder, steps=4)


def test_a_field_that_a_checkpoint_does_not_have_is_off(digits, tmp_path):
    config = TrainConfig.from_preset("paper", **FIELDS, steps=2)
    state = Trainer(config, digits.images).state_dict()
    extensions = {
        name for name, field in TrainConfig.__dataclass_fields__.items() if field.metadata["group"] == "extensions"
    }
    later = extensions | {"gan_loss", "lr_heads", "lr_decay", "ema_decay", "sync_batchnorm", "precision", "eval_every"}
    state["config"] = {name: value for name, value in state["config"].items() if name not in later}
    torch.save({"format": "infogan-checkpoint-1", "name": "old", **state}, tmp_path / "old.pt")
    nets = load_nets(tmp_path / "old.pt")
    assert not nets.config.has_extensions
    assert (nets.config.gan_loss, nets.config.lr_decay, nets.config.ema_decay) == ("bce", 0.0, 0.0)
    assert dataclasses.replace(nets.config, name=None) == config
    again = Trainer(config, digits.images)
    again.load_state_dict(load_checkpoint(tmp_path / "old.pt"))
    assert again.step == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mi_updates": "g"}, r'config: mi_updates = "g" is no longer there: L_I is in both updates now.*train'),
        ({"epochs": 3}, "config: epochs = 3 is no longer there: a run counts steps: give --steps"),
        ({"colour": 1}, "config: unknown colour; was it written by a later version"),
    ],
)
def test_a_field_that_is_gone_or_unknown_is_named_with_what_to_do(changes, message):
    with pytest.raises(UserError, match=message) as error:
        TrainConfig.from_dict({**TrainConfig().to_dict(), **changes})
    assert "\n" not in str(error.value)
