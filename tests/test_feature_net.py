"""The feature net: what is shipped, and how it is trained."""

import itertools
import shutil
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from infogan.data.batches import to_unit_range
from infogan.data.datasets import ImageDataset, load_dataset
from infogan.evaluation.classifier import classifier_accuracy
from infogan.evaluation.feature_net import CHARACTERS, FEATURE_DIM, FeatureNet, load_feature_net
from infogan.evaluation.feature_net_training import (
    CONTENT_PX,
    character_views,
    draw_characters,
    photograph_views,
    train_feature_net,
)
from infogan.evaluation.shipped_nets import save_shipped
from infogan.system.errors import NonFiniteLossError, UserError

FONTS = Path(matplotlib.get_data_path(), "fonts", "ttf")


@pytest.fixture(scope="module")
def characters():
    return draw_characters([FONTS / f"DejaVu{name}.ttf" for name in ("Sans", "SansMono-Bold", "Serif")])


@pytest.fixture(scope="module")
def in_colour(digits_5k):
    """1,000 digits of 3 x 32 x 32, which stand for photographs here, and which digit each is."""
    order = np.random.default_rng(0).permutation(5000)[:1000]  # they are sorted by digit
    images, labels = (torch.from_numpy(part[order]) for part in digits_5k)
    return F.pad(images[:, None], (2, 2, 2, 2)).repeat(1, 3, 1, 1), labels


def fresh() -> FeatureNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return FeatureNet()


def weights(net: FeatureNet) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in net.state_dict().values()])


def reads_digits(net: FeatureNet, images: torch.Tensor, labels: torch.Tensor) -> float:
    """The share of digits that the net takes for themselves, among the ten digits."""
    return classifier_accuracy(lambda x: net.logits(net(x.expand(-1, 3, -1, -1)))[0][:, :10], images, labels)


def test_the_shipped_net_reads_handwritten_digits_though_it_learned_from_fonts(digits_5k):
    images, labels = torch.from_numpy(digits_5k[0][::5, None]), torch.from_numpy(digits_5k[1][::5])
    assert reads_digits(load_feature_net(), images, labels) > 0.85


@pytest.mark.slow
def test_the_shipped_net_tells_clothes_apart_though_it_saw_none(data_dir):
    clothes, net = load_dataset("fashion", data_dir), load_feature_net()
    with torch.no_grad():
        features = net(to_unit_range(clothes.test_images[:2000]).expand(-1, 3, -1, -1)).numpy()
    labels = clothes.test_labels[:2000].numpy()
    centres = np.stack([features[:1000][labels[:1000] == kind].mean(axis=0) for kind in range(10)])
    nearest = np.square(features[1000:, None] - centres).sum(axis=2).argmin(axis=1)
    assert (nearest == labels[1000:]).mean() > 0.6


def test_what_is_saved_is_what_is_loaded(tmp_path):
    net = fresh()
    digest = save_shipped(net, tmp_path / "a.pt")
    loaded = load_feature_net(tmp_path / "a.pt")
    assert torch.equal(weights(loaded), weights(net)) and loaded.sha256 == digest and not loaded.training
    with pytest.raises(UserError, match=r"^feature net: .*b\.pt.*; python scripts/train_feature_net\.py writes"):
        load_feature_net(tmp_path / "b.pt")


def test_every_character_is_drawn_in_the_middle_and_equally_large(characters):
    images, labels = characters
    assert len(images) == 3 * len(CHARACTERS) and labels.tolist() == [*range(len(CHARACTERS))] * 3
    for image in images[:, 0]:
        rows, columns = ((image > 0).any(dim=axis).nonzero() for axis in (1, 0))
        height, width = (int(at.max() - at.min()) + 1 for at in (rows, columns))
        assert abs(max(height, width) - CONTENT_PX) <= 1
        for at in (rows, columns):
            assert abs(int(at.max() + at.min()) + 1 - image.shape[0]) <= 2
    zero, one = images[labels == 0].float(), images[labels == 1].float()
    assert (zero[:, 0].mean(0) - one[:, 0].mean(0)).abs().max() > 100


def test_a_view_differs_and_can_still_be_read(characters, in_colour):
    rng, net = torch.Generator().manual_seed(0), load_feature_net()
    drawn = characters[0][:60]
    views = character_views(drawn, rng)
    assert views.shape == (60, 3, 32, 32) and views.abs().max() <= 1
    assert all(
        (a - b).abs().mean() > 0.02 for a, b in itertools.pairwise(character_views(drawn[:1].repeat(9, 1, 1, 1), rng))
    )
    with torch.no_grad():
        read = net.logits(net(views))[0]
    # Chance is 1 in 62; O and 0, I and l are one in most fonts.
    assert (read.argmax(1) == characters[1][:60]).float().mean() > 0.5
    seen = photograph_views(in_colour[0][:60], rng)
    assert seen.shape == (60, 3, 32, 32) and seen.abs().max() <= 1
    as_they_were = to_unit_range(in_colour[0][:60]).flatten(1)
    is_near = torch.cdist(seen.flatten(1), as_they_were).argmin(1) == torch.arange(60)
    assert 0.1 < is_near.float().mean() < 1


def test_it_learns_what_it_is_shown(characters, in_colour):
    net, losses = fresh(), []
    few = characters[1] < 10  # of all 62, more steps learn something
    train_feature_net(
        net,
        (characters[0][few], characters[1][few]),
        in_colour,
        steps=60,
        seed=0,
        n_characters=48,
        n_photographs=48,
        on_step=losses.append,
    )
    assert [progress.step for progress in losses] == [*range(1, 61)] and not net.training
    assert classifier_accuracy(lambda x: net.logits(net(x))[1], *in_colour) > 0.5
    first, last = losses[:10], losses[-10:]
    for name in ("characters_nats", "photographs_nats"):
        before, after = (np.mean([getattr(progress, name) for progress in part]) for part in (first, last))
        assert after < 0.9 * before


def test_a_seed_fixes_every_weight_and_touches_no_other_randomness(characters, in_colour):
    state, trained = torch.get_rng_state(), []
    for seed in (1, 1, 2):
        train_feature_net(net := fresh(), characters, in_colour, steps=2, seed=seed, n_characters=8, n_photographs=8)
        trained.append(weights(net))
    assert torch.equal(trained[0], trained[1]) and not torch.equal(trained[0], trained[2])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_loss_that_is_not_finite_stops_it(characters, in_colour):
    net = fresh()
    with torch.no_grad():
        net.character_head.weight.fill_(torch.inf)
        before = [parameter.clone() for parameter in net.parameters()]
    with pytest.raises(NonFiniteLossError, match=r"the losses of step 1 are \[(inf|nan), "):
        train_feature_net(net, characters, in_colour, steps=2, seed=0)
    assert all(map(torch.equal, before, net.parameters()))  # the update was not done


class TestScript:
    @pytest.fixture
    def run(self, script_here, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        Path("fonts/some").mkdir(parents=True)
        shutil.copy(FONTS / "DejaVuSans.ttf", "fonts/some")
        return partial(script_here, "train_feature_net.py")

    def test_trains_scores_and_writes(self, run, in_colour, monkeypatch):
        images, labels = in_colour
        small = ImageDataset("mine", images[:800], labels[:800], images[800:], labels[800:])
        monkeypatch.setattr("infogan.data.datasets.load_dataset", lambda *_: small)
        code, out, _ = run("--fonts", "fonts", "--steps", "2", "--out", "a.pt")
        assert code == 0 and "fonts: 1; characters: 62; photographs: 800" in out
        loaded = load_feature_net(Path("a.pt"))
        accuracy = classifier_accuracy(lambda x: loaded.logits(loaded(x))[1], small.test_images, small.test_labels)
        assert f"accuracy of 200 test photographs {accuracy:.4f}" in out and f"sha256 {loaded.sha256}" in out
        assert loaded.trunk(torch.zeros(1, 3, 32, 32)).shape[1] == FEATURE_DIM

    def test_bad_input_is_one_line_and_code_2(self, run, digits, monkeypatch):
        Path("empty").mkdir()
        Path("damaged").mkdir()
        Path("damaged/a.ttf").write_bytes(b"no font")
        whole = (FONTS / "DejaVuSans.ttf").read_bytes()  # its header is sound, and what it draws is not
        Path("glyphs").mkdir()
        Path("glyphs/a.ttf").write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
        Path("symbols").mkdir()
        shutil.copy(FONTS / "STIXNonUni.ttf", "symbols")
        monkeypatch.setattr("infogan.data.datasets.load_dataset", lambda *_: digits)
        for flags, expected in (
            (["--fonts", "empty"], "--fonts: expected 1 to 2,000 .ttf, .otf, .woff files in the folder, got 0"),
            (["--fonts", "damaged"], "--fonts: damaged/a.ttf cannot be read: "),
            (["--fonts", "glyphs"], "--fonts: glyphs/a.ttf cannot be read: "),
            (["--fonts", "symbols"], "--fonts: expected fonts with digits or letters, got 1 without any"),
            (["--fonts", "fonts", "--steps", "0"], "--steps: expected 1 to "),
            (
                ["--fonts", "fonts"],
                "--dataset: expected 3 x 32 x 32 in 10 classes, some kept apart as test images, got 1 x 28",
            ),
        ):
            code, _, error = run(*flags, "--out", "a.pt")
            assert code == 2 and error.startswith(f"error: {expected}") and error.count("\n") == 1
            assert not Path("a.pt").exists()
