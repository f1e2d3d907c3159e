"""Steps as CUDA graphs give what the same steps give one kernel after the other."""

import copy

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from infogan import NonFiniteLossError, TrainConfig, Trainer
from infogan.extensions import TERMS, schedule
from infogan.training import capture

on_gpu = pytest.mark.gpu
N_STEPS = 16
PHASED = {"merge_step": 5, "ema_decay": 0.9, "lr_decay": 0.5}
CASES = {
    "default": PHASED,
    "baseline": {**PHASED, "baseline": True},
    "bfloat16": {**PHASED, "precision": "bfloat16"},
    "affine": {**PHASED, "codes": "cat10,slant,width,scale,shift-x,shift-y"},
    "angle": {**PHASED, "codes": "cat4,circular:rotation,circular,gaussian"},
    "strokes": {**PHASED, "codes": "cat10,slant,thickness", "augment_thickness": True},
    "colours": {**PHASED, "codes": "cat10,brightness,contrast,hue,saturation"},
    "diffaugment": {**PHASED, "diffaugment": "color,translation,cutout", "baseline": True},
    "content": {
        **PHASED,
        **{"codes": "cat4,circular:rotation/4,scale,shift-x", "nets": "content", "class_conditional_d": False},
        **{"lambda_r1": 1.0, "lambda_independence": 3.0, "augment_shear": 0.0},
    },
    "free": {"codes": "uniform,uniform", "lambda_consistency": 0.0},
    "flat": {"codes": "cat10,uniform", "lambda_consistency": 0.0, "lambda_r1": 1.0},
    "lsgan": {"codes": "cat10,uniform", "lambda_consistency": 0.0, "gan_loss": "lsgan"},
}


@pytest.fixture(autouse=True)
def all_phases_pass(monkeypatch):
    monkeypatch.setattr(schedule, "MI_DELAY_STEPS", 3)
    monkeypatch.setattr(schedule, "MI_RAMP_STEPS", 4)
    monkeypatch.setattr(capture, "WARM_UP_STEPS", 1)


@pytest.fixture
def trainer(digits):
    """Returns a trainer of small nets, on CUDA unless told otherwise, on real digits; of colours where a case is."""

    def make(case, **changes):
        images = digits.images
        if case == "colours":
            images = torch.cat([images, images.flip(0), images.flip(3)], dim=1)
        fields = {"device": "cuda", "width": 8, "batch_size": 32, "steps": N_STEPS, **CASES[case], **changes}
        return Trainer(TrainConfig(**fields), images)

    return make


def run(trainer, n_steps):
    return [{name: value.item() for name, value in trainer.train_step().items()} for _ in range(n_steps)]


def assert_same_weights(a, b):
    for (_, *nets_a), (_, *nets_b) in zip(a.models(), b.models(), strict=True):
        for net_a, net_b in zip(nets_a, nets_b, strict=True):
            of_b = net_b.state_dict()
            assert all(torch.equal(value, of_b[name]) for name, value in net_a.state_dict().items())


@on_gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_step_on_another_gpu_is_captured_there(trainer):
    # `torch.cuda.graph` captures what is done on the current device.
    first, second = trainer("default", device="cuda:0"), trainer("default", device="cuda:1")
    assert run(second, N_STEPS) == run(first, N_STEPS)
    assert torch.cuda.current_device() == 0


class Operations(TorchDispatchMode):
    """Notes the operations that are done."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", CASES)
def test_steps_of_one_phase_are_the_same_operations(trainer, case):
    """Whatever else decides what a step does would be as it was when the step was captured."""
    training, by_phase = trainer(case, device="cpu", precision="float32"), {}
    updates = training._updates

    def noted():
        with Operations() as operations:
            metrics = updates()
        assert "aten.lift_fresh.default" not in operations.names, "a value of the host, copied to the device"
        by_phase.setdefault(training._phase(), []).append(operations.names)
        return metrics

    training._updates = noted
    run(training, N_STEPS)
    conditioned = "merge_step" in CASES[case] and CASES[case].get("class_conditional_d", True)
    assert len(by_phase) == (4 if conditioned else 3 if "merge_step" in CASES[case] else 1)
    for steps in by_phase.values():
        first, *others = steps[1:]  # what the first one makes the others find
        assert others and all(names == first for names in others)


def test_a_term_of_ones_own_is_never_captured(trainer, monkeypatch):
    monkeypatch.setitem(TERMS, "ink", (lambda batch: batch.x_fake.mean(), "d"))
    assert trainer("free", device="cpu", terms="ink=0.1")._phase() is None


@on_gpu
@pytest.mark.parametrize("case", CASES)
def test_captured_steps_are_the_same_to_the_bit_in_all_phases(trainer, case):
    captured, plain = trainer(case), trainer(case, cuda_graphs=False)
    assert run(captured, N_STEPS) == run(plain, N_STEPS)
    assert_same_weights(captured, plain)
    assert captured._captured._graph is not None and plain._captured is None


@on_gpu
def test_a_trainer_that_loads_a_state_captures_anew(trainer):
    whole = trainer("default")
    first = run(whole, 11)
    state = copy.deepcopy(whole.state_dict())  # later steps change its tensors
    rest = run(whole, N_STEPS - 11)
    other = trainer("default")
    assert run(other, 11) == first
    other.load_state_dict(state)
    assert run(other, N_STEPS - 11) == rest
    assert_same_weights(other, whole)


@on_gpu
def test_a_loss_that_is_no_number_is_refused_before_its_update(trainer):
    training = trainer("default")
    run(training, 3)
    assert training._captured._graph is not None
    before = {name: value.clone() for name, value in training.generator.named_parameters()}
    with torch.no_grad():
        training.discriminator.d_head.linear.bias.fill_(torch.nan)
    with pytest.raises(NonFiniteLossError, match="step 4: loss_d with its other terms is nan; stopped before"):
        training.train_step()
    assert all(torch.equal(value, before[name]) for name, value in training.generator.named_parameters())
    assert all(value.isfinite().all() for value in training.discriminator.trunk.parameters())
