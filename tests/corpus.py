"""Files that no client should send: what the reader must refuse, and seeds for mutation.

Everything is built in memory, deterministically, in about a second.
"""

import gzip
import io
import random
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import Image

NamedFile = tuple[str, bytes]

_FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99)

_LONG = 4


def malformed_files() -> list[NamedFile]:
    """Return more than a hundred files, each of which must be refused."""
    return [
        *_no_images(),
        *_other_formats(),
        *_lying_headers(),
        *_lying_tiffs(),
        *_bombs(),
        *(
            (f"{name}, first {fraction:.0%}", data[: int(len(data) * fraction)])
            for name, data in valid_files()
            for fraction in _FRACTIONS
        ),
        *((f"{name}, without the last byte", data[:-1]) for name, data in valid_files()),
    ]


def mutated_files(count: int, seed: int) -> list[NamedFile]:
    """Return valid files with a few bytes changed. Some of them still decode."""
    generator = random.Random(seed)
    seeds = valid_files()
    files = []
    for index in range(count):
        name, data = generator.choice(seeds)
        mutated = bytearray(data)
        for _ in range(generator.randint(1, 8)):
            # Half of the changes hit the header, which is where they matter.
            end = len(mutated) if generator.random() < 0.5 else min(256, len(mutated))
            mutated[generator.randrange(end)] = generator.randrange(256)
        files.append((f"{name}, mutation {seed}.{index}", bytes(mutated)))
    return files


def valid_files() -> list[NamedFile]:
    """Return one small image for each way of decoding."""
    colour = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
    gray = colour[..., 0]
    deep = gray.astype(np.uint16) * 257
    return [
        ("PNG", _save(colour, "PNG")),
        ("PNG of 16 bits", _save(deep, "PNG")),
        ("PNG with palette", _save(gray, "PNG", mode="P")),
        ("JPEG", _save(colour, "JPEG")),
        ("progressive JPEG", _save(colour, "JPEG", progressive=True)),
        ("BMP", _save(colour, "BMP")),
        ("TIFF", _save_tiff(colour)),
        ("TIFF of LZW tiles", _save_tiff(deep, compression="lzw", tile=(16, 16))),
        ("TIFF of deflate strips", _save_tiff(colour, compression="zlib", rowsperstrip=8)),
        ("TIFF of JPEG", _save_tiff(colour, compression="jpeg")),
        ("BigTIFF", _save_tiff(deep, bigtiff=True)),
    ]


def tiff(
    changes: dict[int, tuple[int, ...]], body: bytes = bytes(100), following: int = 0
) -> bytes:
    """Return a TIFF of 10 x 10 gray pixels with some tags changed.

    Args:
        changes: Values by tag; an empty tuple removes the tag.
        body: The pixels. They begin at byte 8, the directory comes after them.
        following: Offset of the next directory.
    """
    tags: dict[int, tuple[int, ...]] = {
        256: (10,),  # width
        257: (10,),  # height
        258: (8,),  # bits
        259: (1,),  # compression
        262: (1,),  # photometric
        273: (8,),  # strip offsets
        277: (1,),  # samples
        278: (10,),  # rows per strip
        279: (len(body),),  # strip sizes
    }
    tags |= changes
    entries = sorted((tag, values) for tag, values in tags.items() if values)
    directory = struct.pack("<H", len(entries))
    overflow = b""
    overflow_at = 8 + len(body) + 2 + 12 * len(entries) + 4
    for tag, values in entries:
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            overflow, packed = overflow + packed, struct.pack("<I", overflow_at + len(overflow))
        directory += struct.pack("<HHI", tag, _LONG, len(values)) + packed
    start = struct.pack("<2sHI", b"II", 42, 8 + len(body))
    return start + body + directory + struct.pack("<I", following) + overflow


def png(width: int, height: int, bits: int, colour: int, pixels: bytes) -> bytes:
    """Return a PNG with that header and those deflated pixels, right or wrong."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I4s", len(body), name) + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def deflated_zeros(size: int) -> bytes:
    """Return ``size`` zero bytes, a multiple of 1 MiB, as a zlib stream, without making them."""
    compressor = zlib.compressobj(9)
    first = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block does not refer to what came before and can be repeated.
    again = compressor.compress(bytes(1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    end = b"\x03\x00" + struct.pack(">I", (size % 65521 << 16) + 1)  # Adler-32 of zeros
    return first + again * (size // (1 << 20) - 1) + end


def _no_images() -> list[NamedFile]:
    noise = random.Random(1).randbytes(4096)
    return [
        ("nothing", b""),
        ("one byte", b"\x89"),
        ("zero bytes", bytes(4096)),
        ("noise", noise),
        ("text", b"Dear sir or madam,\n" * 50),
        ("JSON", b'{"image": null}'),
        ("PNG signature and noise", b"\x89PNG\r\n\x1a\n" + noise),
        ("JPEG signature and noise", b"\xff\xd8\xff\xe0" + noise),
        ("JPEG of two markers", b"\xff\xd8\xff\xd9"),
        ("JPEG without a frame", b"\xff\xd8\xff\xda\x00\x02" + noise),
        ("BMP signature and text", b"BMW and other cars" * 10),
        ("TIFF signature and zeros", b"II*\x00" + bytes(100)),
        ("TIFF signature and noise", b"MM\x00*" + noise),
        ("BigTIFF signature and noise", b"II+\x00" + noise),
    ]


def _other_formats() -> list[NamedFile]:
    gray = np.zeros((16, 16), np.uint8)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("image.png", _save(gray, "PNG"))
    pillow = ("GIF", "WEBP", "PDF", "PPM", "TGA", "ICO", "PCX", "EPS", "JPEG2000")
    return [
        *((name, _save(gray, name)) for name in pillow),
        ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        ("HTML", b"<!doctype html><img src='file:///etc/passwd'>"),
        ("PostScript", b"%!PS-Adobe-3.0\nquit\n"),
        ("ZIP", archive.getvalue()),
        ("gzip", gzip.compress(_save(gray, "PNG"), mtime=0)),
        ("ELF", b"\x7fELF\x02\x01\x01" + bytes(57)),
        ("pickle", b"\x80\x05cos\nsystem\n."),
    ]


def _lying_headers() -> list[NamedFile]:
    few = zlib.compress(bytes(100))
    jpeg = _save(np.zeros((16, 16, 3), np.uint8), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    bmp = _save(np.zeros((16, 16, 3), np.uint8), "BMP")

    def jpeg_of(height: int, width: int) -> bytes:
        return jpeg[:frame] + struct.pack(">HH", height, width) + jpeg[frame + 4 :]

    def bmp_with(offset: int, value: bytes) -> bytes:
        return bmp[:offset] + value + bmp[offset + len(value) :]

    return [
        ("PNG of 60000 x 60000", png(60000, 60000, 8, 0, few)),
        ("PNG of 2^31 pixels a side", png(2**31, 2**31, 8, 0, few)),
        ("PNG without width", png(0, 10, 8, 0, few)),
        ("PNG with few pixels", png(9000, 9000, 8, 0, few)),
        ("PNG of 16 bits with few pixels", png(3000, 3000, 16, 2, few)),
        ("PNG of 3 bits", png(5, 5, 3, 0, few)),
        ("PNG of colour type 5", png(5, 5, 8, 5, few)),
        ("PNG without palette", png(5, 5, 8, 3, few)),
        ("PNG with broken deflate", png(10, 10, 8, 0, b"\x78\x9c" + bytes(range(99)))),
        ("JPEG of 65535 x 65535", jpeg_of(65535, 65535)),
        ("JPEG without height", jpeg_of(0, 16)),
        ("JPEG without width", jpeg_of(16, 0)),
        ("BMP of 60000 x 60000", bmp_with(18, struct.pack("<ii", 60000, 60000))),
        ("BMP of negative width", bmp_with(18, struct.pack("<i", -16))),
        ("BMP of 3 planes", bmp_with(26, struct.pack("<H", 3))),
        ("BMP of 7 bits", bmp_with(28, struct.pack("<H", 7))),
        ("BMP in run lengths", bmp_with(28, struct.pack("<HI", 8, 1))),
        ("BMP with pixels past the end", bmp_with(10, struct.pack("<I", 2**31))),
        ("BMP of an unknown header", bmp_with(14, struct.pack("<I", 41))),
    ]


def _lying_tiffs() -> list[NamedFile]:
    return [
        ("TIFF of 60000 x 60000", tiff({256: (60000,), 257: (60000,), 278: (60000,)})),
        ("TIFF without width", tiff({256: ()})),
        ("TIFF of width 0", tiff({256: (0,)})),
        ("TIFF of 65529 samples", tiff({277: (65529,)})),
        ("TIFF of 5 samples", tiff({277: (5,)}, bytes(500))),
        ("TIFF of 0 samples", tiff({277: (0,)})),
        ("TIFF of 33 bits", tiff({258: (33,)}, bytes(500))),
        ("TIFF of mixed bits", tiff({258: (8, 16, 8), 277: (3,)}, bytes(500))),
        ("TIFF in fax", tiff({259: (4,)})),
        ("TIFF in PixarLog", tiff({259: (32909,)})),
        ("TIFF in JPEG 2000", tiff({259: (34712,)})),
        ("TIFF of noise in JPEG", tiff({259: (7,)}, random.Random(2).randbytes(100))),
        ("TIFF of noise in deflate", tiff({259: (8,)}, random.Random(3).randbytes(100))),
        ("TIFF in CIELAB", tiff({262: (8,), 277: (3,)}, bytes(300))),
        ("TIFF that is a volume", tiff({32997: (5,)}, bytes(500))),
        ("TIFF with a strip past the end", tiff({273: (2**31,)})),
        ("TIFF with an empty strip", tiff({279: (0,)})),
        ("TIFF with a short strip", tiff({279: (60,)})),
        ("TIFF without strips", tiff({273: (), 279: ()})),
        ("TIFF with too few strips", tiff({278: (1,)})),
        ("TIFF of one row a strip, 0 rows", tiff({278: (0,)})),
        ("TIFF with a tile of 2^15", tiff(_tile(2**15))),
        ("TIFF with a tile of 0", tiff(_tile(0))),
        ("TIFF with a cyclic directory", tiff({}, following=8 + 100)),
        ("TIFF with a directory past the end", tiff({}, following=2**31)),
        ("TIFF with a huge description", tiff({})[:-4].replace(*_huge_description())),
    ]


def _tile(side: int) -> dict[int, tuple[int, ...]]:
    strips: dict[int, tuple[int, ...]] = {273: (), 278: (), 279: ()}
    return {256: (1,), 257: (1,), 322: (side,), 323: (side,), 324: (8,), 325: (100,), **strips}


def _huge_description() -> tuple[bytes, bytes]:
    """Turn the tag of the samples into a description of 4 GB."""
    return struct.pack("<HHI", 277, _LONG, 1), struct.pack("<HHI", 270, 2, 2**32 - 1)


def _bombs() -> list[NamedFile]:
    side = 20000
    zeros = deflated_zeros(382 << 20)  # 20000 x 20000 = 381.5 MiB
    jpeg = _save(np.zeros((2000, 2000), np.uint8), "JPEG")
    return [
        (
            "TIFF of 20000 x 20000 zeros in deflate",
            tiff({256: (side,), 257: (side,), 278: (side,), 259: (8,)}, zeros),
        ),
        ("TIFF of 100 pixels with 382 MiB in deflate", tiff({259: (8,)}, zeros)),
        ("TIFF of 100 pixels with a JPEG of 4 megapixels", tiff({259: (7,)}, jpeg)),
        ("PNG of 13000 x 13000", png(13000, 13000, 8, 0, deflated_zeros(162 << 20))),
        ("PNG of 20000 x 20000", png(side, side, 8, 0, zeros)),
    ]


def _save(pixels: npt.NDArray[Any], name: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, name, **options)
    return file.getvalue()


def _save_tiff(pixels: npt.NDArray[Any], **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()
