"""One's own image through the model: the encoder, the inversion, and what a picture is made into."""

import dataclasses
import re

import numpy as np
import pytest
import torch
from conftest import small_config
from photographs import photograph
from PIL import Image
from torch import nn

import infogan
from infogan import (
    Generator,
    LatentSpec,
    Trainer,
    UserError,
    auxiliary,
    load_nets,
    posterior_categories,
    posterior_means,
    sample_prior,
)
from infogan.data.batches import to_unit_range
from infogan.evaluation.classifier import load_digit_classifier
from infogan.evaluation.interpolations import clear_digit_shares
from infogan.inversion import encoder_training
from infogan.inversion.encoder import Encoder
from infogan.inversion.encoder_training import kept_encoder
from infogan.inversion.invert import codes_read, psnr_db
from infogan.inversion.preparation import Layout, find_layout, prepare_pictures
from infogan.training.run import Run


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 9, 21), (3, 64, 48)])
def test_the_encoder_gives_the_noise_of_images_of_any_size(shape):
    spec = LatentSpec.parse("cat10,uniform", noise_dim=7)
    z = Encoder(spec, shape)(torch.rand(3, *shape) * 2 - 1)
    assert z.shape == (3, 7)


def test_the_encoder_is_small_enough_to_travel_with_the_model():
    encoder = Encoder(LatentSpec.parse("cat10,uniform,uniform", noise_dim=62), (1, 28, 28))
    assert sum(p.numel() for p in encoder.parameters()) < 250_000


@pytest.fixture(scope="module")
def nets(digits, tmp_path_factory):
    """Untrained nets, from a run on disk; the noise changes G's images as much as that of a trained G does."""
    run = Run.create(small_config(name="untrained", ema_decay=0.0), tmp_path_factory.mktemp("inversion"))
    trainer = Trainer(run.read_config(), digits.images)
    for layer in trainer.generator.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()  # wider than N(0, 0.02)
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(30):  # for the running statistics of BatchNorm
            trainer.generator(*sample_prior(trainer.spec, 64, rng))
    run.save_checkpoint({"name": run.name, **trainer.state_dict()})
    return load_nets(run.folder)


def test_inversion_comes_closer_than_its_start_and_keeps_the_codes_that_q_reads(nets, digits):
    images = digits.test_images[:6]
    encoder = encoder_training.train_encoder(nets, steps=20)
    start, found = infogan.invert(nets, images, encoder, steps=0), infogan.invert(nets, images, encoder, steps=60)
    assert (found.psnr_db > start.psnr_db).all()
    assert torch.equal(found.images, to_unit_range(images))
    q_params = nets.discriminator(found.images)[1]
    assert torch.equal(found.c[:, :10].argmax(1), posterior_categories(nets.spec, q_params)[:, 0])
    assert torch.equal(found.c[:, 10:], posterior_means(nets.spec, q_params).clamp(-1, 1))
    assert torch.equal(found.reconstruction, nets.generator(found.z, found.c))
    read = posterior_categories(nets.spec, nets.discriminator(found.reconstruction)[1])[:, 0]
    assert torch.equal(found.q_agrees, read == found.c[:, :10].argmax(1))


def test_an_image_that_g_has_drawn_is_found_again(nets):
    z, c = sample_prior(nets.spec, 4, torch.Generator().manual_seed(0))
    encoder = encoder_training.train_encoder(nets, steps=20)
    drawn = nets.generator(z, c).detach()
    c = infogan.invert(nets, drawn, encoder, steps=0).c  # what Q reads, which is not yet what was drawn
    found = infogan.invert(nets, nets.generator(z, c).detach(), encoder, steps=120)
    assert found.psnr_db.min() > 25


def test_an_image_is_inverted_alone_as_among_others_and_in_inference_mode(nets, digits):
    encoder = encoder_training.train_encoder(nets, steps=5)
    images = digits.test_images[:3]
    together = infogan.invert(nets, images, encoder, steps=20)
    with torch.inference_mode():
        alone = infogan.invert(nets, to_unit_range(images[1:2]), encoder, steps=20)
    torch.testing.assert_close(alone.z, together.z[1:2], rtol=0, atol=0.02)
    assert all(p.grad is None for p in nets.generator.parameters())


def test_continuous_codes_stay_within_the_prior_s_range():
    spec = LatentSpec.parse("gaussian,cat3,uniform", q_std=None)
    q_params = torch.tensor([[5.0, 0.0, 0.1, 0.9, 0.3, -4.0, 0.0]])
    c = codes_read(spec, q_params)
    assert c[0].tolist() == pytest.approx([2.3263, 0, 1, 0, -1], abs=1e-4)


def test_an_angle_is_read_as_the_mean_direction():
    c = codes_read(LatentSpec.parse("circular,cat2", q_std=1.0), torch.tensor([[0.0, -3.0, 0.1, 0.9]]))
    assert c[0].tolist() == pytest.approx([-0.5, 0, 1])


def test_psnr_by_hand():
    x = torch.zeros(1, 1, 2, 2)
    assert psnr_db(x, x + 0.2).item() == pytest.approx(20)  # a tenth of the range
    assert psnr_db(x, x).item() == float("inf")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(2, 28, 28), r"images: expected shape \(n, 1, 28, 28\), n >= 1, got \(2, 28, 28\)"),
        (torch.zeros(0, 1, 28, 28), r"images: expected shape"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.int64), r"expected uint8 in \[0, 255\], or floats .* got torch.int64"),
        (torch.full((1, 1, 28, 28), 2.0), r"expected floats in \[-1, 1\], got 2 to 2"),
        (torch.full((1, 1, 28, 28), float("nan")), r"expected floats in \[-1, 1\], got nan"),
    ],
)
def test_images_that_cannot_be_inverted_are_refused(nets, images, message):
    with pytest.raises(UserError, match=message):
        infogan.invert(nets, images)


def test_the_encoder_is_trained_once_kept_and_made_anew_for_another_checkpoint(nets, monkeypatch, capsys):
    trained = []

    def train(nets):
        trained.append(nets.step)
        return Encoder(nets.spec, nets.image_shape).eval()

    monkeypatch.setattr(encoder_training, "train_encoder", train)
    path = nets.checkpoint.parent.parent / "encoder.safetensors"
    first, second = kept_encoder(nets), kept_encoder(nets)
    assert trained == [0] and path.is_file()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    other = dataclasses.replace(nets, step=1)
    kept_encoder(other)
    assert trained == [0, 1]
    path.write_bytes(path.read_bytes()[:1000])
    kept_encoder(other)
    assert trained == [0, 1, 1]
    path.unlink()
    path.mkdir()  # where nothing can be written
    kept_encoder(nets)
    path.rmdir()
    assert "warning: the encoder is not kept" in capsys.readouterr().err


def test_the_encoder_learns_the_noise_of_what_g_draws(nets):
    z, c = sample_prior(nets.spec, 64, torch.Generator().manual_seed(9))
    x = nets.generator(z, c).detach()
    errors = []
    for steps in (1, 40):
        encoder = encoder_training.train_encoder(nets, steps=steps)
        with torch.no_grad():
            errors.append((nets.generator(encoder(x), c) - x).square().mean().item())
    assert errors[1] < 0.8 * errors[0]


class Draws(Generator):
    """A G that draws given images, whatever its latents."""

    def __init__(self, images):
        nn.Module.__init__(self)
        self.images = nn.Parameter(to_unit_range(images), requires_grad=False)

    def forward(self, z, c):
        return self.images[: len(z)]


@pytest.fixture
def digits_nets(nets, digits):
    """Nets whose G draws real digits."""
    return dataclasses.replace(nets, generator=Draws(digits.images))


@pytest.fixture(scope="module")
def classifier():
    return load_digit_classifier()


def read_by(classifier, prepared):
    return classifier(to_unit_range(torch.stack([picture.image for picture in prepared]))).argmax(1)


def test_the_layout_of_digits_is_mnist_s(digits_nets):
    assert find_layout(digits_nets) == Layout(is_light=False, object_px=20, by_mass=True)


def test_images_without_a_plain_background_have_no_layout(nets, digits):
    cropped = digits.images[:, :, 8:20, 8:20]
    assert find_layout(dataclasses.replace(nets, generator=Draws(cropped))) is None
    in_colour = dataclasses.replace(nets, image_shape=(3, 28, 28))
    assert find_layout(in_colour) is None


def test_a_test_image_saved_as_a_file_comes_back_as_it_is(digits_nets, digits, tmp_path):
    digit = digits.test_images[0, 0].numpy()
    Image.fromarray(digit).save(tmp_path / "same.png")
    Image.fromarray(255 - digit).save(tmp_path / "inverted.png")
    same, inverted = prepare_pictures(digits_nets, [tmp_path / "same.png", tmp_path / "inverted.png"])
    assert np.array_equal(same.image[0], digit) and same.what == "as it is"
    assert np.array_equal(inverted.image[0], digit) and inverted.what == "inverted: dark on light"


@pytest.mark.parametrize("kind", [{}, {"chalk": True}, {"turned": True}], ids=["paper", "chalk", "turned"])
def test_photographed_digits_are_cut_out_and_stay_the_same_digits(kind, digits_nets, digits, classifier, tmp_path):
    images, labels = digits.test_images[:20], digits.test_labels[:20]
    files = [photograph(x[0].numpy(), tmp_path / f"{i}.jpg", i, **kind) for i, x in enumerate(images)]
    prepared = prepare_pictures(digits_nets, files)
    assert (read_by(classifier, prepared) == labels).float().mean() >= 0.95
    # Pixel for pixel they are near, which digits two pixels off are not.
    errors = [
        (to_unit_range(p.image) - to_unit_range(x)).square().mean().item()
        for p, x in zip(prepared, images, strict=True)
    ]
    assert np.mean(errors) < 0.2
    assert all(
        picture.what.startswith("cropped to" if "chalk" in kind else "inverted: dark on light, cropped to")
        for picture in prepared
    )


@pytest.mark.parametrize("ink", [0, 255])
def test_ink_on_a_transparent_background_is_found(ink, digits_nets, digits, classifier, tmp_path):
    images, labels = digits.test_images[:5, 0].numpy(), digits.test_labels[:5]
    for i, digit in enumerate(images):
        alpha = Image.fromarray(digit).resize((90, 90), Image.Resampling.BICUBIC)
        picture = Image.new("RGBA", (200, 120), (ink, ink, ink, 0))
        picture.paste(Image.merge("RGBA", (*[Image.new("L", alpha.size, ink)] * 3, alpha)), (70, 20))
        picture.save(tmp_path / f"{i}.png")
    prepared = prepare_pictures(digits_nets, [tmp_path / f"{i}.png" for i in range(5)])
    assert torch.equal(read_by(classifier, prepared), labels)


def test_a_picture_of_nothing_is_refused(digits_nets, tmp_path):
    noise = np.random.default_rng(0).normal(200, 4, (100, 100, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "blank.png")
    with pytest.raises(UserError, match=r"--image: expected something on a plain background, got .*blank.png"):
        prepare_pictures(digits_nets, [tmp_path / "blank.png"])
    with pytest.raises(UserError, match=r"--image: cannot read .*nowhere.png: there is no such file"):
        prepare_pictures(digits_nets, [tmp_path / "nowhere.png"])


def test_for_other_models_the_centre_is_resized(nets, tmp_path):
    picture = np.zeros((40, 80, 3), np.uint8)
    picture[:, 20:60, 0] = 255  # a red square in the middle
    Image.fromarray(picture).save(tmp_path / "red.png")
    (prepared,) = prepare_pictures(dataclasses.replace(nets, image_shape=(3, 32, 32)), [tmp_path / "red.png"])
    assert prepared.image.shape == (3, 32, 32) and prepared.what == "its centre, resized from 80 x 40"
    assert prepared.image[0].min() > 240 and prepared.image[1:].max() == 0


def test_clear_digits_are_counted_for_each_path_of_a_category(digits_nets, nets, digits):
    options = auxiliary.GalleryOptions(n_columns=5, n_pairs=4)
    shares = clear_digit_shares(digits_nets, options)
    assert shares.keys() == {"hold", "switch", "blend"} and min(shares.values()) > 0.9
    laid_over_another = Draws(digits.images // 2 + digits.images.flip(0) // 2)
    assert max(clear_digit_shares(dataclasses.replace(nets, generator=laid_over_another), options).values()) < 0.8
    fashion = dataclasses.replace(nets, config=dataclasses.replace(nets.config, dataset="fashion"))
    assert clear_digit_shares(fashion, options) == {}


def test_interpolate_puts_images_of_one_s_own_through_the_model(nets, digits, tmp_path, script_here, monkeypatch):
    monkeypatch.setattr(encoder_training, "train_encoder", lambda nets: Encoder(nets.spec, nets.image_shape).eval())
    files = [tmp_path / "one.png", tmp_path / "other one.png"]
    for file, digit in zip(files, digits.test_images[:2, 0].numpy(), strict=True):
        Image.fromarray(digit).save(file)
    flags = ("--checkpoint", nets.checkpoint, "--out-dir", tmp_path, "--columns", 3, "--image")
    code, out, err = script_here("interpolate.py", *flags, *files)
    assert code == 0, err
    what = ["sweep_c1", "sweep_c2", "sweep_c3", "grid_c2_c3", "interpolation_linear", "interpolation_spherical"]
    folder = tmp_path / "samples" / "untrained"
    assert out.split() == [str(folder / f"one_other-one_{name}.png") for name in what]
    assert re.search(r"one.png: as it is; Q reads c1 = \d, c2.*, and .* in the reconstruction; PSNR [\d.]+ dB", err)
    assert "share of clear digits in the interpolations, by --category: hold" in err
    code, out, err = script_here("interpolate.py", *flags, tmp_path / "none.png")
    assert (code, out) == (2, "") and err == f"error: --image: cannot read {tmp_path}/none.png: there is no such file\n"
