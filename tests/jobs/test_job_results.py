import csv
import io

import cv2
import numpy as np
import orjson
import pytest

from deployments.inference.polygons import extract_polygons
from deployments.inference.shape_metrics import calculate_metrics, metrics_info
from deployments.inference.types import PreparedImage, ProbabilityMap, UInt8Array
from deployments.job_results import encode_result, metrics_header, render


def nested_rings() -> UInt8Array:
    """A disc with a hole, in which lies another disc: uint8 (200, 300), 0 or 1."""
    mask = np.zeros((200, 300), np.uint8)
    for radius, value in ((80, 1), (50, 0), (20, 1)):
        cv2.circle(mask, (150, 100), radius, value, -1)
    return mask


def result_of(mask: UInt8Array, detect_holes: bool = True) -> bytes:
    height, width = mask.shape
    polygons = extract_polygons(mask * 255, width, height, 0.5, detect_holes)
    image = PreparedImage(mask, width, height)
    answer = ProbabilityMap(mask, 4, "cpu", "f" * 64, 0.5, 0.1, 0.0)
    return encode_result("hrnet", 0.5, detect_holes, image, answer, polygons, {"inference": 0.5})


def decode(png: bytes | None) -> UInt8Array:
    assert png is not None
    decoded = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    return np.asarray(decoded, np.uint8)


def test_a_result_file_has_the_fields_of_an_answer() -> None:
    result = orjson.loads(result_of(nested_rings()))
    assert result["image_size"] == {"width": 300, "height": 200}
    assert [polygon["type"] for polygon in result["polygons"]].count("internal") == 1
    assert result["processing_info"]["num_polygons"] == len(result["polygons"]) == 3
    assert result["weights_sha256"] == "f" * 64


def test_the_mask_is_what_the_polygons_were_made_of() -> None:
    mask = nested_rings()
    rendering = render(result_of(mask), 0, "a.png", mask=True, metrics=False, convention="2026")
    assert np.array_equal(decode(rendering.mask), mask * 255)
    assert rendering.rows is None


def test_without_holes_the_mask_is_filled() -> None:
    rendering = render(
        result_of(nested_rings(), detect_holes=False), 0, "a.png", True, False, "2026"
    )
    assert decode(rendering.mask)[100, 190] == 255


def test_an_empty_result_is_an_empty_mask_and_no_rows() -> None:
    rendering = render(result_of(np.zeros((20, 30), np.uint8)), 0, "a.png", True, True, "2026")
    assert decode(rendering.mask).shape == (20, 30)
    assert not decode(rendering.mask).any()
    assert rendering.rows == b""


def test_a_row_for_each_external_polygon_with_its_holes() -> None:
    data = result_of(nested_rings())
    rendering = render(data, 7, 'plate "3", a.png', False, True, "2026")
    assert rendering.mask is None
    rows = list(csv.DictReader(io.StringIO((metrics_header() + (rendering.rows or b"")).decode())))
    assert [row["position"] for row in rows] == ["7", "7"]
    assert {row["image"] for row in rows} == {'plate "3", a.png'}
    polygons = {polygon["id"]: polygon for polygon in orjson.loads(data)["polygons"]}
    for row in rows:
        own = [[p["x"], p["y"]] for p in polygons[row["polygon"]]["points"]]
        holes = [
            [[p["x"], p["y"]] for p in polygon["points"]]
            for polygon in polygons.values()
            if polygon.get("parent_id") == row["polygon"]
        ]
        expected = calculate_metrics(own, holes, "2026")
        assert {name: float(row[name]) for name in metrics_info()["metrics"]} == expected
    assert len({row["Area"] for row in rows}) == 2


@pytest.mark.parametrize("name", ["=1+1.png", "+x", "-x", "@x", "\tx"])
def test_a_file_name_is_no_formula(name: str) -> None:
    rendering = render(result_of(nested_rings()), 0, name, False, True, "2026")
    rows = list(csv.reader(io.StringIO((rendering.rows or b"").decode())))
    assert {row[1] for row in rows} == {f"'{name}"}
