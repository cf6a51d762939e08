"""Outlines, nesting, confidence, area and JSON."""

from typing import Any

import cv2
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.inference.polygons import MIN_AREA, extract_polygons
from deployments.inference.types import UInt8Array

SIZE = 256


def squares(*steps: tuple[int, int]) -> UInt8Array:
    """Paint centred squares over each other: (margin, value)."""
    scene = np.zeros((SIZE, SIZE), np.uint8)
    for margin, value in steps:
        scene[margin : SIZE - margin, margin : SIZE - margin] = value
    return scene


def extract(
    probability: UInt8Array,
    width: int = SIZE,
    height: int = SIZE,
    threshold: float = 0.5,
    detect_holes: bool = True,
) -> list[dict[str, Any]]:
    polygons = extract_polygons(probability, width, height, threshold, detect_holes)
    parsed: list[dict[str, Any]] = orjson.loads(polygons.json)
    assert [polygon["confidence"] for polygon in parsed] == polygons.confidences
    return parsed


def corners(polygon: dict[str, Any]) -> tuple[float, float, float, float]:
    xs = [point["x"] for point in polygon["points"]]
    ys = [point["y"] for point in polygon["points"]]
    return min(xs), min(ys), max(xs), max(ys)


def test_one_square_field_by_field() -> None:
    (polygon,) = extract(squares((100, 204)))
    assert polygon == {
        "id": "polygon_1",
        "points": [
            {"x": 100.0, "y": 100.0},
            {"x": 100.0, "y": 155.0},
            {"x": 155.0, "y": 155.0},
            {"x": 155.0, "y": 100.0},
        ],
        "type": "external",
        "class": "spheroid",
        "confidence": 0.8,
        "vertices_count": 4,
        "area": 55.0**2,
    }
    assert all(isinstance(v, float) for point in polygon["points"] for v in point.values())


def test_nothing_above_the_threshold_gives_an_empty_array() -> None:
    polygons = extract_polygons(squares((100, 127)), SIZE, SIZE, 0.5, True)
    assert polygons.json == b"[]"
    assert polygons.confidences == []


@pytest.mark.parametrize(("threshold", "count"), [(0.59, 1), (0.6, 0), (0.61, 0)])
def test_the_threshold_is_strict(threshold: float, count: int) -> None:
    assert len(extract(squares((100, 153)), threshold=threshold)) == count  # 153 / 255 = 0.6


def test_types_follow_the_parity_of_nesting() -> None:
    """A region, its hole, an island in the hole, a hole in the island."""
    polygons = extract(squares((10, 255), (40, 0), (70, 255), (100, 0)))
    by_margin = {round(corners(polygon)[0]): polygon for polygon in polygons}
    outer, hole, island, inner_hole = (by_margin[margin] for margin in (10, 39, 70, 99))
    assert [p["type"] for p in (outer, hole, island, inner_hole)] == [
        "external",
        "internal",
        "external",
        "internal",
    ]
    assert "parent_id" not in outer
    assert "parent_id" not in island
    assert hole["parent_id"] == outer["id"]
    assert inner_hole["parent_id"] == island["id"]
    assert len({polygon["id"] for polygon in polygons}) == 4


def test_without_holes_only_outer_outlines_are_reported() -> None:
    nested = squares((10, 255), (40, 0), (70, 255), (100, 0))
    (polygon,) = extract(nested, detect_holes=False)
    assert polygon["type"] == "external"
    assert polygon["area"] == 235.0**2
    # Taken as filled: the hole counts as inside.
    assert polygon["confidence"] == pytest.approx((nested[10:246, 10:246] > 0).mean(), abs=1e-4)


def test_small_outlines_are_dropped_by_area() -> None:
    scene = np.zeros((SIZE, SIZE), np.uint8)
    scene[10:18, 10:18] = 255  # 7 x 7 between pixel centres
    scene[10:19, 50:58] = 255  # 8 x 7
    scene[100:200, 100:200] = 255
    scene[110:116, 110:116] = 0  # a hole of 7 x 7
    scene[150:158, 150:158] = 0  # 9 x 9, its corners cut
    polygons = extract(scene)
    assert sorted(polygon["area"] for polygon in polygons) == [56.0, 79.0, 99.0**2]
    assert min(polygon["area"] for polygon in polygons) >= MIN_AREA
    assert [polygon["id"] for polygon in polygons] == ["polygon_1", "polygon_2", "polygon_3"]


def test_confidence_is_the_mean_probability_inside() -> None:
    scene = squares((50, 255))
    scene[50:206, 50:128] = 204  # left half: 0.8
    (polygon,) = extract(scene)
    assert polygon["confidence"] == pytest.approx(0.9, abs=0.001)


def test_confidence_leaves_reported_holes_out() -> None:
    outer, hole = sorted(
        extract(squares((50, 204), (80, 51))), key=lambda polygon: str(polygon["type"])
    )
    assert outer["confidence"] == 0.8
    assert hole["confidence"] == 0.8  # 1 - 51 / 255: it is a hole with that probability


@pytest.mark.parametrize(("width", "height"), [(256, 256), (1000, 1000), (1024, 640), (90, 130)])
def test_a_disc_keeps_its_centre_and_radius_at_the_original_size(width: int, height: int) -> None:
    """Pixel i of the map covers [i, i + 1) / SIZE of the image, at every scale."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    distance = np.hypot(columns - 99.5, rows - 139.5)  # centre at (100, 140) from the corner
    disc = np.clip((60 - distance) * 255 + 128, 0, 255).astype(np.uint8)
    (polygon,) = extract(disc, width, height)
    contour = np.array([[p["x"], p["y"]] for p in polygon["points"]], np.float32)
    moments = cv2.moments(contour)
    x, y = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
    assert x == pytest.approx(100 / SIZE * width - 0.5, abs=0.15)
    assert y == pytest.approx(140 / SIZE * height - 0.5, abs=0.15)
    left, top, right, bottom = corners(polygon)
    # From the first to the last pixel centre, and half a pixel on either side.
    assert right - left + 1 == pytest.approx(120 / SIZE * width, abs=2)
    assert bottom - top + 1 == pytest.approx(120 / SIZE * height, abs=2)
    assert polygon["area"] == pytest.approx(cv2.contourArea(contour))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cells=st.integers(4, 64),
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    threshold=st.floats(0.1, 0.9),
    detect_holes=st.booleans(),
)
def test_any_map_gives_polygons_that_every_client_can_read(
    seed: int, cells: int, width: int, height: int, threshold: float, detect_holes: bool
) -> None:
    coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells), np.uint8)
    probability = cv2.resize(coarse, (128, 128), interpolation=cv2.INTER_CUBIC)
    polygons = extract(probability, width, height, threshold, detect_holes)
    externals = {polygon["id"] for polygon in polygons if polygon["type"] == "external"}
    for polygon in polygons:
        assert polygon["vertices_count"] == len(polygon["points"]) >= 3
        assert 0 <= polygon["confidence"] <= 1
        left, top, right, bottom = corners(polygon)
        assert 0 <= left <= right < width
        assert 0 <= top <= bottom < height
        assert (polygon["type"] == "internal") == ("parent_id" in polygon)
        assert polygon.get("parent_id", polygon["id"]) in externals
