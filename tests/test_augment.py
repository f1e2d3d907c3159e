"""Augmented views: affine maps worked out by hand, on real digits, and contrasts."""

import math

import pytest
import torch

from infogan.data.augment import (
    AffineRange,
    Augmentation,
    about_content,
    change_contrast,
    random_affines,
    random_contrasts,
    warp,
)
from infogan.data.batches import to_unit_range
from infogan.data.transformations import LEAST_STROKE_PX, TABLE, thickness_px, thickness_range, with_thickness

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


def test_unnamed_augmentation_draws_the_maps_alone_and_leaves_later_numbers_as_they_are(x):
    augmentation = Augmentation(AffineRange(20, 0.1, 0.15, 0.07), contrast=0.0)
    rng, maps_alone = (torch.Generator().manual_seed(5) for _ in range(2))
    drawn = augmentation.draw(len(x), rng)
    assert torch.equal(drawn[0], random_affines(len(x), augmentation.affine, maps_alone))
    assert torch.equal(rng.get_state(), maps_alone.get_state())
    views = augmentation.views(x, *drawn)
    assert torch.equal(views.images, warp(x, drawn[0])) and views.parameters.shape == (len(x), 0)


def size_px(x):
    return 28 * TABLE["scale"].statistic(x, -1.0).exp()


def test_strokes_of_views_are_as_thick_for_their_size_as_those_of_any_image(digits):
    x = to_unit_range(digits.images[::5])
    range_ = thickness_range(x, -1.0)
    augmentation = Augmentation(NOTHING, 0.0, background=-1.0, thicknesses=range_)
    drawn = augmentation.draw(len(x), torch.Generator().manual_seed(0))
    thicknesses = drawn[3]
    assert range_[0] <= thicknesses.min() < thicknesses.max() <= range_[1]
    views = augmentation.views(x, *drawn).images
    # For the size that the images had: strokes that grow outwards add to it.
    before, after = (thickness_px(images, -1.0) / size_px(x) for images in (x, views))
    assert torch.corrcoef(torch.stack([after, thicknesses]))[0, 1] > 0.9
    assert torch.corrcoef(torch.stack([after, thicknesses]) * size_px(x))[0, 1] > 0.95  # in pixels
    assert abs(torch.corrcoef(torch.stack([after, before]))[0, 1]) < 0.2
    bright, dark = with_thickness(x, thicknesses, -1.0), with_thickness(-x, thicknesses, 1.0)
    torch.testing.assert_close(dark, (-bright[0], bright[1]))


def test_a_stroke_gains_or_loses_half_of_the_difference_on_each_side():
    line = -torch.ones(1, 1, 28, 28)
    line[..., 4:24, 11:15] = 1  # 4 px
    now, size = thickness_px(line, -1.0), size_px(line)
    for difference, widths in ((0.0, [4]), (2.0, [6]), (-2.0, [2]), (9.0, [10])):  # by 6 px at most
        changed, dilations = with_thickness(line, (now + difference) / size, -1.0)
        assert dilations.item() == pytest.approx(max(-3, min(3, difference / 2)), abs=1e-5)
        assert (changed > 0).sum(dim=3).unique().tolist() == sorted({0, *widths})
        assert changed.abs().min() == pytest.approx(1, abs=1e-4)  # whole pixels
    _, dilations = with_thickness(line, (now - 9.0) / size, -1.0)
    assert dilations.item() == pytest.approx((LEAST_STROKE_PX - now.item()) / 2)  # no thinner


def test_a_small_letter_is_as_bold_as_a_large_one_if_its_strokes_are_thinner():
    rings, (y, x) = -torch.ones(2, 1, 64, 64), torch.meshgrid(*2 * [torch.arange(64.0) - 31.5], indexing="ij")
    for ring, radius in zip(rings, (12, 24), strict=True):
        ring[0, (torch.hypot(x, y) - radius).abs() < radius / 8] = 1
    least, most = thickness_range(rings, -1.0)
    assert most == pytest.approx(least, rel=0.07)  # pixels
    _, dilations = with_thickness(rings, torch.full((2,), 1.5 * least), -1.0)
    small, large = dilations.tolist()
    assert 1.8 * small < large < 2.5 * small
    assert 0.5 < small < 1


def test_images_without_strokes_have_views_too():
    blank = -torch.ones(8, 1, 28, 28)
    least, most = thickness_range(blank, -1.0)
    assert least == most and least * size_px(blank)[0].item() == pytest.approx(LEAST_STROKE_PX)
    augmentation = Augmentation(NOTHING, 0.0, background=-1.0, thicknesses=(least, most))
    assert torch.equal(augmentation.views(blank, *augmentation.draw(8, torch.Generator())).images, blank)


def test_a_code_named_thickness_is_told_how_thick_views_became(x):
    augmentation = Augmentation(NOTHING, 0.0, ("thickness",), background=-1.0, thicknesses=(0.25, 0.6))
    drawn = augmentation.draw(len(x), torch.Generator().manual_seed(0))
    _, dilations = with_thickness(warp(x, drawn[0]), drawn[3], -1.0)
    told = augmentation.views(x, *drawn).parameters[:, augmentation.parameters.index("thickness")]
    assert dilations.std() > 0.3 and torch.equal(told, drawn[2][:, 0] + dilations)


def test_a_stroke_is_as_thick_at_the_edge_of_an_image():
    bars = torch.full((2, 1, 28, 28), -1.0)
    bars[0, :, 12:16, 4:24] = bars[1, :, :4, 4:24] = 1.0
    inside, at_the_edge = thickness_px(bars, -1.0)
    assert inside == at_the_edge and 3 < inside < 4


def test_a_stroke_is_as_thick_whichever_way_it_leans(digits):
    x = to_unit_range(digits.images[::50])
    torch.testing.assert_close(thickness_px(x.flip(3), -1.0), thickness_px(x, -1.0))
    torch.testing.assert_close(thickness_px(x.mT, -1.0), thickness_px(x, -1.0))


def test_views_carry_all_parameters_that_a_named_code_is_told(x):
    names = ("thickness", "slant", "shift-y")
    augmentation = Augmentation(NOTHING, 0.0, names, background=-1.0).reaching()
    assert augmentation.affine == AffineRange(rotation_degrees=0, scale=0, shear=0.15, translation=0.07)
    affines, contrasts, applied, thicknesses = augmentation.draw(len(x), torch.Generator().manual_seed(1))
    views = augmentation.views(x, affines, contrasts, applied, thicknesses)
    *of_maps, last = augmentation.parameters
    assert of_maps == ["slant", "rotation", "width", "height", "shift-x", "shift-y"] and last == "thickness"
    assert applied.shape == (len(x), 1) and torch.equal(views.parameters[:, -1], applied[:, 0])
    for column, name in enumerate(of_maps):
        assert torch.equal(views.parameters[:, column], TABLE[name].of_map(affines))
    unnamed = Augmentation(NOTHING, 0.0)
    assert unnamed.views(x, *unnamed.draw(len(x), torch.Generator())).parameters.shape == (len(x), 0)
    moved = warp(x, about_content(affines, x, -1.0))
    assert torch.equal(views.images, TABLE["thickness"].apply(moved, applied[:, 0], -1.0))
