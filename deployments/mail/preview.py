"""The small picture of a result that a mail carries."""

import cv2
import numpy as np
import orjson

from deployments.inference.types import Polygons, PreparedImage

LONG_SIDE = 480
_JPEG_QUALITY = 80
# RGB
_EXTERNAL = (255, 214, 10)
_INTERNAL = (10, 132, 255)


def draw_preview(image: PreparedImage, polygons: Polygons) -> bytes:
    """Draw the outlines over the image.

    Args:
        image: uint8 (S, S, 3) RGB with the size of the upload.
        polygons: Outlines in pixels of the upload.

    Returns:
        A JPEG in the proportions of the upload, its long side at most 480 pixels.
    """
    scale = min(1.0, LONG_SIDE / max(image.width, image.height))
    width = max(1, round(image.width * scale))
    height = max(1, round(image.height * scale))
    canvas = cv2.resize(image.pixels, (width, height), interpolation=cv2.INTER_AREA)
    for polygon in orjson.loads(polygons.json):
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
