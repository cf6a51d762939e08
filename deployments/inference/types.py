"""Values that travel between the parts of one request."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UInt8Array = npt.NDArray[np.uint8]

UNTRAINED = "untrained weights"
"""Stands for the name of the weight file where there is none."""


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


@dataclass(frozen=True, slots=True)
class ProbabilityMap:
    """What a model replica answers for one image.

    Attributes:
        probability: uint8 (S, S), 255 = probability 1.
        batch_size: Images in the device call that served this one.
        device: Where the call ran, ``cpu`` or ``cuda:N``.
        weights: SHA-256 (hex) of the weights; None for an untrained network.
        seconds: Wall time of the device call.
        queue_seconds: Time from arrival at the replica to admission to the next batch.
        batch_wait_seconds: Time from there to the device call: waiting for more images.
    """

    probability: UInt8Array
    batch_size: int
    device: str
    weights: str | None
    seconds: float
    queue_seconds: float
    batch_wait_seconds: float

    @property
    def waited_seconds(self) -> float:
        """Time from arrival at the replica to the device call."""
        return self.queue_seconds + self.batch_wait_seconds
