import pytest
import torch

from infogan import Discriminator, Generator, LatentSpec, UserError, sample_prior
from infogan.models import OverclusteredQ, ProjectionHead


def nets(codes="cat10,uniform,uniform", image_shape=(1, 28, 28), width=4):
    torch.manual_seed(0)
    spec = LatentSpec.parse(codes)
    return spec, Generator(spec, image_shape, width), Discriminator(spec, image_shape, width)


def test_paper_s_nets_have_the_paper_s_weights():
    # Table 1 of appendix C.1, weights and biases layer by layer; BatchNorm has 2 per channel.
    spec = LatentSpec.parse("cat10,uniform,uniform", noise_dim=62)
    seed, features = 7 * 7 * 128, 1024
    g = 74 * 1024 + 2 * 1024 + 1024 * seed + 2 * seed + 128 * 64 * 16 + 2 * 64 + 64 * 16 + 1
    trunk = 64 * 16 + 64 + 64 * 128 * 16 + 2 * 128 + seed * features + 2 * features
    d_head, q_head = features + 1, features * 128 + 2 * 128 + 128 * 14 + 14

    def count(net):
        return sum(parameter.numel() for parameter in net.parameters())

    discriminator = Discriminator(spec)
    assert count(Generator(spec)) == g
    assert [count(part) for part in (discriminator.trunk, discriminator.d_head, discriminator.q_head)] == [
        trunk,
        d_head,
        q_head,
    ]


@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 32, 32), (1, 9, 30), (2, 17, 8)])
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


class TestOverclusteredQ:
    def head(self, codes="uniform,cat4,gaussian,cat3", q_std=None):
        torch.manual_seed(0)
        spec = LatentSpec.parse(codes, q_std=q_std)
        net = Discriminator(spec, width=4, n_overclusters=6, n_overcluster_heads=5).eval()
        assert isinstance(net.q_head, OverclusteredQ)
        return spec, net.q_head, torch.randn(7, 64)

    @pytest.mark.parametrize("q_std", [None, 1.0])
    def test_each_code_has_its_columns(self, q_std):
        spec, q_head, features = self.head(q_std=q_std)
        q_params = q_head(features)
        assert q_params.shape == (7, spec.q_dim)
        assert q_head.class_logits(features).shape == (7, 2, 5, 6)
        first, second = q_head.category_logits(features)
        assert torch.equal(q_params[:, spec.q_slices[1]], first)
        assert torch.equal(q_params[:, spec.q_slices[3]], second)
        continuous = torch.cat([q_params[:, spec.q_slices[i]] for i in (0, 2)], dim=1)
        assert torch.equal(continuous, q_head.continuous(features))

    def test_categories_start_as_the_means_of_the_classes_of_the_head_that_tells_most(self):
        _, q_head, features = self.head("cat3,uniform,cat2")
        pairs, triples = (torch.block_diag(*n * [torch.ones(6 // n, 6 // n)]) for n in (3, 2))
        for joint, mixed in ((q_head.class_joints[0, 3], pairs), (q_head.class_joints[1, 1], triples)):
            joint[:] = 0.5 * torch.eye(6) / 6 + 0.5 * mixed / mixed.sum()
        q_head.class_joints[1, 0] = (q_head.class_joints[1, 1] + 1 / 36) / 2
        q_head.settle()
        classes = q_head.class_logits(features)
        wanted = (classes[:, 0, 3].unflatten(1, (3, 2)).mean(dim=2), classes[:, 1, 1].unflatten(1, (2, 3)).mean(dim=2))
        for found, expected in zip(q_head.category_logits(features), wanted, strict=True):
            order = [(found - column).abs().amax(dim=0).argmin() for column in expected.T[:, :, None]]
            assert len({int(i) for i in order}) == found.shape[1]
            torch.testing.assert_close(found[:, order], expected)

    def test_a_class_counts_as_often_as_it_comes(self):
        _, q_head, features = self.head("cat2")
        shares = torch.tensor([0.4, 0.1, 0.2, 0.1, 0.1, 0.1])
        joint = torch.zeros(6, 6)
        for group in ([0, 1], [2, 3, 4, 5]):
            of_group = shares[group]
            joint[torch.tensor(group)[:, None], torch.tensor(group)] = of_group[:, None] * of_group / of_group.sum()
        q_head.class_joints[0, 2] = joint
        q_head.settle()
        classes = q_head.class_logits(features)[:, 0, 2]
        wanted = torch.stack([classes[:, :2] @ shares[:2] / 0.5, classes[:, 2:] @ shares[2:] / 0.5], dim=1)
        (found,) = q_head.category_logits(features)
        assert torch.allclose(found, wanted, atol=1e-5) or torch.allclose(found.flip(1), wanted, atol=1e-5)

    def test_heads_start_apart(self):
        _, q_head, features = self.head("cat4")
        logits = q_head.class_logits(features)[:, 0]
        assert (logits[:, :1] - logits[:, 1:]).abs().amax(dim=(0, 2)).min() > 0.01


class TestProjectionHead:
    def test_each_category_adds_a_linear_function_of_its_own(self):
        head = ProjectionHead(n_features=2, n_categories=3)
        with torch.no_grad():
            head.linear.weight[:] = torch.tensor([[1.0, 2.0]])
            head.linear.bias[:] = 0.5
            features = torch.tensor([[1.0, 1.0], [3.0, -1.0]])
            categories = torch.tensor([[0.0, 1.0, 0.0], [0.25, 0.0, 0.75]])
            assert head(features, categories).tolist() == head(features).tolist() == [3.5, 1.5]
            head.by_category[:] = torch.tensor([[4.0, 0.0], [0.0, 8.0], [0.0, 1.0]])
            assert head(features).tolist() == [3.5, 1.5]
            assert head(features, categories).tolist() == [3.5 + 8.0, 1.5 + 0.25 * 12.0 + 0.75 * -1.0]

    def test_d_judges_by_q_s_categories_and_has_no_say_in_them(self):
        torch.manual_seed(0)
        spec = LatentSpec.parse("cat4,uniform,cat3")
        net = Discriminator(spec, width=4, n_overclusters=6, d_by_category=True).eval()
        features = torch.randn(5, 64, requires_grad=True)
        plain = net.d_head.linear(features)[:, 0]
        assert torch.equal(net.d_logits(features), plain)
        torch.nn.init.normal_(net.d_head.by_category)
        answers = torch.cat([logits.softmax(dim=1) for logits in net.q_head.category_logits(features)], dim=1)
        wanted = plain + torch.einsum("nk,kf,nf->n", answers.detach(), net.d_head.by_category, features)
        found = net.d_logits(features)
        torch.testing.assert_close(found, wanted)
        assert torch.equal(net.d_logits(features, by_category=False), plain)
        gradients = [torch.autograd.grad(logits.sum(), features, retain_graph=True)[0] for logits in (found, wanted)]
        torch.testing.assert_close(*gradients)
        found.sum().backward()
        assert all(p.grad is None for p in net.q_head.parameters())


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
