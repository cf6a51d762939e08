"""Values that travel between the parts of one request."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PreparedImage:
    """A decoded image, ready for a model.

    Attributes:
        pixels: uint8 (S, S, 3) RGB at the model's input size.
        width: Width of the uploaded image in pixels, after EXIF orientation.
        height: Height of the uploaded image in pixels, after EXIF orientation.
    """

    pixels: UInt8Array
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Polygons:
    """The outlines found in one image.

    Attributes:
        json: UTF-8 JSON array of polygon objects as SpheroSeg's contract has them. It is
            serialised where it is made, so that no event loop walks through the points.
        confidences: Mean probability inside each polygon, in the order of the array.
    """

    json: bytes
    confidences: list[float]
