"""The first page of a TIFF file, checked before tifffile or a codec sees it.

tifffile has no limits: 389 kB of deflate unpack to 400 MB, a missing strip becomes zeros, and
a page may point back to an earlier one. The specification is TIFF 6.0 (Adobe, 1992) and
BigTIFF (libtiff).
"""

import struct
from dataclasses import dataclass

from deployments.errors import ImageTooLarge, InvalidImage
from deployments.inference.images.header import Header
from deployments.inference.images.limits import ImageLimits

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 274, 277, 278, 279
PLANAR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_BYTES = 284, 322, 323, 324, 325
SAMPLE_FORMAT, IMAGE_DEPTH, TILE_DEPTH = 339, 32997, 32998

COMPRESSIONS = {
    1: "none",
    5: "LZW",
    7: "JPEG",
    8: "deflate",
    32773: "PackBits",
    32946: "deflate",
    50000: "Zstandard",
}

# BYTE, SHORT, LONG, LONG8: the types that sizes, offsets and counts come in.
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
    _check_segments(data, tags, header, limits)
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
        value_format = _INTEGER_TYPES.get(kind)
        if value_format is None or tag in tags:
            continue
        value = position + layout.entry_size - struct.calcsize(layout.offset)
        size = count * struct.calcsize(value_format)
        if size > struct.calcsize(layout.offset):
            (value,) = struct.unpack_from(layout.offset, data, value)
        if value + size > len(data):
            raise InvalidImage(_TRUNCATED)
        tags[tag] = struct.unpack_from(f"{layout.order}{count}{value_format}", data, value)
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


def _check_segments(data: bytes, tags: Tags, header: TiffHeader, limits: ImageLimits) -> None:
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
    for offset, size in zip(offsets, sizes, strict=True):
        if offset < 8 or size < 1 or offset + size > len(data):
            raise InvalidImage(_TRUNCATED)


def _one(tags: Tags, tag: int, default: int | None = None) -> int:
    values = tags.get(tag, ())
    if values:
        return values[0]
    if default is None:
        raise InvalidImage(f"The TIFF image lacks the tag {tag}.")
    return default
