"""Images in .npy and .npz files: real digits as people store them, and what is refused, with what to do about it."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from infogan import UserError, load_dataset
from infogan.config.datasets import ImageForm
from infogan.data import arrays


@pytest.fixture
def pixels(digits):
    return digits.images[:12, 0].numpy()


def load(tmp_path, form=None, **given):
    """Loads an array from a .npy file, or several from a .npz file."""
    if given.keys() == {"array"}:
        np.save(tmp_path / "mine.npy", given["array"], allow_pickle=True)
        return load_dataset(str(tmp_path / "mine.npy"), "unused", form or ImageForm())
    np.savez(tmp_path / "mine.npz", **given)
    return load_dataset(str(tmp_path / "mine.npz"), "unused", form or ImageForm())


def test_arrays_come_back_as_images(tmp_path, pixels):
    coloured = np.stack([pixels, pixels[::-1], 255 - pixels], axis=1)
    for array in (pixels, pixels[:, None], coloured, np.asfortranarray(coloured)):
        found = load(tmp_path, array=array)
        assert np.array_equal(found.images, array if array.ndim == 4 else array[:, None])
        assert found.images.is_contiguous() and found.name == str(tmp_path / "mine.npy")
        assert len(found.labels) == len(found.test_images) == len(found.test_labels) == 0


def test_labels_of_an_npz_are_for_scoring(tmp_path, pixels, digits):
    found = load(tmp_path, images=pixels, labels=digits.labels[:12].numpy() * 10, other=np.array({"an": "object"}))
    assert [int(found.class_names[k]) for k in found.labels] == (digits.labels[:12] * 10).tolist()
    assert not len(load(tmp_path, images=pixels).labels)


def test_it_is_said_what_was_found_and_what_was_made_of_it(tmp_path, pixels, digits):
    labels = digits.labels[:12].numpy()
    found = load(tmp_path, images=pixels, labels=labels)
    assert found.notes[0] == f"{tmp_path / 'mine.npz'}: 12 images"
    assert found.notes[1:3] == ("found: 28 x 28 px, grey", "made of them: 28 x 28 px, grey")
    assert found.notes[3].startswith(f"classes, for scoring alone: {len(set(labels.tolist()))} (")
    np.save(tmp_path / "mine.npy", pixels)
    made = load_dataset(str(tmp_path / "mine.npy"), "unused", ImageForm(size=16, channels="rgb"))
    assert made.notes[1:] == ("found: 28 x 28 px, grey", "made of them: 16 x 16 px, RGB")


def to_float(pixels, low):
    return pixels.astype(np.float32) / 255 * (1 - low) + low


@pytest.mark.parametrize(
    ("make", "message", "has_remedy"),
    [
        (lambda x: to_float(x, 0), r"uint8 in \[0, 255\], got float32 .* 0 to 1; ", True),
        (lambda x: to_float(x, -1), r"got float32 .* from -1 to 1; ", True),
        (lambda x: x.astype(np.uint16) * 257, r"got uint16 .* from 0 to 65535; ", True),
        (lambda x: (x.astype(np.uint16) * 257) >> 4, r"got uint16 .* from 0 to 4095; ", True),
        (lambda x: x.astype(np.int64), r"got int64 .* from 0 to 255; ", True),
        (lambda x: x > 127, r"got bool .* from 0 to 1; ", False),
        (lambda x: x // 255, r"got 0 and 1 alone, which would be black: .*; times 255, 1 is white", False),
        (lambda x: x * 0 + 9, r"expected images that differ, got 9 in every pixel", False),
        (lambda x: np.stack([x] * 3, axis=3), r"\(12, 28, 28, 3\) .*; images.transpose\(0, 3, 1, 2\) puts", False),
        (
            lambda x: to_float(x[..., None], 0),
            r"\* 255\).round\(\).astype\('uint8'\).transpose\(0, 3, 1, 2\) is",
            False,
        ),
        (lambda x: x[..., None], r"channels before height and width, got uint8 of shape \(12, 28, 28, 1\)", False),
        (lambda x: np.stack([x] * 4, axis=1), r"1 or 3 channels, got 4, as of RGBA: .*; images\[:, :3\] drops", False),
        (lambda x: x[0], r"expected uint8 of shape \(n, channels, .* got uint8 of shape \(28, 28\)", False),
        (lambda x: x[:0], r"got uint8 of shape \(0, 28, 28\)", False),
        (lambda x: np.array([{"an": "object"}]), r"cannot read .*got Python objects, which may execute code", False),
        (lambda x: np.array(["text"]), r"expected uint8 in \[0, 255\], got <U4", False),
    ],
)
def test_what_is_no_images_is_refused_with_the_remedy(tmp_path, pixels, make, message, has_remedy):
    array = make(pixels)
    with pytest.raises(UserError, match=f"^--dataset: .*{message}") as error:
        load(tmp_path, array=array)
    assert "mine.npy" in str(error.value) and "\n" not in str(error.value)
    if has_remedy:  # the message's own expression makes the images of it
        expression = str(error.value).rpartition("; ")[2].removesuffix(" is")
        assert np.array_equal(eval(expression, {"images": array}), pixels)
    if array.dtype.kind not in "OU":
        with pytest.raises(UserError, match=r"mine\.npz, images"):
            load(tmp_path, images=array)


@pytest.mark.parametrize("content", [None, b"", b"no array", b"PK\x03\x04 no archive"])
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_a_file_that_holds_no_array_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"mine{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^--dataset: cannot read .*mine\{suffix}: .") as error:
        load_dataset(str(path), "unused")
    assert "\n" not in str(error.value)
    assert ("it is empty" in str(error.value)) is (content == b"")


def test_an_npz_without_images_or_with_other_labels_is_refused(tmp_path, pixels):
    with pytest.raises(UserError, match=r"expected an array 'images' in .*mine.npz, got x, y"):
        load(tmp_path, x=pixels, y=pixels)
    for labels in (np.arange(11), np.arange(24).reshape(12, 2), np.linspace(0, 1, 12)):
        with pytest.raises(UserError, match=r"expected 12 integers, one for each image, got .*, labels"):
            load(tmp_path, images=pixels, labels=labels)
    np.savez(tmp_path / "mine.npz", images=pixels)
    damaged = bytearray((tmp_path / "mine.npz").read_bytes())
    damaged[5000] ^= 255
    (tmp_path / "mine.npz").write_bytes(damaged)
    with pytest.raises(UserError, match=r"cannot read .*mine.npz: Bad CRC-32"):
        load_dataset(str(tmp_path / "mine.npz"), "unused")


def test_a_header_larger_than_memory_is_refused_before_memory_is_taken(tmp_path, pixels, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 3, 512, 512)}
    )
    (tmp_path / "mine.npy").write_bytes(header.getvalue() + bytes(1000))
    with pytest.raises(UserError, match=r"cannot read .* claims 786,432,000,000,000 bytes, after it are 1,000"):
        load_dataset(str(tmp_path / "mine.npy"), "unused")
    with zipfile.ZipFile(tmp_path / "mine.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(1000))
    with pytest.raises(UserError, match=r"cannot read .*mine.npz: "):
        load_dataset(str(tmp_path / "mine.npz"), "unused")
    np.savez_compressed(tmp_path / "mine.npz", images=pixels)
    monkeypatch.setattr(arrays.os, "sysconf", lambda name: 64)  # a machine with 4 KiB of memory
    np.save(tmp_path / "mine.npy", pixels)
    for name in ("mine.npz", "mine.npy"):
        with pytest.raises(UserError, match=rf"half of this machine's memory, got .* GiB: .*{name}"):
            load_dataset(str(tmp_path / name), "unused")


def test_size_and_channels_are_made_as_asked_for(tmp_path, pixels):
    found = load(tmp_path, ImageForm(size=16, channels="rgb"), array=pixels)
    assert found.images.shape == (12, 3, 16, 16)
    expected = np.asarray(Image.fromarray(pixels[0]).resize((16, 16), Image.Resampling.LANCZOS))
    assert np.array_equal(found.images[0], np.stack([expected] * 3))
    coloured = np.stack([pixels, pixels, pixels * 0], axis=1)
    grey = load(tmp_path, ImageForm(channels="grey"), array=coloured).images
    assert grey.shape == (12, 1, 28, 28) and (grey[:, 0].numpy() == pixels * 0.886).mean() < 1
    assert torch.equal(grey.amax() > 220, torch.tensor(True)) and grey.amax() < 230  # yellow is bright, not white
    with pytest.raises(UserError, match=r"--size, --channels: expected images of 1 or 3 channels, got 2"):
        load(tmp_path, ImageForm(size=16), array=coloured[:, :2])


def test_a_named_set_takes_another_form_and_is_then_not_measured_as_digits(digits):
    larger = load_dataset("mnist5k", "unused", ImageForm(size=32))
    assert larger.images.shape == (4500, 1, 32, 32) and larger.test_images.shape == (500, 1, 32, 32)
    assert digits.measurable and not larger.measurable
