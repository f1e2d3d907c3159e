"""Maps worked out by hand, on real digits."""

import math

import pytest
import torch

from infogan.affine import AffineRange, random_affines, warp
from infogan.datasets import to_unit_range

NOTHING = AffineRange(rotate_degrees=0, scale=0, shear=0, shift=0)


def draw(n=2000, seed=0, **changes):
    range_ = AffineRange(**{**vars(NOTHING), **changes})
    return random_affines(n, range_, torch.Generator().manual_seed(seed))


@pytest.fixture
def x(digits):
    return to_unit_range(digits.images[::500])


def test_a_range_of_nothing_leaves_images_as_they_are(x):
    torch.testing.assert_close(warp(x, draw(len(x))), x, atol=1e-4, rtol=0)


def test_a_quarter_turn_and_a_shift_are_those_of_pixels(x):
    # The map goes from the altered image to the original: (x, y) of the turned one is (-y, x) of the other.
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
        ("rotate_degrees", 20.0, lambda a: torch.rad2deg(torch.atan2(a[:, 1, 0], a[:, 0, 0]))),
        ("scale", 0.1, lambda a: a[:, 0, 0] - 1),
        ("scale", 0.1, lambda a: a[:, 1, 1] - 1),
        ("shear", 0.15, lambda a: a[:, 0, 1]),
        ("shift", 0.07, lambda a: a[:, 0, 2] / 2),
        ("shift", 0.07, lambda a: a[:, 1, 2] / 2),
    ],
)
def test_each_quantity_is_uniform_within_its_limit(quantity, limit, measure):
    found = measure(draw(**{quantity: limit}))
    assert found.abs().max() <= limit * (1 + 1e-5)
    assert found.mean().item() == pytest.approx(0, abs=0.05 * limit)
    assert found.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.05)


def test_a_rotation_keeps_shape_and_area():
    affines = draw(rotate_degrees=180.0)[:, :, :2]
    torch.testing.assert_close(affines @ affines.transpose(1, 2), torch.eye(2).expand(2000, 2, 2), atol=1e-5, rtol=0)
    assert (torch.linalg.det(affines) > 0).all()


def test_quantities_and_images_are_independent():
    affines = draw(rotate_degrees=20.0, scale=0.1, shear=0.15, shift=0.07)
    rotation = torch.atan2(affines[:, 1, 0], affines[:, 0, 0])
    together = torch.stack([rotation, affines[:, 0, 2], affines[:, 1, 2], rotation.roll(1)])
    assert (torch.corrcoef(together) - torch.eye(4)).abs().max() < 0.08


def test_a_seed_fixes_them():
    assert torch.equal(draw(seed=3, shift=0.1), draw(seed=3, shift=0.1))
    assert not torch.equal(draw(seed=3, shift=0.1), draw(seed=4, shift=0.1))
