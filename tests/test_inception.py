"""FID and KID through a network of plain features, where both are known; and files that are no network."""

import numpy as np
import pytest
import torch
from torch import nn

from infogan import UserError
from infogan.evaluation.feature_distances import frechet_distance
from infogan.evaluation.inception import inception_scores, measure_inception_reference


class PlainFeatures(nn.Module):
    """Takes images as the network of the metrics does; its features are means over quarters of the red channel."""

    def forward(self, x: torch.Tensor, return_features: bool = False) -> torch.Tensor:
        assert return_features and x.dtype == torch.uint8 and x.shape[1] == 3
        return torch.nn.functional.adaptive_avg_pool2d(x[:, :1].float() / 255, [2, 2]).flatten(1)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "network.pt"
    torch.jit.script(PlainFeatures()).save(path)
    return path


def scores(real, samples, network, seed=0):
    return inception_scores(samples, measure_inception_reference(network, real), seed)


def features(images):
    return PlainFeatures()(images.expand(-1, 3, -1, -1), return_features=True).numpy().astype(np.float64)


def test_equal_images_have_no_distance(network, digits):
    found = scores(digits.test_images, digits.test_images, network)
    assert found["fid"] == pytest.approx(0, abs=1e-4)
    assert found["kid"] == pytest.approx(0, abs=3e-3)  # of subsets that are not the same
    assert found["n"] == 500
    assert len(found["network_sha256"]) == 64


def test_fid_is_the_frechet_distance_of_the_features(network, digits):
    inverted = 255 - digits.test_images
    found = scores(digits.test_images, inverted, network)
    assert found["fid"] == pytest.approx(frechet_distance(features(digits.test_images), features(inverted)), rel=1e-3)
    assert found["kid"] > 0.1


def test_as_many_of_each_are_compared(network, digits):
    found = scores(digits.images[:60], digits.test_images, network)
    assert found["n"] == 60
    assert found["fid"] == pytest.approx(
        frechet_distance(features(digits.images[:60]), features(digits.test_images[:60])), rel=1e-2, abs=1e-5
    )


def test_a_seed_fixes_it_and_the_global_state_stays(network, digits):
    state = torch.get_rng_state()
    first, again, other = (scores(digits.images[:400], digits.test_images[:400], network, seed) for seed in (0, 0, 1))
    assert first == again
    assert torch.equal(torch.get_rng_state(), state)
    assert other["fid"] == first["fid"]


def test_what_is_no_network_is_refused_in_one_line(tmp_path, digits):
    (tmp_path / "text.pt").write_text("no network")
    torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "linear.pt")
    for name, message in (
        ("missing.pt", "--inception: cannot read .*missing.pt: No such file"),
        ("text.pt", "--inception: expected a TorchScript file of the network, got '.*text.pt'"),
        ("linear.pt", "--inception: '.*linear.pt' does not take these images"),
    ):
        with pytest.raises(UserError, match=message) as error:
            measure_inception_reference(tmp_path / name, digits.test_images[:10])
        assert "\n" not in str(error.value)
