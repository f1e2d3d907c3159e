"""Augmented views: affine maps worked out by hand, on real digits, and contrasts."""

import math

import pytest
import torch

from infogan.data.augment import (
    AffineRange,
    change_contrast,
    random_affines,
    random_contrasts,
    slant_and_widening,
    warp,
)
from infogan.data.batches import to_unit_range
from infogan.evaluation.morphometrics import measure_digits

NOTHING = AffineRange(rotation_degrees=0, scale=0, shear=0, translation=0)


def draw(n=2000, seed=0, **changes):
    range_ = AffineRange(**{**vars(NOTHING), **changes})
    return random_affines(n, range_, torch.Generator().manual_seed(seed))


@pytest.fixture
def x(digits):
    return to_unit_range(digits.images[::500])


def test_a_range_of_nothing_leaves_images_as_they_are(x):
    torch.testing.assert_close(warp(x, draw(len(x))), x, atol=1e-4, rtol=0)


def test_a_quarter_turn_and_a_translation_are_those_of_pixels(x):
    # The map goes from the view to the original: (x, y) of the turned one is (-y, x) of the other.
    turn = torch.tensor([[[0.0, -1, 0], [1, 0, 0]]]).expand(len(x), -1, -1)
    torch.testing.assert_close(warp(x, turn), torch.rot90(x, 1, dims=(2, 3)), atol=1e-4, rtol=0)
    two_pixels = torch.tensor([[[1.0, 0, 2 * 2 / 28], [0, 1, 0]]]).expand(len(x), -1, -1)
    moved = warp(x, two_pixels)
    torch.testing.assert_close(moved[..., :-2], x[..., 2:], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        moved[..., -2:], x[..., -1:].expand(-1, -1, -1, 2), atol=1e-4, rtol=0
    )  # the border goes on


@pytest.mark.parametrize(
    ("quantity", "limit", "measure"),
    [
        ("rotation_degrees", 20.0, lambda a: torch.rad2deg(torch.atan2(a[:, 1, 0], a[:, 0, 0]))),
        ("scale", 0.1, lambda a: a[:, 0, 0] - 1),
        ("scale", 0.1, lambda a: a[:, 1, 1] - 1),
        ("shear", 0.15, lambda a: a[:, 0, 1]),
        ("translation", 0.07, lambda a: a[:, 0, 2] / 2),
        ("translation", 0.07, lambda a: a[:, 1, 2] / 2),
    ],
)
def test_each_quantity_is_uniform_within_its_limit(quantity, limit, measure):
    found = measure(draw(**{quantity: limit}))
    assert found.abs().max() <= limit * (1 + 1e-5)
    assert found.mean().item() == pytest.approx(0, abs=0.05 * limit)
    assert found.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)


def test_a_rotation_keeps_shape_and_area():
    affines = draw(rotation_degrees=180.0)[:, :, :2]
    torch.testing.assert_close(affines @ affines.transpose(1, 2), torch.eye(2).expand(2000, 2, 2), atol=1e-5, rtol=0)
    assert (torch.linalg.det(affines) > 0).all()


def test_quantities_and_images_are_independent():
    affines = draw(rotation_degrees=20.0, scale=0.1, shear=0.15, translation=0.07)
    rotation = torch.atan2(affines[:, 1, 0], affines[:, 0, 0])
    together = torch.stack([rotation, affines[:, 0, 2], affines[:, 1, 2], rotation.roll(1)])
    assert (torch.corrcoef(together) - torch.eye(4)).abs().max() < 0.08


def test_a_seed_fixes_them():
    assert torch.equal(draw(seed=3, translation=0.1), draw(seed=3, translation=0.1))
    assert not torch.equal(draw(seed=3, translation=0.1), draw(seed=4, translation=0.1))


def affine_of(rows, n):
    return torch.tensor([rows]).expand(n, -1, -1)


def test_slant_is_the_angle_of_an_upright_line_and_widening_the_log_of_a_level_one():
    cos, sin = math.cos(0.3), math.sin(0.3)
    for rows, slant, widening in [
        ([[1.0, 0, 0], [0, 1, 0]], 0.0, 0.0),
        ([[1.0, 0.2, 0.5], [0, 1, -0.5]], math.atan(0.2), 0.0),
        ([[0.8, 0, 0], [0, 1.3, 0]], 0.0, math.log(1 / 0.8)),
        ([[cos, sin, 0], [-sin, cos, 0]], 0.3, 0.0),
    ]:
        assert slant_and_widening(affine_of(rows, 1))[0].tolist() == pytest.approx([slant, widening], abs=1e-6)


def test_they_are_what_is_measured_on_real_digits(x):
    def measured(affines):
        pixels = ((warp(x, affines).clamp(-1, 1) + 1) * 127.5).round().byte()
        return torch.from_numpy(measure_digits(pixels[:, 0].numpy()))

    before = measured(affine_of([[1.0, 0, 0], [0, 1, 0]], len(x)))
    sheared = affine_of([[1.0, 0.2, 0], [0, 1, 0]], len(x))
    slant = measured(sheared)[:, 3] - before[:, 3]
    assert slant.median().item() == pytest.approx(slant_and_widening(sheared)[0, 0].item(), abs=0.03)
    wider = affine_of([[0.8, 0, 0], [0, 1, 0]], len(x))
    width = (measured(wider)[:, 4] / before[:, 4]).log()
    assert width.median().item() == pytest.approx(slant_and_widening(wider)[0, 1].item(), abs=0.05)


def test_contrast_is_a_power_and_a_factor_of_intensities(x):
    intensities = torch.tensor([0.0, 0.25, 0.49, 1.0]).view(1, 1, 2, 2).expand(3, 1, 2, 2)
    contrasts = torch.tensor([[1.0, 1.0], [0.5, 0.8], [2.0, 1.5]])  # exponent and factor
    found = (change_contrast(intensities * 2 - 1, contrasts) + 1) / 2
    wanted = torch.tensor([[0.0, 0.25, 0.49, 1.0], [0.0, 0.4, 0.56, 0.8], [0.0, 0.09375, 0.36015, 1.0]])
    torch.testing.assert_close(found.flatten(1), wanted)
    torch.testing.assert_close(change_contrast(x, torch.ones(len(x), 2)), x)


def test_contrasts_are_as_often_up_as_down_and_never_stronger_than_asked():
    logs = random_contrasts(4000, 0.4, torch.Generator().manual_seed(0)).log()
    assert logs.abs().max() <= 0.4
    assert logs.mean(dim=0).tolist() == pytest.approx([0, 0], abs=0.02)
    assert logs.std(dim=0).tolist() == pytest.approx(2 * [0.4 / 3**0.5], rel=0.03)  # of a uniform quantity
    assert abs(torch.corrcoef(logs.T)[0, 1]) < 0.05
