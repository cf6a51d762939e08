"""Formats, pixel types, orientation and limits."""

import io
import zlib
from collections.abc import Callable
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image, ImageOps, PngImagePlugin

from deployments.errors import ImageTooLarge, InvalidImage
from deployments.inference.images import reader
from deployments.inference.images.limits import ImageLimits
from deployments.inference.images.reader import read_image
from deployments.inference.types import UInt8Array
from tests.corpus import png

LIMITS = ImageLimits()

COLOUR = np.random.default_rng(5).integers(0, 256, (9, 14, 3), np.uint8)
GRAY = COLOUR[..., 0]
GRAY_AS_RGB = np.repeat(GRAY[..., np.newaxis], 3, axis=2)
COLOUR_AND_ALPHA = np.dstack([COLOUR, GRAY])
SIXTEEN = np.uint16(257)


def save(image: Image.Image | npt.NDArray[Any], name: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(file, name, **options)
    return file.getvalue()


def save_tiff(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


def read(data: bytes) -> UInt8Array:
    image = read_image(data, LIMITS)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    return image


@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_lossless_files_equal_what_pillow_reads(name: str, mode: str) -> None:
    if (name, mode) == ("BMP", "LA"):
        pytest.skip("BMP has no gray with alpha")
    image = Image.fromarray(COLOUR_AND_ALPHA).convert(mode)
    np.testing.assert_array_equal(read(save(image, name)), np.asarray(image.convert("RGB")))


def test_a_png_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow reads its header and its EXIF; the pixels are for libpng."""
    image = Image.fromarray(COLOUR_AND_ALPHA).convert("RGB")
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    plain, turned = save(image, "PNG"), save(image, "PNG", exif=upside_down)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    np.testing.assert_array_equal(read(plain), np.asarray(image))
    np.testing.assert_array_equal(read(turned), np.asarray(image)[::-1, ::-1])


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    image = Image.fromarray(COLOUR_AND_ALPHA).convert("RGB")
    upside_down = Image.Exif()
    upside_down[0x0112] = 3
    data = save(image, "PNG", exif=upside_down)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    assert end < data.index(b"IDAT")
    last = data.index(b"IEND") - 4
    moved = data[:start] + data[end:last] + data[start:end] + data[last:]
    np.testing.assert_array_equal(read(moved), np.asarray(image)[::-1, ::-1])


def test_alpha_is_dropped_not_composed() -> None:
    pixels = np.dstack([COLOUR, np.zeros_like(GRAY)])
    np.testing.assert_array_equal(read(save(pixels, "PNG")), COLOUR)
    palette = Image.fromarray(COLOUR).quantize(16)
    data = save(palette, "PNG", transparency=bytes(range(16)))
    np.testing.assert_array_equal(read(data), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(mode: str) -> None:
    data = save(Image.fromarray(COLOUR).convert(mode), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(read(data), expected)


def test_two_bit_gray_fills_the_range() -> None:
    rows = bytes([0, 0b00_01_10_11])
    data = png(4, 1, 2, 0, zlib.compress(rows))
    assert read(data)[0, :, 0].tolist() == [0, 85, 170, 255]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "lzw", "predictor": True},
        {"compression": "zlib"},
        {"compression": "packbits"},
        {"compression": "zstd"},
        {"tile": (16, 16)},
        {"rowsperstrip": 2},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"imagej": True},
    ],
)
@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (COLOUR, COLOUR),
        (GRAY, GRAY_AS_RGB),
        (COLOUR * SIXTEEN, COLOUR),
        (GRAY * SIXTEEN, GRAY_AS_RGB),
        (GRAY / np.float32(255), GRAY_AS_RGB),
    ],
    ids=["RGB", "gray", "RGB16", "gray16", "float"],
)
def test_tiff(pixels: npt.NDArray[Any], expected: UInt8Array, options: dict[str, Any]) -> None:
    if options.get("imagej") and pixels.ndim == 3 and pixels.dtype != np.uint8:
        pytest.skip("ImageJ has no deep RGB")
    np.testing.assert_array_equal(read(save_tiff(pixels, **options)), expected)


def test_tiff_of_separate_planes() -> None:
    planes = np.ascontiguousarray(np.moveaxis(COLOUR, -1, 0))
    data = save_tiff(planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read(data), COLOUR)


def test_tiff_where_white_is_zero() -> None:
    data = save_tiff(255 - GRAY, photometric="miniswhite")
    np.testing.assert_array_equal(read(data), GRAY_AS_RGB)


def test_tiff_in_cmyk_and_jpeg() -> None:
    image = Image.fromarray(COLOUR).convert("CMYK")
    np.testing.assert_array_equal(read(save(image, "TIFF")), COLOUR)
    smooth = np.linspace(0, 255, 64 * 64, dtype=np.uint8).reshape(64, 64)
    decoded = read(save_tiff(smooth, compression="jpeg"))
    assert np.abs(decoded[..., 0].astype(int) - smooth).max() < 8


def test_the_first_page_is_read() -> None:
    stack = np.stack([GRAY, 255 - GRAY, GRAY // 2])
    for options in ({}, {"imagej": True}, {"ome": True}):
        data = save_tiff(stack, photometric="minisblack", **options)
        np.testing.assert_array_equal(read(data), GRAY_AS_RGB)


@pytest.mark.parametrize(
    "pixels",
    [COLOUR, COLOUR_AND_ALPHA, GRAY, np.dstack([GRAY, GRAY])],
    ids=["RGB", "RGBA", "gray", "gray and alpha"],
)
def test_png_of_16_bits(pixels: UInt8Array) -> None:
    expected = COLOUR if pixels.ndim == 3 and pixels.shape[2] > 2 else GRAY_AS_RGB
    np.testing.assert_array_equal(read(bytes(imagecodecs.png_encode(pixels * SIXTEEN))), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF"])
def test_exif_orientation(name: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = save(COLOUR, name, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(read(data), np.asarray(expected))


def test_exif_orientation_of_16_bits() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(GRAY * SIXTEEN, "PNG", exif=exif)
    np.testing.assert_array_equal(read(data), np.rot90(GRAY_AS_RGB, -1))


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (ImageLimits(max_pixels=9 * 14 - 1), "pixels"),
        (ImageLimits(max_samples=2), "samples"),
        (ImageLimits(max_unpacked_bytes=9 * 14 * 3 - 1), "bytes"),
    ],
)
@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "TIFF"])
def test_limits(name: str, limits: ImageLimits, word: str) -> None:
    with pytest.raises(ImageTooLarge, match=word):
        read_image(save(COLOUR, name), limits)


def test_limits_of_tiff_alone() -> None:
    pages = save_tiff(np.stack([GRAY] * 4), photometric="minisblack", metadata=None)
    assert read_image(pages, ImageLimits(max_pages=4)).shape == (9, 14, 3)
    with pytest.raises(ImageTooLarge, match="pages"):
        read_image(pages, ImageLimits(max_pages=3))
    with pytest.raises(ImageTooLarge, match="tiles"):
        read_image(save_tiff(GRAY, tile=(32, 32)), ImageLimits(max_tile_side=16))


@pytest.mark.parametrize("name", ["PNG", "JPEG", "BMP", "TIFF"])
def test_limits_hold_before_anything_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was called")

    data = save(COLOUR, name)
    monkeypatch.setattr(Image, "open", fail)
    monkeypatch.setattr(tifffile, "TiffFile", fail)
    with pytest.raises(ImageTooLarge):
        read_image(data, ImageLimits(max_pixels=1))


def test_memory_that_runs_out_means_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(reader, "_orient", run_out)
    with pytest.raises(ImageTooLarge, match="memory"):
        read_image(save(COLOUR, "PNG"), LIMITS)


@pytest.mark.parametrize(
    "build",
    [
        lambda: save(COLOUR, "JPEG", quality=90),
        lambda: save(COLOUR, "JPEG", progressive=True),
        lambda: save(COLOUR, "PNG"),
        lambda: bytes(imagecodecs.png_encode(COLOUR * SIXTEEN)),
        lambda: save(COLOUR, "BMP"),
        lambda: save_tiff(COLOUR, compression="lzw"),
        lambda: save_tiff(COLOUR * SIXTEEN, metadata=None),
        lambda: save_tiff(GRAY * SIXTEEN, ome=True),  # a description follows the pixels
    ],
    ids=["JPEG", "progressive", "PNG", "PNG16", "BMP", "LZW", "TIFF16", "OME"],
)
def test_no_prefix_of_a_file_is_read(build: Callable[[], bytes]) -> None:
    data = build()
    for length in range(len(data)):
        with pytest.raises(InvalidImage):
            read_image(data[:length], LIMITS)
