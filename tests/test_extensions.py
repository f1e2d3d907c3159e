"""Each extension: what its terms are, which weights they move, and how its parts of the nets work."""

import copy
import dataclasses
import math

import pytest
import torch
from stepping import build_step, go_to, owned, parts
from torch.nn.functional import one_hot

from infogan import Discriminator, LatentSpec, Trainer, posterior_means
from infogan.data.augment import AffineRange, Augmentation, Views
from infogan.data.batches import UpdateBatch
from infogan.extensions.class_conditional import ClassConditionalD, ProjectionHead
from infogan.extensions.consistency import CATEGORY_JOINT_UPDATE, CLUSTER_JOINT_UPDATE, Consistency
from infogan.extensions.equivariance import Equivariance, equivariance_loss
from infogan.extensions.gradient_penalty import GradientPenalty
from infogan.extensions.independence import category_shares, independence_loss
from infogan.extensions.information import entropy, information, joint_assignments, smoothed_information
from infogan.extensions.overclusters import OverclusteredQ
from infogan.training.trainer import augmentation_of, make_extensions, make_nets

# Of the default schedule: over-clusters learn, then groups of them, then the categories, with L_I.
OVERCLUSTERING, GROUPING, RAMP_UP, FULL_WEIGHT = 0, 400, 750, 1000

# Two categorical codes, so that each has over-clusters of its own.
TWO_CATEGORIES = {"codes": "cat10,uniform,cat3", "overclusters": 12, "overcluster_heads": 3}


@pytest.fixture
def with_views(small, batch):
    """Returns what a step takes, with augmented views of the real images."""

    def make(seed=0, n=16, codes="cat10,uniform,cat3"):
        config = small(codes=codes)
        x_real, z, c = batch(config, seed, n)
        named = tuple(name for _, name in config.spec.named)
        by_any_angle = frozenset(name for i, name in config.spec.named if i in config.spec.circular)
        augmentation = Augmentation(AffineRange(20, 0.1, 0.15, 0.07), 0.0, named, -1.0, by_any_angle).reaching()
        return x_real, z, c, augmentation.views(x_real, *augmentation.draw(n, torch.Generator().manual_seed(seed)))

    return make


def d_gradients(step, x_real, z, c, views):
    """The gradients of an update of D, by the names of all weights that have one; none of G has."""
    nets = {"": step.discriminator, "G.": step.generator}
    found = {}

    def note():
        for prefix, net in nets.items():
            found.update({prefix + n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None})

    step.opt_d.step = note
    step.update_discriminator(x_real, step.generator(z, c).detach(), c, views)
    assert found and not any(name.startswith("G.") for name in found)
    return found


def close(a, b):
    return torch.allclose(a, b, rtol=1e-4, atol=1e-9)


def batch_of_features(step, x_real, z, c, views):
    trunk, x_fake = step.discriminator.trunk, step.generator(z, c)
    return UpdateBatch(x_fake, c, trunk(x_fake), x_real, trunk(x_real), views, trunk(views.images))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [Consistency, ClassConditionalD, Equivariance]),
        ({"class_conditional_d": False}, [Consistency, Equivariance]),
        ({"codes": "slant"}, [Equivariance]),
        ({"codes": "cat10,uniform,uniform"}, [Consistency, ClassConditionalD]),
        ({"codes": "cat10"}, [Consistency, ClassConditionalD]),
        ({"lambda_consistency": 0.0}, [Equivariance]),
        ({"lambda_equivariance": 0.0}, [Consistency, ClassConditionalD]),
        ({"lambda_consistency": 0.0, "lambda_equivariance": 0.0}, []),
        ({"lambda_r1": 1.0, "codes": "uniform"}, [GradientPenalty]),
    ],
)
def test_each_applies_if_it_has_a_weight_and_codes_of_its_kind(small, changes, expected):
    assert [type(extension) for extension in make_extensions(small(**changes))] == expected


class TestConsistency:
    @pytest.fixture
    def config(self, small):
        return small(**TWO_CATEGORIES, class_conditional_d=False)

    @pytest.fixture
    def step(self, config):
        return build_step(config)

    def test_every_weight_has_exactly_one_optimizer_and_linear_heads_their_own_rate(self, step):
        every = {id(p) for part in parts(step).values() for p in part.parameters()}
        assert owned(step.opt_d) | owned(step.opt_g) == every
        assert sum(len(group["params"]) for o in (step.opt_d, step.opt_g) for group in o.param_groups) == len(every)
        net = step.discriminator
        fast = {id(p) for group in step.opt_d.param_groups if group["lr"] == 2e-3 for p in group["params"]}
        assert fast == {
            id(p) for head in (net.d_head, net.q_head.categories, net.q_head.overclusters) for p in head.parameters()
        }

    def learn(self, step, x_real, z, c, views):
        """Which weights of categories and over-clusters a D update moves."""
        q_head = step.discriminator.q_head
        heads = (q_head.categories, q_head.overclusters)
        before = [head.weight.detach().clone() for head in heads]
        step.update_discriminator(x_real, step.generator(z, c).detach(), c, views)
        return [(head.weight != old).any(dim=1) for head, old in zip(heads, before, strict=True)]

    def test_the_overclusters_of_all_heads_learn_then_their_groups_and_then_the_categories(
        self, step, config, with_views
    ):
        for group in step.opt_d.param_groups:
            group["betas"] = (0.0, 0.999)  # or Adam's momentum would move what learned before
        of_groups = torch.cat([torch.arange(12) < n for n in (10, 10, 10, 3, 3, 3)])
        for seed, (at, of_overclusters, of_categories) in enumerate(
            (
                (OVERCLUSTERING, torch.ones(72, dtype=torch.bool), False),
                (GROUPING, of_groups, False),
                (RAMP_UP, torch.zeros(72, dtype=torch.bool), True),
            )
        ):
            go_to(step, at, config)
            categories, overclusters = self.learn(step, *with_views(seed=seed))
            assert torch.equal(overclusters, of_overclusters)
            assert categories.all() if of_categories else not categories.any()

    @pytest.mark.parametrize(
        ("n_steps", "start", "layer"), [(20, "merge", "overclusters"), (25, "choose", "categories")]
    )
    def test_the_first_step_of_what_starts_anew_is_as_long_as_any_first_step(
        self, small, digits, monkeypatch, n_steps, start, layer
    ):
        monkeypatch.setattr("infogan.extensions.schedule.MI_DELAY_STEPS", 5)
        training = Trainer(small(**TWO_CATEGORIES, merge_step=20, steps=100), digits.images)
        for _ in range(n_steps):
            training.train_step()
        q_head = training.discriminator.q_head
        getattr(q_head, start)()  # as the next step does before its update
        monkeypatch.setattr(q_head, start, lambda: None)
        before = getattr(q_head, layer).weight.detach().clone()
        training.train_step()
        assert (getattr(q_head, layer).weight - before).abs().max().item() == pytest.approx(2e-3, rel=1e-2)

    def test_averages_follow_the_overclusters_of_images_and_views(self, step, config, with_views):
        go_to(step, OVERCLUSTERING, config)
        x_real, z, c, views = with_views()
        q_head, trunk = step.discriminator.q_head, step.discriminator.trunk
        # The last head cuts through the features, so that it is consistent on equal views; others know nothing.
        with torch.no_grad():
            q_head.overclusters.weight[:24] = 0
            q_head.overclusters.weight[24:36] *= 1000
            logits = q_head.overcluster_logits(trunk(x_real))[:, 0]
        joint = torch.full((3, 12, 12), 1 / 144).lerp(joint_assignments(logits, logits), CLUSTER_JOINT_UPDATE)
        x_fake = step.generator(z, c).detach()
        metrics = step.update_discriminator(x_real, x_fake, c, Views(x_real, views.parameters))
        torch.testing.assert_close(q_head.overcluster_joints[0], joint, atol=1e-6, rtol=1e-3)
        torch.testing.assert_close(metrics["consistency_c1"], information(joint)[2], atol=1e-6, rtol=1e-3)

    @pytest.mark.parametrize("at", [OVERCLUSTERING, GROUPING, FULL_WEIGHT])
    def test_it_moves_the_trunk_and_q_but_neither_d_s_head_nor_g(self, small, with_views, at):
        """The term's part of each gradient is the difference that its weight makes."""
        found = []
        for weight in (1.0, 2.0):
            config = small(**TWO_CATEGORIES, lambda_consistency=weight, class_conditional_d=False)
            step = build_step(config)
            go_to(step, at, config)
            found.append(d_gradients(step, *with_views()))
        differs = {name for name in found[0] if not close(found[0][name], found[1][name])}
        assert {name.split(".")[0] for name in differs} == {"trunk", "q_head"}

    @pytest.mark.parametrize(("at", "heard"), [(GROUPING, False), (RAMP_UP, True), (FULL_WEIGHT, True)])
    def test_g_hears_of_the_categories_once_their_l_i_has_a_weight(self, small, with_views, at, heard):
        gradients = []
        for lam in (0.0, 1.0):
            config = small(**TWO_CATEGORIES, lambda_cat=lam, class_conditional_d=False)
            step = build_step(config)
            go_to(step, at, config)
            _, z, c, _ = with_views()
            step.update_generator(step.generator(z, c), c)
            gradients.append([p.grad.clone() for p in step.generator.parameters()])
        same = all(torch.allclose(a, b, rtol=1e-4, atol=1e-9) for a, b in zip(*gradients, strict=True))
        assert same is not heard

    @pytest.mark.parametrize(("at", "sizes"), [(OVERCLUSTERING, (12, 12)), (GROUPING, (10, 3))])
    def test_the_term_is_of_the_overclusters_and_then_of_their_groups(self, step, config, with_views, at, sizes):
        go_to(step, at, config)
        q_head = step.discriminator.q_head
        batch = batch_of_features(step, *with_views())
        logits = [q_head.overcluster_logits(features) for features in batch.real_and_views()]
        joints, averages = [], []
        for code, k in enumerate(sizes):
            joints.append(joint_assignments(*(of_codes[:, code, :, :k] for of_codes in logits)))
            averages.append(q_head.overcluster_joints[code, :, :k, :k].lerp(joints[-1], CLUSTER_JOINT_UPDATE))
        terms = step.extensions[0].d_terms(batch)
        assert list(terms) == ["consistency_c1", "consistency_c3"]
        assert {term.weight for term in terms.values()} == {-1.0}
        wanted = sum(information(joint).mean().item() for joint in joints)
        assert sum(term.value.item() for term in terms.values()) == pytest.approx(wanted, rel=1e-4)
        logged = [term.logged.item() for term in terms.values()]
        assert logged == pytest.approx([information(average).max().item() for average in averages])

    @pytest.mark.parametrize(("at", "weight"), [(OVERCLUSTERING, 0.5), (GROUPING, 0.0)])
    def test_the_entropy_of_the_overclusters_is_added_with_its_weight(self, step, config, with_views, at, weight):
        go_to(step, at, config)
        batch, (consistency, *_) = batch_of_features(step, *with_views()), step.extensions
        logits = [step.discriminator.q_head.overcluster_logits(features) for features in batch.real_and_views()]
        without = consistency.d_terms(batch)
        consistency.config = dataclasses.replace(config, overcluster_entropy=0.5)
        for code, (name, term) in enumerate(consistency.d_terms(batch).items()):
            added = weight * entropy(joint_assignments(*(of_codes[:, code] for of_codes in logits))).mean()
            torch.testing.assert_close(term.value, without[name].value + added)

    @pytest.mark.parametrize("at", [RAMP_UP, FULL_WEIGHT])
    def test_then_it_is_of_the_categories(self, step, config, with_views, at):
        go_to(step, at, config)
        q_head = step.discriminator.q_head
        batch = batch_of_features(step, *with_views())
        wanted, averages = 0.0, []
        for a, b in zip(*map(q_head.category_logits, batch.real_and_views()), strict=True):
            joint = joint_assignments(a[:, None], b[:, None])[0]
            averages.append(torch.full_like(joint, 1 / joint.numel()).lerp(joint, CATEGORY_JOINT_UPDATE))
            wanted += smoothed_information(joint, averages[-1]).item()
        terms = step.extensions[0].d_terms(batch)
        assert {term.weight for term in terms.values()} == {-1.0}
        assert sum(term.value.item() for term in terms.values()) == pytest.approx(wanted, rel=1e-4)
        logged = [term.logged.item() for term in terms.values()]
        assert logged == pytest.approx([information(average).item() for average in averages], rel=1e-4)

    def test_the_weight_of_l_i_is_ramped_up_for_categories_alone(self, step, config):
        for at, share in ((OVERCLUSTERING, 0.0), (GROUPING, 0.0), (RAMP_UP, 0.5), (FULL_WEIGHT, 1.0)):
            go_to(step, at, config)
            assert step.lambdas.tolist() == [share, 1.0, share]


class TestOverclusteredQ:
    def head(self, codes="uniform,cat4,circular,cat3", q_std=None):
        torch.manual_seed(0)
        spec = LatentSpec.parse(codes, q_std=q_std)
        net = Discriminator(
            spec, width=4, q_head=lambda n_features, n_hidden: OverclusteredQ(spec, n_features, n_hidden, 6, 5)
        ).eval()
        return spec, net.q_head, torch.randn(7, 64)

    @pytest.mark.parametrize("q_std", [None, 1.0])
    def test_each_code_has_its_columns(self, q_std):
        spec, q_head, features = self.head(q_std=q_std)
        q_params = q_head(features)
        assert q_params.shape == (7, spec.q_dim)
        assert q_head.overcluster_logits(features).shape == (7, 2, 5, 6)
        first, second = q_head.category_logits(features)
        assert torch.equal(q_params[:, spec.q_slices[1]], first)
        assert torch.equal(q_params[:, spec.q_slices[3]], second)
        continuous = torch.cat([q_params[:, spec.q_slices[i]] for i in (0, 2)], dim=1)
        assert torch.equal(continuous, q_head.continuous(features))

    def test_groups_start_as_the_means_of_their_overclusters_in_every_head(self):
        _, q_head, features = self.head("cat3,uniform,cat2")
        pairs, triples = (torch.block_diag(*n * [torch.ones(6 // n, 6 // n)]) for n in (3, 2))
        for code, mixed in enumerate((pairs, triples)):
            q_head.overcluster_joints[code] = 0.5 * torch.eye(6) / 6 + 0.5 * mixed / mixed.sum()
        before = q_head.overcluster_logits(features)
        q_head.merge()
        after = q_head.overcluster_logits(features)
        for code, (n, size) in enumerate(((3, 2), (2, 3))):
            wanted = before[:, code].unflatten(2, (n, size)).mean(dim=3)
            for head in range(5):
                found, expected = after[:, code, head, :n], wanted[:, head]
                order = [(found - column).abs().amax(dim=0).argmin() for column in expected.T[:, :, None]]
                assert len({int(i) for i in order}) == n
                torch.testing.assert_close(found[:, order], expected)
            torch.testing.assert_close(q_head.overcluster_joints[code, :, :n, :n], (torch.eye(n) / n).expand(5, -1, -1))

    def test_an_overcluster_counts_as_often_as_it_comes(self):
        _, q_head, features = self.head("cat2")
        shares = torch.tensor([0.4, 0.1, 0.2, 0.1, 0.1, 0.1])
        joint = torch.zeros(6, 6)
        for group in ([0, 1], [2, 3, 4, 5]):
            of_group = shares[group]
            joint[torch.tensor(group)[:, None], torch.tensor(group)] = of_group[:, None] * of_group / of_group.sum()
        q_head.overcluster_joints[0, 2] = joint
        logits = q_head.overcluster_logits(features)[:, 0, 2]
        q_head.merge()
        found = q_head.overcluster_logits(features)[:, 0, 2, :2]
        wanted = torch.stack([logits[:, :2] @ shares[:2] / 0.5, logits[:, 2:] @ shares[2:] / 0.5], dim=1)
        assert torch.allclose(found, wanted, atol=1e-5) or torch.allclose(found.flip(1), wanted, atol=1e-5)

    def test_groups_of_overclusters_that_no_image_is_in_have_weights_too(self):
        _, q_head, features = self.head("cat4")
        q_head.overcluster_joints[:] = torch.block_diag(torch.eye(2) / 2, torch.zeros(4, 4))
        q_head.merge()
        assert q_head.overcluster_logits(features).isfinite().all()

    def test_categories_start_as_the_groups_of_the_head_that_tells_most(self):
        _, q_head, features = self.head("cat3,uniform,cat2")
        for code, (n, best) in enumerate(((3, 4), (2, 1))):
            q_head.overcluster_joints[code, best, :n, :n] = torch.eye(n) / n
            q_head.overcluster_joints[code, 0, :n, :n] = (torch.eye(n) / n + 1 / n**2) / 2
        q_head.choose()
        logits = q_head.overcluster_logits(features)
        for code, (n, best, found) in enumerate(zip((3, 2), (4, 1), q_head.category_logits(features), strict=True)):
            torch.testing.assert_close(found, logits[:, code, best, :n])
            torch.testing.assert_close(q_head.category_joints[code], torch.eye(n) / n)

    def test_heads_start_apart(self):
        _, q_head, features = self.head("cat4")
        logits = q_head.overcluster_logits(features)[:, 0]
        assert (logits[:, :1] - logits[:, 1:]).abs().amax(dim=(0, 2)).min() > 0.01


class TestClassConditionalD:
    def test_each_category_adds_a_linear_function_of_its_own(self):
        head = ProjectionHead(n_features=2, n_categories=3)
        categories = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
        head.categories_of = lambda features: [categories.log()]
        with torch.no_grad():
            head.linear.weight[:] = torch.tensor([[1.0, 2.0]])
            head.linear.bias[:] = 0.5
            features = torch.tensor([[1.0, 1.0], [3.0, -1.0]])
            assert head(features).tolist() == [3.5, 1.5]
            head.by_category[:] = torch.tensor([[4.0, 0.0], [0.0, 8.0], [0.0, 1.0]])
            assert head(features).tolist() == [3.5 + 8.0, 1.5 + 0.25 * 12.0 + 0.75 * -1.0]
            head.active = False
            assert head(features).tolist() == [3.5, 1.5]

    def nets(self, config):
        torch.manual_seed(0)
        return make_nets(config, (1, 28, 28), make_extensions(config), "cpu")

    def test_d_is_conditioned_on_q_s_categories_and_has_no_say_in_them(self, small):
        net = self.nets(small(codes="cat4,uniform,cat3", overclusters=6))[1].eval()
        features = torch.randn(5, 64, requires_grad=True)
        plain = net.d_head.linear(features)[:, 0]
        assert torch.equal(net.d_head(features), plain)
        torch.nn.init.normal_(net.d_head.by_category)
        answers = torch.cat([logits.softmax(dim=1) for logits in net.q_head.category_logits(features)], dim=1)
        wanted = plain + torch.einsum("nk,kf,nf->n", answers.detach(), net.d_head.by_category, features)
        found = net.d_head(features)
        torch.testing.assert_close(found, wanted)
        net.d_head.active = False
        assert torch.equal(net.d_head(features), plain)
        gradients = [torch.autograd.grad(logits.sum(), features, retain_graph=True)[0] for logits in (found, wanted)]
        torch.testing.assert_close(*gradients)
        found.sum().backward()
        assert all(p.grad is None for p in net.q_head.parameters())

    def test_a_copy_of_d_is_conditioned_on_its_own_q(self, small):
        net = self.nets(small())[1].eval()
        twin = copy.deepcopy(net)
        torch.nn.init.normal_(net.d_head.by_category)
        twin.load_state_dict(net.state_dict())
        features = torch.randn(5, 64)
        before = net.d_head(features)
        torch.nn.init.normal_(twin.q_head.categories.weight)
        assert torch.equal(net.d_head(features), before)
        assert not torch.allclose(twin.d_head(features), before)

    @pytest.mark.parametrize("at", [OVERCLUSTERING, GROUPING, RAMP_UP])
    def test_d_is_conditioned_once_l_i_has_its_full_weight(self, small, with_views, at):
        config = small(**TWO_CATEGORIES)
        step = build_step(config)
        by_category = step.discriminator.d_head.by_category
        go_to(step, at, config)
        step(*with_views())
        assert not by_category.any()
        go_to(step, FULL_WEIGHT, config)
        x_real, z, c, views = with_views(seed=1)
        x_fake = step.generator(z, c)
        step.update_discriminator(x_real, x_fake.detach(), c, views)
        assert by_category.all()
        by_category.grad = None
        before = by_category.detach().clone()
        step.update_generator(x_fake, c)
        assert by_category.grad is None and torch.equal(by_category, before)


class TestEquivariance:
    CODES = "slant,cat10,uniform,gaussian:thickness"  # of Q's outputs, those of the named ones are 0 and 12

    @pytest.fixture
    def build(self, small, digits):
        """Makes a step, by default with no other extension, and with slopes measured on digits."""

        def make(codes=self.CODES, lambda_consistency=0.0, **changes):
            config = small(codes=codes, lambda_consistency=lambda_consistency, overclusters=12, **changes)
            step = build_step(config)
            for extension in step.extensions:
                extension.start_run(digits.images, augmentation_of(config, digits.images))
            return step

        return make

    @pytest.mark.parametrize("lambda_consistency", [0.0, 1.0])
    def test_it_moves_the_trunk_and_q_s_means_of_named_codes_and_nothing_else(
        self, build, with_views, lambda_consistency
    ):
        steps = [build(lambda_consistency=lambda_consistency, lambda_equivariance=weight) for weight in (0.0, 1.0)]
        without, with_it = (d_gradients(step, *with_views(codes=self.CODES)) for step in steps)
        differs = {name for name in without if not close(without[name], with_it[name])}
        # The last layer's weights: a row for each of Q's outputs.
        last = "q_head.continuous.3" if lambda_consistency else "q_head.3"
        assert {name.split(".")[0] for name in differs} == {"trunk", "q_head"}
        rows = (with_it[f"{last}.weight"] - without[f"{last}.weight"]).abs().amax(dim=1) > 1e-9
        assert rows.tolist() == ([True, False, True] if lambda_consistency else [True] + 11 * [False] + [True])
        assert all("categories" not in name and "overclusters" not in name for name in differs)

    def test_its_gradient_is_that_of_the_formula(self, build, with_views):
        x_real, z, c, views = with_views(codes=self.CODES)
        step = build(lambda_equivariance=0.3)
        # In float64: the gradient of Q's last bias is 0, a sum of what cancels.
        step.generator.double()
        step.discriminator.double()
        step.extensions[0].slopes = step.extensions[0].slopes.double()
        x_real, z, c = x_real.double(), z.double(), c.double()
        views = Views(views.images.double(), views.parameters.double())
        (term,) = step.extensions[0].d_terms(batch_of_features(step, x_real, z, c, views)).values()
        assert term.weight == 0.3
        weights = [*step.discriminator.trunk.parameters(), *step.discriminator.q_head.parameters()]
        found = torch.autograd.grad(term.value, weights, allow_unused=True)

        trunk, q_head = step.discriminator.trunk, step.discriminator.q_head
        params = q_head(torch.cat([trunk(x_real), trunk(views.images)]))
        loss = 0.0
        for output, slopes in zip((0, 12), step.extensions[0].slopes, strict=True):
            change = params[16:, output] - params[:16, output]
            loss += (change - views.parameters @ slopes).square().mean() / 2
        assert term.value.item() == pytest.approx(loss.item(), rel=1e-5)
        wanted = torch.autograd.grad(loss, weights, allow_unused=True)
        for a, b in zip(found, wanted, strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)

    def test_q_s_running_statistics_are_of_generated_images_alone(self, build, with_views):
        statistics = []
        for weight in (0.0, 1.0):
            step = build(lambda_equivariance=weight)
            x_real, z, c, views = with_views(codes=self.CODES)
            step.update_discriminator(x_real, step.generator(z, c).detach(), c, views)
            norm = step.discriminator.q_head[1]
            assert norm.momentum == 0.1
            statistics.append((norm.running_mean.clone(), norm.running_var.clone()))
        assert statistics[0][0].abs().max() > 0
        for a, b in zip(*statistics, strict=True):
            assert torch.equal(a, b)

    @pytest.fixture
    def learned(self, build, with_views):
        """Trains D and Q, and returns by how much their codes of other images change in views, and should."""

        def learn(codes, lambda_equivariance):
            step = build(codes=codes, lambda_equivariance=lambda_equivariance, lr_d=2e-3, lambda_cont=0.0)
            for seed in range(150):
                x_real, z, c, views = with_views(seed % 56, n=64, codes=codes)
                step.update_discriminator(x_real, step.generator(z, c).detach(), c, views)
            x_real, _, _, views = with_views(6, n=600, codes=codes)  # other images
            step.discriminator.eval()
            with torch.no_grad():
                means = [posterior_means(step.spec, step.discriminator(x)[1]) for x in (x_real, views.images)]
            return means[1] - means[0], views.parameters @ step.extensions[0].slopes.T

        return learn

    def test_codes_learn_to_follow_the_views(self, learned):
        change, told = learned("cat10,slant,thickness", lambda_equivariance=10.0)
        found = torch.corrcoef(torch.cat([change, told], dim=1).T)[:2, 2:]
        # Chance is 0 with a deviation of 0.04.
        assert found[0, 0] > 0.7 and found[1, 1] > 0.7
        assert found[0, 1].abs() < 0.3 and found[1, 0].abs() < 0.3

    def test_it_is_half_the_squared_error_of_how_codes_move(self):
        means, shifts, plain = torch.randn(8, 2), torch.randn(8, 2), torch.tensor([False, False])
        assert equivariance_loss(means, means + shifts, shifts, plain).item() == pytest.approx(0, abs=1e-12)
        apart = torch.tensor([[0.3, 0.4]]).expand(8, 2)
        assert equivariance_loss(means, means, apart, plain).item() == pytest.approx(0.125)
        # It only sees the difference: what codes are of the images themselves is left to the bound.
        assert equivariance_loss(means + 5, means + 5 + shifts, shifts, plain).item() == pytest.approx(0, abs=1e-10)

    def test_of_an_angle_it_is_half_the_squared_chord(self):
        means, wraps = torch.rand(8, 1) * 2 - 1, torch.tensor([True])
        off_by = {0.0: 0.0, 0.5: 1.0, 1.0: 2.0, 2.0: 0.0, -1.5: 1.0}  # half turns
        for half_turns, expected in off_by.items():
            loss = equivariance_loss(means, means + half_turns, torch.zeros(8, 1), wraps)
            assert loss.item() == pytest.approx(expected, abs=1e-5)

    def test_a_code_that_is_independent_of_the_category_costs_nothing(self):
        shares = one_hot(torch.arange(180) % 3, 3).float()
        level = torch.tensor([0.3, -0.1, 0.0])
        spread = torch.linspace(-1, 1, 30).repeat_interleave(6)  # in each category, and in each half of it
        assert independence_loss(spread[:, None], shares).item() == pytest.approx(0, abs=1e-12)
        # A level of each category costs its square, by how frequent the category is.
        apart = (spread + shares @ level)[:, None]
        assert independence_loss(apart, shares).item() == pytest.approx((0.09 + 0.01) / 3, rel=1e-4)
        assert independence_loss(torch.cat([apart, apart], dim=1), shares).item() == pytest.approx(0.2 / 3, rel=1e-4)
        # Without categories it is the level of all images; with an empty one nothing is divided by nothing.
        assert independence_loss(apart, torch.ones(180, 1)).item() == pytest.approx((0.2 / 3) ** 2, rel=1e-4)
        assert independence_loss(apart, torch.cat([shares, torch.zeros(180, 1)], dim=1)).isfinite()

    def test_independence_has_no_bias(self):
        """Of codes that are independent it is 0 in the mean, however small the batch is."""
        generator = torch.Generator().manual_seed(0)
        losses = []
        for _ in range(4000):
            means = torch.rand((24, 1), generator=generator) * 2 - 1
            losses.append(independence_loss(means, one_hot(torch.arange(24) // 2 % 3, 3).float()))
        found = torch.stack(losses)
        # The square of one mean would be 1/24, in deviations of the mean of all losses more than 40.
        assert found.mean().abs() < 4 * found.std() / 4000**0.5 and 4 * found.std() / 4000**0.5 < 0.1 / 24

    def test_independence_moves_no_category(self, build, with_views):
        spec = build("cat3,slant", lambda_independence=3.0).spec
        params = torch.randn(8, spec.q_dim, requires_grad=True)
        independence_loss(posterior_means(spec, params), category_shares(spec, params)).backward()
        assert params.grad is not None
        assert params.grad[:, :3].abs().sum() == 0 and params.grad[:, 3].abs().min() > 0

    def test_an_angle_learns_to_turn_with_the_image(self, learned):
        change, told = learned("cat10,circular:rotation", lambda_equivariance=3.0)
        # 0 at chance, 1 if all turn by as much as their views, which turn by any angle.
        assert told.abs().max() > 0.95  # half turns
        assert torch.cos(math.pi * (change - told)).mean() > 0.5
