"""Nets that see the content of an image: where content is, what moves with it, and what categories cannot know."""

import copy
import dataclasses
import math
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F

from infogan import Discriminator, TrainConfig, Trainer, UserError, load_nets, sample_prior
from infogan.content_nets import (
    N_PLACE,
    PLACE_SCALE,
    REACH,
    SIZE_UNIT,
    ContentDiscriminator,
    ContentGenerator,
    content_of,
    content_windows,
    placed,
    posed,
    turned,
)
from infogan.data.dsprites import draw_pose
from infogan.data.transformations import TABLE
from infogan.export.model import model_of
from infogan.extensions.gradient_penalty import r1_penalty
from infogan.training.checkpoint import CHECKPOINT_FORMAT
from infogan.training.trainer import make_extensions, make_nets


@pytest.fixture(scope="module")
def sprites():
    """Real sprites in [-1, 1] at all places, by shape and scale."""
    return {
        (shape, scale): torch.from_numpy(draw_pose(shape, scale, orientation=5))[:, None].float() / 127.5 - 1
        for shape in (0, 1, 2)
        for scale in (0, 3, 5)
    }


@pytest.fixture(scope="module")
def config():
    return TrainConfig.from_preset("sprites", width=4, batch_size=16, device="cpu", precision="float32")


@pytest.fixture
def discriminator(config):
    torch.manual_seed(0)
    return ContentDiscriminator(config.spec, (1, 64, 64), config.width).eval()


def test_the_centre_of_content_is_the_sprite_s(sprites):
    steps = 2 * (16 + 32 * torch.arange(32) / 31) / 64 - 1  # of the sprite's centre, in half sides
    centre, _, border = content_of(sprites[0, 5])
    assert (centre[:, 0] - steps.repeat_interleave(32)).abs().max() < 0.02
    assert (centre[:, 1] - steps.repeat(32)).abs().max() < 0.02
    assert torch.equal(border, torch.full((1024, 1), -1.0))


def test_its_size_is_the_deviation_in_half_sides(sprites):
    # Of a square, in each direction its side over the root of 12.
    expected = 2 * (2 / 3) ** 0.5 * 9.6 / 64
    assert content_of(sprites[0, 5])[1].mean().item() == pytest.approx(expected, rel=0.01)
    assert content_of(sprites[0, 0])[1].mean().item() == pytest.approx(expected / 2, rel=0.03)


@pytest.mark.parametrize("negative", [False, True])
def test_bright_or_dark_content_is_content_all_the_same(sprites, negative):
    x = sprites[1, 3][::37]
    centre, size, border = content_of(-x if negative else x)
    assert torch.allclose(centre, content_of(x)[0]) and torch.allclose(size, content_of(x)[1])
    assert border.unique().tolist() == [1.0 if negative else -1.0]


def test_content_is_in_the_middle_of_its_window_and_fills_as_much_of_it_at_any_size(sprites):
    sizes = []
    for scale in (0, 3, 5):
        x = sprites[2, scale][::41]
        windows = content_windows(x, *content_of(x)[:2], window_px=32)
        centre, size, _ = content_of(windows)
        assert centre.abs().max() < 0.03
        sizes.append(size.mean().item())
    assert sizes == pytest.approx([1 / REACH] * 3, rel=0.04)


def test_windows_are_sampled_as_torch_samples(sprites):
    """Bilinear, in both directions; and no image of 64 px is rounded where nets calculate in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((6, 2, 40, 64), generator=generator)
    centre, size = torch.rand((6, 2), generator=generator) * 2 - 1, torch.rand((6, 1), generator=generator)
    maps = torch.zeros(6, 2, 3)
    maps[:, 0, 0] = maps[:, 1, 1] = REACH * size[:, 0]
    maps[:, :, 2] = centre
    grid = F.affine_grid(maps, [6, 2, 32, 32], align_corners=False)
    expected = F.avg_pool2d(F.grid_sample(x, grid, padding_mode="border", align_corners=False), 2)
    assert torch.allclose(content_windows(x, centre, size, 16), expected, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(content_windows(x, centre, size, 16), expected, atol=1e-5)
    windows, half_side = torch.rand((6, 2, 16, 16), generator=generator), torch.rand((6, 1), generator=generator) + 0.3
    windows[:, :, [0, -1]] = windows[:, :, :, [0, -1]] = 0.0  # around it is the mean of the border
    maps[:, 0, 0] = maps[:, 1, 1] = 1 / half_side[:, 0]
    maps[:, :, 2] = -centre * maps[:, :1, 0]
    expected = F.grid_sample(windows, F.affine_grid(maps, [6, 2, 40, 64], align_corners=False), align_corners=False)
    assert torch.allclose(placed(windows, centre, half_side, 40, 64), expected, atol=1e-5)


def test_windows_are_turned_as_torch_turns():
    generator = torch.Generator().manual_seed(0)
    windows = torch.rand((6, 2, 16, 16), generator=generator)
    windows[:, :, [0, -1]] = windows[:, :, :, [0, -1]] = 0.0  # beyond them is the mean of the border
    centre, size = torch.rand((6, 2), generator=generator) - 0.5, torch.rand((6, 1), generator=generator) / 2
    angle = torch.rand((6, 1), generator=generator) * 7 - 3.5
    cos, sin = REACH * size * angle.cos(), REACH * size * angle.sin()
    maps = torch.stack(
        [torch.cat([cos, -sin, centre[:, :1]], dim=1), torch.cat([sin, cos, centre[:, 1:]], dim=1)], dim=1
    )
    expected = F.grid_sample(windows, F.affine_grid(maps, [6, 2, 16, 16], align_corners=False), align_corners=False)
    assert torch.allclose(turned(windows, centre, size, angle), expected, atol=1e-5)


def test_what_a_window_shows_is_where_its_pose_says_however_it_was_drawn():
    """A bar that is drawn off the middle, small or large, has the centre, the size and the angle of the pose."""
    at = (2 * torch.arange(32) + 1) / 32 - 1
    windows = []
    for x, y, length in ((-0.2, 0.3, 0.4), (0.0, 0.0, 0.8), (0.3, -0.1, 0.5)):
        inside = (length - (at[None] - x).abs()).minimum(length / 3 - (at[:, None] - y).abs())
        windows.append((16 * inside).clamp(-4, 4)[None])
    angle = torch.tensor([[0.0], [math.pi / 6], [-math.pi / 4]])
    pose = torch.cat([torch.tensor([[0.0, 0.0, 0.3], [0.5, -0.25, 0.15], [-0.3, 0.1, 0.2]]), angle], dim=1)
    images = posed(torch.stack(windows), pose, 64, 64)
    centre, size, _ = content_of(images.tanh())
    assert (centre - pose[:, :2]).abs().max() < 0.01
    assert torch.allclose(size, pose[:, 2:3], rtol=0.05)
    statistic = TABLE["rotation"].statistic(images.tanh(), -1.0)  # counter-clockwise on the screen
    assert torch.allclose(statistic, angle[:, 0], atol=0.05)
    assert images[:, 0, 0, 0].max() < -3


def test_where_content_is_drawn_has_a_gradient():
    # Smooth ones, since between two pixels the slope is another than between the next two.
    row, column = torch.meshgrid(torch.linspace(-2, 2, 32), torch.linspace(-2, 2, 32), indexing="ij")
    windows = (torch.exp(-(row**2) - column**2) - 0.5).expand(2, 1, 32, 32)
    weights = (torch.arange(32)[:, None] / 5).sin() + (torch.arange(32) / 7).cos()
    angle = torch.tensor([[0.3], [-2.0]])

    def energy(at):
        return (weights * turned(windows, at[:, :2], at[:, 2:], angle)).sum()

    start = torch.tensor([[0.13, -0.21, 0.4], [-0.2, 0.3, 0.3]])
    moved = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(energy(moved), moved)
    for i in range(2):
        for j in range(3):
            step = torch.zeros(2, 3)
            step[i, j] = 5e-3
            slope = (energy(start + step) - energy(start - step)) / 1e-2
            assert gradient[i, j].item() == pytest.approx(slope.item(), rel=0.1)
    assert gradient.abs().min() > 1


def test_next_to_nothing_has_no_place(sprites):
    """And so the gradient of its place is of the order of that of a sprite, not of 1 over nothing."""
    faint = (-1 + 0.001 * (sprites[0, 5][:1] + 1)).requires_grad_()
    centre, size, _ = content_of(faint)
    assert centre.abs().max() < 1e-3 and size.item() == pytest.approx((2 / 3) ** 0.5, rel=0.01)
    sprite = sprites[0, 5][:1].clone().requires_grad_()
    steepest = [torch.autograd.grad(content_of(x)[0].sum(), x)[0].abs().max().item() for x in (faint, sprite)]
    assert steepest[0] < steepest[1]


def test_g_draws_images_of_any_size(config):
    for shape in ((1, 28, 28), (3, 64, 48)):
        generator = ContentGenerator(config.spec, shape, 4)
        x = generator(*sample_prior(config.spec, 5, torch.Generator().manual_seed(0)))
        assert x.shape == (5, *shape) and x.abs().max() <= 1


def test_g_starts_with_sprites_of_the_places_and_the_grey_of_real_ones(config, sprites):
    x = torch.cat([images[::10] for images in sprites.values()])
    torch.manual_seed(0)
    generator = ContentGenerator(config.spec, (1, 64, 64), 4).train()
    generator.fit(x.split(100))
    drawn = generator(*sample_prior(config.spec, 500, torch.Generator().manual_seed(0)))
    (centre, size, border), (centre_of_real, size_of_real, _) = content_of(drawn), content_of(x)
    assert border.max() < -0.9 and drawn.amax(dim=(1, 2, 3)).min() > 0.5  # bright on dark, all of them
    assert torch.allclose(centre.std(dim=0), centre_of_real.std(dim=0), rtol=0.1)
    assert size.mean().item() == pytest.approx(size_of_real.mean().item(), rel=0.1)


def test_the_place_is_among_the_features_and_categories_do_not_see_it(config, sprites):
    config = dataclasses.replace(config, lambda_consistency=1.0)
    net = make_nets(config, (1, 64, 64), make_extensions(config), "cpu")[1].eval()
    x = torch.cat([sprites[0, 5][:1], sprites[0, 5][-1:]])
    features = net.trunk(x)
    centre, size, border = content_of(x)
    place = torch.cat([centre, (size / SIZE_UNIT).log(), border], dim=1)
    assert torch.equal(features[:, -N_PLACE:], PLACE_SCALE * place)
    moved = features.clone()
    moved[:, -N_PLACE:] += 1
    of, of_moved = net.q_head(features), net.q_head(moved)
    assert torch.equal(of[:, :3], of_moved[:, :3])
    assert (of[:, 3:] - of_moved[:, 3:]).abs().min() > 0
    assert not torch.equal(net.d_head(features), net.d_head(moved))


def test_an_image_is_seen_alone(discriminator, sprites):
    """Nothing in D mixes images: in training, too, an answer depends on one image."""
    x = sprites[1, 3][:8]
    for net in (discriminator.eval(), discriminator.train()):
        for all_at_once, alone in zip(net(x), net(x[:1]), strict=True):
            assert torch.allclose(all_at_once[:1], alone, atol=1e-6)


def test_r1_is_the_squared_gradient_and_has_one(discriminator, sprites):
    x = sprites[1, 3][::300]
    window, place = discriminator.trunk[0].look(x)

    def logits(window, place):
        return discriminator.d_head(discriminator.trunk[0].features(window, place))

    generator, eps, squares = torch.Generator().manual_seed(0), 1e-3, []
    with torch.no_grad():  # the squared slope along a random direction is, in the mean, the squared gradient
        for _ in range(400):
            steps = [torch.randn(part.shape, generator=generator) for part in (window, place)]
            ahead, behind = (logits(window + e * steps[0], place + e * steps[1]) for e in (eps, -eps))
            squares.append(((ahead - behind) / (2 * eps)).square())
    penalty = r1_penalty(discriminator, x)
    assert penalty.item() == pytest.approx(torch.stack(squares).mean().item(), rel=0.15)
    penalty.backward()
    assert discriminator.d_head[0].weight.grad.abs().sum() > 0
    assert discriminator.trunk[0].layers[0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.q_head.parameters())


def test_r1_leaves_running_statistics_as_they_are(config, sprites):
    torch.manual_seed(0)
    net = Discriminator(config.spec, (1, 64, 64), 4).train()
    norms = [layer for layer in net.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    before = [layer.running_var.clone() for layer in norms]
    r1_penalty(net, sprites[1, 3][::100]).backward()
    assert norms and all(torch.equal(layer.running_var, old) for layer, old in zip(norms, before, strict=True))
    assert net.trunk[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("codes", [None, "cat3,circular,uniform"])
def test_a_run_on_sprites_is_resumed_and_exported(codes, config, sprites, tmp_path):
    config = dataclasses.replace(config, codes=codes or config.codes)
    images = torch.cat([x[::16] for x in sprites.values()])
    images = ((images + 1) * 127.5).round().to(torch.uint8)
    first = Trainer(config, images)
    for _ in range(2):
        metrics = first.train_step()
    assert {"r1", "independence"} | ({"equivariance"} if codes is None else set()) <= metrics.keys()
    assert not torch.equal(first.generator.pose.own_size.weight, torch.zeros(1, config.spec.c_dim))
    state = copy.deepcopy(first.state_dict())
    expected = first.train_step()
    elsewhere = Trainer(config, images.flip(2))  # what was fitted to images is part of the state
    elsewhere.load_state_dict(state)
    assert torch.equal(elsewhere.generator.mean_window, first.generator.mean_window)
    assert torch.equal(elsewhere.generator.pose.bias, first.generator.pose.bias)
    again = Trainer(config, images)
    again.load_state_dict(state)
    assert {name: value.item() for name, value in again.train_step().items()} == {
        name: value.item() for name, value in expected.items()
    }
    torch.save(state | {"format": CHECKPOINT_FORMAT, "name": "s", "seconds": 0.0}, tmp_path / "checkpoint.pt")
    assert load_nets(tmp_path / "checkpoint.pt").step == 2
    # What is written is compared with the nets. In a process of its own, as a trace has no sizes of type int.
    export = "import sys, infogan.export as e; [e.export_run(sys.argv[1], f, f's.{f}') for f in sys.argv[2:]]"
    command = [sys.executable, "-W", "ignore", "-c", export, tmp_path / "checkpoint.pt", "torchscript", "safetensors"]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    model = model_of(tmp_path / "checkpoint.pt", None, torch.device("cpu"), "float32", [], train_encoder=False)
    for trained, plain in zip(model.trained_graphs(), model.plain_graphs(), strict=True):
        for theirs, ours in zip(trained.answers(), plain.answers(), strict=True):
            assert torch.allclose(theirs, ours, atol=1e-5)


def test_d_s_hidden_layer_is_not_given_up_for_a_class_conditional_one():
    with pytest.raises(UserError, match="--class-conditional-d: expected off with --nets content"):
        TrainConfig(nets="content")


def test_a_place_is_not_rounded_in_bfloat16(config):
    torch.manual_seed(0)
    generator = ContentGenerator(config.spec, (1, 64, 64), 4).eval()
    seen = []
    generator.pose.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        generator(*sample_prior(config.spec, 3, torch.Generator().manual_seed(0)))
    assert [poses.dtype for poses in seen] == [torch.float32]
