"""Nets without BatchNorm, and as plain layers, compute what the nets they were made from do."""

import dataclasses

import pytest
import torch
from torch import nn

from infogan import LatentSpec, TrainConfig, build, sample_prior
from infogan.data.batches import to_unit_range
from infogan.export import Crop, Unflatten, folded, generator_layers, recognition_layers
from infogan.models import FlattenChannelsLast
from infogan.training.trainer import make_extensions, make_nets

SHAPES = [(1, 28, 28), (3, 32, 32), (3, 64, 64), (2, 17, 30)]
PLAIN = (
    nn.Linear,
    nn.Conv2d,
    nn.ConvTranspose2d,
    nn.ReLU,
    nn.LeakyReLU,
    nn.Tanh,
    FlattenChannelsLast,
    Unflatten,
    Crop,
)


def real_images(digits, image_shape, n=12):
    """Real digits, of another size and with other channels."""
    channels, height, width_px = image_shape
    x = to_unit_range(digits.images[:n])
    return nn.functional.interpolate(x, (height, width_px), mode="bilinear").repeat(1, channels, 1, 1)


def live(generator, discriminator, spec, x):
    """Returns both in evaluation mode, with statistics of these images, and gains and shifts far from 1 and 0."""
    rng = torch.Generator().manual_seed(1)
    norms = [
        module
        for module in [*generator.modules(), *discriminator.modules()]
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    for norm in norms:
        norm.momentum = None  # one batch's own statistics
        norm.weight.uniform_(0.5, 1.5, generator=rng)
        norm.bias.uniform_(-0.5, 0.5, generator=rng)
    for layer in [generator.draw[-2], discriminator.d_head, discriminator.q_head]:  # no BatchNorm follows them
        for parameter in layer.parameters():
            parameter.mul_(10)
    generator(*sample_prior(spec, 64, rng))
    discriminator(x)
    return generator.eval(), discriminator.eval()


def with_extensions(codes="cat10,uniform,uniform", image_shape=(1, 28, 28), q_std=1.0):
    config = TrainConfig(codes=codes, width=4, q_std=q_std)
    nets = make_nets(config, image_shape, make_extensions(config), "cpu")
    with torch.no_grad():
        nets[1].d_head.by_category.normal_(generator=torch.Generator().manual_seed(2))
    return config.spec, *nets


def of_paper(codes="cat10,uniform,uniform", image_shape=(1, 28, 28), q_std=1.0):
    spec = LatentSpec.parse(codes, q_std=q_std)
    return spec, *build(spec, image_shape, 4)


def close(a, b):
    return (a - b).abs().max() <= 1e-5 * max(1, b.abs().max())


@pytest.mark.parametrize("make", [of_paper, with_extensions])
@pytest.mark.parametrize("image_shape", SHAPES)
@torch.no_grad()
def test_nets_without_batch_norm_compute_the_same(digits, make, image_shape):
    torch.manual_seed(0)
    spec, generator, discriminator = make(image_shape=image_shape)
    x = real_images(digits, image_shape)
    live(generator, discriminator, spec, x)
    z, c = sample_prior(spec, 5, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in discriminator.state_dict().items()}

    g, d = folded(generator), folded(discriminator)
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for net in (g, d) for module in net.modules())
    assert generator(z, c).std() > 0.05  # not grey: there is something to compare
    assert close(g(z, c), generator(z, c))
    for ours, theirs in zip(d(x), discriminator(x), strict=True):
        assert close(ours, theirs)
    assert all(torch.equal(value, before[name]) for name, value in discriminator.state_dict().items())
    for ours, theirs in zip(folded(d)(x), d(x), strict=True):
        assert torch.equal(ours, theirs)  # once more changes nothing

    layers = generator_layers(generator), recognition_layers(discriminator)
    assert all(isinstance(layer, PLAIN) for stack in layers for layer in stack)
    assert close(layers[0](torch.cat([z, c], dim=1)), generator(z, c))
    assert close(layers[1](x), discriminator(x)[1])
    assert layers[1](x[:1]).shape == (1, spec.q_dim)


@pytest.mark.parametrize("q_std", [1.0, None])
@pytest.mark.parametrize("codes", ["uniform,cat3,circular,gaussian,cat5", "cat10", "cat2,cat5", "uniform,uniform"])
@torch.no_grad()
def test_plain_layers_answer_in_the_order_of_the_codes(digits, codes, q_std):
    torch.manual_seed(0)
    make = with_extensions if "cat" in codes else of_paper
    spec, generator, discriminator = make(codes, q_std=q_std)
    x = real_images(digits, (1, 28, 28))
    live(generator, discriminator, spec, x)
    answer = recognition_layers(discriminator)(x)
    assert answer.std(dim=0).min() > 1e-3  # every column says something
    assert close(answer, discriminator(x)[1])


def test_a_folded_net_has_no_over_clusters():
    _, _, discriminator = with_extensions()
    names = folded(discriminator).state_dict().keys()
    assert not [name for name in names if "overcluster" in name or "joint" in name or "running" in name]
    assert {"q_head.categories.weight", "q_head.continuous.2.bias", "d_head.by_category"} <= names


def test_a_user_s_own_head_is_folded_but_has_no_plain_layers():
    spec = dataclasses.replace(LatentSpec.parse("cat3"), noise_dim=2)
    _, discriminator = build(spec, (1, 8, 8), 4, q_head=lambda n_features, n_hidden: nn.Linear(n_features, 3))
    assert folded(discriminator).q_head.out_features == 3
    with pytest.raises(AssertionError, match="no plain layers are known for Linear"):
        recognition_layers(discriminator)
