"""Folders and archives of pictures: real digits, written by Pillow, with what people's folders have in them."""

import dataclasses
import os
import threading
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

import infogan
from infogan import TrainConfig, UserError, load_dataset
from infogan.config.datasets import ImageForm
from infogan.data import picture_sets
from infogan.data.pictures import read_picture
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.scoring import evaluate
from infogan.evaluation.tables import describe_evaluation

NAMES = ["a b.png", "'quoted'.JFIF", "数字.webp", "žluťoučký.bmp", '"two".gif', "x.tiff"]


def save(folder, images, names=None):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image.numpy()[0]).save(folder / (names[i] if names else f"{i:03}.png"))


def load(path, tmp_path, **form):
    return load_dataset(str(path), tmp_path / "data", ImageForm(**form))


def zipped(folder, file):
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return file


def test_a_folder_and_its_archive_are_the_same_images_in_any_format_and_under_any_name(tmp_path, digits):
    folder = tmp_path / "mine; not 'yours'"
    save(folder / "deeper", digits.images[:6], NAMES)
    (folder / "deeper/.hidden.png").write_bytes(b"")
    (folder / "deeper/notes.txt").write_text("no picture")
    found = load(folder, tmp_path)
    in_order = [digits.images[NAMES.index(name)] for name in sorted(NAMES)]
    difference = (found.images.int() - torch.stack(in_order).int()).abs().float().mean((1, 2, 3))
    assert found.images.shape == (6, 1, 28, 28) and difference.max() < 8  # JPEG and WebP are lossy
    assert found.name == str(folder) and not len(found.labels) and not len(found.test_images)
    archive = load(zipped(folder, tmp_path / "mine.zip"), tmp_path)
    assert archive.digest() == found.digest()
    assert found.notes[0].endswith("6 pictures") and "28 x 28 px" in found.notes[1] and "grey" in found.notes[2]


def test_folders_are_classes_and_train_and_test_are_kept_apart(tmp_path, digits):
    for split, images, labels in (
        ("train", digits.images, digits.labels),
        ("test", digits.test_images, digits.test_labels),
    ):
        for digit in (3, 4):
            save(tmp_path / f"set/{split}/{digit} is a digit", images[labels == digit][:5])
    found = load(tmp_path / "set", tmp_path)
    assert found.class_names == ("3 is a digit", "4 is a digit")
    assert found.labels.tolist() == found.test_labels.tolist() == [0] * 5 + [1] * 5
    assert torch.equal(found.images[:5], digits.images[digits.labels == 3][:5])
    assert torch.equal(found.test_images[5:], digits.test_images[digits.test_labels == 4][:5])
    # A folder that all pictures lie in says nothing: here it is a folder of one class.
    alone = load(tmp_path / "set/train/3 is a digit", tmp_path)
    assert alone.class_names == () and not len(alone.labels)
    # Elsewhere, and without a class.
    save(tmp_path / "set/more", digits.images[:2])
    note = "warning: left out 2 pictures that are neither in train nor in test"
    assert note in load(tmp_path / "set", tmp_path).notes
    save(tmp_path / "set/train", digits.images[:1])
    assert not len(load(tmp_path / "set", tmp_path).labels)


def test_pictures_that_differ_in_size_are_made_equal(tmp_path, digits):
    save(tmp_path / "set", digits.images[:2])
    Image.fromarray(digits.images[2, 0].numpy()).resize((100, 50)).save(tmp_path / "set/wide.png")
    assert load(tmp_path / "set", tmp_path).images.shape == (3, 1, 64, 64)
    asked = load(tmp_path / "set", tmp_path, size=32, channels="rgb")
    assert asked.images.shape == (3, 3, 32, 32)
    for i, file in enumerate(sorted((tmp_path / "set").iterdir())):
        assert np.array_equal(asked.images[i], read_picture(file, size=(32, 32)))
    assert "2 sizes, from 28 x 28 px to 100 x 50 px" in asked.notes[1]


def test_channels_follow_the_pictures_and_the_background_shows(tmp_path, digits):
    colour = torch.cat([digits.images[:4, 0:1], digits.images[4:8, 0:1], digits.images[8:12, 0:1]], dim=1)
    (tmp_path / "set").mkdir()
    for i, image in enumerate(colour):
        rgba = torch.cat([image, digits.images[i] // 128 * 255]).permute(1, 2, 0).numpy()
        Image.fromarray(rgba).save(tmp_path / f"set/{i}.png")
    white, black = (load(tmp_path / "set", tmp_path, background=name).images for name in ("white", "black"))
    hidden = (digits.images[:4] < 128).expand(4, 3, 28, 28)
    assert (white[hidden] == 255).all() and (black[hidden] == 0).all() and torch.equal(white[~hidden], black[~hidden])
    grey = load(tmp_path / "set", tmp_path, channels="grey").images
    assert grey.shape == (4, 1, 28, 28)
    assert np.array_equal(grey[0], read_picture(tmp_path / "set/0.png", channels=1))


def break_some(folder, n):
    for path in sorted(folder.iterdir())[:n]:
        path.write_bytes(path.read_bytes()[:80])


def test_a_few_broken_pictures_are_named_and_left_out_and_many_are_refused(tmp_path, digits):
    save(tmp_path / "a/few", digits.images[:101])
    save(tmp_path / "a/more", digits.images[101:202])
    (tmp_path / "a/few/000.png").write_bytes(b"")
    found = load(tmp_path / "a", tmp_path)
    assert len(found.images) == len(found.labels) == 201 and torch.equal(found.images[0], digits.images[1])
    assert "warning: left out 'few/000.png': it is empty" in found.notes
    break_some(tmp_path / "a/more", 2)
    with pytest.raises(UserError, match=r"^--dataset: expected fewer than one .* got 3 of 202 in .*few/000.png.*empty"):
        load(tmp_path / "a", tmp_path)


def test_a_damaged_picture_does_not_decide_the_size_of_all(tmp_path, digits):
    save(tmp_path / "set", digits.images[:120])
    Image.effect_noise((60, 60), 50).save(tmp_path / "set/large.png")
    content = (tmp_path / "set/large.png").read_bytes()
    assert load(tmp_path / "set", tmp_path).images.shape == (121, 1, 64, 64)
    (tmp_path / "set/large.png").write_bytes(content[: len(content) // 2])
    found = load(tmp_path / "set", tmp_path)
    assert torch.equal(found.images, digits.images[:120])
    assert found.notes[1] == "found: 28 x 28 px" and any("left out 'large.png'" in note for note in found.notes)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_pictures_of_masks_of_0_and_1_are_refused_as_arrays_of_them_are(tmp_path, digits, mode):
    for i, image in enumerate(digits.images[:5] > 127):
        pixels = image[0].numpy().astype(np.uint16 if mode == "I;16" else np.uint8)
        picture = Image.fromarray(pixels * 200 if mode == "I;16" else pixels)  # of 65,535
        (tmp_path / "masks").mkdir(exist_ok=True)
        (picture if mode == "I;16" else picture.convert(mode)).save(tmp_path / f"masks/{i}.png")
    with pytest.raises(UserError, match=r"^--dataset: .* got 0 and 1 alone, which would be black: .*masks; times 255"):
        load(tmp_path / "masks", tmp_path)


def test_pictures_of_one_colour_alone_are_refused(tmp_path):
    (tmp_path / "red").mkdir()
    for i in range(3):
        Image.new("RGB", (9, 9), "red").save(tmp_path / f"red/{i}.png")
    with pytest.raises(UserError, match=r"^--dataset: expected images that differ, got 255, 0, 0 in every pixel"):
        load(tmp_path / "red", tmp_path)


def test_a_folder_s_name_is_shown_in_one_line(tmp_path, digits):
    save(tmp_path / "set/a\nb", digits.images[:2])
    save(tmp_path / "set/c", digits.images[2:4])
    found = load(tmp_path / "set", tmp_path)
    assert found.class_names == ("a\\nb", "c") and found.notes[3] == "classes, for scoring alone: 2 (a\\nb, c)"


def test_pictures_are_decoded_once_and_anew_if_the_folder_changes(tmp_path, digits, monkeypatch):
    save(tmp_path / "set", digits.images[:5])
    first = load(tmp_path / "set", tmp_path)
    (kept,) = (tmp_path / "data/cache").glob("*.npz")
    with monkeypatch.context() as patch:
        patch.setattr(picture_sets, "decode", None)  # it would fail if it were called
        again = load(tmp_path / "set", tmp_path)
        assert torch.equal(again.images, first.images) and again.notes == first.notes
    for change in (
        lambda: save(tmp_path / "set", digits.images[10:11], ["another.png"]),
        lambda: (tmp_path / "set/000.png").unlink(),
        lambda: save(tmp_path / "set", digits.images[20:25]),
        lambda: kept.write_bytes(kept.read_bytes()[:3000]),  # the cache is damaged
        lambda: kept.write_bytes(b""),
    ):
        change()
        found = load(tmp_path / "set", tmp_path)
        files = sorted((tmp_path / "set").iterdir())
        assert all(np.array_equal(a, read_picture(b, channels=1)) for a, b in zip(found.images, files, strict=True))


def test_two_at_once_decode_once(tmp_path, digits, monkeypatch):
    save(tmp_path / "set", digits.images[:20])
    times, decode = [], picture_sets._decoded
    monkeypatch.setattr(picture_sets, "_decoded", lambda *args: times.append(1) or decode(*args))
    found = []
    threads = [threading.Thread(target=lambda: found.append(load(tmp_path / "set", tmp_path))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == 1 and len({dataset.digest() for dataset in found}) == 1


def test_where_nothing_can_be_written_pictures_are_read_all_the_same(tmp_path, digits):
    save(tmp_path / "set", digits.images[:5])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cache").write_text("a file where the folder would be")
    assert torch.equal(load(tmp_path / "set", tmp_path).images, digits.images[:5])


def test_bad_folders_and_archives_are_refused_in_one_line(tmp_path, digits):
    (tmp_path / "empty/with a folder").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^--dataset: expected pictures \(.bmp, .*\) in .*empty, got none"):
        load(tmp_path / "empty", tmp_path)
    with pytest.raises(UserError, match=r"^--dataset: cannot read .*missing/set: No such file"):
        load(tmp_path / "missing/set", tmp_path)
    (tmp_path / "no.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"^--dataset: cannot read .*no\.zip: .*not a zip file"):
        load(tmp_path / "no.zip", tmp_path)
    save(tmp_path / "set", digits.images[:3])
    with pytest.raises(UserError, match=r"^--dataset: expected a folder, .zip, .npy or .npz file of images, got .*png"):
        load(tmp_path / "set/000.png", tmp_path)
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.write(tmp_path / "set/000.png", "../../000.png")
    with pytest.raises(UserError, match=r"^--dataset: expected names within .* got '../../000.png' in .*out.zip"):
        load(tmp_path / "out.zip", tmp_path)
    save(tmp_path / "flat", torch.full((4, 1, 28, 28), 7, dtype=torch.uint8))
    with pytest.raises(UserError, match=r"^--dataset: expected images that differ"):
        load(tmp_path / "flat", tmp_path)


def test_an_empty_archive_is_said_to_be_empty(tmp_path):
    (tmp_path / "set.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"^--dataset: cannot read .*set.zip: it is empty$"):
        load(tmp_path / "set.zip", tmp_path)


def test_an_archive_with_a_damaged_member_names_it(tmp_path, digits):
    save(tmp_path / "set", digits.images[:3])
    archive = zipped(tmp_path / "set", tmp_path / "set.zip")
    content = bytearray(archive.read_bytes())
    at = content.index(b"IDAT") + 20
    content[at] ^= 255
    archive.write_bytes(content)
    with pytest.raises(UserError, match=r"set/000.png': Bad CRC-32"):
        load(archive, tmp_path)


def test_an_empty_class_and_thousands_of_classes_are_no_obstacle(tmp_path, digits):
    for i in range(300):
        save(tmp_path / f"many/{i:04}", digits.images[i : i + 1])
    (tmp_path / "many/empty one").mkdir()
    found = load(tmp_path / "many", tmp_path)
    assert found.labels.tolist() == list(range(300)) and len(found.class_names) == 300
    assert "warning: no pictures in 'empty one'" in found.notes
    assert all(len(note) < 300 for note in found.notes)


@pytest.mark.skipif(os.name != "posix", reason="pipes and links as on Unix")
def test_pipes_circular_links_and_names_of_bytes_do_no_harm(tmp_path, digits):
    save(tmp_path / "set", digits.images[:3])
    os.mkfifo(tmp_path / "set/pipe.png")
    (tmp_path / "bytes").mkdir()
    for name in (b"caf\xe9", b"th\xe9"):  # as an old system wrote them: no UTF-8
        save(tmp_path / "bytes" / os.fsdecode(name), digits.images[:2])
    assert load(tmp_path / "bytes", tmp_path).class_names == ("caf?", "th?")
    os.mkfifo(tmp_path / "pipe.zip")
    with pytest.raises(UserError, match=r"^--dataset: expected a regular file, got .*pipe.zip"):
        load(tmp_path / "pipe.zip", tmp_path)
    (tmp_path / "set/circle").symlink_to(tmp_path / "set")
    save(tmp_path / "elsewhere", digits.images[3:5])
    (tmp_path / "set/link").symlink_to(tmp_path / "elsewhere")
    assert len(load(tmp_path / "set", tmp_path).images) == 5


def test_a_run_on_a_folder_shows_its_images_and_is_evaluated_without_labels(tmp_path, digits, capsys, one_picture):
    save(tmp_path / "my pictures", 255 - digits.images[:64])
    config = TrainConfig.from_preset(
        "images",
        dataset=str(tmp_path / "my pictures"),
        data_dir=str(tmp_path / "data"),
        width=4,
        batch_size=16,
        steps=2,
    )
    run = infogan.train(dataclasses.replace(config, device="cpu", eval_every=2), tmp_path)
    said = capsys.readouterr().err
    assert "64 pictures" in said and "28 x 28 px, grey" in said
    assert Image.open(run.samples / "training_images.png").size == (58 * 8 - 2, 58 * 8 - 2)
    assert "eval_mi_c1" in run.read_metrics()[-1]
    found = evaluate(run.folder, n_samples=50, fresh_q=FreshQ(n_images=64, epochs=1, batch_size=32))
    assert found["scored"]["images"] == "training images" and found["scored"]["n_test_images"] == 64
    assert {"mutual_information", "image_factors", "noise"} <= found["infogan"].keys()
    assert "clustering" not in found["infogan"]
    assert "64 training images of" in describe_evaluation(found)
