"""What a file of any format declares, within the limits, read without any image library."""

from collections.abc import Sequence

from deployments.errors import ClientError
from deployments.inference.images.header import (
    Format,
    Header,
    check_size,
    detect_format,
    read_bmp_header,
    read_jpeg_header,
    read_png_header,
)
from deployments.inference.images.limits import ImageLimits
from deployments.inference.images.tiff_header import read_tiff_header

_READERS = {"PNG": read_png_header, "JPEG": read_jpeg_header, "BMP": read_bmp_header}


def read_header(data: bytes, image_format: Format, limits: ImageLimits) -> Header:
    """Read the header of a file and compare it with the limits.

    Args:
        data: The bytes of the file.
        image_format: What they are, by ``detect_format``.
        limits: What the file may unpack to.

    Returns:
        The header, a ``TiffHeader`` for TIFF.

    Raises:
        InvalidImage: The header is missing or wrong, or the file ends early.
        ImageTooLarge: A limit is exceeded.
    """
    if image_format == "TIFF":
        header: Header = read_tiff_header(data, limits)
    else:
        header = _READERS[image_format](data)
    check_size(header, limits)
    return header


def count_pixels(files: Sequence[bytes], limits: ImageLimits) -> int:
    """Return the pixels that files declare; one that would be refused counts none.

    Args:
        files: The bytes of each file.
        limits: What a file may unpack to.
    """
    pixels = 0
    for data in files:
        try:
            header = read_header(data, detect_format(data), limits)
        except ClientError:
            continue
        pixels += header.width * header.height
    return pixels
