"""Gradient-level claims: who moves in which update, and that λ = 0 is the vanilla GAN, bit for bit."""

import copy

import pytest
import torch

from infogan import Discriminator, Generator, NonFiniteLossError, sample_prior
from infogan.data.augment import AffineRange, Copies, lean_and_widening, random_affines, warp
from infogan.data.datasets import to_unit_range
from infogan.losses import information, joint_assignments, smoothed_information
from infogan.training.step import CATEGORY_JOINT_UPDATE, CLASS_JOINT_UPDATE, AdversarialStep


@pytest.fixture
def batch(digits):
    def make(config, seed=0, n=16):
        z, c = sample_prior(config.spec, n, torch.Generator().manual_seed(seed))
        return to_unit_range(digits.images[seed * n : (seed + 1) * n]), z, c

    return make


def build(config, mi_updates, n_overclusters=0, d_by_category=False):
    torch.manual_seed(1)
    return AdversarialStep(
        Generator(config.spec, width=config.width),
        Discriminator(config.spec, (1, 28, 28), config.width, n_overclusters, 3, d_by_category),
        config,
        mi_updates,
    )


def parts(step):
    net = step.discriminator
    return {"G": step.generator, "trunk": net.trunk, "d_head": net.d_head, "q_head": net.q_head}


def weights(step):
    return {name: [p.detach().clone() for p in part.parameters()] for name, part in parts(step).items()}


def moved(step, before):
    """The parts of which every weight tensor has changed; none may have changed in part."""
    now = weights(step)
    changed = {name: [not torch.equal(a, b) for a, b in zip(now[name], before[name], strict=True)] for name in now}
    assert all(all(flags) or not any(flags) for flags in changed.values()), changed
    return {name for name, flags in changed.items() if any(flags)}


WHO_MOVES = {
    "both": ({"trunk", "d_head", "q_head"}, {"G"}),
    "g": ({"trunk", "d_head"}, {"G", "q_head"}),
    "probe": ({"trunk", "d_head", "q_head"}, {"G"}),
}


@pytest.mark.parametrize("mi_updates", WHO_MOVES)
def test_each_update_moves_its_own_parts_and_no_others(small, batch, mi_updates):
    config = small()
    step = build(config, mi_updates)
    x_real, z, c = batch(config)
    in_d_update, in_g_update = WHO_MOVES[mi_updates]
    x_fake = step.generator(z, c)
    before = weights(step)
    step.update_discriminator(x_real, x_fake.detach(), c)
    assert moved(step, before) == in_d_update
    before = weights(step)
    step.update_generator(x_fake, c)
    assert moved(step, before) == in_g_update


def owned(optimizer):
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("mi_updates", WHO_MOVES)
def test_every_weight_has_exactly_one_optimizer(small, mi_updates):
    step = build(small(), mi_updates)
    every = {id(p) for part in parts(step).values() for p in part.parameters()}
    assert owned(step.opt_d) | owned(step.opt_g) == every
    assert not owned(step.opt_d) & owned(step.opt_g)


@pytest.mark.parametrize("mi_updates", ["both", "g"])
def test_a_probe_learns_at_the_rate_of_the_q_it_is_compared_with(small, mi_updates):
    config = small(mi_updates=mi_updates, lambda_consistency=0.0, lambda_equivariance=0.0)

    def q_rate(step):
        (weight, *_) = step.discriminator.q_head.parameters()
        groups = [*step.opt_d.param_groups, *step.opt_g.param_groups]
        return next(group["lr"] for group in groups if any(p is weight for p in group["params"]))

    assert q_rate(build(config, mi_updates)) == q_rate(build(config, "probe"))


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


def test_mutual_information_reaches_trunk_q_and_g_but_not_d_head(small, batch):
    """The L_I part of each gradient is the difference that λ makes; it must go where the table says."""
    grads = {}
    for lam in (0.0, 1.0):
        config = small(lambda_cat=lam, lambda_cont=lam)
        step = build(config, "both")
        grads[lam] = gradients_of_updates(step, *batch(config))

    def differs(update, part):
        return any(
            a is not None and not torch.allclose(a, b, rtol=1e-4, atol=1e-9)
            for a, b in zip(grads[0.0][update][part], grads[1.0][update][part], strict=True)
        )

    assert [differs(0, part) for part in ("trunk", "q_head", "d_head")] == [True, True, False]
    assert differs(1, "G")


def test_g_update_computes_no_gradient_of_d_s_weights(small, batch):
    config = small()
    in_g_update = gradients_of_updates(build(config, "both"), *batch(config))[1]
    assert all(g is None for part in ("trunk", "d_head", "q_head") for g in in_g_update[part])


@pytest.mark.parametrize("gan_loss", ["bce", "lsgan"])
def test_lambda_0_is_the_vanilla_gan_bit_for_bit(small, batch, gan_loss):
    config = small(lambda_cat=0.0, lambda_cont=0.0, gan_loss=gan_loss)
    infogan, vanilla = build(config, "both"), build(config, "probe")
    for seed in range(4):
        a, b = infogan(*batch(config, seed)), vanilla(*batch(config, seed))
        assert torch.equal(a.loss_d, b.loss_d)
        assert torch.equal(a.loss_g, b.loss_g)
    after_infogan, after_vanilla = weights(infogan), weights(vanilla)
    for part in ("G", "trunk", "d_head"):
        assert all(torch.equal(a, b) for a, b in zip(after_infogan[part], after_vanilla[part], strict=True)), part
    # With λ = 0 nothing trains Q; the vanilla GAN's probe learns all the same.
    assert all(
        torch.equal(p, q)
        for p, q in zip(build(config, "both").discriminator.q_head.parameters(), after_infogan["q_head"], strict=True)
    )
    assert not torch.equal(after_infogan["q_head"][0], after_vanilla["q_head"][0])


def test_the_step_is_the_plain_textbook_update(small, batch):
    """The same step written out without sharing, freezing or fusing gives the same weights."""
    config = small(lambda_cat=1.0, lambda_cont=0.3, lr_heads=None)
    step = build(config, "both")
    generator, discriminator = copy.deepcopy((step.generator, step.discriminator))
    from infogan.losses import discriminator_loss, generator_loss, mutual_information_lower_bound

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
        config = small(width=16, precision=precision)
        step = build(config, "both", n_overclusters=12, d_by_category=True)
        step.established = True
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
        found[precision] = torch.stack([losses.loss_d, losses.loss_g, *losses.mi_nats]), flat
    (losses, exact), (rounded_losses, rounded) = found.values()
    assert 0 < (rounded_losses - losses).abs().max() < 0.01
    for a, b in zip(exact, rounded, strict=True):
        assert 0.98 < torch.cosine_similarity(a, b, dim=0) < 1


@pytest.mark.parametrize("codes", ["cat10", "uniform", "uniform,gaussian", "cat2,cat5,cat3", "cat10,uniform,uniform"])
@pytest.mark.parametrize("q_std", [None, 0.5])
def test_codes_of_every_kind_are_learned_from(small, batch, codes, q_std):
    config = small(codes=codes, q_std=q_std)
    step = build(config, "both")
    before = weights(step)
    losses = [step(*batch(config, seed, n=7)) for seed in range(2)]  # an odd batch
    assert moved(step, before) == {"G", "trunk", "d_head", "q_head"}
    assert losses[-1].mi_nats.shape == (len(config.spec.codes),)
    assert losses[-1].mi_nats.isfinite().all()


@pytest.mark.parametrize("update", ["loss_d", "loss_g"])
def test_a_non_finite_loss_is_refused_before_its_update(small, batch, update):
    config = small()
    step = build(config, "both")
    x_real, z, c = batch(config)
    if update == "loss_d":
        x_real = x_real.clone()
        x_real[0, 0, 0, 0] = torch.nan
        before = weights(step)
        with pytest.raises(NonFiniteLossError, match="loss_d with its L_I term is nan"):
            step(x_real, z, c)
        assert moved(step, before) == set()
    else:
        before = weights(step)
        with pytest.raises(NonFiniteLossError, match="loss_g with its L_I term is nan"):
            step.update_generator(torch.full_like(x_real, torch.nan, requires_grad=True), c)
        assert moved(step, before) == set()


@pytest.fixture
def with_copies(small, batch):
    def make(seed=0, n=16, codes="cat10,uniform,cat3"):
        x_real, z, c = batch(small(codes=codes), seed, n)
        affines = random_affines(n, AffineRange(20, 0.1, 0.15, 0.07), torch.Generator().manual_seed(seed))
        return x_real, z, c, Copies(warp(x_real, affines), affines)

    return make


def d_gradients(step, x_real, z, c, copies):
    """The gradients of an update of D, by the names of all weights that have one; none of G has."""
    nets = {"": step.discriminator, "G.": step.generator}
    found = {}

    def note():
        for prefix, net in nets.items():
            found.update({prefix + n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None})

    step.opt_d.step = note
    step.update_discriminator(x_real, step.generator(z, c).detach(), c, copies)
    assert found and not any(name.startswith("G.") for name in found)
    return found


def close(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=1e-9)


class TestConsistency:
    """Two categorical codes, so that each has classes of its own."""

    CODES = "cat10,uniform,cat3"

    @pytest.fixture
    def step(self, small):
        return build(small(codes=self.CODES), "both", n_overclusters=12)

    def test_every_weight_has_exactly_one_optimizer_and_linear_heads_their_own_rate(self, step):
        every = {id(p) for part in parts(step).values() for p in part.parameters()}
        assert owned(step.opt_d) | owned(step.opt_g) == every
        assert sum(len(group["params"]) for o in (step.opt_d, step.opt_g) for group in o.param_groups) == len(every)
        net = step.discriminator
        fast = {id(p) for group in step.opt_d.param_groups if group["lr"] == 2e-3 for p in group["params"]}
        assert fast == {
            id(p) for head in (net.d_head, net.q_head.categories, net.q_head.classes) for p in head.parameters()
        }

    def learn(self, step, x_real, z, c, copies):
        """Which weights of categories and classes a D update moves."""
        q_head = step.discriminator.q_head
        heads = (q_head.categories, q_head.classes)
        before = [head.weight.detach().clone() for head in heads]
        step.update_discriminator(x_real, step.generator(z, c).detach(), c, copies)
        return [(head.weight != old).any(dim=1) for head, old in zip(heads, before, strict=True)]

    def test_the_classes_of_all_heads_learn_and_then_the_categories(self, step, with_copies):
        step.settled, step.category_weight = False, 0.0
        categories, classes = self.learn(step, *with_copies())
        assert classes.all() and not categories.any()
        step.settled = True
        for group in step.opt_d.param_groups:
            group["betas"] = (0.0, 0.999)  # or Adam's momentum would move classes on
        categories, classes = self.learn(step, *with_copies(seed=1))
        assert categories.all() and not classes.any()

    def test_the_first_step_of_the_categories_is_as_long_as_any_first_step(self, step, with_copies):
        step.settled, step.category_weight = False, 0.0
        for seed in range(20):
            x_real, z, c, copies = with_copies(seed)
            step.update_discriminator(x_real, step.generator(z, c).detach(), c, copies)
        step.settle()
        step.settled = True
        weight = step.discriminator.q_head.categories.weight
        before = weight.detach().clone()
        x_real, z, c, copies = with_copies(20)
        step.update_discriminator(x_real, step.generator(z, c).detach(), c, copies)
        assert (weight - before).abs().max().item() == pytest.approx(2e-3, rel=1e-2)

    def test_averages_follow_the_classes_of_images_and_copies(self, step, with_copies):
        step.settled, step.category_weight = False, 0.0
        x_real, z, c, copies = with_copies()
        q_head, trunk = step.discriminator.q_head, step.discriminator.trunk
        # The last head cuts through the features, so that it is consistent on equal copies; others know nothing.
        with torch.no_grad():
            q_head.classes.weight[:24] = 0
            q_head.classes.weight[24:36] *= 1000
            logits = q_head.class_logits(trunk(x_real))[:, 0]
        joint = torch.full((3, 12, 12), 1 / 144).lerp(joint_assignments(logits, logits), CLASS_JOINT_UPDATE)
        x_fake = step.generator(z, c).detach()
        consistency = step.update_discriminator(x_real, x_fake, c, Copies(x_real, copies.affines)).consistency_nats
        torch.testing.assert_close(q_head.class_joints[0], joint, atol=1e-6, rtol=1e-3)
        torch.testing.assert_close(consistency[0], information(joint)[2], atol=1e-6, rtol=1e-3)

    def test_it_moves_the_trunk_and_q_but_neither_d_s_head_nor_g(self, small, with_copies):
        configs = [small(codes=self.CODES, lambda_consistency=weight) for weight in (0.0, 1.0)]
        found = [d_gradients(build(config, "both", n_overclusters=12), *with_copies()) for config in configs]
        differs = {name for name in found[0] if not close(found[0][name], found[1][name])}
        assert {name.split(".")[0] for name in differs} == {"trunk", "q_head"}

    @pytest.mark.parametrize("settled", [False, True])
    def test_g_hears_of_the_categories_once_they_are_settled(self, small, with_copies, settled):
        gradients = []
        for lam in (0.0, 1.0):
            step = build(small(codes=self.CODES, lambda_cat=lam), "both", n_overclusters=12)
            step.category_weight = float(settled)
            _, z, c, _ = with_copies()
            step.update_generator(step.generator(z, c), c)
            gradients.append([p.grad.clone() for p in step.generator.parameters()])
        same = all(torch.allclose(a, b, rtol=1e-4, atol=1e-9) for a, b in zip(*gradients, strict=True))
        assert same is not settled

    def test_d_judges_by_category_once_these_are_established(self, small, with_copies):
        step = build(small(codes=self.CODES), "both", n_overclusters=12, d_by_category=True)
        by_category = step.discriminator.d_head.by_category
        step(*with_copies())
        assert not by_category.any()
        step.established = True
        x_real, z, c, copies = with_copies(seed=1)
        x_fake = step.generator(z, c)
        step.update_discriminator(x_real, x_fake.detach(), c, copies)
        assert by_category.all()
        by_category.grad = None
        before = by_category.detach().clone()
        step.update_generator(x_fake, c)
        assert by_category.grad is None and torch.equal(by_category, before)

    def test_the_term_is_of_the_classes_before_they_are_settled(self, step, with_copies):
        step.settled = False
        q_head = step.discriminator.q_head
        x_real, _, _, copies = with_copies()
        real, altered = step.discriminator.trunk(x_real), step.discriminator.trunk(copies.images)
        logits = [q_head.class_logits(features) for features in (real, altered)]
        joints = [joint_assignments(*(of_codes[:, code] for of_codes in logits)) for code in (0, 1)]
        averages = [
            old.lerp(joint, CLASS_JOINT_UPDATE) for old, joint in zip(q_head.class_joints.clone(), joints, strict=True)
        ]
        consistency, term = step._consistency(real, altered)
        assert term.item() == pytest.approx(sum(information(joint).mean().item() for joint in joints), rel=1e-4)
        assert consistency.tolist() == pytest.approx([information(average).max().item() for average in averages])

    @pytest.mark.parametrize("category_weight", [0.0, 0.5])
    def test_then_it_is_of_the_categories(self, step, with_copies, category_weight):
        step.category_weight = category_weight
        q_head = step.discriminator.q_head
        x_real, _, _, copies = with_copies()
        real, altered = step.discriminator.trunk(x_real), step.discriminator.trunk(copies.images)
        wanted, averages = 0.0, []
        for a, b in zip(q_head.category_logits(real), q_head.category_logits(altered), strict=True):
            joint = joint_assignments(a[:, None], b[:, None])[0]
            averages.append(torch.full_like(joint, 1 / joint.numel()).lerp(joint, CATEGORY_JOINT_UPDATE))
            wanted += (smoothed_information(joint, averages[-1]) if category_weight else information(joint)).item()
        consistency, term = step._consistency(real, altered)
        assert term.item() == pytest.approx(wanted, rel=1e-4)
        assert consistency.tolist() == pytest.approx([information(average).item() for average in averages], rel=1e-4)


class TestEquivariance:
    CODES = "uniform,cat10,gaussian,uniform"

    @pytest.fixture
    def build_step(self, small):
        def make(codes=self.CODES, n_overclusters=0, **changes):
            return build(small(codes=codes, lambda_consistency=0.0, **changes), "both", n_overclusters)

        return make

    @pytest.mark.parametrize("n_overclusters", [0, 12])
    def test_it_moves_the_trunk_and_q_s_first_two_means_and_nothing_else(self, build_step, with_copies, n_overclusters):
        steps = [build_step(n_overclusters=n_overclusters, lambda_equivariance=weight) for weight in (0.0, 1.0)]
        without, with_it = (d_gradients(step, *with_copies(codes=self.CODES)) for step in steps)
        differs = {name for name in without if not close(without[name], with_it[name])}
        # The last layer's weights: a row for each of Q's outputs.
        last = "q_head.continuous.3" if n_overclusters else "q_head.3"
        assert {name.split(".")[0] for name in differs} == {"trunk", "q_head"}
        rows = (with_it[f"{last}.weight"] - without[f"{last}.weight"]).abs().amax(dim=1) > 1e-9
        assert rows.tolist() == ([True, True, False] if n_overclusters else [True] + 10 * [False] + [True, False])
        assert all("categories" not in name and "classes" not in name for name in differs)

    def test_its_value_is_that_of_the_means_in_training(self, build_step, with_copies):
        step = build_step(code_per_lean=1.5, code_per_widening=-2.5)
        x_real, z, c, copies = with_copies(codes=self.CODES)
        trunk, q_head = step.discriminator.trunk, copy.deepcopy(step.discriminator.q_head)
        params = q_head(torch.cat([trunk(x_real), trunk(copies.images)]))
        change = params[16:, [0, 11]] - params[:16, [0, 11]]
        wanted = (change - torch.tensor([1.5, -2.5]) * lean_and_widening(copies.affines)).square().sum(dim=1).mean() / 2
        losses = step(x_real, z, c, copies)
        assert losses.equivariance.item() == pytest.approx(wanted.item(), rel=1e-5)
        assert losses.consistency_nats is None

    def test_q_s_running_statistics_are_of_generated_images_alone(self, build_step, with_copies):
        statistics = []
        for weight in (0.0, 1.0):
            step = build_step(lambda_equivariance=weight)
            x_real, z, c, copies = with_copies(codes=self.CODES)
            step.update_discriminator(x_real, step.generator(z, c).detach(), c, copies)
            norm = step.discriminator.q_head[1]
            assert norm.momentum == 0.1
            statistics.append((norm.running_mean.clone(), norm.running_var.clone()))
        assert statistics[0][0].abs().max() > 0
        for a, b in zip(*statistics, strict=True):
            assert torch.equal(a, b)

    def test_one_continuous_code_follows_the_lean_alone(self, build_step, with_copies):
        codes = "cat10,uniform"
        step = build_step(codes=codes)
        x_real, z, c, copies = with_copies(codes=codes)
        trunk, q_head = step.discriminator.trunk, copy.deepcopy(step.discriminator.q_head)
        means = q_head(torch.cat([trunk(x_real), trunk(copies.images)]))[:, 10]
        wanted = (means[16:] - means[:16] - 2.0 * lean_and_widening(copies.affines)[:, 0]).square().mean() / 2
        assert step(x_real, z, c, copies).equivariance.item() == pytest.approx(wanted.item(), rel=1e-5)

    def test_codes_learn_to_follow_the_copies(self, build_step, with_copies):
        codes = "cat10,uniform,uniform"
        step = build_step(codes=codes, lambda_equivariance=10.0, lr_d=2e-3, lambda_cont=0.0)
        for seed in range(150):
            x_real, z, c, copies = with_copies(seed % 56, n=64, codes=codes)
            step.update_discriminator(x_real, step.generator(z, c).detach(), c, copies)
        x_real, _, _, copies = with_copies(6, n=600, codes=codes)  # other images
        step.discriminator.eval()
        with torch.no_grad():
            change = step.discriminator(copies.images)[1][:, 10:] - step.discriminator(x_real)[1][:, 10:]
        wanted = lean_and_widening(copies.affines)
        lean, widening = (torch.corrcoef(torch.stack([change[:, j], wanted[:, j]]))[0, 1].item() for j in (0, 1))
        # Chance is 0 with a deviation of 0.04.
        assert lean > 0.7
        assert widening > 0.25
