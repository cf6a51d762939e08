"""How large an image may be."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Checked against the header, before anything is decoded.

    Attributes:
        max_pixels: Width times height.
        max_samples: Samples (channels) per pixel.
        max_pages: Pages of a TIFF file, although only the first is read.
        max_tile_side: Side of a TIFF tile in pixels.
        max_unpacked_bytes: Size of the decoded pixels, in the file's own sample type.
    """

    max_pixels: int = 100_000_000
    max_samples: int = 4
    max_pages: int = 10_000
    max_tile_side: int = 4096
    max_unpacked_bytes: int = 1 << 30
