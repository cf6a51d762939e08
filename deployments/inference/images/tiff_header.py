"""The first page of a TIFF file, checked before tifffile or a codec sees it.

tifffile has no limits: 389 kB of deflate unpack to 400 MB, a missing strip becomes zeros, and
a page may point back to an earlier one. The specification is TIFF 6.0 (Adobe, 1992) and
BigTIFF (libtiff).
"""

import struct
from dataclasses import dataclass

from deployments.errors import ImageTooLarge, InvalidImage
from deployments.inference.images.header import Header, read_jpeg_header
from deployments.inference.images.limits import ImageLimits

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 274, 277, 278, 279
PLANAR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 284, 322, 323, 324, 325
IMAGE_DEPTH, TILE_DEPTH = 32997, 32998

_NONE, _JPEG = 1, 7

COMPRESSIONS = {
    _NONE: "none",
    5: "LZW",
    _JPEG: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    50000: "Zstandard",
}

# Field types: BYTE, ASCII, SHORT, LONG, RATIONAL, ... Sizes, offsets and counts come in those
# of _INTEGER_TYPES; of the others only the place in the file is checked.
_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_SIZES |= {13: 4, 16: 8, 17: 8, 18: 8}
_INTEGER_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}

_TRUNCATED = "The TIFF image is truncated."


@dataclass(frozen=True, slots=True)
class TiffHeader(Header):
    """Adds what the reader needs to make sense of the samples.

    Attributes:
        photometric: PhotometricInterpretation.
        orientation: Orientation, 1 to 8.
    """

    photometric: int
    orientation: int


@dataclass(frozen=True, slots=True)
class _Layout:
    """The byte layout of classic TIFF or BigTIFF."""

    order: str
    count: str  # number of entries in a directory
    offset: str  # offsets, and the number of values of an entry

    @property
    def entry_size(self) -> int:
        return 4 + 2 * struct.calcsize(self.offset)


Tags = dict[int, tuple[int, ...]]


def read_tiff_header(data: bytes, limits: ImageLimits) -> TiffHeader:
    """Walk the pages, read the first, check that its strips or tiles lie in the file.

    Raises:
        InvalidImage: The file is malformed, truncated, or of a kind we do not read.
        ImageTooLarge: It has too many pages or too large tiles.
    """
    try:
        layout, directory = _read_layout(data)
        tags = _read_tags(data, layout, directory)
        _count_pages(data, layout, directory, limits.max_pages)
    except struct.error:
        raise InvalidImage(_TRUNCATED) from None
    header = TiffHeader(
        width=_one(tags, WIDTH),
        height=_one(tags, HEIGHT),
        samples=_one(tags, SAMPLES, 1),
        bits=max(tags.get(BITS, (1,))),
        photometric=_one(tags, PHOTOMETRIC),
        orientation=_one(tags, ORIENTATION, 1),
    )
    compression = _one(tags, COMPRESSION, 1)
    if compression not in COMPRESSIONS:
        known = ", ".join(dict.fromkeys(COMPRESSIONS.values()))
        raise InvalidImage(f"The TIFF image is compressed in a way other than {known}.")
    if len(set(tags.get(BITS, ()))) > 1:
        raise InvalidImage("The samples of the TIFF image differ in depth.")
    if _one(tags, IMAGE_DEPTH, 1) != 1 or _one(tags, TILE_DEPTH, 1) != 1:
        raise InvalidImage("The TIFF image is a volume; only flat images are accepted.")
    _check_segments(data, tags, header, compression, limits)
    return header


def _read_layout(data: bytes) -> tuple[_Layout, int]:
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"*\x00", b"\x00*"):
        return _Layout(order, order + "H", order + "I"), struct.unpack_from(order + "I", data, 4)[0]
    size, zero, directory = struct.unpack_from(order + "HHQ", data, 4)
    if (size, zero) != (8, 0):
        raise InvalidImage("The BigTIFF header is malformed.")
    return _Layout(order, order + "Q", order + "Q"), directory


def _read_tags(data: bytes, layout: _Layout, directory: int) -> Tags:
    (entries,) = struct.unpack_from(layout.count, data, directory)
    start = directory + struct.calcsize(layout.count)
    if start + entries * layout.entry_size > len(data):
        raise InvalidImage(_TRUNCATED)
    tags: Tags = {}
    for position in range(start, start + entries * layout.entry_size, layout.entry_size):
        tag, kind, count = struct.unpack_from(
            layout.order + "HH" + layout.offset[1], data, position
        )
        size = count * _TYPE_SIZES.get(kind, 0)
        value = position + layout.entry_size - struct.calcsize(layout.offset)
        if size > struct.calcsize(layout.offset):
            (value,) = struct.unpack_from(layout.offset, data, value)
        if value + size > len(data):
            raise InvalidImage(_TRUNCATED)
        if kind in _INTEGER_TYPES and tag not in tags:
            values = f"{layout.order}{count}{_INTEGER_TYPES[kind]}"
            tags[tag] = struct.unpack_from(values, data, value)
    return tags


def _count_pages(data: bytes, layout: _Layout, directory: int, max_pages: int) -> None:
    seen: set[int] = set()
    while directory:
        if directory in seen:
            raise InvalidImage("The pages of the TIFF file form a loop.")
        seen.add(directory)
        if len(seen) > max_pages:
            raise ImageTooLarge(f"The TIFF file has more than {max_pages} pages.")
        (entries,) = struct.unpack_from(layout.count, data, directory)
        end = directory + struct.calcsize(layout.count) + entries * layout.entry_size
        (directory,) = struct.unpack_from(layout.offset, data, end)


def _check_segments(
    data: bytes, tags: Tags, header: TiffHeader, compression: int, limits: ImageLimits
) -> None:
    """Strips and tiles must be as many as the size asks for, and lie in the file."""
    if TILE_WIDTH in tags or TILE_HEIGHT in tags:
        width, height = _one(tags, TILE_WIDTH), _one(tags, TILE_HEIGHT)
        offsets, sizes = tags.get(TILE_OFFSETS, ()), tags.get(TILE_BYTES, ())
        if max(width, height) > limits.max_tile_side:
            raise ImageTooLarge(
                f"The TIFF image has tiles of {width} x {height} pixels; "
                f"a side of at most {limits.max_tile_side} is accepted."
            )
    else:
        width = header.width
        height = min(_one(tags, ROWS_PER_STRIP, header.height), header.height)
        offsets, sizes = tags.get(STRIP_OFFSETS, ()), tags.get(STRIP_BYTES, ())
    if width < 1 or height < 1:
        raise InvalidImage("The TIFF image has no pixels.")
    planes = header.samples if _one(tags, PLANAR, 1) == 2 else 1
    expected = planes * -(-header.width // width) * -(-header.height // height)
    if len(offsets) != expected or len(sizes) != expected:
        raise InvalidImage("The TIFF image has the wrong number of strips or tiles.")
    if compression == _NONE and sum(sizes) < header.unpacked_bytes:
        raise InvalidImage(_TRUNCATED)
    for offset, size in zip(offsets, sizes, strict=True):
        if offset < 8 or size < 1 or offset + size > len(data):
            raise InvalidImage(_TRUNCATED)
        if compression == _JPEG:
            # The decoder goes by the size in here.
            inner = read_jpeg_header(data[offset : offset + size])
            if inner.width > width or inner.height > height or inner.samples > header.samples:
                raise InvalidImage("A strip or tile of the TIFF image declares a wrong size.")


def _one(tags: Tags, tag: int, default: int | None = None) -> int:
    values = tags.get(tag, ())
    if values:
        return values[0]
    if default is None:
        raise InvalidImage(f"The TIFF image lacks the tag {tag}.")
    return default
