"""Reads a picture as a person sees it: upright, on a background, in the colours that its file describes.

Axes: ch h w image.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageColor, ImageFile, ImageOps

from infogan.system.errors import UserError, one_line

# No other decoder of Pillow is let near a file that anyone may have made: that of EPS starts Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


class UnreadablePictureError(ValueError):
    """A file shows no picture; the message says why, as in `it is truncated`."""


def read_picture(
    source: Path | bytes,
    channels: int = 3,
    size: tuple[int, int] | None = None,
    background: str = "white",
    argument: str = "--image",
) -> UInt8[np.ndarray, "ch h w"]:
    """Returns a picture as uint8 in [0, 255], channels first; of an animation the first frame.

    Args:
        source: A PNG, JPEG, WebP, BMP, GIF or TIFF file, or the bytes of one.
        channels: 3 for RGB, 1 for grey.
        size: Height and width in pixels to fit it to, as `fit` does; None leaves it as large as it is.
        background: What shows through transparent pixels: a name or #rrggbb.
        argument: Named by the error.

    Raises:
        UserError: It is no such file, damaged, or too large to be decoded.
    """
    try:
        with no_warnings():
            picture = decode(source, size, background)
    except UnreadablePictureError as error:
        what = source if isinstance(source, Path) else "the picture"
        raise UserError(f"{argument}: cannot read {what}: {error}") from error
    return to_array(picture if size is None else fit(picture, size), channels)


def to_array(picture: Image.Image, channels: int) -> UInt8[np.ndarray, "ch h w"]:
    """Returns a picture, RGB or grey, as uint8, channels first: its 3 channels, or 1 with its luma (ITU-R 601)."""
    if channels == 1:
        return np.array(picture.convert("L"))[None]
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Returns the centre of a picture, as much of it as has the shape of `size`, resized with antialiasing.

    Args:
        picture: RGB or grey.
        size: Height and width in pixels.
    """
    return ImageOps.fit(picture, (size[1], size[0]), Image.Resampling.LANCZOS)


def decode(source: Path | bytes, size: tuple[int, int] | None = None, background: str = "white") -> Image.Image:
    """Returns a picture as RGB; see `read_picture`.

    Args:
        source: As in `read_picture`.
        size: Height and width in pixels that it will be fitted to; a large JPEG is decoded at a part of its size then.
        background: As in `read_picture`.

    Raises:
        UnreadablePictureError: It cannot be decoded.
    """
    with _opened(source) as image:
        if size is not None:
            image.draft(None, (2 * max(size), 2 * max(size)))  # no less than this, so that `fit` still averages
        image.load()
        return _as_seen(image, background)


def picture_size(source: Path | bytes) -> tuple[int, int]:
    """Returns the height and width in pixels of a picture as it is seen; only the start of its file is read.

    Raises:
        UnreadablePictureError: It cannot be decoded.
    """
    with _opened(source) as image:
        width, height = image.size
        lies_down = False
        with contextlib.suppress(Exception):  # as in `_as_seen`
            lies_down = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
        return (width, height) if lies_down else (height, width)


@contextlib.contextmanager
def _opened(source: Path | bytes) -> Iterator[ImageFile.ImageFile]:
    """Yields an image whose file is open; whatever goes wrong with it is an `UnreadablePictureError`."""
    if isinstance(source, Path) and not source.is_file():  # a pipe or a device would never end
        raise UnreadablePictureError("there is no such file" if not source.exists() else "it is not a file")
    if (source.stat().st_size if isinstance(source, Path) else len(source)) == 0:
        raise UnreadablePictureError("it is empty")
    try:
        with Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=FORMATS) as image:
            yield image
    except Image.UnidentifiedImageError:
        raise UnreadablePictureError(f"it is not one of {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError as error:
        raise UnreadablePictureError(one_line(error)) from None
    except UnreadablePictureError:
        raise
    except Exception as error:  # of a damaged file, Pillow's decoders raise nearly every error there is
        raise UnreadablePictureError(one_line(error)) from error


def _as_seen(image: Image.Image, background: str) -> Image.Image:
    """Returns a decoded image as RGB: turned as its metadata say, in sRGB, over the background."""
    with contextlib.suppress(Exception):  # metadata that cannot be read turn nothing
        image = ImageOps.exif_transpose(image)
    image = _with_8_bits(image)
    if image.has_transparency_data:
        image = _in_srgb(image.convert("RGBA"), image.info)
        return Image.alpha_composite(Image.new("RGBA", image.size, ImageColor.getrgb(background)), image).convert("RGB")
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    return _in_srgb(image, image.info).convert("RGB")


def _with_8_bits(image: Image.Image) -> Image.Image:
    """Returns an image with 8 bits for each channel, where a grey one may have 16."""
    if image.mode.startswith("I;16"):
        return Image.fromarray(((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise UnreadablePictureError("it has 32 bits for each pixel, and does not say which value is white")
    return image


def _in_srgb(image: Image.Image, info: dict[Any, Any]) -> Image.Image:
    """Returns an image in sRGB, if `info` of its file has a colour profile; without one it is taken to be in sRGB."""
    if profile := info.get("icc_profile"):
        mode = "RGBA" if image.mode == "RGBA" else "RGB"
        # A profile that is damaged, or of another colour space, says nothing.
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode=mode) or image
    return image


@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Silences Pillow on metadata that are not quite right, and on large pictures; too large ones are errors anyway."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
