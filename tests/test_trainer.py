"""`Trainer`: its schedule, the views and averages that it makes, and its state, from which it goes on the same."""

import itertools
import math

import numpy as np
import pytest
import torch
from states import assert_same_state

from infogan import Trainer, UserError
from infogan.extensions import schedule
from infogan.extensions.class_conditional import ProjectionHead
from infogan.extensions.overclusters import OverclusteredQ


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize(("ema_decay", "precision"), [(0.0, "float32"), (0.9, "float32"), (0.9, "bfloat16")])
def test_a_trainer_resumes_in_memory_too(small, digits, weight, ema_decay, precision):
    terms = {"lambda_consistency": weight, "lambda_equivariance": weight, "merge_step": 1}
    config = small(ema_decay=ema_decay, precision=precision, **terms)
    whole, half, resumed = (Trainer(config, digits.images) for _ in range(3))
    for _ in range(4):
        whole.train_step()
    for _ in range(2):
        half.train_step()
    resumed.load_state_dict(half.state_dict())
    for _ in range(2):
        resumed.train_step()
    state = resumed.state_dict()
    # The global generators are shared by the three trainers of this process.
    assert_same_state({**state, "rng": 0}, {**whole.state_dict(), "rng": 0})


def test_rates_fall_to_zero_on_a_line_over_the_last_steps(small, digits):
    training = Trainer(small(steps=8, lr_decay=0.5, baseline=True), digits.images)
    full = {1e-3, 4e-4, 2e-3}

    def shares():
        groups = [
            g
            for step in (training._infogan, training._vanilla)
            for o in (step.opt_d, step.opt_g)
            for g in o.param_groups
        ]
        assert {g["full_lr"] for g in groups} == full
        return {g["lr"] / g["full_lr"] for g in groups}

    found = []
    for _ in range(8):
        training.train_step()
        (share,) = shares()
        found.append(share)
    assert found == pytest.approx([1, 1, 1, 1, 1, 0.75, 0.5, 0.25])


def test_overclusters_are_merged_in_time_and_l_i_is_ramped_up(small, digits, monkeypatch):
    monkeypatch.setattr(schedule, "MI_DELAY_STEPS", 1)
    monkeypatch.setattr(schedule, "MI_RAMP_STEPS", 2)
    training = Trainer(small(merge_step=2, lambda_cont=0.5, baseline=True), digits.images)
    q_head = training.discriminator.q_head
    done = []
    for name in ("merge", "choose"):
        monkeypatch.setattr(q_head, name, lambda name=name: done.append((name, training.step)))
    joints, weights, conditional = [], [], []
    for _ in range(7):
        metrics = training.train_step()
        assert -1e-6 <= metrics["consistency_c1"] <= math.log(training.config.overclusters)
        joints.append((q_head.overcluster_joints.clone(), q_head.category_joints[0].clone()))
        weights.append(training._infogan.lambdas.tolist())
        conditional.append(training.discriminator.d_head.active)
    assert done == [("merge", 2), ("choose", 3)]
    assert weights == [[w, 0.5, 0.5] for w in (0, 0, 0, 0, 0.5, 1, 1)]
    assert conditional == [*5 * [False], True, True]
    assert training.discriminator.d_head.by_category.all()
    assert not training._vanilla.discriminator.d_head.by_category.any()
    assert not training._vanilla.discriminator.d_head.active
    changed = [tuple(not torch.equal(*pair) for pair in zip(a, b, strict=True)) for a, b in itertools.pairwise(joints)]
    assert changed == [*2 * [(True, False)], *4 * [(False, True)]]


def test_without_consistency_there_are_no_overclusters_and_nothing_waits_for_them(small, digits):
    training = Trainer(small(lambda_consistency=0.0, merge_step=100, lambda_cont=0.5), digits.images)
    metrics = training.train_step()
    assert "consistency_c1" not in metrics and "equivariance" in metrics
    assert not isinstance(training.discriminator.q_head, OverclusteredQ)
    assert not isinstance(training.discriminator.d_head, ProjectionHead)
    assert training._infogan.lambdas.tolist() == [1.0, 0.5, 0.5]


@pytest.mark.parametrize(
    ("weights", "made"),
    [
        ({}, True),
        ({"lambda_consistency": 0.0}, True),
        ({"lambda_equivariance": 0.0}, True),
        ({"lambda_consistency": 0.0, "lambda_equivariance": 0.0}, False),
    ],
)
def test_views_are_made_only_for_the_terms_that_need_them(small, digits, monkeypatch, weights, made):
    seen = []
    training = Trainer(small(**weights), digits.images)
    learn = training._infogan.update_discriminator

    def note(x_real, x_fake, c, views):
        seen.append(views)
        return learn(x_real, x_fake, c, views)

    monkeypatch.setattr(training._infogan, "update_discriminator", note)
    metrics = training.train_step()
    assert (seen[0] is not None) is made
    assert ("consistency_c1" in metrics) is (made and weights.get("lambda_consistency") != 0)
    assert ("equivariance" in metrics) is (made and weights.get("lambda_equivariance") != 0)


def test_views_differ_in_contrast_as_far_as_asked(small, digits, monkeypatch):
    views = []
    for contrast in (0.0, 0.4):
        training = Trainer(small(codes="cat10,slant,width", augment_contrast=contrast), digits.images)
        monkeypatch.setattr(training._infogan, "update_discriminator", lambda *parts: views.append(parts[3]) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            training.train_step()
    plain, other = views
    assert torch.equal(plain.parameters, other.parameters)
    u, altered = (plain.images + 1) / 2, (other.images + 1) / 2
    weakest, strongest = ((math.exp(sign * 0.4) * u ** math.exp(-sign * 0.4)).clamp_max(1) for sign in (-1, 1))
    assert ((altered >= weakest - 1e-5) & (altered <= strongest + 1e-5)).all()
    assert (altered - u).flatten(1).abs().amax(dim=1).min() > 0.01


def test_images_of_another_kind_are_refused(small):
    shape = (20, 1, 28, 28)
    for images in (torch.rand(shape), torch.zeros(20, 28, 28, dtype=torch.uint8), np.zeros(shape)):
        with pytest.raises(UserError, match=r"images: expected uint8 in \[0, 255\] of shape"):
            Trainer(small(batch_size=4), images)


def test_an_array_of_images_is_as_good_as_a_tensor(small, digits):
    first = Trainer(small(), digits.images[:90].numpy()).train_step()
    assert first["loss_d"] == Trainer(small(), digits.images[:90]).train_step()["loss_d"]


def test_a_state_of_other_images_is_refused(small, digits):
    state = Trainer(small(), digits.images[:90]).state_dict()
    with pytest.raises(UserError, match=r"images of shape \(60, 1, 28, 28\) \(the run has \(90, 1, 28, 28\)\)"):
        Trainer(small(), digits.images[:60]).load_state_dict(state)


def test_a_state_of_another_configuration_is_refused(small, digits):
    state = Trainer(small(), digits.images).state_dict()
    with pytest.raises(UserError, match=r"--sync-batchnorm False \(the run has True\)"):
        Trainer(small(sync_batchnorm=False), digits.images).load_state_dict(state)


def test_the_average_follows_the_weights_and_not_training(small, digits):
    averaged, plain = (Trainer(small(ema_decay=decay), digits.images) for decay in (0.5, 0.0))
    history = []
    for _ in range(3):
        averaged.train_step(), plain.train_step()
        history.append(averaged.generator.project[0].weight.detach().clone())
    assert torch.equal(history[-1], plain.generator.project[0].weight)
    assert averaged.generator_ema is not None
    # Decays (1 + k)/(10 + k), k = 0, 1, 2, since all are below 0.5; the start counts for nothing but its share.
    start = Trainer(small(), digits.images).generator.project[0].weight
    expected = start
    for decay, weight in zip((1 / 10, 2 / 11, 3 / 12), history, strict=True):
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(averaged.generator_ema.project[0].weight, expected, atol=1e-6)


def test_a_checkpoint_of_another_spec_is_refused_with_every_difference(small, digits):
    state = Trainer(small(codes="cat10", noise_dim=5), digits.images).state_dict()
    other = Trainer(small(codes="cat3", noise_dim=6), digits.images)
    with pytest.raises(UserError, match=r"--codes cat3 \(the run has cat10\); --noise-dim 6 \(the run has 5\)"):
        other.load_state_dict(state)


def test_a_resumed_run_goes_on_with_the_slopes_that_it_had(small, digits):
    before, after = (Trainer(small(codes="cat10,slant,thickness"), digits.images) for _ in range(2))
    before.extensions[-1].slopes.mul_(2)
    state = before.state_dict()
    after.load_state_dict(state)
    assert torch.equal(after.extensions[-1].slopes, before.extensions[-1].slopes)
    for slopes in (torch.ones(1, 5), torch.full((2, 5), torch.nan)):
        state["extensions"]["Equivariance"]["slopes"] = slopes
        with pytest.raises(ValueError, match=r"expected finite slopes of shape \(2, 5\), got"):
            after.load_state_dict(state)
