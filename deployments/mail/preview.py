"""The small picture of a result that a mail carries."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
import orjson

from deployments.inference.images.limits import ImageLimits
from deployments.inference.images.reader import read_image
from deployments.inference.types import UInt8Array

LONG_SIDE = 480
_JPEG_QUALITY = 80
# RGB
_EXTERNAL = (255, 214, 10)
_INTERNAL = (10, 132, 255)


def render_preview(upload: bytes, result: bytes, limits: ImageLimits) -> bytes:
    """Draw the picture from the files of a job. Decodes an upload: belongs into a child process.

    Args:
        upload: The uploaded image.
        result: Its result file, see ``deployments.job_results``.
        limits: What the upload may unpack to.

    Raises:
        ClientError: The upload cannot be decoded within the limits.
    """
    cv2.setNumThreads(1)
    return draw_preview(read_image(upload, limits), orjson.loads(result)["polygons"])


def draw_preview(image: UInt8Array, polygons: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw the outlines over the image.

    Args:
        image: uint8 (H, W, 3) RGB.
        polygons: Outlines in pixels of that image, as SpheroSeg's contract has them.

    Returns:
        A JPEG in the proportions of the image, its long side at most 480 pixels.
    """
    height, width = image.shape[:2]
    scale = min(1.0, LONG_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    canvas = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    for polygon in polygons:
        points = np.array([(point["x"], point["y"]) for point in polygon["points"]])
        colour = _INTERNAL if polygon["type"] == "internal" else _EXTERNAL
        outline = np.rint(points * scale).astype(np.int32)
        cv2.polylines(canvas, [outline], isClosed=True, color=colour, thickness=1)
    encoded, jpeg = cv2.imencode(
        ".jpg",
        cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR),
        [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY],
    )
    assert encoded, "a uint8 RGB array always encodes"
    return bytes(jpeg)
