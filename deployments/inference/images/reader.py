"""Decodes an uploaded file to RGB. Runs in a child process: see `sandbox`.

The header is checked first (`declared`). Then libpng (imagecodecs) decodes PNG, tifffile TIFF,
and Pillow JPEG and BMP. For PNG Pillow is slower and keeps only the high byte of 16-bit colour;
for JPEG it is the one of the two that refuses a file that ends early.

Alpha is dropped, as SpheroSeg does: the colour stored below transparent pixels is used.
"""

import io
import itertools
import logging
import warnings

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

from deployments.errors import ImageTooLarge, InvalidImage, ServiceError
from deployments.inference.images.declared import read_header
from deployments.inference.images.header import Format, detect_format, png_chunks
from deployments.inference.images.limits import ImageLimits
from deployments.inference.images.samples import to_uint8
from deployments.inference.images.tiff_header import TiffHeader
from deployments.inference.types import UInt8Array

# `check_size` stands in for Pillow's own limit, which only warns up to twice its value.
Image.MAX_IMAGE_PIXELS = None

# tifffile logs every oddity of a file; what cannot be decoded is answered to the caller.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_ORIENTATION_TAG = 0x0112
_PNG_METADATA = {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 1, 2, 3, 5, 6


def read_image(data: bytes, limits: ImageLimits) -> UInt8Array:
    """Decode a PNG, JPEG, TIFF or BMP file to uint8 (H, W, 3) RGB.

    Grayscale, palette, CMYK and 1-bit images become RGB, alpha is dropped, deeper samples are
    scaled as `to_uint8` says, and EXIF orientation is applied. Of several TIFF pages the first
    is read. Colour profiles are ignored. A JPEG file whose data end early but which has an end
    marker cannot be told from a whole one: libjpeg fills the rest with gray.

    Raises:
        InvalidImage: The bytes are none of the four formats, damaged or truncated.
        ImageTooLarge: A limit, or the memory of this process, is exceeded.
    """
    image_format = detect_format(data)
    try:
        with warnings.catch_warnings(action="ignore"):
            image, orientation = _decode(data, image_format, limits)
            return np.ascontiguousarray(_orient(image, orientation))
    except ServiceError:
        raise
    except MemoryError:
        raise ImageTooLarge("Decoding the image needs more memory than allowed.") from None
    except Exception as error:
        # Codecs raise a dozen unrelated types on damaged input, from struct.error to IndexError.
        raise InvalidImage(
            f"The {image_format} image is damaged or truncated and cannot be decoded."
        ) from error


def _decode(data: bytes, image_format: Format, limits: ImageLimits) -> tuple[UInt8Array, int]:
    """Return uint8 (H, W, 3) and the EXIF orientation."""
    header = read_header(data, image_format, limits)
    if isinstance(header, TiffHeader):
        return _decode_tiff(data, header), header.orientation
    with Image.open(io.BytesIO(data), formats=[image_format]) as image:
        if image.size != (header.width, header.height):
            raise InvalidImage(f"The {image_format} image declares two sizes.")
        if image_format == "PNG" and not _may_have_late_exif(data):
            # The method of PNG images would decode all pixels, in search of EXIF behind them.
            exif = Image.Image.getexif(image)
        else:
            exif = image.getexif()
        orientation = exif.get(_ORIENTATION_TAG, 1)
        if image_format == "PNG":
            # libpng makes 8 bits of fewer and colours of a palette.
            return _to_rgb(to_uint8(imagecodecs.png_decode(data), max(8, header.bits))), orientation
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB")), orientation


def _may_have_late_exif(data: bytes) -> bool:
    """Whether a PNG file has a chunk behind its pixels that may hold EXIF, as text too."""
    behind = itertools.dropwhile(lambda name: name != b"IDAT", png_chunks(data))
    return not _PNG_METADATA.isdisjoint(behind)


def _decode_tiff(data: bytes, header: TiffHeader) -> UInt8Array:
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages.first
        samples: npt.NDArray[np.generic] = page.asarray(maxworkers=1)
        colour_map: npt.NDArray[np.uint16] | None = page.colormap
        if page.axes == "SYX":
            samples = np.moveaxis(samples, 0, -1)
        elif page.axes not in ("YX", "YXS"):
            raise InvalidImage("The TIFF image is not a flat image.")
    photometric = header.photometric
    if photometric == _PALETTE and colour_map is not None:
        colours: UInt8Array = (colour_map.T[samples] >> 8).astype(np.uint8)
        return colours
    if photometric == _YCBCR and page.compression != tifffile.COMPRESSION.JPEG:
        raise InvalidImage("The TIFF image is YCbCr without JPEG compression.")
    if photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _CMYK, _YCBCR):
        raise InvalidImage(f"The TIFF image has an unknown colour space ({photometric}).")
    pixels = to_uint8(samples, header.bits)
    if photometric == _WHITE_IS_ZERO:
        pixels = 255 - pixels
    if photometric == _CMYK:
        pixels = np.asarray(Image.fromarray(pixels[..., :4], "CMYK").convert("RGB"))
    return _to_rgb(pixels)


def _to_rgb(pixels: UInt8Array) -> UInt8Array:
    """Bring (H, W) or (H, W, C) to (H, W, 3): one or two samples are gray, four are RGBA."""
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if pixels.shape[2] < 3:
        return np.repeat(pixels[..., :1], 3, axis=2)
    return pixels[..., :3]


def _orient(image: UInt8Array, orientation: int) -> UInt8Array:
    """Undo an EXIF orientation (CIPA DC-008, tag 0x0112); unknown values are upright."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image
