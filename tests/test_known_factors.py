"""Data sets with known factors: dSprites against the frames that its authors publish, and letters of a real font."""

import dataclasses
import io
import sys
import zipfile

import imageio.v3 as iio
import numpy as np
import pytest
import torch

from infogan import UserError, load_dataset
from infogan.config.spec import LatentSpec
from infogan.data import dsprites, glyphs
from infogan.data.factors import N_TEST_IMAGES, combinations, drawn_once, sample_of_combinations
from infogan.evaluation.disentanglement import CodesAndFactors
from infogan.evaluation.known_factors import partial_correlations_with_factors


def frames_of(shape):
    """Scale, orientation, x and y of the published frames of one shape, in their order."""
    scales = list(range(6))
    frames = [(shape, scale, 0, 0, 0) for scale in scales + scales[::-1] + scales]
    frames += [(shape, 5, orientation, 0, 0) for orientation in range(40)]
    if shape == dsprites.SHAPES.index("heart"):  # it alone goes around the image
        places = range(32)
        frames += [(shape, 5, 0, 0, y) for y in places] + [(shape, 5, 0, x, 31) for x in places]
        frames += [(shape, 5, 0, 31, y) for y in places[::-1]] + [(shape, 5, 0, x, 0) for x in places[::-1]]
    return frames + [(shape, scale, 0, 0, 0) for scale in scales[::-1]]


def test_drawn_sprites_are_the_published_ones(data_dir):
    published = data_dir / "dsprites" / "dsprites.gif"
    if not published.is_file():
        pytest.skip(f"no {published}")
    frames = iio.imread(published, mode="L") > 0
    factors = [frame for shape in (2, 1, 0) for frame in frames_of(shape)]
    assert len(factors) == len(frames) == 320
    poses, differing = {}, 0
    for frame, (*pose, x, y) in zip(frames, factors, strict=True):
        images = poses.setdefault(tuple(pose), None)
        if images is None:
            images = poses[tuple(pose)] = dsprites.draw_pose(*pose)
        differing += ((images[32 * x + y] > 0) != frame).sum()
    assert differing <= 1e-4 * frames.size


@pytest.mark.parametrize("shape", range(3))
def test_sprites_are_binary_move_and_turn_once_around(shape):
    images = dsprites.draw_pose(shape, scale=3, orientation=0)
    assert images.shape == (1024, 64, 64) and set(np.unique(images)) == {0, 255}
    assert (dsprites.draw_pose(shape, 3, 39) == images).all()
    assert (dsprites.draw_pose(shape, 3, 7) != images).any()
    inside = images.reshape(32, 32, 64, 64) > 0
    area = inside.sum(axis=(2, 3))
    centre_x = (inside * (np.arange(64) + 0.5)).sum(axis=(2, 3)) / area
    centre_y = (inside * (np.arange(64) + 0.5)[:, None]).sum(axis=(2, 3)) / area
    places = np.linspace(16, 48, 32)
    assert np.abs(centre_x - places[:, None]).max() < 0.6
    assert np.abs(np.diff(centre_y, axis=1) - 32 / 31).max() < 0.6
    larger = dsprites.draw_pose(shape, 5, 0).astype(bool).sum() / inside.sum()
    assert larger == pytest.approx((1 / 0.8) ** 2, rel=0.08)


def write_original(path, array):
    content = io.BytesIO()
    np.save(content, array)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("imgs.npy", content.getvalue())


def test_the_original_file_is_read_in_blocks(tmp_path, monkeypatch):
    images = dsprites.draw_pose(2, 5, 3)[:50]
    write_original(tmp_path / "imgs.npz", images // 255)
    monkeypatch.setattr(dsprites, "ORIGINAL_BLOCK", 20)
    blocks = list(dsprites.read_original(tmp_path / "imgs.npz", 50))
    assert [len(block) for block in blocks] == [20, 20, 10]
    assert (np.concatenate(blocks) == images).all()

    with pytest.raises(UserError, match=r"--data-dir: cannot read .*expected 60 images of 64 x 64 as uint8, got"):
        next(dsprites.read_original(tmp_path / "imgs.npz", 60))
    write_original(tmp_path / "grey.npz", images)
    with pytest.raises(UserError, match="expected pixels 0 and 1, got 255"):
        next(dsprites.read_original(tmp_path / "grey.npz", 50))
    (tmp_path / "text.npz").write_text("no archive")
    with pytest.raises(UserError, match=r"--data-dir: cannot read .*text.npz: File is not a zip file"):
        next(dsprites.read_original(tmp_path / "text.npz", 50))


def test_the_original_is_taken_where_it_lies(tmp_path, monkeypatch):
    written = []

    def drawn_once(path, n_images, draw):
        written.append(path.name)
        return torch.zeros(1, 1, 64, 64, dtype=torch.uint8).expand(n_images, -1, -1, -1)

    monkeypatch.setattr(dsprites, "drawn_once", drawn_once)
    dsprites.load_dsprites(tmp_path)
    (tmp_path / dsprites.ORIGINAL).touch()
    found = dsprites.load_dsprites(tmp_path)
    assert written == ["dsprites-drawn.npy", dsprites.ORIGINAL.replace(".npz", ".npy")]
    assert torch.equal(found.test_labels, found.factors.values[:, 0])
    assert len(found.labels) == len(found.images)


def test_images_are_drawn_once(tmp_path, digits):
    images, drawn = digits.images[:90, 0].numpy(), []

    def draw():
        for start in range(0, 90, 30):
            drawn.append(start)
            yield images[start : start + 30]

    path = tmp_path / "new" / "images.npy"
    found = drawn_once(path, 90, draw)
    assert found.shape == (90, 1, 28, 28) and (found[:, 0].numpy() == images).all()
    assert list(path.parent.iterdir()) == [path]
    found[0] = 7  # a copy in memory; the file stays
    drawn.clear()
    assert (drawn_once(path, 90, draw)[:, 0].numpy() == images).all()
    assert drawn == [0]  # to compare
    for changed in (lambda: iter([255 - images]), lambda: iter([images[:, 1:]])):
        with pytest.raises(UserError, match=r"expected 90 images as they are drawn today in .*images.npy, got others"):
            drawn_once(path, 90, changed)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"--data-dir: cannot read .*images.npy"):
        drawn_once(path, 90, draw)


def test_a_drawing_that_is_interrupted_leaves_nothing(tmp_path, digits):
    n_drawings = 0

    def draw():
        nonlocal n_drawings
        n_drawings += 1
        yield digits.images[:30, 0].numpy()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drawn_once(tmp_path / "images.npy", 60, draw)
    assert n_drawings == 2  # the first block, and the file
    assert list(tmp_path.iterdir()) == []


def test_test_images_are_a_sample_of_all_combinations():
    sizes = {"shape": 3, "size": 40, "x": 50, "y": 20}
    indices, factors = sample_of_combinations(sizes, frozenset({"shape"}))
    assert len(indices) == len(factors.values) == N_TEST_IMAGES == len(set(indices.tolist()))
    assert factors.names == ("shape", "size", "x", "y")
    assert (factors.values.amax(dim=0) == torch.tensor([2, 39, 49, 19])).all()
    found = combinations(torch.tensor([0, 1, 20, 119_999]), tuple(sizes.values()))
    assert found.tolist() == [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [2, 39, 49, 19]]
    number = factors.values @ torch.tensor([40_000, 1000, 20, 1])
    assert torch.equal(number, indices)


@pytest.fixture(scope="module")
def letters():
    """The images of A at the lightest and at the boldest weight: width, slant, size, x, y, h, w."""
    pytest.importorskip("fontpkg_roboto_flex")
    font = glyphs.find_font(glyphs.GLYPHS, glyphs.Path("nowhere"))
    blocks = [block for _, block in zip(range(5), glyphs.draw_all(glyphs.GLYPHS, font), strict=False)]
    return {weight: blocks[weight].reshape(5, 5, 5, 5, 5, 32, 32) for weight in (0, 4)}


def extent(images, axis):
    """Mean count of columns (axis -2) or rows (axis -1) with ink."""
    return (images.max(axis=axis) > 64).sum(axis=-1).mean()


def test_letters_show_each_factor(letters):
    light, bold = letters[0], letters[4]
    assert bold.mean() > 2.5 * light.mean()
    narrow, wide = bold[0], bold[-1]
    assert extent(wide, -2) > 1.2 * extent(narrow, -2)
    small, large = bold[:, :, 0], bold[:, :, -1]
    assert extent(large, -1) == pytest.approx(28 / 16 * extent(small, -1), rel=0.08)

    def slope(images):
        """Columns that the ink moves by for each row up, as the moments have it."""
        rows, columns = np.mgrid[:32, :32]
        ink = images.reshape(-1, 32, 32) / images.reshape(-1, 32, 32).sum(axis=(1, 2), keepdims=True)
        dx = columns - (ink * columns).sum(axis=(1, 2), keepdims=True)
        dy = rows - (ink * rows).sum(axis=(1, 2), keepdims=True)
        return -((ink * dx * dy).sum() / (ink * dy * dy).sum())

    assert slope(bold[:, -1]) - slope(bold[:, 0]) == pytest.approx(np.tan(np.radians(10)), rel=0.2)


def test_letters_are_placed_and_never_cut(letters):
    for images in letters.values():
        ink = images.astype(int).sum(axis=(5, 6))
        assert (ink == ink[..., :1, :1]).all()  # as much at every place
        middle = images[..., 2, 2, :, :]
        assert (images[..., 4, 0, :, :][..., :28, 4:] == middle[..., 4:, :28]).all()  # x to the right, y down
        columns = (middle * (np.arange(32) + 0.5)).sum(axis=(-2, -1)) / middle.sum(axis=(-2, -1))
        assert np.abs(columns - 16).max() < 2.5


def test_capitals_differ_and_are_never_cut():
    pytest.importorskip("fontpkg_roboto_flex")
    ends = dataclasses.replace(
        glyphs.CAPITALS, n_steps=2, sizes_px=glyphs.CAPITALS.sizes_px[:: len(glyphs.CAPITALS.sizes_px) - 1]
    )
    images = np.concatenate(list(glyphs.draw_all(ends, glyphs.find_font(ends, glyphs.Path("nowhere")))))
    assert images.shape == (26 * 2**4, 32, 32)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images)
    edges = images[:, [0, -1]].max(), images[:, :, [0, -1]].max()
    assert max(edges) < 16  # a stroke that is cut is brighter
    assert (images.max(axis=(1, 2)) > 64).all()


def test_capitals_know_their_letter(tmp_path, monkeypatch):
    pytest.importorskip("fontpkg_roboto_flex")

    def drawn_once(path, n_images, draw):
        assert path == tmp_path / "capitals.npy"
        return torch.zeros(1, 1, 32, 32, dtype=torch.uint8).expand(n_images, -1, -1, -1)

    monkeypatch.setattr(glyphs, "drawn_once", drawn_once)
    found = load_dataset("capitals", tmp_path)
    assert len(found.images) == len(found.labels) == 26 * 7**4
    assert found.factors.names == ("letter", "weight", "width", "slant", "size")
    assert torch.equal(found.test_labels, found.factors.values[:, 0])
    assert len(found.class_names) == len(found.test_labels.unique()) == 26


def test_a_font_is_needed_and_one_s_own_goes_first(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "fontpkg_roboto_flex", None)
    with pytest.raises(UserError, match=r"expected a variable font at .*glyphs.ttf, or the package fontpkg-roboto"):
        glyphs.load_glyphs(tmp_path)
    (tmp_path / "glyphs.ttf").write_text("no font")
    with pytest.raises(UserError, match=r"--dataset glyphs: cannot read a variable font from .*glyphs.ttf"):
        glyphs.load_glyphs(tmp_path)


def test_a_font_without_the_axes_is_refused(tmp_path):
    import matplotlib

    still = glyphs.Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    (tmp_path / "glyphs.ttf").write_bytes(still.read_bytes())
    with pytest.raises(UserError, match="--dataset glyphs: cannot read a variable font from"):
        glyphs.load_glyphs(tmp_path)


def test_partial_correlations_are_those_within_each_kind_and_beside_the_other_codes():
    rng = np.random.default_rng(0)
    shape, size, place = (rng.integers(0, k, 4000) for k in (3, 6, 8))
    noise = 0.05 * rng.normal(size=(2, 4000))
    # The first code also differs between shapes, and the second is a mixture of both factors.
    codes = np.stack([rng.integers(0, 3, 4000), size + 10 * shape + noise[0], -place + 2 * size + noise[1]], axis=1)
    factors = np.stack([shape, size, place], axis=1)
    given = CodesAndFactors.checked(codes, factors, ("shape", "size", "place"), {"shape"})
    found = partial_correlations_with_factors(given, LatentSpec.parse("cat3,uniform,uniform"))
    assert list(found) == ["c2", "c3"]
    (of_shape, of_size, _), (_, _, of_place) = found["c2"], found["c3"]
    assert of_shape is None and of_size > 0.99 and of_place < -0.99
