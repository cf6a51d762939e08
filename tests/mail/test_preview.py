import cv2
import numpy as np
import orjson
import pytest

from deployments.errors import ImageTooLarge
from deployments.inference.images.limits import ImageLimits
from deployments.mail.preview import LONG_SIDE, draw_preview, render_preview
from tests.scenes import encoded


def _decode(jpeg: bytes) -> np.ndarray:
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return picture


def _square(x0: float, x1: float, y0: float, y1: float, kind: str) -> dict[str, object]:
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    return {"type": kind, "points": [{"x": x, "y": y} for x, y in corners]}


def test_proportions_of_the_upload_and_outlines_in_their_place():
    image = np.full((1000, 2000, 3), 90, np.uint8)
    picture = _decode(draw_preview(image, [_square(500, 1500, 250, 750, "external")]))
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
    image = np.zeros((100, 100, 3), np.uint8)
    red_of_outer, red_of_hole = (
        int(_decode(draw_preview(image, [_square(10, 90, 10, 90, kind)]))[:, :, 0].max())
        for kind in ("external", "internal")
    )
    assert red_of_outer > 100 > red_of_hole


def test_a_small_image_is_not_enlarged_and_no_polygon_is_fine():
    assert _decode(draw_preview(np.zeros((1, 30, 3), np.uint8), [])).shape == (1, 30, 3)


def test_it_is_made_from_the_files_of_a_job():
    upload = encoded(np.full((300, 600, 3), 200, np.uint8))
    result = orjson.dumps({"polygons": [_square(150, 450, 60, 240, "external")]})
    picture = _decode(render_preview(upload, result, ImageLimits()))
    assert picture.shape == (240, 480, 3)
    assert (np.abs(picture.astype(int) - 200).max(axis=2) > 40).any()


def test_an_upload_above_the_limit_is_not_decoded():
    upload = encoded(np.zeros((300, 600, 3), np.uint8))
    with pytest.raises(ImageTooLarge):
        render_preview(upload, b'{"polygons": []}', ImageLimits(max_pixels=1000))
