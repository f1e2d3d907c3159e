"""One's own image through the model: the encoder, the inversion, and what a picture is made into."""

import pytest
import torch

from infogan import LatentSpec
from infogan.inversion.encoder import Encoder


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 21), (3, 64, 48)])
def test_the_encoder_gives_the_noise_of_images_of_any_size(shape):
    spec = LatentSpec.parse("cat10,uniform", noise_dim=7)
    z = Encoder(spec, shape)(torch.rand(3, *shape) * 2 - 1)
    assert z.shape == (3, 7)


def test_the_encoder_is_small_enough_to_travel_with_the_model():
    encoder = Encoder(LatentSpec.parse("cat10,uniform,uniform", noise_dim=62), (1, 28, 28))
    assert sum(p.numel() for p in encoder.parameters()) < 250_000
