"""What a file claims to be, read from its first bytes without any image library.

Formats are recognised by content alone. Everything that decides how much a decoder will
allocate is checked here, against `ImageLimits`, before a decoder sees the file.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from deployments.errors import ImageTooLarge, InvalidImage
from deployments.inference.images.limits import ImageLimits

Format = Literal["PNG", "JPEG", "TIFF", "BMP"]

_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),  # BigTIFF
    (b"MM\x00+", "TIFF"),
    (b"BM", "BMP"),
)

# PNG, section 11.2.1: colour type to samples per pixel and allowed bit depths.
_PNG_COLOURS = {
    0: (1, (1, 2, 4, 8, 16)),  # gray
    2: (3, (8, 16)),  # RGB
    3: (1, (1, 2, 4, 8)),  # palette
    4: (2, (8, 16)),  # gray and alpha
    6: (4, (8, 16)),  # RGBA
}

# SOF0 to SOF15 without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset(range(0xD0, 0xD9)) | {0x01}


@dataclass(frozen=True, slots=True)
class Header:
    """Size of an image as its header declares it.

    Attributes:
        width: Pixels per row, before EXIF orientation.
        height: Rows, before EXIF orientation.
        samples: Samples (channels) per pixel.
        bits: Bits per sample.
    """

    width: int
    height: int
    samples: int
    bits: int

    @property
    def unpacked_bytes(self) -> int:
        """Size of the decoded pixels, rows padded to whole bytes."""
        return self.height * ((self.width * self.samples * self.bits + 7) // 8)


def detect_format(data: bytes) -> Format:
    """Return the format that the bytes begin with.

    Raises:
        InvalidImage: It is none of the four.
    """
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    raise InvalidImage("The file is not a PNG, JPEG, TIFF or BMP image.")


def check_size(header: Header, limits: ImageLimits) -> None:
    """Compare a header with the limits.

    Raises:
        InvalidImage: A side or the number of samples or bits is zero.
        ImageTooLarge: A limit is exceeded; the sentence names it.
    """
    width, height = header.width, header.height
    if min(width, height, header.samples, header.bits) < 1:
        raise InvalidImage("The image has no pixels.")
    if width * height > limits.max_pixels:
        raise ImageTooLarge(
            f"The image has {width} x {height} pixels; at most {limits.max_pixels} are accepted."
        )
    if header.samples > limits.max_samples:
        raise ImageTooLarge(
            f"The image has {header.samples} samples per pixel; "
            f"at most {limits.max_samples} are accepted."
        )
    if header.unpacked_bytes > limits.max_unpacked_bytes:
        raise ImageTooLarge(
            f"The image unpacks to {header.unpacked_bytes} bytes; "
            f"at most {limits.max_unpacked_bytes} are accepted."
        )


def read_png_header(data: bytes) -> Header:
    """Read IHDR and walk the chunks to IEND.

    Raises:
        InvalidImage: The header or the palette is missing or wrong, or the file ends early.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise InvalidImage("The PNG image has no header.")
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    samples, depths = _PNG_COLOURS.get(colour, (0, ()))
    if bits not in depths:
        raise InvalidImage(f"The PNG image has an unknown pixel type ({colour}, {bits} bits).")
    names = list(png_chunks(data))
    if b"IEND" not in names:
        raise InvalidImage("The PNG image is truncated.")
    if colour == 3 and b"PLTE" not in names:
        raise InvalidImage("The PNG image lacks its palette.")
    return Header(width, height, samples, bits)


def png_chunks(data: bytes) -> Iterator[bytes]:
    """Names of the chunks of a PNG file, in order; those that are whole, up to IEND."""
    position, name = 8, b""
    while position + 12 <= len(data) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if position <= len(data):
            yield name


def read_jpeg_header(data: bytes) -> Header:
    """Walk the segments to the frame header (SOF).

    Raises:
        InvalidImage: There is none before the scan data, or the file ends.
    """
    position = 2
    while position + 4 <= len(data):
        marker, code = data[position], data[position + 1]
        if marker != 0xFF:
            raise InvalidImage("The JPEG image is damaged: a marker is missing.")
        if code == 0xFF:  # fill byte
            position += 1
        elif code in _JPEG_WITHOUT_LENGTH:
            position += 2
        elif code in _JPEG_FRAMES:
            if position + 10 > len(data):
                break
            bits, height, width, samples = struct.unpack_from(">BHHB", data, position + 4)
            return Header(width, height, samples, bits)
        elif code in (0xD9, 0xDA):  # end of image, start of scan
            raise InvalidImage("The JPEG image has no frame header.")
        else:
            position += 2 + int(struct.unpack_from(">H", data, position + 2)[0])
    raise InvalidImage("The JPEG image is truncated.")


def read_bmp_header(data: bytes) -> Header:
    """Read the info header and check that all rows are there.

    Run-length encoded bitmaps are refused: nothing writes them, and Pillow decodes them in
    Python.

    Raises:
        InvalidImage: The header is unknown, the pixels are compressed or missing.
    """
    if len(data) < 26:
        raise InvalidImage("The BMP image is truncated.")
    offset, header_size = struct.unpack_from("<II", data, 10)
    compression = 0
    if header_size == 12:
        width, height, planes, bits = struct.unpack_from("<HHHH", data, 18)
    elif header_size in (40, 52, 56, 64, 108, 124) and len(data) >= 34:
        width, height, planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    else:
        raise InvalidImage("The BMP image has an unknown header.")
    if planes != 1 or bits not in (1, 4, 8, 16, 24, 32) or compression not in (0, 3):
        raise InvalidImage("The BMP image is compressed or has an unknown pixel type.")
    width, height = max(width, 0), abs(height)  # negative height: rows from top to bottom
    if offset + height * ((width * bits + 31) // 32 * 4) > len(data):
        raise InvalidImage("The BMP image is truncated.")
    # Rows are unpacked to 8 bits per sample.
    return Header(width, height, samples=1 if bits <= 8 else bits // 8, bits=8)
