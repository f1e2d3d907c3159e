"""Checkpoints that were altered or made by hand: nothing loads that is not what was written, nor costs memory first."""

import copy
import math
import re
import zipfile

import pytest
import torch

from infogan import Trainer, UserError, load_nets, resume, train
from infogan.system import tensor_files
from infogan.training.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two steps on real digits, with everything that a checkpoint can hold."""
    from conftest import small_config

    config = small_config(steps=2, baseline=True, ema_decay=0.5, codes="cat3,gaussian", name="two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("infogan.training.recorder.RunRecorder.draw_all", lambda self: None)
        return train(config, tmp_path_factory.mktemp("out"))


@pytest.fixture(scope="module")
def content(run):
    return run.latest_checkpoint().read_bytes()


def unsealed(content):
    """A checkpoint as earlier versions wrote it."""
    return content[: -tensor_files._SEAL_BYTES]


def refusal(path):
    with pytest.raises(UserError) as error:
        load_nets(path)
    message = str(error.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message


def test_a_checkpoint_ends_with_its_digest_and_one_of_an_earlier_version_has_none(content, tmp_path):
    (tmp_path / "before.pt").write_bytes(unsealed(content))
    (tmp_path / "today.pt").write_bytes(content)
    assert re.fullmatch(rb"\nsha256:[0-9a-f]{64}", content[-tensor_files._SEAL_BYTES :])
    for name in ("before.pt", "today.pt"):
        assert load_checkpoint(tmp_path / name)["step"] == 2
        assert torch.load(tmp_path / name, weights_only=True)["step"] == 2  # as others read it


@pytest.mark.parametrize("sealed", [True, False])
def test_a_record_marked_as_a_folder_is_not_loaded_as_what_memory_held(content, tmp_path, sealed):
    path = tmp_path / "altered.pt"
    content = content if sealed else unsealed(content)
    (tmp_path / "whole.pt").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "whole.pt") as archive:
        largest = max(archive.infolist(), key=lambda info: info.file_size).filename.encode()
        start = archive.start_dir
    in_directory = content.index(largest, start) - 46
    assert content[in_directory:].startswith(b"PK\x01\x02")
    for offset, value in ((38, 0x10), (10, 8), (10, 12), (10, 99), (8, 1)):  # a folder; compressed; encrypted
        altered = bytearray(content)
        altered[in_directory + offset] |= value
        path.write_bytes(altered)
        assert "altered.pt is not a checkpoint of this package, or it is truncated or altered" in refusal(path)


def test_a_checkpoint_cut_short_anywhere_is_refused(content, tmp_path):
    path = tmp_path / "cut.pt"
    for n_lost in (1, 10, 71, 73, 80, 94, 1000, len(content) - 10, len(content)):
        path.write_bytes(content[:-n_lost])
        assert "or it is truncated" in refusal(path)
    path.write_bytes(content + b"\n")
    assert "or it is truncated" in refusal(path)


def with_value(state, place, value):
    """A copy of a state that holds another value at one place."""
    state = copy.deepcopy(state)
    holder = state
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value(holder[place[-1]]) if callable(value) else value
    return state


def spoilt(tensor):
    tensor = tensor.clone()
    tensor.view(-1)[-1] = math.nan
    return tensor


WEIGHT = ("infogan", "discriminator", "trunk.0.weight")
VARIANCE = ("infogan", "discriminator", "trunk.3.running_var")


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("step",), "2", "a step of 0 or more, got '2'"),
        (("step",), -1, "a step of 0 or more, got -1"),
        (("step",), True, "got True"),
        (("step",), 2.0, "got 2.0"),
        (("name",), None, "expected a name, got none"),
        (("name",), 3, "--name: expected"),
        (("config", "width"), 1024, "expected torch.float32 of shape"),
        (("config", "noise_dim"), 9, "expected torch.float32 of shape"),
        (("config",), ["width"], "not a mapping"),
        (("image_shape",), [1, -28, 28], "expected an image shape of whole numbers"),
        (("image_shape",), [1, 28], "not enough values"),
        (("image_shape",), [1, 56, 28], "generator: missing or unknown"),
        (("infogan",), None, "NoneType"),
        (("infogan", "discriminator"), {}, "discriminator: missing or unknown d_head"),
        (("generator_ema",), {}, "generator: missing or unknown draw.0.weight"),
        (("generator_ema", "draw.0.weight"), spoilt, "finite numbers, got NaN"),
        (WEIGHT, spoilt, "discriminator.trunk.0.weight: expected finite numbers"),
        (VARIANCE, spoilt, "discriminator.trunk.3.running_var: expected finite numbers"),
        (WEIGHT, lambda weight: weight[:, :, :3], r"got torch.float32 of shape \(4, 1, 3, 4\)"),
        (WEIGHT, lambda weight: weight.double(), "got torch.float64"),
        (WEIGHT, "weight", "'str' object"),
        (WEIGHT, lambda weight: torch.zeros(1).expand(weight.shape), "a tensor claims 256 bytes, and has 4"),
        (("log", "seconds"), math.nan, "seconds of 0 or more, got nan"),
        (("log", "seconds"), "3", "not supported"),
        (("log",), 3, "'int' object"),
    ],
)
def test_content_that_cannot_be_is_named(run, tmp_path, place, value, reason):
    state = with_value(load_checkpoint(run.latest_checkpoint()), place, value)
    torch.save(state, tmp_path / "made.pt")
    assert re.search(reason, refusal(tmp_path / "made.pt"))


def test_another_width_is_refused_before_its_nets_are_built(run, tmp_path):
    state = with_value(load_checkpoint(run.latest_checkpoint()), ("config", "width"), 1024)
    torch.save(state, tmp_path / "made.pt")
    made = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.Module, "to_empty", lambda *_, **__: made.append(1))
        refusal(tmp_path / "made.pt")
    assert not made


def test_loading_draws_no_random_numbers(run):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_nets(run.folder)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (("latents_rng",), lambda state: state[:100], "a random state of 5056 or 16 bytes, got 100"),
        (("batches", "epoch_state"), lambda state: state[:-1], "got 5055"),
        (("rng", "python"), lambda state: [state[0], state[1][:9], None], "state vector"),
        (("rng", "numpy", 1), lambda keys: keys[:9], ""),
        (("rng", "torch"), lambda state: state[:9], ""),
        (("rng",), None, ""),
        (("rng", "python"), lambda state: [state[0], torch.zeros(9), None], "random states of Python and NumPy"),
        (("rng", "torch"), lambda state: state[:1].expand(10**12), "claims 1,000,000,000,000 bytes, and has"),
        (("batches", "position"), -1, "batches of an epoch, got -1"),
        (("batches", "position"), 10**6, "batches of an epoch, got 1000000"),
        (("infogan", "opt_d", "state", 0, "exp_avg"), lambda average: average[:1], "expected Adam's exp_avg of shape"),
        (("infogan", "opt_g", "state"), {0: {}}, ""),
        (("vanilla", "generator", "draw.0.weight"), spoilt, "finite numbers"),
        (("generator_ema", "draw.0.weight"), spoilt, "generator_ema.draw.0.weight: expected finite"),
        (("config", "width"), 1024, r"--width 4 \(the run has 1024\)"),
    ],
)
def test_a_run_does_not_go_on_from_a_state_that_cannot_be(run, digits, tmp_path, place, value, reason):
    path = run.latest_checkpoint()
    whole = path.read_bytes()
    try:
        torch.save(with_value(load_checkpoint(path), place, value), path)
        with pytest.raises(UserError, match=f"step_2.*{reason}") as error:
            resume(run.folder, steps=4)
        assert "\n" not in str(error.value)
    finally:
        path.write_bytes(whole)


def test_weights_that_are_not_finite_are_not_saved(small, digits):
    trainer = Trainer(small(), digits.images)
    for net, name in ((trainer.discriminator, "trunk.3.running_var"), (trainer.generator_ema, "draw.0.weight")):
        before = net.state_dict()[name].clone()
        assert trainer.is_finite()
        net.state_dict()[name].view(-1)[0] = math.inf
        assert not trainer.is_finite()
        net.state_dict()[name].copy_(before)
