"""One's own image through the model: the encoder, the inversion, and what a picture is made into."""

import dataclasses

import pytest
import torch
from conftest import small_config

import infogan
from infogan import LatentSpec, Trainer, UserError, load_nets, posterior_categories, posterior_means, sample_prior
from infogan.data.batches import to_unit_range
from infogan.inversion import encoder_training
from infogan.inversion.encoder import Encoder
from infogan.inversion.encoder_training import kept_encoder
from infogan.inversion.invert import codes_read, psnr_db
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
