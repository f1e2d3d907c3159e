"""DiffAugment: what its transformations are, that D and Q see images through them, and that they repeat exactly."""

import pytest
import torch
from states import assert_same_state
from stepping import build_step

from infogan import Trainer, UserError
from infogan.data.augment import Augmentation
from infogan.extensions.diffaugment import DiffAugment, change_color, cut_out, translate
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


@pytest.fixture
def calls(monkeypatch):
    """What DiffAugment was given and returned, in turn."""
    found, real_call = [], DiffAugment.__call__

    def recorded(self, images):
        found.append((images, real_call(self, images)))
        return found[-1][1]

    monkeypatch.setattr(DiffAugment, "__call__", recorded)
    return found


def test_d_and_q_see_real_and_generated_images_transformed_and_nothing_else(small, digits, calls):
    trainer = Trainer(small(diffaugment=ALL, lambda_consistency=0.0, lambda_equivariance=0.0), digits.images)
    seen = []
    trainer.discriminator.trunk[0].register_forward_hook(lambda *args: seen.append(args[1][0]))
    trainer.train_step()
    (x_real, real_seen), (x_fake, fake_seen) = calls
    assert x_real.min() == -1 and not x_real.requires_grad and x_fake.requires_grad
    for images, expected in zip(seen, (real_seen, fake_seen, fake_seen), strict=True):
        assert torch.equal(images, expected)  # as many passes as without it


def test_the_gradient_reaches_g_through_the_transformation_alone(small, batch):
    config = small(lambda_consistency=0.0, lambda_equivariance=0.0)
    for transform, reaches in ((DiffAugment(ALL, 0), True), (lambda images: 0 * images, False)):
        step = build_step(config)
        step.transform = transform
        step(*batch(config))
        assert any(parameter.grad.any() for parameter in step.generator.parameters()) == reaches


def test_views_are_of_the_images_that_d_sees(small, digits, calls, monkeypatch):
    given, real_views = [], Augmentation.views

    def recorded(self, images, *drawn):
        given.append(images)
        return real_views(self, images, *drawn)

    monkeypatch.setattr(Augmentation, "views", recorded)
    trainer = Trainer(small(diffaugment=ALL), digits.images)
    given.clear()  # slopes were measured
    trainer.train_step()
    assert len(given) == 1 and torch.equal(given[0], calls[0][1])


def test_a_run_with_it_resumes_exactly_and_a_baseline_changes_nothing(small, digits):
    config = small(diffaugment=ALL)
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
    for policy, images in (("none", digits.images), ("auto", digits.images)):
        assert Trainer(small(diffaugment=policy), images)._infogan.transform is None
    assert small(diffaugment="auto").diffaugment_for(2_499) == "translation"
    assert small(diffaugment="auto").diffaugment_for(2_500) == "none"
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
