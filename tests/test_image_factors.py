"""What is measured in images of anything, on real digits that are changed by known amounts, and on known generators."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from infogan import Discriminator, LatentSpec
from infogan.data.augment import warp
from infogan.data.datasets import ImageDataset
from infogan.evaluation import registry
from infogan.evaluation.image_attributes import IMAGE_ATTRIBUTES, measure_images
from infogan.evaluation.noise import noise_share
from infogan.evaluation.subject import Subject
from infogan.evaluation.tables import run_tables

CODES = "cat10,uniform,uniform"


def measured(images):
    return dict(zip(IMAGE_ATTRIBUTES, measure_images(images, "").T, strict=True))


def warped(images, matrix):
    """The images where a pixel at (x, y) shows what was at matrix · (x, y, 1), coordinates in half sides."""
    affines = torch.tensor(matrix, dtype=torch.float32).expand(len(images), 2, 3)
    return ((warp(images.float() / 127.5 - 1, affines) + 1) * 127.5).round().byte()


@pytest.fixture(scope="module")
def small(digits):
    """Real digits at half their size, so that none is cut off when it is moved."""
    return warped(digits.images[:200], [[2, 0, 0], [0, 2, 0]])


def change(images, matrix):
    before, after = measured(images), measured(warped(images, matrix))
    return {name: np.median(after[name] - before[name]) for name in IMAGE_ATTRIBUTES}


def test_content_is_moved_scaled_slanted_and_widened_by_what_was_done_to_it(small):
    moved = change(small, [[1, 0, -0.2], [0, 1, 0.1]])
    assert (moved["x"], moved["y"]) == (pytest.approx(0.2, abs=0.005), pytest.approx(-0.1, abs=0.005))
    before, after = measured(small), measured(warped(small, [[1 / 1.5, 0, 0], [0, 1 / 1.5, 0]]))
    assert np.median(after["size"] / before["size"]) == pytest.approx(1.5, abs=0.03)
    sheared = change(small, [[1, 0.3, 0], [0, 1, 0]])  # a row's content moves right by 0.3 a row upwards
    assert 0.2 < sheared["slant"] < 0.35 and abs(sheared["y"]) < 0.01
    assert change(small, [[1 / 1.3, 0, 0], [0, 1, 0]])["aspect"] == pytest.approx(math.log(1.3), abs=0.03)


def test_light_and_colour_are_what_was_made(small):
    grey, inverted = measured(small), measured(255 - small)
    assert inverted["brightness"] + grey["brightness"] == pytest.approx(1)
    assert inverted["contrast"] == pytest.approx(grey["contrast"])
    for name in ("x", "y", "size", "slant", "aspect"):  # dark on light is as good as light on dark
        assert np.allclose(inverted[name], grey[name], atol=1e-5)
    assert measured(small // 2)["contrast"] == pytest.approx(grey["contrast"] / 2, abs=0.003)
    assert not grey["red-green"].any() and not grey["yellow-blue"].any() and not grey["saturation"].any()
    ink = small / 255
    for colour, red_green, yellow_blue in (((255, 0, 0), 1, 0.5), ((0, 255, 0), -1, 0.5), ((0, 0, 255), 0, -1)):
        tinted = measured((ink * torch.tensor(colour).view(3, 1, 1)).round().byte())
        assert np.allclose(tinted["red-green"], red_green * grey["brightness"], atol=0.003)
        assert np.allclose(tinted["yellow-blue"], yellow_blue * grey["brightness"], atol=0.003)
        assert np.allclose(tinted["saturation"], grey["brightness"], atol=0.003)
    blurred = nn.functional.avg_pool2d(small.float(), 3, stride=1, padding=1).byte()
    assert (measured(blurred)["sharpness"] < grey["sharpness"]).all()


def test_a_blank_image_has_no_attributes():
    assert np.isnan(measure_images(torch.full((2, 3, 9, 9), 7, dtype=torch.uint8), "")).all()


class Tinter(nn.Module):
    """Draws real digits, whose brightness is c2 and whose place along x is c3; z says which, if it is not ignored."""

    def __init__(self, images, spec, uses_noise):
        super().__init__()
        self.images, self.spec, self.uses_noise = images, spec, uses_noise
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, z, c):
        c2, c3 = (c[:, self.spec.c_slices[i].start].view(-1, 1, 1, 1) for i in self.spec.continuous)
        which = (z[:, 0].abs() * 1000).long() % len(self.images) if self.uses_noise else torch.zeros(len(z)).long()
        affines = torch.eye(2, 3).repeat(len(z), 1, 1)
        affines[:, 0, 2] = -0.3 * c3.flatten()
        moved = warp(self.images[which].float() / 255, affines)
        return (0.55 + 0.45 * c2) * moved * 2 - 1


def subject(small, uses_noise=True):
    spec = LatentSpec.parse(CODES, 4)
    torch.manual_seed(0)
    dataset = ImageDataset.without_labels("mine", small)
    scored = ImageDataset("mine", small, dataset.labels, small, dataset.labels)
    return Subject(Tinter(small, spec, uses_noise), Discriminator(spec, width=4), spec, scored, n_samples=500)


def test_codes_are_found_by_what_they_move_and_how_far(small):
    needed = subject(small)
    scores = {}
    for record in registry._REGISTERED.values():
        if record.place[0] in ("image_factors", "noise"):
            record.store(scores, needed)
    factors = scores["image_factors"]
    table = {code: dict(zip(factors["attributes"], row, strict=True)) for code, row in factors["samples"].items()}
    assert table["c3"]["x"] > 0.9 and abs(table["c3"]["brightness"]) < 0.15
    assert table["c2"]["brightness"] > 0.6 and table["c2"]["contrast"] > 0.6 and abs(table["c2"]["x"]) < 0.15
    assert table["c2"]["saturation"] is None  # a grey image has none, so nothing goes with it
    covered = {
        code: dict(zip(factors["attributes"], row, strict=True)) for code, row in factors["range_covered"].items()
    }
    spread = np.subtract(*np.percentile(measured(small)["x"], [95, 5]))
    assert covered["c3"]["x"] == pytest.approx(0.6 / spread, rel=0.05)
    assert abs(covered["c2"]["x"]) < 0.05 and covered["c2"]["brightness"] > 0.5
    assert 0 < scores["noise"]["share"] < 1
    titles = [table.title for table in run_tables({"InfoGAN": {**scores, "mutual_information": {}}})]
    assert any("real images through Q" in title for title in titles)


def test_noise_that_is_ignored_has_no_share(small):
    assert noise_share(subject(small, uses_noise=False)) == 0
    assert noise_share(subject(small)) > 0.3
