import dataclasses
import itertools
import weakref

import imageio.v3 as iio
import numpy as np
import pytest
import torch
from PIL import Image

from infogan import Generator, LatentSpec, UserError, auxiliary, sample_prior
from infogan.auxiliary import slerp

PAPER = "cat10,uniform,uniform"
MANY = ["cat10,uniform,uniform", "uniform", "gaussian,uniform", "cat2,cat5,cat3", "uniform,cat30"]


def spec_of(codes, noise_dim=5):
    return LatentSpec.parse(codes, noise_dim)


def test_slerp_reaches_its_ends_and_keeps_to_the_arc():
    rng = torch.Generator().manual_seed(0)
    start, end = torch.randn(6, 62, generator=rng), torch.randn(6, 62, generator=rng)
    t = torch.full((6, 1), 1.0)
    assert torch.allclose(slerp(start, end, 0 * t), start, atol=1e-5)
    assert torch.allclose(slerp(start, end, t), end, atol=1e-5)
    unit_start, unit_end = (x / x.norm(dim=1, keepdim=True) for x in (start, end))
    for u in (0.2, 0.5, 0.9):
        assert slerp(unit_start, unit_end, u * t).norm(dim=1) == pytest.approx(torch.ones(6), abs=1e-5)


def test_slerp_by_hand():
    middle = slerp(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.tensor([[1 / 3]]))
    assert middle[0].tolist() == pytest.approx([np.cos(np.pi / 6), np.sin(np.pi / 6)], abs=1e-6)


@pytest.mark.parametrize("factor", [1.0, -1.0, 0.0, 2.0])
def test_slerp_between_parallel_opposite_and_zero_vectors_is_the_line(factor):
    start, t = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.25]])
    assert torch.allclose(slerp(start, factor * start, t), start * (0.75 + 0.25 * factor), atol=1e-6)


@pytest.mark.parametrize("codes", MANY)
def test_a_sample_grid_changes_only_the_category_down_a_column(codes):
    spec = spec_of(codes)
    latents = auxiliary.sample_latents(spec, n_columns=4)
    again = auxiliary.sample_latents(spec, n_columns=4)
    assert torch.equal(latents.z, again.z) and torch.equal(latents.c, again.c)  # fixed
    if not spec.categorical:
        assert len(latents.z.unique(dim=0)) == len(latents.z)
        return
    first = spec.categorical[0]
    z = latents.z.view(len(latents.rows), 4, -1)
    c = latents.c.view(len(latents.rows), 4, -1)
    assert torch.equal(z, z[:1].expand_as(z))
    categories = c[..., spec.c_slices[first]].argmax(-1)
    assert categories.tolist() == [[row] * 4 for row in range(len(latents.rows))]
    rest = [i for i in range(spec.c_dim) if not spec.c_slices[first].start <= i < spec.c_slices[first].stop]
    assert torch.equal(c[..., rest], c[:1, :, rest].expand(len(latents.rows), -1, -1))


@pytest.mark.parametrize("codes", MANY)
def test_a_sweep_changes_one_code_along_a_row_and_no_noise(codes):
    spec = spec_of(codes)
    for position in range(len(spec.codes)):
        latents = auxiliary.sweep_latents(spec, position, n_columns=5)
        shape = (len(latents.rows), len(latents.columns), -1)
        z, c = latents.z.view(shape), latents.c.view(shape)
        assert torch.equal(z, z[:, :1].expand_as(z))
        swept = spec.c_slices[position]
        kept = [i for i in range(spec.c_dim) if not swept.start <= i < swept.stop]
        assert torch.equal(c[..., kept], c[:, :1, kept].expand(-1, shape[1], -1))
        assert len(c[0, :, swept].unique(dim=0)) == shape[1]


def test_a_sweep_is_labelled_with_what_it_shows():
    latents = auxiliary.sweep_latents(spec_of(PAPER), 1, n_columns=5)
    assert latents.columns == ["-1.0", "-0.5", "0.0", "0.5", "1.0"]
    assert latents.rows == [str(i) for i in range(10)]
    assert latents.row_title == "c1 (cat10)"
    assert latents.column_title.startswith("c2 (uniform)")
    c = latents.c.view(10, 5, 12)
    assert c[..., :10].argmax(-1).tolist() == [[i] * 5 for i in range(10)]
    assert c[0, :, 10].tolist() == [-1, -0.5, 0, 0.5, 1]


def test_two_codes_vary_down_and_along():
    latents = auxiliary.two_code_latents(spec_of(PAPER), 2, 1, n=3)
    c = latents.c.view(3, 3, 12)
    assert c[:, :, 11].tolist() == [[-1] * 3, [0] * 3, [1] * 3]
    assert c[:, :, 10].tolist() == [[-1, 0, 1]] * 3
    assert len(latents.z.unique(dim=0)) == 1
    with pytest.raises(UserError, match="expected two different codes, got c2 twice"):
        auxiliary.two_code_latents(spec_of(PAPER), 1, 1)


def ends(spec, n=4):
    rng = torch.Generator().manual_seed(3)
    return sample_prior(spec, n, rng), sample_prior(spec, n, rng)


@pytest.mark.parametrize("path", ["linear", "spherical"])
@pytest.mark.parametrize("codes", MANY)
def test_an_interpolation_goes_from_start_to_end_and_has_no_half_category(codes, path):
    spec = spec_of(codes)
    start, end = ends(spec)
    latents = auxiliary.interpolate_latents(spec, start, end, torch.linspace(0, 1, 7), path, "switch")
    z, c = latents.z.view(4, 7, -1), latents.c.view(4, 7, -1)
    for side, (z_side, c_side) in ((0, start), (-1, end)):
        assert torch.allclose(z[:, side], z_side, atol=1e-5)
        assert torch.allclose(c[:, side], c_side, atol=1e-6)
    for i in spec.categorical:
        one_hot = c[..., spec.c_slices[i]]
        assert set(one_hot.unique().tolist()) <= {0.0, 1.0}
        assert torch.equal(one_hot[:, :3], start[1][:, None, spec.c_slices[i]].expand(-1, 3, -1))
        assert torch.equal(one_hot[:, 3:], end[1][:, None, spec.c_slices[i]].expand(-1, 4, -1))
    for i in spec.continuous:
        column = c[..., spec.c_slices[i].start]
        middle = (start[1] + end[1])[:, spec.c_slices[i].start] / 2
        assert torch.allclose(column[:, 3], middle, atol=1e-6)


def test_a_held_category_is_the_start_s():
    spec = spec_of(PAPER)
    start, end = ends(spec)
    latents = auxiliary.interpolate_latents(spec, start, end, torch.linspace(0, 1, 5), category_path="hold")
    c = latents.c.view(4, 5, -1)
    assert torch.equal(c[..., :10], start[1][:, None, :10].expand(-1, 5, -1))
    assert torch.allclose(c[:, -1, 10:], end[1][:, 10:])


def test_a_blended_category_goes_linearly_from_one_to_the_other_and_says_so():
    spec = LatentSpec.parse("cat3,uniform", noise_dim=4)
    z = torch.zeros(1, 4)
    start, end = (z, torch.tensor([[1.0, 0.0, 0.0, -1.0]])), (z, torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
    latents = auxiliary.interpolate_latents(spec, start, end, torch.tensor([0.0, 0.25, 1.0]), category_path="blend")
    assert latents.c.tolist() == [[1, 0, 0, -1], [0.75, 0, 0.25, -0.5], [0, 0, 1, 1]]
    assert latents.column_title.endswith("category blended (outside the prior)")


@pytest.fixture
def given():
    """Two given images with their latents, of a spec with a category and two continuous codes."""
    spec = LatentSpec.parse("cat10,uniform,uniform", noise_dim=5)
    z, c = auxiliary.sample_prior(spec, 2, torch.Generator().manual_seed(1))
    images = torch.stack([torch.full((1, 8, 8), value) for value in (-1.0, -0.5)])
    return spec, auxiliary.Given(["a", "b"], images, images + 0.25, z, c)


def test_pictures_of_given_images_vary_one_code_of_each_and_have_them_beside(given):
    spec, images = given
    options = auxiliary.GalleryOptions(factors=[1], n_columns=5, given=images)
    sweep, grid, linear, _ = auxiliary.gallery(spec, options)
    z, c = sweep.latents.z.view(2, 5, 5), sweep.latents.c.view(2, 5, -1)
    assert torch.equal(z, images.z[:, None].expand(2, 5, 5))
    assert torch.equal(c[..., [*range(10), 11]], images.c[:, None, [*range(10), 11]].expand(2, 5, 11))
    assert sweep.latents.rows == ["a", "b"]
    for latents, n_rows in ((sweep.latents, 2), (sweep.frames()[7], 2), (grid.latents, 5), (linear.latents, 1)):
        assert [*latents.before] == ["image", "G(z, c)"]
        assert latents.before["image"].shape == (n_rows, 1, 8, 8)
    assert torch.equal(linear.latents.c[[0, -1]], images.c)
    assert linear.latents.rows == ["a → b"]
    assert torch.equal(linear.latents.after["image"], images.images[1:])


def test_one_given_image_is_interpolated_to_drawn_latents(given):
    spec, images = given
    one = auxiliary.Given(["a"], images.images[:1], images.reconstructions[:1], images.z[:1], images.c[:1])
    options = auxiliary.GalleryOptions(n_columns=3, n_pairs=4, given=one)
    latents = next(iter(auxiliary.interpolation_pictures(spec, options))).latents
    assert len(latents.rows) == 4 and not latents.after
    assert torch.equal(latents.z.view(4, 3, 5)[:, 0], one.z.expand(4, 5))
    assert len({*latents.z.view(4, 3, 5)[:, 2, 0].tolist()}) == 4


def test_images_beside_a_grid_are_drawn_in_columns_of_their_own(given):
    spec, images = given
    generator = Generator(spec, (1, 8, 8), 4)
    latents = auxiliary.sweep_latents(spec, 1, 3, given=images)
    x = auxiliary.generate(generator, latents)
    x = torch.cat([images.images[:, None], images.reconstructions[:, None], x], dim=1)
    labels = dataclasses.replace(latents, columns=["image", "G(z, c)", "-1.0", "0.0", "1.0"])
    expected = auxiliary.image_grid(x, labels, "a title")
    assert np.array_equal(auxiliary.draw(generator, latents, "a title"), expected)


def test_frames_of_a_gif_differ_only_in_the_moving_codes_and_loop_smoothly():
    spec = spec_of(PAPER)
    places = auxiliary.there_and_back(12)
    assert (min(places), max(places)) == pytest.approx((0, 1))
    jumps = np.abs(np.diff([*places, places[0]]))  # over the seam too
    assert jumps.max() < 0.27
    frames = [auxiliary.moving_latents(spec, {1: u}) for u in places]
    for frame, u in zip(frames, places, strict=True):
        assert torch.equal(frame.z, frames[0].z)
        assert torch.equal(frame.c[:, :10], frames[0].c[:, :10])
        assert torch.equal(frame.c[:, 11], frames[0].c[:, 11])
        assert torch.allclose(frame.c[:, 10], torch.tensor(2 * u - 1))


def test_an_angle_goes_the_shorter_way_round():
    spec = LatentSpec.parse("circular,uniform", noise_dim=2)
    z = torch.zeros(1, 2)
    start, end = (z, torch.tensor([[0.8, -0.8]])), (z, torch.tensor([[-0.6, 0.8]]))
    c = auxiliary.interpolate_latents(spec, start, end, torch.tensor([0.0, 0.25, 0.5, 1.0])).c
    assert c[:, 0].tolist() == pytest.approx([0.8, 0.95, -0.9, -0.6])
    assert c[:, 1].tolist() == pytest.approx([-0.8, -0.4, 0.0, 0.8])


@pytest.mark.parametrize("codes", ["cat10", "uniform", "uniform,gaussian"])
def test_frames_without_a_category_for_their_rows_show_a_noise_in_each_place(codes):
    frame = auxiliary.moving_latents(spec_of(codes), {0: 0.5}, n_columns=4)
    assert len(frame.z.unique(dim=0)) == len(frame.z) == 40


def test_a_narrow_grid_has_room_for_its_title():
    spec = spec_of(PAPER)
    start, end = ends(spec, 1)
    latents = auxiliary.interpolate_latents(spec, start, end, torch.tensor([0.5]))
    picture = auxiliary.image_grid(torch.zeros(1, 1, 1, 28, 28), latents, "a run's name: spherical interpolation")
    border = np.concatenate([picture[:, :3].ravel(), picture[:, -3:].ravel()])
    assert border.min() == 255  # nothing is cut off


def test_generating_leaves_net_mode_and_randomness_alone():
    torch.manual_seed(0)
    spec = spec_of(PAPER)
    generator = Generator(spec, width=4).train()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    rng = torch.get_rng_state()
    auxiliary.draw(generator, auxiliary.sample_latents(spec), "title")
    assert generator.training
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())


def test_generating_in_batches_is_generating_at_once():
    torch.manual_seed(0)
    spec = spec_of(PAPER)
    generator, latents = Generator(spec, width=4), auxiliary.sample_latents(spec)
    assert torch.allclose(
        auxiliary.generate(generator, latents, batch_size=7), auxiliary.generate(generator, latents), atol=1e-6
    )


def labels(n_rows, n_columns):
    return auxiliary.Latents(torch.zeros(1, 1), torch.zeros(1, 1), [""] * n_rows, [""] * n_columns)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid_shows_each_image_in_its_place_pixel_for_pixel(channels):
    x = torch.rand(2, 3, channels, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    picture = auxiliary.image_grid(x, labels(2, 3), scale=2)
    top, left, pitch = 12, 14, 8 * 2 + 2
    for row in range(2):
        for column in range(3):
            y, x0 = top + row * pitch, left + column * pitch
            shown = picture[y : y + 16 : 2, x0 : x0 + 16 : 2]
            expected = auxiliary.to_uint8(x[row, column]).transpose(1, 2, 0)
            assert np.abs(shown.astype(int) - expected).max() <= 1
            assert np.array_equal(shown, picture[y + 1 : y + 16 : 2, x0 + 1 : x0 + 16 : 2])


def test_labels_and_title_are_drawn():
    x = torch.zeros(2, 2, 1, 8, 8)
    plain = auxiliary.image_grid(x, labels(2, 2))
    latents = auxiliary.Latents(torch.zeros(1, 1), torch.zeros(1, 1), ["a", "b"], ["1", "2"], "rows", "columns")
    labelled = auxiliary.image_grid(x, latents, "a title")
    assert labelled.shape[0] > plain.shape[0] and labelled.shape[1] > plain.shape[1]
    height = plain.shape[0] - 24
    strips = {"title": labelled[:30], "row labels": labelled[34 : 34 + height, :50], "columns": labelled[-42:]}
    for name, strip in strips.items():
        assert strip.min() < 100, f"nothing is written in the place of the {name}"


def test_a_gif_has_its_frames_in_order_and_loops_for_ever(tmp_path):
    frames = [np.full((8, 8, 3), value, dtype=np.uint8) for value in (0, 80, 160, 240)]
    path = auxiliary.save_gif(frames, tmp_path / "a.gif", 50)
    assert [int(frame.mean()) for frame in iio.imread(path)] == [0, 80, 160, 240]
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        assert image.info["duration"] == 50


@pytest.mark.parametrize("side", [100, 1500])  # the palette of a large one is made from a part of its pixels
def test_a_gif_in_colour_has_the_colours_of_each_of_its_frames(tmp_path, side):
    ramp = np.linspace(0, 255, side, dtype=np.uint8)
    across = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], np.uint8(40)), axis=2)
    frames = [across, across[..., ::-1]]
    found = iio.imread(auxiliary.save_gif(frames, tmp_path / "a.gif"))
    for frame, drawn in zip(frames, found, strict=True):
        assert np.abs(frame.astype(int) - drawn).mean() < 12


def test_a_picture_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UserError, match="cannot write"):
        auxiliary.save_png(np.zeros((4, 4, 3), np.uint8), tmp_path / "no folder" / "a.png")


def test_an_alphabet_is_shown_whole():
    sweep, of_noise = itertools.islice(auxiliary.gallery(spec_of("cat26,uniform")), 2)
    letters = [str(k) for k in range(26)]
    assert auxiliary.thinned(sweep.latents, 32, 32).columns == letters
    assert auxiliary.thinned(of_noise.latents, 32, 32).rows == letters


@pytest.mark.parametrize(
    ("codes", "names"),
    [
        (PAPER, ["sweep_c1", "sweep_c2", "sweep_c3", "grid_c2_c3", "interpolation_linear", "interpolation_spherical"]),
        ("uniform", ["sweep_c1", "interpolation_linear", "interpolation_spherical"]),
        ("cat2,cat30", ["sweep_c1", "sweep_c2", "grid_c1_c2", "interpolation_linear", "interpolation_spherical"]),
    ],
)
def test_the_gallery_has_every_picture_of_a_run_and_its_loop(codes, names):
    pictures = list(auxiliary.gallery(spec_of(codes)))
    assert [picture.name for picture in pictures] == names
    for picture in pictures:
        frames = picture.frames()
        assert len(frames) == auxiliary.N_GIF_FRAMES
        assert len({(len(frame.rows), len(frame.columns)) for frame in frames}) == 1
        for latents in (picture.latents, *frames):
            assert len(latents.z) == len(latents.c) == len(latents.rows) * len(latents.columns)
        assert any(not torch.equal(a.c, b.c) or not torch.equal(a.z, b.z) for a, b in itertools.pairwise(frames))


def test_the_gallery_shows_what_its_options_say():
    options = auxiliary.GalleryOptions([2], (1, 0), n_columns=4, n_pairs=3, category_path="hold", seed=5)
    sweep, grid, linear, spherical = auxiliary.gallery(spec_of(PAPER), options)
    assert (sweep.name, grid.name) == ("sweep_c3", "grid_c2_c1")
    assert (linear.name, spherical.name) == ("interpolation_linear_hold", "interpolation_spherical_hold")
    assert (len(sweep.latents.columns), len(grid.latents.rows), len(linear.latents.columns)) == (4, 4, 4)
    assert len(linear.latents.rows) == len(spherical.latents.rows) == 3
    other = next(iter(auxiliary.gallery(spec_of(PAPER), auxiliary.GalleryOptions([2], n_columns=4))))
    assert not torch.equal(sweep.latents.z, other.latents.z)


def test_a_grid_of_large_images_shows_every_second_row_and_column():
    spec = spec_of(PAPER)
    sweep = auxiliary.sweep_latents(spec, 1)  # 10 categories, 11 values
    assert auxiliary.thinned(sweep, 28, 28).columns == sweep.columns
    fewer = auxiliary.thinned(sweep, 256, 100)
    assert (fewer.rows, fewer.columns) == (sweep.rows[::2], sweep.columns)
    assert torch.equal(fewer.z, sweep.z.unflatten(0, (10, 11))[::2].flatten(0, 1))
    assert torch.equal(fewer.c, sweep.c.unflatten(0, (10, 11))[::2].flatten(0, 1))
    generator = Generator(spec, (3, 256, 256), width=4)
    height, width, _ = auxiliary.draw(generator, sweep, "a sweep").shape
    assert 5 * 258 < height < 2000 and 6 * 258 < width < 2000


def test_small_images_alone_are_enlarged():
    for side, shown in ((8, 16), (63, 126), (64, 64), (100, 100)):
        x = torch.zeros(1, 1, 1, side, side)
        assert auxiliary.image_grid(x, labels(1, 1)).shape[0] == shown + 24
        sheet = auxiliary.contact_sheet(torch.zeros(5, 1, side, side, dtype=torch.uint8))
        assert sheet.shape == (2 * shown + 2, 3 * shown + 4, 3) and (sheet == 255).any()
    assert max(auxiliary.contact_sheet(torch.zeros(64, 3, 500, 500, dtype=torch.uint8)).shape) <= 2000


def test_frames_of_a_gif_are_made_as_they_are_written(tmp_path):
    alive = []

    def frames():
        for value in range(0, 240, 8):
            frame = np.full((8, 8, 3), value, dtype=np.uint8)
            alive.append(weakref.ref(frame))
            yield frame
            del frame
            assert sum(kept() is not None for kept in alive) <= 2

    path = auxiliary.save_gif(frames(), tmp_path / "a.gif")
    assert len(iio.imread(path)) == len(alive) == 30
