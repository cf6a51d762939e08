"""Draws polygons over the image that they were found in."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from deployments.inference.images.limits import ImageLimits
from deployments.inference.images.reader import read_image

# BGR, as OpenCV wants it: spheroids in green, holes in orange; both are seen on grey.
_COLOURS = {"external": (80, 200, 60), "internal": (30, 140, 255)}
_FILL = 0.25


def draw_overlay(data: bytes, polygons: Sequence[dict[str, Any]]) -> bytes:
    """Return a PNG of the image with its polygons outlined and shaded.

    Args:
        data: The encoded image.
        polygons: Polygons as the service answers them, in pixels of that image.

    Raises:
        InvalidImage: The image cannot be read.
    """
    canvas = cv2.cvtColor(read_image(data, ImageLimits()), cv2.COLOR_RGB2BGR)
    shaded = canvas.copy()
    width = max(2, round(max(canvas.shape[:2]) / 300))
    outlines = [
        (np.array([[point["x"], point["y"]] for point in polygon["points"]]), polygon["type"])
        for polygon in polygons
    ]
    for points, kind in outlines:
        cv2.fillPoly(shaded, [points.round().astype(np.int32)], _COLOURS[kind])
    canvas = cv2.addWeighted(shaded, _FILL, canvas, 1 - _FILL, 0)
    for points, kind in outlines:
        cv2.polylines(
            canvas, [points.round().astype(np.int32)], True, _COLOURS[kind], width, cv2.LINE_AA
        )
    done, encoded = cv2.imencode(".png", canvas)
    if not done:
        raise RuntimeError("OpenCV could not encode a PNG")
    return encoded.tobytes()
