import cv2
import numpy as np
import orjson

from deployments.inference.types import Polygons, PreparedImage
from deployments.mail.preview import LONG_SIDE, draw_preview


def _decode(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture


def _square(x0: float, x1: float, y0: float, y1: float, kind: str) -> dict[str, object]:
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return {"type": kind, "points": [{"x": x, "y": y} for x, y in corners]}


def test_proportions_of_the_upload_and_outlines_in_their_place():
    grey = np.full((64, 64, 3), 90, np.uint8)
    image = PreparedImage(grey, width=2000, height=1000)
    outline = _square(500, 1500, 250, 750, "external")
    polygons = Polygons(orjson.dumps([outline]), [0.9])
    picture = _decode(draw_preview(image, polygons))
    assert picture.shape == (LONG_SIDE // 2, LONG_SIDE, 3)
    changed = np.abs(picture.astype(int) - 90).max(axis=2) > 40
    rows, columns = np.nonzero(changed)
    scale = LONG_SIDE / 2000
    assert abs(columns.min() - 500 * scale) <= 2
    assert abs(columns.max() - 1500 * scale) <= 2
    assert abs(rows.min() - 250 * scale) <= 2
    assert abs(rows.max() - 750 * scale) <= 2
    assert not changed[120, 240], "an outline, not a filled area"


def test_holes_have_a_colour_of_their_own():
    image = PreparedImage(np.zeros((64, 64, 3), np.uint8), width=100, height=100)
    outer = Polygons(orjson.dumps([_square(10, 90, 10, 90, "external")]), [1.0])
    hole = Polygons(orjson.dumps([_square(10, 90, 10, 90, "internal")]), [1.0])
    red_of_outer, red_of_hole = (
        int(_decode(draw_preview(image, polygons))[:, :, 0].max()) for polygons in (outer, hole)
    )
    assert red_of_outer > 100 > red_of_hole


def test_a_small_image_is_not_enlarged_and_no_polygon_is_fine():
    image = PreparedImage(np.zeros((64, 64, 3), np.uint8), width=30, height=1)
    assert _decode(draw_preview(image, Polygons(b"[]", []))).shape == (1, 30, 3)
