"""Pictures as a person sees them: real digits written by Pillow in every format and mode, and damaged files."""

import io

import numpy as np
import pytest
from PIL import Image, ImageCms

from infogan import UserError
from infogan.data.pictures import read_picture


@pytest.fixture(scope="module")
def colours(digits):
    """Three real digits as the channels of one picture, on a large scale, so that lossy formats keep them."""
    return Image.fromarray(digits.images[:3, 0].numpy().transpose(1, 2, 0)).resize((112, 112), Image.Resampling.BICUBIC)


def written(image, format_, **options):
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def pixels(image):
    return np.asarray(image.convert("RGB")).transpose(2, 0, 1)


@pytest.mark.parametrize("format_", ["PNG", "BMP", "TIFF", "WEBP"])
def test_lossless_formats_come_back_to_the_bit(colours, tmp_path, format_):
    path = tmp_path / "a picture of «three» digits 数字"
    colours.save(path, format_, **({"lossless": True} if format_ == "WEBP" else {}))
    assert np.array_equal(read_picture(path), pixels(colours))
    assert read_picture(path, channels=1).shape == (1, 112, 112)


def test_jpeg_and_gif_come_back_nearly(colours):
    for content in (written(colours, "JPEG", quality=98, subsampling=0), written(colours, "GIF")):
        found = read_picture(content).astype(int)
        assert np.abs(found - pixels(colours)).mean() < 12  # 256 colours of a palette are few
        assert np.abs(found - pixels(colours)[::-1]).mean() > 25


def test_a_picture_is_turned_as_its_camera_says(colours):
    for orientation, upright in ((3, colours.rotate(180)), (6, colours.rotate(-90)), (8, colours.rotate(90))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        assert np.array_equal(read_picture(written(colours, "PNG", exif=exif)), pixels(upright))


def test_modes_come_out_as_a_person_sees_them(colours):
    grey = colours.convert("L")
    sixteen = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert np.array_equal(read_picture(written(sixteen, "PNG"), channels=1)[0], np.asarray(grey))
    assert np.array_equal(read_picture(written(sixteen, "TIFF")), pixels(grey))
    ink = grey.convert("1")
    assert np.array_equal(read_picture(written(ink, "PNG")), pixels(ink))
    palette = colours.quantize(64)
    assert np.array_equal(read_picture(written(palette, "PNG")), pixels(palette))
    cmyk = read_picture(written(colours.convert("CMYK"), "JPEG", quality=98, subsampling=0)).astype(int)
    assert np.abs(cmyk - pixels(colours)).mean() < 4


def test_transparent_pixels_show_the_background(colours):
    opacity = np.zeros((112, 112), np.uint8)
    opacity[:, :56] = 255
    opacity[:, 56:60] = 128
    image = colours.copy()
    image.putalpha(Image.fromarray(opacity))
    for name, value in (("white", 255), ("black", 0), ("#800000", [128, 0, 0])):
        found = read_picture(written(image, "PNG"), background=name)
        assert np.array_equal(found[:, :, :56], pixels(colours)[:, :, :56])
        assert np.array_equal(found[:, :, 60:], np.broadcast_to(np.reshape(value, (-1, 1, 1)), (3, 112, 52)))
        half = (pixels(colours)[:, :, 56:60].astype(float) + np.reshape(value, (-1, 1, 1))) / 2
        assert np.abs(found[:, :, 56:60] - half).max() < 2
    one_colour = written(colours.quantize(16), "GIF", transparency=0)  # one entry of the palette is transparent
    assert (read_picture(one_colour) == 255).all(axis=0).any()


def test_a_colour_profile_is_followed(colours):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.abs(read_picture(written(colours, "PNG", icc_profile=srgb)).astype(int) - pixels(colours)).max() <= 1
    # In this colour space, the first channel is green and the second red.
    swapped = srgb.replace(b"rXYZ", b"????").replace(b"gXYZ", b"rXYZ").replace(b"????", b"gXYZ")
    found = read_picture(written(colours, "PNG", icc_profile=swapped)).astype(int)
    assert np.abs(found - pixels(colours)[[1, 0, 2]]).max() <= 2
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for useless in (b"no profile", lab):
        assert np.array_equal(read_picture(written(colours, "PNG", icc_profile=useless)), pixels(colours))


def test_a_picture_is_cropped_at_its_centre_and_averaged(colours):
    wide = Image.new("RGB", (400, 112), "red")
    wide.paste(colours, (144, 0))
    assert np.array_equal(read_picture(written(wide, "PNG"), size=(112, 112)), pixels(colours))
    # A chequerboard of single pixels is grey from afar; taking every fourth pixel would leave it black or white.
    board = Image.fromarray(np.indices((256, 256)).sum(axis=0).astype(np.uint8) % 2 * 255)
    for content in (written(board, "PNG"), written(board, "JPEG", quality=100)):
        small = read_picture(content, size=(16, 16))
        assert small.shape == (3, 16, 16)
        assert np.abs(small.astype(int) - 127).max() < 12
    assert read_picture(written(colours, "PNG"), size=(20, 40)).shape == (3, 20, 40)


def test_a_large_jpeg_is_the_same_picture_as_its_png(colours):
    large = colours.resize((2000, 2000), Image.Resampling.BICUBIC)
    png, jpeg = (
        read_picture(written(large, format_, **how), size=(32, 32)).astype(int)
        for format_, how in (("PNG", {}), ("JPEG", {"quality": 95}))
    )
    assert np.abs(png - jpeg).mean() < 3


def bomb():
    """A real PNG of 15,000 × 15,000 black pixels, in 27 kB."""
    return written(Image.new("1", (15_000, 15_000)), "PNG")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda png: b"", "it is empty"),
        (lambda png: png[: len(png) // 2], "truncated"),
        (lambda png: png[:20], ""),
        (lambda png: b"GIF89a" + png, ""),
        (lambda png: b"<html>no picture</html>", "it is not one of PNG"),
        (lambda png: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is not one of PNG"),
        (lambda png: bomb(), "exceeds limit of 178956970 pixels"),
        (lambda png: written(Image.new("F", (9, 9)), "TIFF"), "32 bits"),
    ],
)
def test_a_file_that_shows_no_picture_is_named_with_the_reason(colours, tmp_path, damage, reason):
    path = tmp_path / "broken.png"
    path.write_bytes(damage(written(colours, "PNG")))
    with pytest.raises(UserError, match=f"^--image: cannot read .*broken.png: .*{reason}") as error:
        read_picture(path)
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no such file"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(UserError, match=r"^--dataset: .*it is not a file"):
        read_picture(tmp_path, argument="--dataset")
