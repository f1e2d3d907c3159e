"""Data sets by name: real digits in each one's original format, written by the programs that write it."""

import bz2
import gzip
import hashlib
import pickle
import struct
import zipfile

import numpy as np
import pytest
import scipy.io
import torch
import torchvision.datasets
from PIL import Image
from test_datasets import FILES, idx_bytes, idx_contents, mirror, write  # noqa: F401  fixtures

from infogan import UserError, load_dataset
from infogan.config.datasets import ImageForm
from infogan.data import idx


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(idx, "is_reachable", lambda url: False)


def arrays_of(digits):
    return digits.images[:60, 0], digits.labels[:60], digits.test_images[:20, 0], digits.test_labels[:20]


@pytest.mark.parametrize("gz", [False, True])
def test_idx_files_are_known_by_what_is_in_them_whatever_their_names(tmp_path, idx_contents, digits, gz):  # noqa: F811
    names = ["a b.bin", "train-labels.idx1-ubyte", "deep/er/x", "t10k labels (1).idx1-ubyte.gz"]
    for name, content in zip(names, idx_contents.values(), strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(content) if gz or name.endswith("gz") else content)
    found = load_dataset("mnist", tmp_path)
    assert torch.equal(found.images, digits.images[:60]) and torch.equal(found.test_labels, digits.test_labels[:20])


def test_a_missing_file_is_named_and_another_set_s_is_no_damage(tmp_path, idx_contents, digits, monkeypatch):  # noqa: F811
    write(tmp_path, {FILES[i]: idx_contents[FILES[i]] for i in (0, 2, 3)})
    with pytest.raises(
        UserError, match=r"--data-dir: train-labels-idx1-ubyte of MNIST is missing in .*, and no server"
    ):
        load_dataset("mnist", tmp_path)
    clothes = {name: idx_bytes(array.byte().numpy()) for name, array in zip(FILES, arrays_of(digits), strict=True)}
    clothes[FILES[1]] = idx_bytes(digits.labels[60:120].byte().numpy())
    known = {name: hashlib.sha256(content).hexdigest() for name, content in clothes.items()}
    monkeypatch.setitem(idx._IDX_FILES, "fashion", ("FashionMNIST", known))
    (tmp_path / FILES[1]).write_bytes(clothes[FILES[1]])  # the name of MNIST's labels, but Fashion-MNIST's content
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte of MNIST is missing"):
        load_dataset("mnist", tmp_path)
    (tmp_path / FILES[1]).write_bytes(b"neither")
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte is truncated, altered or of another data set"):
        load_dataset("mnist", tmp_path)


@pytest.mark.parametrize(("name", "folder", "gz"), [("kmnist", "KMNIST/raw", False), ("kmnist", ".", True)])
def test_kmnist_is_known_by_its_names(tmp_path, digits, name, folder, gz):
    contents = {file: idx_bytes(x.byte().numpy()) for file, x in zip(FILES, arrays_of(digits), strict=True)}
    write(tmp_path / folder, contents, gz)
    found = load_dataset(name, tmp_path)
    assert torch.equal(found.images, digits.images[:60]) and len(found.class_names) == 10
    damaged = next((tmp_path / folder).iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-5])
    with pytest.raises(UserError, match=rf"--data-dir: .*{damaged.name}"):
        load_dataset(name, tmp_path)


def test_kmnist_is_known_by_what_is_in_its_packed_files_whatever_their_names(tmp_path, digits, monkeypatch):
    contents = {file: idx_bytes(x.byte().numpy()) for file, x in zip(FILES, arrays_of(digits), strict=True)}
    packed = {file: gzip.compress(content, mtime=0) for file, content in contents.items()}
    known = {hashlib.md5(content).hexdigest(): ("kmnist", file) for file, content in packed.items()}
    monkeypatch.setattr(idx, "_MD5_OF_GZ", known)
    for i, content in enumerate(packed.values()):
        (tmp_path / f"part{i}.bin").write_bytes(content)
    assert torch.equal(load_dataset("kmnist", tmp_path).images, digits.images[:60])
    (tmp_path / "part2.bin").unlink()
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte of KMNIST is missing"):
        load_dataset("kmnist", tmp_path)


def test_emnist_is_turned_upright_and_its_letters_count_from_zero(tmp_path, digits):
    images, labels, test_images, test_labels = arrays_of(digits)
    for split, first in (("letters", 1), ("balanced", 0)):
        parts = (images.mT, labels + first, test_images.mT, test_labels + first)
        files = idx._IDX_FILES[f"emnist-{split}"][1]
        write(tmp_path / "EMNIST/raw", {f: idx_bytes(x.byte().numpy()) for f, x in zip(files, parts, strict=True)})
        found = load_dataset(f"emnist-{split}", tmp_path)
        assert torch.equal(found.images[:, 0], images) and torch.equal(found.labels, labels)
        assert torch.equal(found.test_images[:, 0], test_images) and torch.equal(found.test_labels, test_labels)
    assert load_dataset("emnist-balanced", tmp_path).class_names[36:39] == ("a", "b", "d")


def test_emnist_is_known_by_how_many_images_it_has_whatever_its_names(tmp_path, digits):
    images, labels = digits.images[:60, 0].byte().numpy(), digits.labels[:60].byte().numpy()
    for part, n in (("train", 124_800), ("test", 20_800)):
        (tmp_path / f"letters {part} a.bin").write_bytes(idx_bytes(np.resize(images.swapaxes(1, 2), (n, 28, 28))))
        (tmp_path / f"letters {part} b.bin").write_bytes(idx_bytes(np.resize(labels + 1, n)))
    found = load_dataset("emnist-letters", tmp_path)
    assert len(found.images) == 124_800 and torch.equal(found.images[60:120, 0], digits.images[:60, 0])
    assert len(found.test_images) == 20_800 and torch.equal(found.test_labels[:60], digits.labels[:60])
    with pytest.raises(UserError, match="no EMNIST files in"):
        load_dataset("emnist-balanced", tmp_path)
    whole = tmp_path / "letters test a.bin"
    whole.write_bytes(whole.read_bytes()[:-1])
    with pytest.raises(UserError, match="emnist-letters-test-images-idx3-ubyte of EMNIST is missing"):
        load_dataset("emnist-letters", tmp_path)


def test_files_of_another_set_in_its_own_folder_are_no_damage(tmp_path, digits):
    contents = {file: idx_bytes(x.byte().numpy()) for file, x in zip(FILES, arrays_of(digits), strict=True)}
    write(tmp_path / "KMNIST/raw", contents, False)
    with pytest.raises(UserError, match=r"no MNIST files in .* no server"):
        load_dataset("mnist", tmp_path)


def write_usps(folder, digits):
    for name, images, labels in (("usps.bz2", *arrays_of(digits)[:2]), ("usps.t.bz2", *arrays_of(digits)[2:])):
        rows = (images[:, 6:22, 6:22].flatten(1) / 127.5 - 1).tolist()
        lines = [
            f"{label + 1} " + " ".join(f"{i + 1}:{value:.6f}" for i, value in enumerate(row))
            for label, row in zip(labels.tolist(), rows, strict=True)
        ]
        (folder / name).write_bytes(bz2.compress("\n".join(lines).encode()))


def test_usps(tmp_path, digits):
    write_usps(tmp_path, digits)
    found = load_dataset("usps", tmp_path)
    expected = digits.images[:60, :, 6:22, 6:22]
    assert (found.images.int() - expected.int()).abs().max() <= 1  # torchvision rounds down
    assert torch.equal(found.labels, digits.labels[:60]) and torch.equal(found.test_labels, digits.test_labels[:20])
    content = (tmp_path / "usps.t.bz2").read_bytes()
    (tmp_path / "usps.t.bz2").write_bytes(content[:-20])
    with pytest.raises(UserError, match=r"^--data-dir: cannot read usps in .*, is it whole\? Compressed file ended"):
        load_dataset("usps", tmp_path)
    (tmp_path / "usps.t.bz2").unlink()
    with pytest.raises(UserError, match=r"^--data-dir: usps.t.bz2 of USPS is missing in .*no server"):
        load_dataset("usps", tmp_path)


def in_colour(digits, n, first=0):
    padded = torch.nn.functional.pad(digits.images[first : first + n], (2, 2, 2, 2))
    return torch.cat([padded, 255 - padded, padded // 2], dim=1).numpy()


def test_svhn(tmp_path, digits, monkeypatch):
    folder = tmp_path / "SVHN"
    folder.mkdir()
    for split, first in (("train", 0), ("test", 30)):
        labels = digits.labels[first : first + 30].numpy().copy()
        labels[labels == 0] = 10  # as in the original
        file = folder / f"{split}_32x32.mat"
        scipy.io.savemat(file, {"X": in_colour(digits, 30, first).transpose(2, 3, 1, 0), "y": labels[:, None]})
        md5 = hashlib.md5(file.read_bytes()).hexdigest()
        monkeypatch.setitem(torchvision.datasets.SVHN.split_list, split, ["http://nowhere/", file.name, md5])
    found = load_dataset("svhn", tmp_path)
    assert np.array_equal(found.images, in_colour(digits, 30)) and torch.equal(found.labels, digits.labels[:30])
    assert torch.equal(found.test_labels, digits.labels[30:60])
    assert load_dataset("svhn", tmp_path, ImageForm(size=16, channels="grey")).images.shape == (30, 1, 16, 16)
    (folder / "test_32x32.mat").write_bytes(b"altered")
    with pytest.raises(UserError, match=r"^--data-dir: cannot read svhn in .*not found or corrupted"):
        load_dataset("svhn", tmp_path)


def test_cifar10(tmp_path, digits, monkeypatch):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def dump(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    lists = {"train_list": [], "test_list": []}
    for i, name in enumerate(["data_batch_1", "data_batch_2", "test_batch"]):
        labels = digits.labels[10 * i : 10 * i + 10].tolist()
        md5 = dump(name, {"data": in_colour(digits, 10, 10 * i).reshape(10, -1), "labels": labels})
        lists["test_list" if i == 2 else "train_list"].append([name, md5])
    md5 = dump("batches.meta", {"label_names": [f"class {k}" for k in range(10)]})
    for name, value in {**lists, "meta": {**torchvision.datasets.CIFAR10.meta, "md5": md5}}.items():
        monkeypatch.setattr(torchvision.datasets.CIFAR10, name, value)
    found = load_dataset("cifar10", tmp_path)
    assert np.array_equal(found.images, in_colour(digits, 20)) and torch.equal(found.labels, digits.labels[:20])
    assert np.array_equal(found.test_images, in_colour(digits, 10, 20))
    with pytest.raises(UserError, match=r"^--data-dir: no CIFAR10 files in .*, and no server"):
        load_dataset("cifar10", tmp_path / "elsewhere")


def test_celeba_is_divided_by_its_list(tmp_path, digits):
    folder = tmp_path / "celeba/img_align_celeba"
    folder.mkdir(parents=True)
    for i in range(12):
        Image.fromarray(in_colour(digits, 1, i)[0].transpose(1, 2, 0)).save(folder / f"{i + 1:06}.jpg", quality=95)
    assert load_dataset("celeba", tmp_path).images.shape == (12, 3, 32, 32)
    lines = [f"{i + 1:06}.jpg {0 if i < 6 else 1 if i < 8 else 2}" for i in range(12)]
    (tmp_path / "celeba/list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    found = load_dataset("celeba", tmp_path, ImageForm(size=16))
    assert found.name == "celeba" and len(found.images) == 6 and found.test_images.shape == (4, 3, 16, 16)
    (tmp_path / "celeba/list_eval_partition.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(UserError, match=r"in the list of its parts, got 1 that are not there, as '000001.jpg'"):
        load_dataset("celeba", tmp_path)
    (tmp_path / "celeba/list_eval_partition.txt").write_text("\n".join([*lines, "000013.jpg 3"]))
    with pytest.raises(UserError, match=r"^--data-dir: expected a name and 0, 1 or 2 .* got \['000013.jpg', '3'\]"):
        load_dataset("celeba", tmp_path)


def test_a_picture_of_celeba_that_cannot_be_read_is_left_out_of_its_part(tmp_path, digits):
    folder = tmp_path / "img_align_celeba"
    folder.mkdir()
    for i in range(120):
        Image.fromarray(in_colour(digits, 1, i)[0].transpose(1, 2, 0)).save(folder / f"{i:03}.jpg", quality=95)
    (folder / "001.jpg").write_bytes(b"")
    lines = [f"{i:03}.jpg {0 if i < 70 else 2}" for i in range(120)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(lines))
    found = load_dataset("celeba", tmp_path)
    assert (len(found.images), len(found.test_images)) == (69, 50)
    assert "warning: left out '001.jpg': it is empty" in found.notes


def test_faces_and_chairs_are_read_from_a_folder_or_archive(tmp_path, digits):
    with pytest.raises(UserError, match=r"^--data-dir: expected faces for faces, a folder or .zip file, in .*, got"):
        load_dataset("faces", tmp_path)
    (tmp_path / "faces").mkdir()
    with zipfile.ZipFile(tmp_path / "chairs.zip", "w") as archive:
        for i in range(5):
            Image.fromarray(digits.images[i, 0].numpy()).save(tmp_path / f"faces/{i}.png")
            archive.write(tmp_path / f"faces/{i}.png", f"{i}.png")
    for name in ("faces", "chairs"):
        found = load_dataset(name, tmp_path)
        assert found.name == name and torch.equal(found.images, digits.images[:5])


def test_an_idx_header_that_lies_is_refused(tmp_path, digits):
    contents = {file: idx_bytes(x.byte().numpy()) for file, x in zip(FILES, arrays_of(digits), strict=True)}
    contents[FILES[0]] = struct.pack(">HBB3I", 0, 8, 3, 2**31, 28, 28) + bytes(1000)
    write(tmp_path, contents)
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte is truncated, altered or no IDX file"):
        load_dataset("kmnist", tmp_path)
