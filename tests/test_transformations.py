"""What codes can be named for: each transformation does to its statistic what it says, on real images."""

import math
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from infogan import LatentSpec, TrainConfig, UserError
from infogan.circular import wrapped
from infogan.config.spec import OF_COLOURS, TRANSFORMATIONS
from infogan.data.augment import warp
from infogan.data.batches import fair_sample, to_unit_range
from infogan.data.transformations import TABLE, background_of, thickness_px
from infogan.evaluation.morphometrics import ATTRIBUTES, measure_digits
from infogan.extensions.equivariance import Instruction, instructions_for
from infogan.training.trainer import augmentation_of

AFFINE = [name for name, about in TABLE.items() if about.of_map is not None]
APPLIED = [name for name, about in TABLE.items() if about.apply is not None]


@pytest.fixture
def x(digits):
    return to_unit_range(digits.images[::50])


@pytest.fixture
def photographs():
    """Real photographs, cut into images of 32 x 32."""
    from sklearn.datasets import load_sample_image

    whole = torch.from_numpy(np.stack([load_sample_image(f"{name}.jpg") for name in ("china", "flower")]))
    tiles = F.unfold(whole.permute(0, 3, 1, 2).float(), 32, stride=32)
    return tiles.permute(0, 2, 1).reshape(-1, 3, 32, 32).byte()


def maps(rows, n):
    return torch.tensor([rows]).expand(n, -1, -1)


def told(codes, images, **changes):
    config = TrainConfig(codes=codes, **changes)
    return instructions_for(config.spec, images, augmentation_of(config, images))


def own(instruction):
    """By how much the code grows per unit of what it is named for, and the largest parameter of a view."""
    place = instruction.parameters.index(instruction.transformation)
    return instruction.slopes[place], instruction.reaches[place]


def test_every_name_of_a_code_has_an_entry_and_every_entry_a_name():
    assert tuple(TABLE) == TRANSFORMATIONS
    assert sorted(AFFINE + APPLIED) == sorted(TABLE)


COS, SIN = math.cos(0.3), math.sin(0.3)
NO_SHIFT = {"shift-x": 0.0, "shift-y": 0.0}


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[1.0, 0, 0], [0, 1, 0]], dict.fromkeys(AFFINE, 0.0)),
        ([[1.0, 0.2, 0], [0, 1, 0]], {"slant": math.atan(0.2), "width": 0.0, "height": 0.0, "scale": 0.0, **NO_SHIFT}),
        ([[0.8, 0, 0], [0, 1, 0]], {"slant": 0.0, "rotation": 0.0, "width": math.log(1.25), "height": 0.0, **NO_SHIFT}),
        ([[1.0, 0, 0], [0, 0.8, 0]], {"width": 0.0, "height": math.log(1.25), "scale": math.log(1.25) / 2}),
        ([[0.8, 0, 0], [0, 0.8, 0]], {"slant": 0.0, "rotation": 0.0, "scale": math.log(1.25), **NO_SHIFT}),
        ([[COS, -SIN, 0], [SIN, COS, 0]], {"rotation": 0.3, "slant": -0.3, "width": 0.0, "scale": 0.0}),
        ([[1.0, 0, -0.2], [0, 1, 0.1]], {"shift-x": 0.1, "shift-y": -0.05, "slant": 0.0, "scale": 0.0}),
    ],
)
def test_parameters_of_maps_are_those_worked_out_by_hand(rows, expected):
    for name, value in expected.items():
        assert TABLE[name].of_map(maps(rows, 2)).tolist() == pytest.approx(2 * [value], abs=1e-6), name


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("slant", [[1.0, 0.2, 0], [0, 1, 0]]),
        ("width", [[0.85, 0, 0], [0, 1, 0]]),
        ("height", [[1.0, 0, 0], [0, 0.9, 0]]),
        ("scale", [[0.9, 0, 0], [0, 0.9, 0]]),
        ("shift-x", [[1.0, 0, -0.1], [0, 1, 0]]),
        ("shift-y", [[1.0, 0, 0], [0, 1, 0.1]]),
    ],
)
def test_a_statistic_moves_by_the_parameter_of_the_map_on_real_digits(x, name, rows):
    statistic, n = TABLE[name].statistic, len(x)
    change = statistic(warp(x, maps(rows, n)), -1.0) - statistic(x, -1.0)
    assert change.median().item() == pytest.approx(TABLE[name].of_map(maps(rows, n))[0].item(), rel=0.15)


def test_the_longest_axis_of_ones_turns_with_a_rotation(digits):
    ones = to_unit_range(digits.images[digits.labels == 1][:64])
    turned = warp(ones, maps([[COS, -SIN, 0], [SIN, COS, 0]], len(ones)))
    change = TABLE["rotation"].statistic(turned, -1.0) - TABLE["rotation"].statistic(ones, -1.0)
    change = (change + math.pi / 2) % math.pi - math.pi / 2
    assert change.median().item() == pytest.approx(0.3, abs=0.03)


@pytest.mark.parametrize("name", APPLIED)
def test_an_applied_one_moves_its_statistic_up_and_down_and_nothing_at_0(x, photographs, name):
    images = to_unit_range(photographs) if name in OF_COLOURS else x
    about, background = TABLE[name], background_of(images)

    def change(t):
        changed = about.apply(images, torch.full((len(images),), t), background)
        assert changed.abs().max() <= 1 + 1e-5
        difference = about.statistic(changed, background) - about.statistic(images, background)
        return difference if math.isinf(about.period) else (difference + math.pi) % (2 * math.pi) - math.pi

    assert change(0.0).abs().max().item() == pytest.approx(0, abs=1e-3)
    assert (change(about.limit / 2) > 0).float().mean() > 0.95
    assert (change(-about.limit / 2) < 0).float().mean() > 0.95


def test_thickened_digits_are_thicker_as_morpho_mnist_measures_them_and_dark_strokes_likewise(x):
    thickness = ATTRIBUTES.index("thickness")

    def measured(images):
        return measure_digits(((images[::4, 0] + 1) * 127.5).round().byte().numpy())[:, thickness]

    t = torch.full((len(x),), 0.5)
    thick, thin = TABLE["thickness"].apply(x, t, -1.0), TABLE["thickness"].apply(x, -t, -1.0)
    assert np.median(measured(thick) - measured(x)) > 0.5 and np.median(measured(thin) - measured(x)) < -0.3
    assert background_of(x) == -1 and background_of(-x) == 1
    torch.testing.assert_close(TABLE["thickness"].apply(-x, t, 1.0), -thick)
    torch.testing.assert_close(TABLE["thickness"].statistic(-x, 1.0), TABLE["thickness"].statistic(x, -1.0))


@pytest.mark.parametrize("crop", [(28, 28), (28, 1), (1, 2)], ids=str)
def test_strokes_are_dilated_and_eroded_by_a_square_of_three_pixels(x, crop):
    x, t = x[:, :, 8 : 8 + crop[0], 13 : 13 + crop[1]], torch.linspace(-1, 1, len(x))
    t[len(t) // 2] = 0
    dilated, eroded = F.max_pool2d(x, 3, 1, 1), -F.max_pool2d(-x, 3, 1, 1)
    share = t[:, None, None, None]
    expected = torch.where(share > 0, x + share * (dilated - x), x - share * (eroded - x))
    assert torch.equal(TABLE["thickness"].apply(x, t, -1.0), expected)
    assert not torch.equal(expected, x)


def test_a_slope_is_the_prior_s_deviation_over_that_of_known_shifts(digits):
    # Digits that are moved by whole pixels: of 64 pixels a side, their deviation is known.
    wide = F.pad(digits.images[:500], (18, 18, 18, 18))
    offsets = torch.arange(500) % 9 * 3 - 12
    moved = torch.stack([image.roll(int(by), dims=2) for image, by in zip(wide, offsets, strict=True)])
    deviation = ((offsets / 64).var() + TABLE["shift-x"].statistic(to_unit_range(wide), -1.0).var()) ** 0.5
    for prior, prior_deviation in (("uniform", 3**-0.5), ("gaussian", 1.0)):
        (instruction,) = told(f"cat10,uniform,{prior}:shift-x", moved)
        assert (instruction.position, instruction.transformation) == (2, "shift-x")
        slope, reach = own(instruction)
        assert slope == pytest.approx(prior_deviation / deviation.item(), rel=0.05)
        assert 0.07 <= reach < 0.1
        assert "c3 (shift-x): grows by" in str(instruction)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in OF_COLOURS])
def test_a_code_may_be_named_for_each_on_real_digits_and_is_told_at_least_of_that(digits, name):
    (instruction,) = told(name, digits.images)
    _, _, parts = str(instruction).partition("grows by ")
    first = f" per {TABLE[name].unit} (views" if name not in ("scale", "slant", "rotation") else " per "
    assert first in parts.split("), ")[0]
    assert all(re.match(r"-?[0-9.e-]+ per ", part) for part in parts.split("), "))
    of_others = [other for other in instruction.parameters if f" of {other} (" in parts]
    assert of_others or name in ("shift-x", "shift-y", "brightness", "contrast")


def _turned(t):
    return [[math.cos(t), -math.sin(t), 0], [math.sin(t), math.cos(t), 0]]


def _sheared(t):
    return [[1, math.tan(t), 0], [0, 1, 0]]


def _larger(t, x=1, y=1):
    return [[math.exp(-t * x), 0, 0], [0, math.exp(-t * y), 0]]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("rotation", _turned),
        ("slant", _turned),
        ("slant", _sheared),
        ("width", _sheared),
        ("width", lambda t: _larger(t, y=0)),
        ("scale", _larger),
        ("thickness", _turned),
        ("thickness", _sheared),
        ("thickness", lambda t: _larger(t, y=0)),
        ("thickness", lambda t: _larger(t, x=0)),
    ],
)
def test_a_code_is_told_what_its_statistic_does_under_a_map_alone(x, digits, name, rows):
    instruction, about = told(name, digits.images)[0], TABLE[name]
    # By as much to either side, since any map blurs an image a little.
    affines = [maps(rows(t), len(x)) for t in (0.1, -0.1)]
    parameters = [
        0.0 if other == name == "thickness" else TABLE[other].of_map(affines[0])[0].item()
        for other in instruction.parameters
    ]
    is_told = sum(slope * t for slope, t in zip(instruction.slopes, parameters, strict=True))
    up, down = (about.statistic(warp(x, of_x), -1.0) for of_x in affines)
    of_images = about.statistic(x, -1.0)
    if name == "rotation":
        of_images = wrapped(of_images - math.pi / 2, math.pi)
    measured = 3**-0.5 * wrapped(up - down, about.period).mean().item() / 2 / of_images.std().item()
    assert is_told == pytest.approx(measured, rel=0.2, abs=0.02)


def test_thickness_is_in_pixels_over_the_cube_root_of_the_size(x):
    larger = warp(x, maps(_larger(0.2), len(x)))
    pixels, told_of = ((s(larger, -1.0) / s(x, -1.0)).log() for s in (thickness_px, TABLE["thickness"].statistic))
    assert (told_of - pixels).median().item() == pytest.approx(-0.2 / 3, abs=0.005)


def test_few_images_have_several_views_each(digits):
    few, others = (told("slant,thickness", digits.images[part]) for part in (slice(0, 40), slice(40, 80)))
    for a, b in zip(few, others, strict=True):
        told_by_few, told_by_others = (
            F.normalize(torch.tensor(i.slopes) * torch.tensor(i.reaches), dim=0) for i in (a, b)
        )
        assert (told_by_few - told_by_others).abs().max() < 0.18


def test_a_fair_sample_has_as_many_images_of_two_kinds_by_turns():
    kept = fair_sample(60_000, 5000)
    assert kept.unique().numel() == 5000 and 0.47 < (kept % 2).double().mean() < 0.53
    assert torch.equal(kept, fair_sample(60_000, 5000))
    assert sorted(fair_sample(7, 100).tolist()) == list(range(7))


def test_slopes_of_real_digits_are_the_same_on_every_call_and_leave_random_numbers_alone(digits):
    before = torch.get_rng_state()
    slant, thickness = told("cat10,slant,thickness", digits.images)
    assert torch.equal(torch.get_rng_state(), before)
    assert [slant, thickness] == told("cat10,slant,thickness", digits.images)
    # A line that leans by 1 radian more, by shear alone: digits lean by a deviation of about a quarter of that.
    assert 2.2 < own(slant)[0] < 3.5 and 1.0 < own(thickness)[0] < 2.0
    # What a code is told does not depend on the others.
    alone = told("thickness,cat10", digits.images)[0]
    assert alone.slopes == pytest.approx(thickness.slopes, rel=1e-6)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ("cat10,slant,uniform,gaussian:slant", "codes: expected one code for each transformation, got slant twice"),
        ("width,height,scale", "codes: expected two of width, height and scale, which make the third, got all three"),
    ],
)
def test_codes_that_contradict_each_other_are_one_line(codes, message):
    with pytest.raises(UserError, match=message):
        LatentSpec.parse(codes)


def test_what_images_do_not_have_is_one_line(digits):
    with pytest.raises(UserError, match="codes: expected images in colour for hue, got grey ones"):
        told("hue", digits.images)
    grey = digits.images[:100].expand(-1, 3, -1, -1)
    for codes in ("hue", "cat2,circular:hue"):
        with pytest.raises(
            UserError, match="codes: expected images that differ in hue, as far as what is not background"
        ):
            told(codes, grey)
    with pytest.raises(UserError, match="codes: expected no slant beside circular:rotation, as a view turned by any"):
        told("slant,circular:rotation", digits.images)
    with pytest.raises(
        UserError, match="codes: expected images that differ in shift-x, as far as what is not background"
    ):
        told("shift-x", digits.images[:1].expand(64, -1, -1, -1))
    with pytest.raises(UserError, match=r"--augment-contrast: expected 0 with a code named brightness.* got 0.4"):
        TrainConfig(codes="brightness", augment_contrast=0.4)


def test_a_code_says_what_it_is_told_of_its_own_first_however_little():
    instruction = Instruction(0, "slant", ("width", "slant", "rotation"), (0.5, 0.01, -0.003), (0.2, 0.3, 0.3))
    assert str(instruction) == (
        "c1 (slant): grows by 0.01 per radian (views have up to 0.3), -0.003 per radian of rotation (views have up to "
        "0.3), 0.5 per e-fold of width (views have up to 0.2)"
    )


def test_colours_are_told_in_photographs(photographs):
    hue, saturation = told("hue,saturation", photographs)
    assert own(hue)[0] > 0 and own(saturation)[0] > 0


@pytest.mark.parametrize("codes", ["circular:rotation,cat10", "cat2,circular:hue"])
def test_an_angle_turns_with_views_that_go_all_the_way_round(codes, digits, photographs):
    images = photographs if "hue" in codes else digits.images
    (instruction,) = told(codes, images)
    slope, reach = own(instruction)
    assert slope == 1 / math.pi and reach == pytest.approx(math.pi, abs=0.05)
    assert sum(instruction.slopes) == slope
    name = "circular:hue" if "hue" in codes else "circular:rotation"
    assert str(instruction).endswith(f"({name}): grows by the same angle; views have any")
    augmentation = augmentation_of(TrainConfig(codes=codes), images)
    x = to_unit_range(images[:100])
    turns = augmentation.views(x, *augmentation.draw(100, torch.Generator().manual_seed(0))).parameters
    turns = turns[:, augmentation.parameters.index(instruction.transformation)]
    assert turns.min() < -2.9 and turns.max() > 2.9


def test_where_a_shift_is_named_nothing_else_moves_the_content(x):
    rows = F.pad(x, (0, 28, 28, 0), value=-1.0)  # digits in a corner
    config = TrainConfig(codes="shift-x,shift-y", augment_rotation=90, augment_scale=0.2)
    augmentation = augmentation_of(config, (rows * 127.5 + 127.5).round().byte())
    views = augmentation.views(rows, *augmentation.draw(len(rows), torch.Generator().manual_seed(0)))
    for name in ("shift-x", "shift-y"):
        statistic, shifts = TABLE[name].statistic, views.parameters[:, augmentation.parameters.index(name)]
        moved = statistic(views.images, -1.0) - statistic(rows, -1.0)
        assert (moved - shifts).abs().median() < 0.01
        assert shifts.std() > 0.03
