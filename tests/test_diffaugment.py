"""DiffAugment: what its transformations are, that D alone sees images through them, and that they repeat exactly."""

import pytest
import torch
from states import assert_same_state
from stepping import build_step

from infogan import Trainer, UserError
from infogan.extensions.diffaugment import DiffAugment, change_color, cut_out, translate
from infogan.losses import Term
from infogan.system import distributed
from infogan.training.loop import resumed
from infogan.training.run import Run
from infogan.training.vanilla import VanillaStep

ALL = "color,translation,cutout"


@pytest.fixture
def x(digits):
    return digits.images[::40].float() / 127.5 - 1


@pytest.fixture
def in_colour(x):
    return torch.cat([x, x.roll(1, dims=0), x.flip(3)], dim=1)


def of(n, *u):
    return torch.tensor([u]).expand(n, -1)


def test_color_changes_brightness_saturation_and_contrast_by_what_is_drawn(x, in_colour):
    torch.testing.assert_close(change_color(in_colour, of(len(x), 0.5, 0.5, 0.5)), in_colour)
    torch.testing.assert_close(change_color(x, of(len(x), 0.75, 0.9, 0.5)), x + 0.25)  # grey has no saturation
    grey = in_colour.mean(dim=1, keepdim=True).expand_as(in_colour)
    torch.testing.assert_close(change_color(in_colour, of(len(x), 0.5, 0.0, 0.5)), grey)
    low = change_color(in_colour, of(len(x), 0.5, 0.5, 0.0))
    torch.testing.assert_close(low.mean(dim=(1, 2, 3)), in_colour.mean(dim=(1, 2, 3)))
    torch.testing.assert_close(low.std(dim=(1, 2, 3)), in_colour.std(dim=(1, 2, 3)) / 2)


def test_translation_moves_by_whole_pixels_and_fills_with_0(x):
    torch.testing.assert_close(translate(x, of(len(x), 0.5, 0.5)), x)
    moved = translate(x, of(len(x), 0.0, 0.999))  # by four pixels of 28: up, and to the right
    torch.testing.assert_close(moved[..., :24, 4:], x[..., 4:, :24])
    assert not moved[..., 24:, :].any() and not moved[..., :4].any()
    wide = x[..., :20]
    torch.testing.assert_close(translate(wide, of(len(x), 0.5, 0.999))[..., 3:], wide[..., :17])


def test_cutout_leaves_a_hole_half_as_high_and_wide_wherever_its_centre_is(x):
    whole = torch.ones_like(x)
    middle = cut_out(whole, of(len(x), 0.5, 0.5))
    assert not middle[..., 7:21, 7:21].any() and middle.sum() == whole.sum() - 14 * 14 * len(x)
    corner = cut_out(whole, of(len(x), 0.0, 0.999))
    assert not corner[..., :7, 21:].any() and corner.sum() == whole.sum() - 7 * 7 * len(x)


def test_each_image_is_transformed_by_itself_and_a_step_repeats(x):
    transform = DiffAugment(ALL, seed=3)
    transform.start_step(5)
    first, second = transform(x), transform(x)
    transform.start_step(5)
    assert torch.equal(first, transform(x)) and not torch.equal(first, second)
    same = DiffAugment(ALL, 3)(x[:1].expand(len(x), -1, -1, -1))
    assert len(torch.unique(same.flatten(1), dim=0)) == len(x)
    for other in (DiffAugment(ALL, seed=4), DiffAugment("translation,cutout", seed=3)):
        other.start_step(5)
        assert not torch.equal(first, other(x))


@pytest.mark.parametrize("policy", ["color", "translation", "cutout", ALL])
def test_the_gradient_of_g_s_loss_goes_through_it(x, policy):
    x = x[:3].double().requires_grad_()

    def transformed(images):
        return DiffAugment(policy, seed=0)(images)

    assert torch.autograd.gradcheck(transformed, x[:, :, 10:18, 10:18], fast_mode=True)


def test_d_s_gan_loss_sees_transformed_images_and_q_the_images_themselves(small, batch):
    config = small(lambda_consistency=0.0, lambda_equivariance=0.0)
    x_real, z, c = batch(config)
    found = {}
    for kind, transform in (("as they are", None), ("transformed", DiffAugment(ALL, 0)), ("blank", torch.zeros_like)):
        step = build_step(config)
        step.transform = transform
        x_fake = step.generator(z, c)
        x_fake.retain_grad()
        passes = []
        step.discriminator.trunk[0].register_forward_hook(lambda *args, passes=passes: passes.append(args[1][0]))
        of_d = step.update_discriminator(x_real, x_fake.detach(), c)
        # Of real images as they are nothing is asked where D sees them transformed: that pass would be in vain.
        assert any(torch.equal(images, x_real) for images in passes) == (kind == "as they are")
        step.lambdas = [0.0] * 3
        found[kind] = of_d, step.update_generator(x_fake, c), x_fake.grad
    of_d = {kind: values for kind, (values, _, _) in found.items()}
    for name in ("mi_c1", "mi_c2", "mi_c3"):
        assert of_d["transformed"][name] == of_d["as they are"][name]
    assert len({float(values["loss_d"]) for values in of_d.values()}) == 3
    assert found["transformed"][2].abs().sum() > 0  # it reaches G
    assert not found["blank"][2].any()  # and on no other way


def test_a_term_of_one_s_own_may_read_the_features_of_real_images_all_the_same(small, batch):
    class Reads:
        def d_terms(self, batch):
            return {"size": Term(0.1, batch.features_real.square().mean())}

    config = small(lambda_consistency=0.0, lambda_equivariance=0.0)
    x_real, z, c = batch(config)
    step = build_step(config)
    step.transform, step.extensions = DiffAugment(ALL, 0), [Reads()]
    with torch.no_grad():
        x_fake = step.generator(z, c)
        expected = step.discriminator.trunk(x_real).square().mean()
    assert step.update_discriminator(x_real, x_fake, c)["size"] == pytest.approx(expected.item(), rel=1e-4)


def test_a_run_with_it_resumes_exactly_and_a_baseline_changes_nothing(small, digits):
    config = small(diffaugment="auto")  # of 4,500 images: all of it
    whole, half, resumed = (Trainer(config, digits.images) for _ in range(3))
    beside = Trainer(small(diffaugment=ALL, baseline=True), digits.images)
    for _ in range(3):
        whole.train_step(), beside.train_step()
    assert isinstance(beside._vanilla, VanillaStep) and beside._vanilla.transform is beside._infogan.transform
    for _ in range(2):
        half.train_step()
    resumed.load_state_dict({**half.state_dict(), "config": config.to_dict()})
    resumed.train_step()
    assert_same_state({**resumed.state_dict(), "rng": 0}, {**whole.state_dict(), "rng": 0})
    assert_same_state(beside.state_dict()["infogan"], whole.state_dict()["infogan"])


def test_auto_is_for_few_images_and_none_is_off(small, digits):
    for policy, images in (("none", digits.images), ("auto", digits.images.repeat(3, 1, 1, 1))):
        assert Trainer(small(diffaugment=policy), images)._infogan.transform is None
    assert small(diffaugment="auto").diffaugment_for(4_999) == ALL
    assert small(diffaugment="auto").diffaugment_for(5_000) == "none"
    assert small(diffaugment="color").diffaugment_for(10**6) == "color"
    for wrong in ("colour", "color,color", "", "auto,color"):
        with pytest.raises(UserError, match="--diffaugment: expected none, auto, or any of color, translation, cutout"):
            small(diffaugment=wrong)


def test_ranks_transform_their_parts_of_the_batch_as_one_does(x, monkeypatch):
    whole = DiffAugment(ALL, seed=0)(x[:8])
    monkeypatch.setattr(distributed, "n_ranks", lambda: 2)
    parts = []
    for rank in range(2):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        parts.append(DiffAugment(ALL, seed=0)(x[4 * rank : 4 * rank + 4]))
    assert torch.equal(torch.cat(parts), whole)


def test_the_first_flags_may_be_given_again(small, tmp_path):
    run = Run.create(small(diffaugment="color"), tmp_path)
    assert resumed(run.folder, {"diffaugment": "auto"})[1].diffaugment == "color"
    with pytest.raises(UserError, match=r"--diffaugment none \(the run has color\)"):
        resumed(run.folder, {"diffaugment": "none"})
