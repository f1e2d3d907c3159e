import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from infogan import TrainConfig, UserError
from infogan.config.command_line import ResumeRun, StartRun, parse_train_flags
from infogan.config.options import choices, flag_of, members
from infogan.config.presets import PRESETS
from infogan.config.train_config import HINTS, MAY_CHANGE, differences, had_fixed_slopes


def parse(*argv):
    return parse_train_flags(argv, "")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--steps", "many"], "argument --steps: invalid int value: 'many'"),
        (["--steps", "0"], "--steps: expected 1 to 1,000,000,000, got 0"),
        (["--epochs", "-1"], "--epochs: expected 1 to 1,000,000, got -1"),
        (["--steps", "5", "--epochs", "5"], "--epochs: give --steps or --epochs, not both"),
        (["--batch-size", "1"], "--batch-size: expected 2 to 1,000,000, got 1"),
        (["--noise-dim", "0"], "--noise-dim: expected 1 to 10,000, got 0"),
        (["--width", "1"], "--width: expected 4 to 1,024, got 1"),
        (["--name", "n" * 101], "--name: expected a folder's name of at most 100"),
        (["--seed", "-1"], "--seed: expected 0 to 4,294,967,295, got -1"),
        (["--lambda-cat", "-0.1"], "--lambda-cat: expected 0 to 1,000,000, got -0.1"),
        (["--lambda-cont", "nan"], "--lambda-cont: expected 0 to 1,000,000, got nan"),
        (["--lr-g", "0"], "--lr-g: expected a positive number, got 0.0"),
        (["--lr-d", "inf"], "--lr-d: expected a positive number, got inf"),
        (["--beta1", "1"], r"--beta1: expected a number in \[0, 1\), got 1.0"),
        (["--ema-decay", "1.5"], r"--ema-decay: expected a number in \[0, 1\), got 1.5"),
        (["--q-std", "-1"], "--q-std: expected 0.001 to 1,000, got -1.0"),
        (["--codes", "cat10,lean"], "codes: expected a comma-separated list of .* slant, rotation, .* got 'lean'"),
        (
            ["--dataset", "cifar"],
            "--dataset: expected auto, mnist, mnist5k, fashion.* or a folder, .zip",
        ),
        (["--size", "7"], "--size: expected 8 to 1,024, got 7"),
        (["--background", "blue"], "--background: expected white, black or #rrggbb, got 'blue'"),
        (["--preset", "papre"], "argument --preset: invalid choice: 'papre'"),
        (["--gan-loss", "wgan"], "argument --gan-loss: invalid choice: 'wgan'"),
        (["--name", "a/b"], "--name: expected a folder's name of at most 100 letters"),
        (["--name", "数" * 86], "--name: expected a folder's name"),  # 258 bytes
        (["--name", ".."], "--name: expected a folder's name"),
        (["--sample-every", "0"], "--sample-every: expected 1 to 1,000,000,000, got 0"),
        (["--terms", "smooth"], "--terms: expected name=weight, separated by commas, .* got 'smooth'"),
        (["--terms", "smooth=much"], "--terms: expected name=weight, separated by commas, .* got 'smooth=much'"),
        (["--mi-updates", "g"], "unrecognized arguments: --mi-updates g"),
        (["--lambda-equivariance", "-1"], "--lambda-equivariance: expected 0 to 1,000,000, got -1.0"),
        (["--slope-slant", "2"], "unrecognized arguments: --slope-slant 2"),
        (["--overcluster-heads", "0"], "--overcluster-heads: expected 1 to 100, got 0"),
        (["--overclusters", "9"], "--overclusters: expected at least 10, as many as a code's categories, got 9"),
        (["--augment-rotation", "inf"], "--augment-rotation: expected 0 to 180, got inf"),
        (["--augment-contrast", "1000"], "--augment-contrast: expected 0 to 3, got 1000.0"),
        (["--lr-heads", "fast"], "argument --lr-heads: invalid float or lr-d value: 'fast'"),
        (["--step", "5"], "unrecognized arguments: --step 5"),
        (["--noise-dim", "1" + "0" * 12], "--noise-dim: expected 1 to 10,000, got 1000000000000"),
        (["--steps", "1" + "0" * 400], r"--steps: expected 1 to 1,000,000,000, got 10+ \.\.\. 0+$"),
        (["--steps", "1" + "0" * 5000], r"argument --steps: invalid int value: '10+ \.\.\. 0+' \(see"),
        (["--steps", "３"], "argument --steps: invalid int value: '３'"),
        (["--lr-g", "١e-3"], "argument --lr-g: invalid float value: '١e-3'"),
        (["--q-std", "1e308"], r"--q-std: expected 0.001 to 1,000, got 1e\+308"),
        (["--q-std", "1e-200"], "--q-std: expected 0.001 to 1,000, got 1e-200"),
        (["--q-std", "١"], "argument --q-std: invalid float or learned value: '١'"),
        (["--codes", "cat１０"], "codes: expected a comma-separated list of .*, got 'cat１０'"),
        (["--codes", "cat1001"], "codes: expected at most 1000 categories, got 1001"),
        (["--codes", ",".join(["uniform"] * 101)], "codes: expected at most 100 codes, got 101"),
        (["--epochs", "1" + "0" * 12], "--epochs: expected 1 to 1,000,000, got 1000000000000"),
        (["--lambda-cat", "1e300"], "--lambda-cat: expected 0 to 1,000,000"),
        (["--terms", "smooth=nan"], "--terms: expected name=weight.* weights of at most 1,000,000, got 'smooth=nan'"),
        (["--terms", "smooth=1,smooth=2"], "--terms: expected name=weight.* each name once"),
        (["--terms", "=1"], "--terms: expected name=weight"),
        (["--data-dir", "d" * 300], "argument --data-dir: expected names of at most 255 bytes, got 'ddd"),
        (["--data-dir", "a\nb"], r"argument --data-dir: expected a path without control characters, got 'a\\nb'"),
        (["--data-dir", "/dev/null"], "argument --data-dir: expected a folder, got '/dev/null'"),
        (["--out-dir", "/dev/null/below"], "argument --out-dir: cannot use '/dev/null/below': Not a directory"),
        (["--resume", "r" * 5000], "argument --resume: expected names of at most 255 bytes"),
        (["--dataset", "a\nb.npy"], r"--dataset: expected text without control characters, auto, .* got 'a\\nb.npy'"),
        (["--device", "cpu\n"], "--device: expected text without control characters, got"),
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


# For every kind of a field, other types that mean the same; and what means something else.
SAME = {
    bool: (np.bool_(True), True),
    int: (np.int64(8), 8),
    float: (np.float32(0.5), 0.5),
    str: (np.str_("auto"), "auto"),
}
FIELDS = dataclasses.fields(TrainConfig)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_field_becomes_its_own_plain_type_or_is_refused(field):
    hint = HINTS[field.name]
    kind = str if choices(hint) else members(hint)[0]
    given, plain = SAME[kind]
    if kind is str:
        value = field.default or {"name": "auto", "terms": "smooth=1"}[field.name]
        given, plain = np.str_(value), value
    if field.name == "width":
        given, plain = np.uint8(8), 8
    if field.name == "overclusters":
        given, plain = np.int32(50), 50
    found = getattr(TrainConfig(**{field.name: given}), field.name)
    assert type(found) is kind and found == plain
    assert TrainConfig.from_dict(json.loads(json.dumps(TrainConfig(**{field.name: given}).to_dict())))
    others = [
        [],
        {},
        b"1",
        object(),
        np.ones(3),
        np.zeros(1),
        math.nan,
        10**400,
        10**5000,
        "a\nb",
        "\ud800",
        complex(1),
    ]
    others += [np.float64(7.5), "7"] if kind is int else [np.bool_(True), "0.5"] if kind is float else []
    others += [] if kind is bool else [True]
    for other in others:
        with pytest.raises(UserError, match=f"{flag_of(field.name)}: expected .*got|codes: expected") as error:
            TrainConfig(**{field.name: other})
        assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_paths_are_taken_as_paths_and_the_home_folder_is_found(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    config = TrainConfig(data_dir=Path("~/data"), dataset=Path("~") / "mine.npy")
    assert (config.data_dir, config.dataset) == ("/home/me/data", "/home/me/mine.npy")
    assert TrainConfig(data_dir="~nobody-here/data").data_dir == "~nobody-here/data"
    asked = parse("--data-dir", "~/data", "--dataset", "~/mine.npy", "--out-dir", "~/out")
    assert (asked.config.data_dir, asked.config.dataset) == ("/home/me/data", "/home/me/mine.npy")
    assert asked.out_dir == "/home/me/out"
    assert parse("--resume", "~/out/runs/a").run == "/home/me/out/runs/a"


def test_flags_win_over_the_preset_and_the_preset_over_defaults():
    config = parse("--preset", "paper", "--steps", "7", "--baseline").config
    assert (config.width, config.noise, config.ema_decay) == (64, "uniform", 0.0)  # the preset's
    assert (config.steps, config.baseline) == (7, True)
    assert parse() == StartRun(TrainConfig(), ".", None, False)
    assert TrainConfig() == TrainConfig.from_preset("digits")


def test_what_is_of_a_call_is_no_part_of_the_run_s_configuration():
    asked = parse("--epochs", "3", "--out-dir", "there", "--dry-run", "--seed", "2")
    assert asked == StartRun(TrainConfig(seed=2), "there", 3, True)
    assert not {"out_dir", "epochs", "dry_run", "resume"} & asked.config.to_dict().keys()


def test_a_run_is_resumed_with_what_was_given_and_no_preset_or_default():
    assert parse("--resume", "runs/a") == ResumeRun("runs/a", {}, None, None, False)
    flags = ("--steps", "7", "--preset", "paper", "--no-baseline", "--lr-heads", "lr-d")
    given = {"steps": 7, "preset": "paper", "baseline": False, "lr_heads": None}
    assert parse("--resume", "runs/a", *flags) == ResumeRun("runs/a", given, None, None, False)
    asked = parse("--resume", "runs/a", "--epochs", "7", "--out-dir", "there", "--dry-run")
    assert asked == ResumeRun("runs/a", {}, "there", 7, True)


def test_the_deviation_of_q_is_a_number_or_learned():
    assert parse("--preset", "paper").config.q_std == 1.0
    assert parse("--preset", "paper", "--q-std", "learned").config.q_std is None
    with pytest.raises(UserError, match="argument --q-std: invalid float or learned value: 'wide'"):
        parse("--q-std", "wide")


def test_a_preset_in_python_is_the_preset_on_the_command_line():
    assert TrainConfig.from_preset("paper", seed=3) == parse("--preset", "paper", "--seed", "3").config
    with pytest.raises(
        UserError, match="--preset: expected one of digits, letters, sprites, fashion, images, paper, got 'papre'"
    ):
        TrainConfig.from_preset("papre")


def test_every_field_is_a_flag_with_help(script):
    finished = script("train.py", "--help")
    assert finished.returncode == 0
    for field in dataclasses.fields(TrainConfig):
        assert flag_of(field.name) in finished.stdout
        assert field.metadata["doc"]


@pytest.mark.parametrize(
    ("dataset", "preset"),
    [
        ("mnist5k", "digits"),
        ("emnist-letters", "digits"),
        ("capitals", "letters"),
        ("fashion", "fashion"),
        ("some/pictures", "images"),
        ("mine.npy", "images"),
        ("cifar10", "images"),
        ("stacked-mnist", "images"),
        ("dsprites", "sprites"),
    ],
)
def test_the_data_set_chooses_the_preset_unless_one_is_given(dataset, preset):
    config = parse("--dataset", dataset).config
    assert (config.preset, config.dataset, bool(config.spec.named)) == (
        preset,
        dataset,
        preset in ("digits", "letters", "sprites"),
    )
    assert parse("--dataset", dataset, "--preset", "paper").config.preset == "paper"


@pytest.mark.parametrize("preset", ["paper", "letters", "sprites", "fashion", "images"])
def test_a_preset_says_where_each_value_is_from(preset):
    described = TrainConfig.from_preset(preset).describe()
    for name, (value, source) in PRESETS[preset].items():
        assert source
        line = next(line for line in described.splitlines() if line.startswith(f"{name} = "))
        assert line.split("#")[0].strip() == f"{name} = {json.dumps(value)}"
        assert line.endswith(source)


def test_saved_configuration_comes_back_through_json():
    config = TrainConfig(codes="cat3,gaussian", q_std=0.5, terms="smooth=0.5, sharp=2")
    saved = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig.from_dict(saved) == config
    assert config.term_weights == {"smooth": 0.5, "sharp": 2.0}
    with pytest.raises(UserError, match="config: unknown colour, sound; was it written by a later version"):
        TrainConfig.from_dict({**saved, "sound": 0, "colour": 1})
    with pytest.raises(UserError, match="--width: expected 4 to 1,024, got 1"):
        TrainConfig.from_dict({**saved, "width": 1})


def test_a_field_that_did_not_exist_yet_is_off():
    saved = TrainConfig().to_dict()
    off = {"precision": "float32", "class_conditional_d": False, "lr_heads": None, "terms": ""}
    off["codes"] = "cat10,uniform,uniform"
    off |= dict.fromkeys(("lambda_consistency", "lambda_equivariance", "lr_decay", "ema_decay"), 0.0)
    for name in off:
        del saved[name]
    assert TrainConfig.from_dict(saved) == dataclasses.replace(TrainConfig(), **off)


def test_a_field_of_an_earlier_version_is_taken_over_under_its_new_name():
    before = {"settle_step": 7, "d_by_category": False}
    before |= {"rotate": 5.0, "scale": 0.2, "shear": 0.3, "shift": 0.4, "contrast": 0.5}
    before |= {"preset": "fast", "mi_updates": "both", "epochs": None}
    config = TrainConfig.from_dict({"steps": 10, **before})
    assert (config.merge_step, config.class_conditional_d) == (7, False)
    names = ("rotation", "scale", "shear", "translation", "contrast")
    assert [getattr(config, f"augment_{name}") for name in names] == [5.0, 0.2, 0.3, 0.4, 0.5]
    assert (config.preset, config.steps) == ("digits", 10)


@pytest.mark.parametrize("slopes", [("code_per_lean", "code_per_widening"), ("slope_slant", "slope_width")])
def test_codes_that_followed_slant_and_width_are_named_for_them(slopes):
    def read(**saved):
        saved |= dict.fromkeys(slopes, 2.0)
        return had_fixed_slopes(saved), str(TrainConfig.from_dict(saved).spec)

    assert read(codes="cat10,uniform,uniform", lambda_equivariance=1.0) == (True, "cat10,slant,width")
    more = read(codes="uniform,cat3,gaussian,uniform", lambda_equivariance=0.5)
    assert more == (True, "slant,cat3,gaussian:width,uniform")
    assert read(codes="cat10,uniform", lambda_equivariance=0.0) == (False, "cat10,uniform")


def test_codes_are_named_only_where_a_term_has_them_follow_their_names():
    assert str(TrainConfig(codes="cat3,slant,gaussian:width").spec) == "cat3,slant,gaussian:width"
    assert str(TrainConfig(codes="cat3,slant,gaussian:width", lambda_equivariance=0).spec) == "cat3,uniform,gaussian"
    for preset in ("fashion", "images", "paper"):
        assert not TrainConfig.from_preset(preset).spec.named


@pytest.mark.parametrize(("name", "value"), [("mi_updates", "g"), ("epochs", 3)])
def test_a_field_that_is_gone_is_refused_where_it_meant_something_else(name, value):
    with pytest.raises(UserError, match=f"config: {name} = {json.dumps(value)} is no longer there: ") as error:
        TrainConfig.from_dict({name: value})
    assert "\n" not in str(error.value)


def test_codes_that_were_stratified_are_a_matter_of_training_alone():
    assert TrainConfig.from_dict({"stratified_codes": True}) == TrainConfig.from_dict({})


def test_what_leaves_a_machine_does_not_say_where_its_data_are():
    values = TrainConfig(dataset="/home/me/photos", data_dir="/home/me/data").portable()
    assert values["dataset"] == "photos/" and "/home/me" not in json.dumps(values)
    assert TrainConfig(dataset="mnist").portable()["dataset"] == "mnist"


def test_a_run_may_change_only_what_does_not_make_it_another_run():
    config = TrainConfig(codes="cat10")
    changed = config.changed("--resume", steps=10_000, codes="cat10", device="cpu", checkpoint_every=7)
    assert changed == dataclasses.replace(config, steps=10_000, device="cpu", checkpoint_every=7)
    with pytest.raises(UserError, match=r"--codes cat3 \(the run has cat10\); --width 8 \(the run has 32\)"):
        config.changed("--resume", codes="cat3", width=8, steps=10)
    with pytest.raises(UserError, match="--resume: unknown colour, sound"):
        config.changed("--resume", sound=0, colour=1)
    assert {"steps", "device", "data_dir", "log_every"} - MAY_CHANGE == {"log_every"}
    assert differences({"width": 8}, {"width": 8, "seed": 1}) == ["--seed 1 (the run has None)"]


def test_only_a_run_with_more_than_the_paper_s_objective_has_extensions():
    assert TrainConfig().has_extensions
    paper = TrainConfig.from_preset("paper")
    assert not paper.has_extensions
    for field, value in (("lambda_consistency", 0.1), ("terms", "smooth=1")):
        assert dataclasses.replace(paper, **{field: value}).has_extensions
    weighed = dataclasses.replace(paper, lambda_equivariance=0.1)
    assert not weighed.has_extensions and dataclasses.replace(weighed, codes="cat10,slant").has_extensions
