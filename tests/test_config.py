import dataclasses
import json

import pytest

from infogan import TrainConfig, UserError
from infogan.config.train_config import PRESETS, describe, parse_train_flags


def parse(*argv):
    return parse_train_flags(argv, "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "many"], "argument --steps: invalid int value: 'many'"),
        (["--steps", "0"], "--steps: expected at least 1, got 0"),
        (["--epochs", "-1"], "--epochs: expected at least 1, got -1"),
        (["--steps", "5", "--epochs", "5"], "--epochs: give --steps or --epochs, not both"),
        (["--batch-size", "1"], "--batch-size: expected at least 2, got 1"),
        (["--noise-dim", "0"], "--noise-dim: expected at least 1, got 0"),
        (["--width", "1"], "--width: expected 4 to 1024, got 1"),
        (["--name", "n" * 101], "--name: expected a folder's name of at most 100"),
        (["--seed", "-1"], "--seed: expected 0 to 4294967295, got -1"),
        (["--lambda-cat", "-0.1"], "--lambda-cat: expected 0 or a positive number, got -0.1"),
        (["--lambda-cont", "nan"], "--lambda-cont: expected 0 or a positive number, got nan"),
        (["--lr-g", "0"], "--lr-g: expected a positive number, got 0.0"),
        (["--lr-d", "inf"], "--lr-d: expected a positive number, got inf"),
        (["--beta1", "1"], r"--beta1: expected a number in \[0, 1\), got 1.0"),
        (["--ema-decay", "1.5"], r"--ema-decay: expected a number in \[0, 1\), got 1.5"),
        (["--q-std", "-1"], "--q-std: expected a positive number, got -1.0"),
        (["--codes", "cat10,slant"], "codes: expected a comma-separated list of .* got 'slant'"),
        (["--dataset", "cifar"], "--dataset: expected auto, mnist, mnist5k, fashion or a .npy file, got 'cifar'"),
        (["--dataset", "mine.npy", "--eval-every", "5"], "--eval-every: expected 0 with images of your own"),
        (["--preset", "papre"], "argument --preset: invalid choice: 'papre'"),
        (["--gan-loss", "wgan"], "argument --gan-loss: invalid choice: 'wgan'"),
        (["--name", "a/b"], "--name: expected a folder's name of at most 100 letters"),
        (["--name", ".."], "--name: expected a folder's name"),
        (["--sample-every", "0"], "--sample-every: expected at least 1, got 0"),
        (["--mi-updates", "g"], "--lambda-consistency: expected 0 with --mi-updates g"),
        (
            ["--mi-updates", "g", "--lambda-consistency", "0"],
            "--lambda-equivariance: expected 0 with --mi-updates g",
        ),
        (["--lambda-equivariance", "-1"], "--lambda-equivariance: expected 0 or a positive number, got -1.0"),
        (["--code-per-lean", "inf"], "--code-per-lean: expected a number, got inf"),
        (["--overcluster-heads", "0"], "--overcluster-heads: expected at least 1, got 0"),
        (["--overclusters", "9"], "--overclusters: expected at least 10, as many as a code's categories, got 9"),
        (["--rotate", "inf"], "--rotate: expected 0 or a positive number, got inf"),
        (["--contrast", "1000"], "--contrast: expected 0 to 3, got 1000.0"),
        (["--lr-heads", "fast"], "argument --lr-heads: invalid float or lr-d value: 'fast'"),
        (["--step", "5"], "unrecognized arguments: --step 5"),
    ],
)
def test_a_wrong_flag_is_named_with_what_is_allowed_and_what_came(flags, message):
    with pytest.raises(UserError, match=message) as error:
        parse(*flags)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"), [("steps", "5"), ("steps", 5.0), ("baseline", 1), ("seed", True), ("codes", None)]
)
def test_a_value_of_another_type_is_refused(field, value):
    with pytest.raises(UserError, match=f"--{field}: expected"):
        TrainConfig(**{field: value})


def test_flags_win_over_the_preset_and_the_preset_over_defaults():
    config, given = parse("--preset", "paper", "--steps", "7", "--baseline")
    assert (config.width, config.noise, config.ema_decay) == (64, "uniform", 0.0)  # the preset's
    assert (config.steps, config.baseline) == (7, True)
    assert given == {"preset": "paper", "steps": 7, "baseline": True}
    assert parse()[0] == TrainConfig()


def test_the_deviation_of_q_is_a_number_or_learned():
    assert parse("--preset", "paper")[0].q_std == 1.0
    assert parse("--preset", "paper", "--q-std", "learned")[0].q_std is None
    with pytest.raises(UserError, match="argument --q-std: invalid float or learned value: 'wide'"):
        parse("--q-std", "wide")


def test_a_preset_in_python_is_the_preset_on_the_command_line():
    assert TrainConfig.from_preset("paper", seed=3) == parse("--preset", "paper", "--seed", "3")[0]
    with pytest.raises(UserError, match="--preset: expected one of fast, fashion, paper, got 'papre'"):
        TrainConfig.from_preset("papre")


def test_every_field_is_a_flag_with_help(script):
    finished = script("train.py", "--help")
    assert finished.returncode == 0
    for field in dataclasses.fields(TrainConfig):
        assert "--" + field.name.replace("_", "-") in finished.stdout
        assert field.metadata["doc"]


@pytest.mark.parametrize("preset", ["paper", "fashion"])
def test_a_preset_says_where_each_value_is_from(preset):
    described = describe(TrainConfig.from_preset(preset))
    for name, (value, source) in PRESETS[preset].items():
        assert source
        line = next(line for line in described.splitlines() if line.startswith(f"{name} = "))
        assert line.split("#")[0].strip() == f"{name} = {json.dumps(value)}"
        assert line.endswith(source)


def test_saved_configuration_comes_back_through_json():
    config = TrainConfig(codes="cat3,gaussian", q_std=0.5, epochs=2, out_dir="elsewhere")
    saved = json.loads(json.dumps(config.to_dict()))
    assert not {"out_dir", "resume", "dry_run"} & saved.keys()
    assert TrainConfig.from_dict(saved, out_dir="elsewhere") == config
    with pytest.raises(UserError, match="config: unknown colour; was it written by another"):
        TrainConfig.from_dict({**saved, "colour": 1})
    del saved["width"], saved["seed"]
    with pytest.raises(UserError, match="config: missing seed, width; was it written by another"):
        TrainConfig.from_dict(saved)


def test_consistency_needs_a_weight_and_a_category():
    assert TrainConfig().is_consistent
    assert not TrainConfig(codes="uniform").is_consistent
    assert not TrainConfig.from_preset("paper").is_consistent
    assert TrainConfig.from_preset("paper", mi_updates="g").mi_updates == "g"


def test_equivariance_needs_a_weight_and_a_continuous_code():
    assert TrainConfig().is_equivariant
    assert not TrainConfig(codes="cat10").is_equivariant
    assert not TrainConfig(lambda_equivariance=0.0).is_equivariant
    assert not TrainConfig.from_preset("paper").is_equivariant
