"""The paper's other set-ups, against its appendix: sizes of layers, codes, rates; and that they take steps."""

import pytest
import torch
from torch import nn

from infogan import TrainConfig, Trainer, UserError
from infogan.config.command_line import parse_train_flags
from infogan.paper_nets import build_paper_nets

# Units of each layer with weights, and the input of G, of appendices C.2 to C.5 at w = 64.
G_LAYERS = {
    "svhn": [168, 2 * 2 * 448, 256, 128, 64, 3],
    "celeba": [228, 2 * 2 * 448, 256, 128, 64, 3],
    "faces": [133, 1024, 8 * 8 * 128, 64, 1],
    "chairs": [189, 1024, 8 * 8 * 256, 256, 256, 128, 64, 1],
}
TRUNK_LAYERS = {
    "svhn": [64, 128, 256],
    "celeba": [64, 128, 256],
    "faces": [64, 128, 1024],
    "chairs": [64, 128, 256, 256, 256, 1024],
}
N_FEATURES = {"svhn": 4 * 4 * 256, "celeba": 4 * 4 * 256, "faces": 1024, "chairs": 1024}
SHAPES = {"svhn": (3, 32, 32), "celeba": (3, 32, 32), "faces": (1, 32, 32), "chairs": (1, 64, 64)}


def widths(net):
    return [
        m.out_features if isinstance(m, nn.Linear) else m.out_channels
        for m in net.modules()
        if hasattr(m, "weight") and not isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)
    ]


@pytest.mark.parametrize("name", SHAPES)
def test_the_nets_are_those_of_the_appendix(name):
    config = TrainConfig.from_preset("paper", dataset=name)
    generator, discriminator = build_paper_nets(config.nets, config.spec, SHAPES[name], config.width)
    assert [config.spec.noise_dim + config.spec.c_dim, *widths(generator)] == G_LAYERS[name]
    assert widths(discriminator.trunk) == TRUNK_LAYERS[name]
    assert widths(discriminator.q_head) == [128, config.spec.q_dim]
    assert discriminator.d_head[0].in_features == discriminator.q_head[0].in_features == N_FEATURES[name]
    z, c = torch.randn(3, config.noise_dim), torch.zeros(3, config.spec.c_dim)
    x = generator(z, c)
    assert x.shape == (3, *SHAPES[name]) and x.abs().max() <= 1
    d_logits, q_params = discriminator(x)
    assert d_logits.shape == (3,) and q_params.shape == (3, config.spec.q_dim)


def test_the_set_ups_are_the_paper_s_with_a_source_for_each_value():
    known = {"svhn": (4, 4, 124), "celeba": (10, 0, 128), "faces": (0, 5, 128), "chairs": (3, 1, 128)}
    for name, (n_categorical, n_continuous, noise_dim) in known.items():
        config = parse_train_flags(["--preset", "paper", "--dataset", name], "").config
        spec = config.spec
        assert (len(spec.categorical), len(spec.continuous), spec.noise_dim) == (n_categorical, n_continuous, noise_dim)
        assert (config.lr_g, config.lr_d, config.q_std, config.lambda_consistency) == (1e-3, 2e-4, None, 0)
        lines = config.describe().splitlines()
        for field in ("codes", "noise_dim", "nets", "width", "lr_g"):
            assert next(line for line in lines if line.startswith(f"{field} = ")).partition(" # ")[2]
    assert TrainConfig.from_preset("paper", dataset="chairs").lambda_cont == 10
    assert TrainConfig.from_preset("paper", dataset="mnist").nets == "stages"
    assert TrainConfig.from_preset("digits", dataset="svhn").noise_dim == 62  # the paper's preset alone


@pytest.mark.parametrize("name", SHAPES)
def test_a_narrow_one_takes_steps_on_real_digits(name, digits):
    channels, height, width_px = SHAPES[name]
    images = (
        nn.functional.interpolate(digits.images[:64].float(), (height, width_px)).byte().expand(-1, channels, -1, -1)
    )
    config = TrainConfig.from_preset(
        "paper", dataset=name, width=4, batch_size=16, steps=3, device="cpu", precision="float32"
    )
    trainer = Trainer(config, images)
    before = [p.clone() for p in (*trainer.generator.parameters(), *trainer.discriminator.parameters())]
    for _ in range(3):
        assert all(value.isfinite() for value in trainer.train_step().values())
    after = (*trainer.generator.parameters(), *trainer.discriminator.parameters())
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_images_of_another_size_are_refused_with_the_flag_that_makes_them_fit(digits):
    config = TrainConfig.from_preset("paper", dataset="svhn", width=4)
    with pytest.raises(UserError, match=r"--nets svhn: expected images of 32 x 32 pixels, got 28 x 28; --size 32"):
        Trainer(config, digits.images[:256])
