"""The pose of what G draws: fitted to places whose components are known, and by which codes."""

import math

import pytest
import torch

from infogan import LatentSpec, UserError, sample_prior
from infogan.pose import AXES, Pose

N = 20_000


def latents_of(spec, n=N, seed=0):
    return torch.cat(sample_prior(spec, n, torch.Generator().manual_seed(seed)), dim=1)


def columns(spec, *names):
    return [spec.noise_dim + spec.c_slices[spec.names.index(name)].start for name in names]


@pytest.fixture
def places():
    """Uniform and independent ones."""
    at = torch.rand((N, 3), generator=torch.Generator().manual_seed(1)) * 2 - 1
    return at * torch.tensor([0.5, 0.4, 0.1]) + torch.tensor([0.1, -0.1, 0.3])


def shares(pose, spec, places, names):
    """Of the codes that free codes give back, for the true ones: |correlation|, a row each."""
    weight = pose.weight[:, columns(spec, *names)]
    codes = torch.linalg.lstsq(weight, (places - pose.bias).T).solution
    return torch.corrcoef(torch.cat([codes, places.T]))[: len(names), len(names) :].abs()


def test_free_codes_are_the_independent_components_of_places(places):
    """Each follows one axis, and none of them a mixture: a principal component of x and y would be any."""
    spec = LatentSpec.parse("cat3,uniform,uniform,uniform", noise_dim=4)
    pose = Pose(spec)
    pose.fit(places)
    found = shares(pose, spec, places, ("c2", "c3", "c4"))
    assert found.amax(dim=0).min() > 0.999 and found.amax(dim=1).min() > 0.999
    drawn = pose(latents_of(spec))
    assert torch.allclose(drawn[:, :3].mean(dim=0), places.mean(dim=0), atol=0.01)
    assert torch.allclose(drawn[:, :3].std(dim=0), places.std(dim=0), rtol=0.02)
    assert (drawn[:, :3].amax(dim=0) - places.amax(dim=0)).abs().max() < 0.02  # uniform, as the places are
    assert (drawn[:, 3] == 0).all()


def test_what_was_mixed_is_taken_apart():
    """Places on a diamond: its sides, not x and y, are independent."""
    at = torch.rand((N, 2), generator=torch.Generator().manual_seed(2)) - 0.5
    places = torch.stack([at[:, 0] + at[:, 1], at[:, 0] - at[:, 1], torch.full((N,), 0.3)], dim=1)
    spec = LatentSpec.parse("uniform,uniform,uniform", noise_dim=1)
    pose = Pose(spec)
    pose.fit(places)
    found = pose.weight[:2, columns(spec, "c1", "c2")].abs()
    assert torch.allclose(found, torch.full((2, 2), 0.5), atol=0.01)
    # All sizes are equal, so that the third code poses nothing, and draws.
    assert pose.draws().tolist() == [1.0, 0.0, 0.0, 1.0]
    assert torch.equal(pose.weight[2], torch.zeros(4))


def test_named_codes_have_their_axes_and_free_ones_the_rest(places):
    spec = LatentSpec.parse("uniform,scale,gaussian:shift-x,slant", noise_dim=2)
    pose = Pose(spec)
    pose.fit(places)
    c1, c2, c3, c4 = columns(spec, "c1", "c2", "c3", "c4")
    spread = places.std(dim=0)
    assert pose.weight[AXES.index("scale"), c2].item() == pytest.approx(spread[2].item() * 3**0.5, rel=1e-3)
    assert pose.weight[AXES.index("shift-x"), c3].item() == pytest.approx(spread[0].item(), rel=1e-3)
    assert pose.weight[AXES.index("shift-y"), c1].item() == pytest.approx(spread[1].item() * 3**0.5, rel=1e-3)
    assert (pose.weight != 0).sum() == 3
    assert pose.draws()[[c1, c2, c3]].tolist() == [0.0] * 3 and pose.draws()[c4] == 1.0


def test_what_codes_pose_is_said_in_words(places):
    pose = Pose(LatentSpec.parse("cat3,shift-y,circular:rotation/4,slant", noise_dim=3))
    pose.fit(places)
    assert pose.describe() == [
        f"c2 (shift-y): moves what G draws by 0.00 in x, {places[:, 1].std() * 3**0.5:.2f} in y and 0.000 in size, in "
        "half sides per unit",
        "c3 (rotation): turns what G draws by 45° per unit",
    ]


def test_noise_takes_what_no_code_does(places):
    spec = LatentSpec.parse("cat3", noise_dim=5)
    pose = Pose(spec)
    pose.fit(places)
    assert pose.draws().tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert torch.allclose(pose(latents_of(spec))[:, :3].std(dim=0), places.std(dim=0), rtol=0.02)
    with pytest.raises(UserError, match="--noise-dim: expected at least 3 with these codes"):
        Pose(LatentSpec.parse("cat3", noise_dim=2)).fit(places)
    with pytest.raises(UserError, match="--noise-dim: expected at least 4 with these codes"):  # one says which quarter
        Pose(LatentSpec.parse("cat3,circular:rotation/4", noise_dim=3)).fit(places)


def test_what_always_goes_together_is_one_code_s():
    """Places on a line: one component, along it, and the other codes are left to draw from."""
    at = torch.rand(400, generator=torch.Generator().manual_seed(3)) - 0.5
    spec = LatentSpec.parse("uniform,uniform,uniform", noise_dim=1)
    pose = Pose(spec)
    pose.fit(torch.stack([at, at, torch.full((400,), 0.3)], dim=1))
    assert pose.draws().tolist() == [1.0, 0.0, 1.0, 1.0]
    assert pose.weight[:, 1].tolist() == pytest.approx([0.5, 0.5, 0.0], rel=0.05)
    pose.fit(torch.tensor([[0.0, 0.0, 0.3], [0.4, 0.2, 0.3]]))  # two images differ in one way
    assert pose.draws().sum() == 3.0


def test_what_is_named_moves_however_little_images_differ():
    places = torch.zeros(50, 3).index_fill(1, torch.tensor([2]), 0.3)
    places[:, 0] = torch.linspace(-0.02, 0.02, 50)
    pose = Pose(LatentSpec.parse("uniform,shift-x", noise_dim=1))
    pose.fit(places)
    assert pose.weight[0].tolist() == pytest.approx([0.0, 0.0, 0.02], rel=0.05)
    assert pose.draws().tolist() == [1.0, 1.0, 0.0]


def test_a_code_that_is_named_for_rotation_turns_and_no_other():
    assert Pose(LatentSpec.parse("circular,circular:rotation/4", noise_dim=1)).turns_by == 1
    assert Pose(LatentSpec.parse("circular,rotation", noise_dim=1)).turns_by is None
    assert Pose(LatentSpec.parse("cat3,circular,circular", noise_dim=1)).turns_by == 1


def test_a_size_of_its_own_has_what_is_drawn_but_by_no_angle():
    spec = LatentSpec.parse("cat2,circular,circular:hue,slant", noise_dim=1)
    pose = Pose(spec)
    torch.nn.init.ones_(pose.own_size.weight)
    assert pose.sizes_by().tolist() == [1.0, 1.0, 0.0, 0.0, 1.0]
    latents = torch.tensor([[5.0, 0.0, 1.0, 0.3, 0.9, -0.5]])
    assert pose(latents)[0, 2].item() == pytest.approx(0.4 * math.exp(0.5))


@pytest.mark.parametrize("noise", ["normal", "uniform"])
def test_an_angle_of_any_order_turns_by_every_angle(noise):
    spec = LatentSpec.parse("cat3,circular:rotation/4", noise_dim=2, noise=noise)
    pose = Pose(spec)
    latents = latents_of(spec)
    angle, code = pose(latents)[:, 3], latents[:, -1]
    wrapped = (angle - math.pi * code / 4) % (math.pi / 2)
    assert torch.minimum(wrapped, math.pi / 2 - wrapped).max() < 1e-5  # the code says which, but for quarter turns
    in_turns = (angle / (2 * math.pi)) % 1
    counts = torch.histc(in_turns, bins=16, min=0, max=1) / N
    assert torch.allclose(counts, torch.full((16,), 1 / 16), atol=0.01)
    assert pose.draws().tolist() == [0.0] + [1.0] * 4 + [0.0]


def test_a_hue_does_not_turn():
    spec = LatentSpec.parse("circular:hue,circular", noise_dim=1)
    pose = Pose(spec)
    assert pose.draws().tolist() == [1.0, 1.0, 0.0]
    latents = torch.tensor([[0.0, 0.7, 0.25]])
    assert pose(latents)[0, 3].item() == pytest.approx(math.pi / 4)


def test_places_that_are_all_equal_pose_nothing():
    pose = Pose(LatentSpec.parse("uniform,shift-x", noise_dim=1))
    pose.fit(torch.tensor([[0.1, 0.2, 0.3]]).repeat(50, 1))
    assert torch.equal(pose.weight, torch.zeros(3, 3))
    assert torch.allclose(pose(torch.ones(1, 3)), torch.tensor([[0.1, 0.2, 0.3, 0.0]]))
