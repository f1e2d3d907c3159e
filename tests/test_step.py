"""Gradient-level claims: who moves in which update, and that λ = 0 is the vanilla GAN, bit for bit."""

import copy

import pytest
import torch
from stepping import build_step, moved, owned, parts, weights

from infogan import NonFiniteLossError
from infogan.losses import discriminator_loss, generator_loss, mutual_information_lower_bound
from infogan.training.step import InfoGANStep
from infogan.training.vanilla import VanillaStep

KINDS = [InfoGANStep, VanillaStep]


@pytest.fixture
def plain(small):
    """Makes a configuration of small nets with the paper's objective alone."""
    return lambda **changes: small(lambda_consistency=0.0, lambda_equivariance=0.0, **changes)


@pytest.mark.parametrize("kind", KINDS)
def test_each_update_moves_its_own_parts_and_no_others(plain, batch, kind):
    config = plain()
    step = build_step(config, kind)
    x_real, z, c = batch(config)
    x_fake = step.generator(z, c)
    before = weights(step)
    step.update_discriminator(x_real, x_fake.detach(), c)
    assert moved(step, before) == {"trunk", "d_head", "q_head"}
    before = weights(step)
    step.update_generator(x_fake, c)
    assert moved(step, before) == {"G"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_has_exactly_one_optimizer(plain, kind):
    step = build_step(plain(), kind)
    every = {id(p) for part in parts(step).values() for p in part.parameters()}
    assert owned(step.opt_d) | owned(step.opt_g) == every
    assert not owned(step.opt_d) & owned(step.opt_g)


def test_a_probe_learns_at_the_rate_of_the_q_it_is_compared_with(plain):
    config = plain()

    def q_rate(step):
        (weight, *_) = step.discriminator.q_head.parameters()
        groups = [*step.opt_d.param_groups, *step.opt_g.param_groups]
        return next(group["lr"] for group in groups if any(p is weight for p in group["params"]))

    assert q_rate(build_step(config)) == q_rate(build_step(config, VanillaStep)) == config.lr_d


def gradients_of_updates(step, x_real, z, c):
    """The gradients that reach each part in the D and in the G update; the weights stay as they are."""
    seen = []
    for optimizer in (step.opt_d, step.opt_g):
        optimizer.step = lambda: seen.append(
            {
                name: [None if p.grad is None else p.grad.clone() for p in part.parameters()]
                for name, part in parts(step).items()
            }
        )
    x_fake = step.generator(z, c)
    step.update_discriminator(x_real, x_fake.detach(), c)
    step.discriminator.zero_grad()
    step.update_generator(x_fake, c)
    return seen


def test_mutual_information_reaches_trunk_q_and_g_but_not_d_head(plain, batch):
    """The L_I part of each gradient is the difference that λ makes; it must go where the table says."""
    grads = {}
    for lam in (0.0, 1.0):
        config = plain(lambda_cat=lam, lambda_cont=lam)
        step = build_step(config)
        grads[lam] = gradients_of_updates(step, *batch(config))

    def differs(update, part):
        return any(
            a is not None and not torch.allclose(a, b, rtol=1e-4, atol=1e-9)
            for a, b in zip(grads[0.0][update][part], grads[1.0][update][part], strict=True)
        )

    assert [differs(0, part) for part in ("trunk", "q_head", "d_head")] == [True, True, False]
    assert differs(1, "G")


def test_g_update_computes_no_gradient_of_d_s_weights(plain, batch):
    config = plain()
    in_g_update = gradients_of_updates(build_step(config), *batch(config))[1]
    assert all(g is None for part in ("trunk", "d_head", "q_head") for g in in_g_update[part])


@pytest.mark.parametrize("gan_loss", ["bce", "lsgan"])
def test_lambda_0_is_the_vanilla_gan_bit_for_bit(plain, batch, gan_loss):
    config = plain(lambda_cat=0.0, lambda_cont=0.0, gan_loss=gan_loss)
    infogan, vanilla = build_step(config), build_step(config, VanillaStep)
    for seed in range(4):
        a, b = infogan(*batch(config, seed)), vanilla(*batch(config, seed))
        assert torch.equal(a["loss_d"], b["loss_d"])
        assert torch.equal(a["loss_g"], b["loss_g"])
    after_infogan, after_vanilla = weights(infogan), weights(vanilla)
    for part in ("G", "trunk", "d_head"):
        assert all(torch.equal(a, b) for a, b in zip(after_infogan[part], after_vanilla[part], strict=True)), part
    # With λ = 0 nothing trains Q; the vanilla GAN's probe learns all the same.
    assert all(
        torch.equal(p, q)
        for p, q in zip(build_step(config).discriminator.q_head.parameters(), after_infogan["q_head"], strict=True)
    )
    assert not torch.equal(after_infogan["q_head"][0], after_vanilla["q_head"][0])


def test_the_step_is_the_plain_textbook_update(plain, batch):
    """The same step written out without sharing, freezing or fusing gives the same weights."""
    config = plain(lambda_cat=1.0, lambda_cont=0.3, lr_heads=None)
    step = build_step(config)
    generator, discriminator = copy.deepcopy((step.generator, step.discriminator))
    x_real, z, c = batch(config)
    # With its usual ε, Adam's first update is the sign of the gradient, rounding errors around 0 included.
    opt_d = torch.optim.Adam(discriminator.parameters(), config.lr_d, (0.5, 0.999), eps=0.1)
    opt_g = torch.optim.Adam(generator.parameters(), config.lr_g, (0.5, 0.999), eps=0.1)
    for optimizer in (step.opt_d, step.opt_g):
        for group in optimizer.param_groups:
            group["eps"] = 0.1
    for update in ("D", "G"):
        d_logits_fake, q_params = discriminator(generator(z, c))
        mi = mutual_information_lower_bound(config.spec, c, q_params) @ torch.tensor([1.0, 0.3, 0.3])
        if update == "D":
            d_logits_real = discriminator.d_head(discriminator.trunk(x_real))
            loss, optimizer = discriminator_loss(d_logits_real, d_logits_fake) - mi, opt_d
        else:
            loss, optimizer = generator_loss(d_logits_fake) - mi, opt_g
        opt_d.zero_grad(), opt_g.zero_grad()
        loss.backward()
        optimizer.step()
    step(x_real, z, c)
    for a, b in zip(step.generator.parameters(), generator.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-7)
    for a, b in zip(step.discriminator.parameters(), discriminator.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-7)


def test_bfloat16_rounds_the_products_and_nothing_else(small, batch):
    """Losses and gradients are those of float32 within bfloat16's 8 bits; what is kept from step to step is float32."""
    found = {}
    for precision in ("float32", "bfloat16"):
        config = small(width=16, precision=precision, overclusters=12, overcluster_heads=3)
        step = build_step(config)
        assert step.discriminator.d_head.active
        step.extensions = []  # their terms are of views, of which there are none here
        seen = {"G": set(), "trunk": set(), "heads": set()}
        for name, net in (("G", step.generator), ("trunk", step.discriminator.trunk)):
            for layer in net.modules():
                if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d | torch.nn.ConvTranspose2d):
                    layer.register_forward_hook(lambda _, __, y, kinds=seen[name]: kinds.add(y.dtype))
        for head in (step.discriminator.d_head, step.discriminator.q_head):
            head.register_forward_hook(lambda _, __, y, kinds=seen["heads"]: kinds.add(y.dtype))
        gradients = []
        for optimizer, net in ((step.opt_d, step.discriminator), (step.opt_g, step.generator)):
            optimizer.step = lambda net=net, found=gradients: found.append(
                [p.grad for p in net.parameters() if p.grad is not None]
            )
        losses = step(*batch(config, n=64))
        products = getattr(torch, precision)
        assert seen == {"G": {products}, "trunk": {products}, "heads": {torch.float32}}
        kept = [*step.generator.parameters(), *step.discriminator.parameters(), *gradients[0], *gradients[1]]
        assert {tensor.dtype for tensor in kept} == {torch.float32}
        flat = [torch.cat([gradient.flatten() for gradient in of_net]) for of_net in gradients]
        found[precision] = torch.stack([losses[name] for name in ("loss_d", "loss_g", "mi_c1", "mi_c2", "mi_c3")]), flat
    (losses, exact), (rounded_losses, rounded) = found.values()
    assert 0 < (rounded_losses - losses).abs().max() < 0.01
    for a, b in zip(exact, rounded, strict=True):
        assert 0.98 < torch.cosine_similarity(a, b, dim=0) < 1


@pytest.mark.parametrize("codes", ["cat10", "uniform", "uniform,gaussian", "cat2,cat5,cat3", "cat10,uniform,uniform"])
@pytest.mark.parametrize("q_std", [None, 0.5])
def test_codes_of_every_kind_are_learned_from(plain, batch, codes, q_std):
    config = plain(codes=codes, q_std=q_std)
    step = build_step(config)
    before = weights(step)
    losses = [step(*batch(config, seed, n=7)) for seed in range(2)]  # an odd batch
    assert moved(step, before) == {"G", "trunk", "d_head", "q_head"}
    assert losses[-1].keys() == {"loss_d", "loss_g", *(f"mi_{name}" for name in config.spec.names)}
    assert all(value.shape == () and value.isfinite() for value in losses[-1].values())


@pytest.mark.parametrize("update", ["loss_d", "loss_g"])
def test_a_non_finite_loss_is_refused_before_its_update(plain, batch, update):
    config = plain()
    step = build_step(config)
    x_real, z, c = batch(config)
    if update == "loss_d":
        x_real = x_real.clone()
        x_real[0, 0, 0, 0] = torch.nan
        before = weights(step)
        with pytest.raises(NonFiniteLossError, match="loss_d with its other terms is nan"):
            step(x_real, z, c)
        assert moved(step, before) == set()
    else:
        before = weights(step)
        with pytest.raises(NonFiniteLossError, match="loss_g with its other terms is nan"):
            step.update_generator(torch.full_like(x_real, torch.nan, requires_grad=True), c)
        assert moved(step, before) == set()
