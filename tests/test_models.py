import pytest
import torch
from torch import nn

from infogan import Discriminator, Generator, LatentSpec, UserError, build, sample_prior
from infogan.models import stage_widths


def nets(codes="cat10,uniform,uniform", image_shape=(1, 28, 28), width=4):
    torch.manual_seed(0)
    spec = LatentSpec.parse(codes)
    return spec, *build(spec, image_shape, width)


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def channels(net):
    """The channels that each convolution takes, from the image inwards."""
    return [layer.in_channels for layer in net.modules() if isinstance(layer, nn.Conv2d)]


def test_paper_s_nets_have_the_paper_s_weights():
    # Table 1 of appendix C.1, weights and biases layer by layer; BatchNorm has 2 per channel.
    spec = LatentSpec.parse("cat10,uniform,uniform", noise_dim=62)
    seed, features = 7 * 7 * 128, 1024
    g = 74 * 1024 + 2 * 1024 + 1024 * seed + 2 * seed + 128 * 64 * 16 + 2 * 64 + 64 * 16 + 1
    trunk = 64 * 16 + 64 + 64 * 128 * 16 + 2 * 128 + seed * features + 2 * features
    d_head, q_head = features + 1, features * 128 + 2 * 128 + 128 * 14 + 14

    discriminator = Discriminator(spec)
    assert count(Generator(spec)) == g
    assert [count(part) for part in (discriminator.trunk, discriminator.d_head, discriminator.q_head)] == [
        trunk,
        d_head,
        q_head,
    ]


@pytest.mark.parametrize(
    "image_shape",
    [(1, 28, 28), (3, 32, 32), (1, 9, 30), (2, 17, 8), (3, 64, 48), (1, 45, 33), (1, 8, 128), (1, 57, 57)],
)
@pytest.mark.parametrize("codes", ["cat10,uniform,uniform", "uniform", "cat2,cat5,cat3"])
def test_any_size_and_any_codes(image_shape, codes):
    spec, generator, discriminator = nets(codes, image_shape)
    z, c = sample_prior(spec, 5, torch.Generator().manual_seed(0))
    x = generator(z, c)
    assert x.shape == (5, *image_shape)
    assert x.abs().max() <= 1
    d_logits, q_params = discriminator(x)
    assert d_logits.shape == (5,)
    assert q_params.shape == (5, spec.q_dim)


@pytest.mark.parametrize(
    ("side", "n_stages", "seed"),
    [(8, 2, 2), (28, 2, 7), (29, 3, 4), (32, 3, 4), (56, 3, 7), (64, 4, 4), (112, 4, 7), (128, 5, 4), (256, 6, 4)],
)
def test_the_number_of_stages_follows_the_side(side, n_stages, seed):
    widths = [4, 8, 16, 32, 32, 32][:n_stages]
    assert stage_widths((1, side, side), 4) == widths
    generator, discriminator = build(LatentSpec.parse("cat10"), (1, side, side), 4)
    assert channels(discriminator) == [1, *widths[:-1]]
    upwards = [layer.out_channels for layer in generator.modules() if isinstance(layer, nn.ConvTranspose2d)]
    assert upwards == [*widths[-2::-1], 1]
    assert (generator.seed_height, generator.seed_width) == (seed, seed)


@pytest.mark.parametrize(
    ("height", "width", "n_stages"), [(28, 64, 4), (64, 28, 4), (8, 128, 3), (45, 33, 3), (9, 30, 3)]
)
def test_the_longer_side_decides_as_far_as_the_shorter_one_can_be_halved(height, width, n_stages):
    assert len(stage_widths((3, height, width), 4)) == n_stages
    assert height >> n_stages >= 1 and width >> n_stages >= 1


def test_each_stage_may_have_a_width_of_its_own():
    spec = LatentSpec.parse("cat10,uniform")
    generator, discriminator = build(spec, (1, 32, 32), [6, 10, 8])
    assert channels(discriminator) == [1, 6, 10]
    z, c = sample_prior(spec, 3, torch.Generator().manual_seed(0))
    x = generator(z, c)
    assert x.shape == (3, 1, 32, 32)
    assert discriminator(x)[1].shape == (3, spec.q_dim)


@pytest.mark.parametrize("widths", [[8, 16, 32], [8], []])
def test_another_number_of_widths_than_of_stages_is_refused(widths):
    with pytest.raises(UserError, match=r"width: expected 2 of them for images of 28 x 28, got \["):
        build(LatentSpec.parse("cat10"), (1, 28, 28), widths)


def test_nets_for_larger_colour_images_take_one_call_and_stay_small():
    spec = LatentSpec.parse("cat10,uniform,uniform")
    generator, discriminator = build(spec, (3, 64, 64), width=32)
    assert channels(discriminator) == [3, 32, 64, 128]
    assert count(generator) + count(discriminator) < 6e6
    z, c = sample_prior(spec, 2, torch.Generator().manual_seed(0))
    x = generator(z, c)
    assert x.shape == (2, 3, 64, 64)
    d_logits, q_params = discriminator(x)
    assert (d_logits.shape, q_params.shape) == ((2,), (2, spec.q_dim))
    (d_logits.sum() + q_params.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


def test_heads_can_be_others_than_the_paper_s():
    spec = LatentSpec.parse("cat10")
    sizes = []

    def d_head(n_features, n_hidden):
        sizes.append((n_features, n_hidden))
        return nn.Sequential(nn.Linear(n_features, 1), nn.Flatten(0))

    def q_head(n_features, n_hidden):
        sizes.append((n_features, n_hidden))
        return nn.Linear(n_features, 10)

    _, discriminator = build(spec, width=4, d_head=d_head, q_head=q_head)
    assert sizes == 2 * [(64, 8)]
    assert [type(head) for head in (discriminator.d_head, discriminator.q_head)] == [nn.Sequential, nn.Linear]
    assert [out.shape for out in discriminator(torch.zeros(5, 1, 28, 28))] == [(5,), (5, 10)]


def test_batch_of_one_samples_and_scores():
    spec, generator, discriminator = nets()
    generator.eval(), discriminator.eval()
    z, c = sample_prior(spec, 1, torch.Generator().manual_seed(0))
    d_logits, q_params = discriminator(generator(z, c))
    assert d_logits.shape == (1,)
    assert q_params.shape == (1, spec.q_dim)


def test_an_image_does_not_depend_on_its_batch_when_evaluating():
    spec, generator, _ = nets()
    generator.eval()
    z, c = sample_prior(spec, 6, torch.Generator().manual_seed(0))
    assert torch.allclose(generator(z, c)[2:3], generator(z[2:3], c[2:3]), atol=1e-6)


def test_every_latent_reaches_the_image():
    spec, generator, _ = nets()
    z, c = (x.requires_grad_() for x in sample_prior(spec, 8, torch.Generator().manual_seed(0)))
    weights = torch.randn(8, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    (generator(z, c) * weights).sum().backward()
    assert (z.grad.abs().sum(0) > 0).all()
    assert (c.grad.abs().sum(0) > 0).all()


def test_an_image_too_small_is_refused():
    with pytest.raises(UserError, match=r"image_shape: expected .* got \(1, 7, 28\)"):
        nets(image_shape=(1, 7, 28))


class TestTrunk:
    def test_batches_that_pass_together_are_as_if_each_had_passed_alone(self):
        trunks = [nets()[2].trunk for _ in range(2)]
        batches = [torch.randn(n, 1, 28, 28) * n for n in (5, 3, 8)]
        together, alone = trunks[0].each(*batches), [trunks[1](batch) for batch in batches]
        for found, wanted in zip(together, alone, strict=True):
            torch.testing.assert_close(found, wanted)
        for features in (together, alone):
            sum((part**2).sum() for part in features).backward()
        for found, wanted in zip(trunks[0].parameters(), trunks[1].parameters(), strict=True):
            torch.testing.assert_close(found.grad, wanted.grad, rtol=1e-4, atol=1e-3)
        for found, wanted in zip(trunks[0].buffers(), trunks[1].buffers(), strict=True):
            torch.testing.assert_close(found, wanted)
