"""Shape metrics against shapes whose measures are known."""

import math
from typing import Any

import numpy as np
import pytest

from deployments.errors import InvalidFields
from deployments.inference.shape_metrics import (
    MetricsConvention,
    calculate_metrics,
    metrics_info,
)

CONVENTIONS: tuple[MetricsConvention, ...] = ("2025", "2026")

FIELDS = {
    "Area",
    "Perimeter",
    "PerimeterWithHoles",
    "EquivalentDiameter",
    "Circularity",
    "FeretDiameterMax",
    "FeretDiameterMaxOrthogonalDistance",
    "FeretDiameterMin",
    "FeretAspectRatio",
    "LengthMajorDiameterThroughCentroid",
    "LengthMinorDiameterThroughCentroid",
    "Compactness",
    "Convexity",
    "Solidity",
    "Sphericity",
    "Extent",
    "BoundingBoxWidth",
    "BoundingBoxHeight",
}

Outline = list[list[float]]

RECTANGLE: Outline = [[10, 20], [210, 20], [210, 120], [10, 120]]
HOLE: Outline = [[50, 50], [50, 90], [90, 90], [90, 50]]


def ellipse(first_axis: float, second_axis: float, points: int = 720) -> Outline:
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    x, y = 200 + first_axis / 2 * np.cos(angles), 150 + second_axis / 2 * np.sin(angles)
    outline: Outline = np.column_stack([x, y]).tolist()
    return outline


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_all_18_fields_are_answered_and_described(convention: MetricsConvention) -> None:
    assert set(calculate_metrics(RECTANGLE, convention=convention)) == FIELDS
    assert set(metrics_info(convention)["metrics"]) == FIELDS


def test_a_rectangle() -> None:
    """200 x 100; every number can be worked out by hand."""
    equivalent = math.sqrt(4 * 20000 / math.pi)
    assert calculate_metrics(RECTANGLE) == pytest.approx(
        {
            "Area": 20000,
            "Perimeter": 600,
            "PerimeterWithHoles": 600,
            "EquivalentDiameter": equivalent,
            "Circularity": 4 * math.pi * 20000 / 600**2,
            "FeretDiameterMax": 200,
            "FeretDiameterMaxOrthogonalDistance": 100,
            "FeretDiameterMin": 100,
            "FeretAspectRatio": 2,
            "LengthMajorDiameterThroughCentroid": 0,  # fewer than five points
            "LengthMinorDiameterThroughCentroid": 0,
            "Compactness": 600**2 / (4 * math.pi * 20000),
            "Convexity": 1,
            "Solidity": 1,
            "Sphericity": math.pi * equivalent / 600,
            "Extent": 20000 / (201 * 101),  # the box counts pixels, first to last
            "BoundingBoxWidth": 201,
            "BoundingBoxHeight": 101,
        },
        rel=1e-5,
    )


def test_a_hole_in_the_convention_of_2026() -> None:
    plain, holed = calculate_metrics(RECTANGLE), calculate_metrics(RECTANGLE, [HOLE])
    assert holed["Area"] == 20000 - 1600
    assert holed["Perimeter"] == 600
    assert holed["PerimeterWithHoles"] == 760
    assert holed["Circularity"] == pytest.approx(4 * math.pi * 18400 / 760**2)
    assert holed["Compactness"] == pytest.approx(760**2 / (4 * math.pi * 18400))
    assert holed["Convexity"] == pytest.approx(600 / 760)
    assert holed["Solidity"] == pytest.approx(0.92)
    assert holed["Sphericity"] == pytest.approx(math.pi * holed["EquivalentDiameter"] / 760)
    assert holed["Extent"] == pytest.approx(18400 / (201 * 101))
    assert holed["FeretDiameterMax"] == plain["FeretDiameterMax"]


def test_a_hole_in_the_convention_of_2025() -> None:
    """Only Area, EquivalentDiameter, Circularity and Sphericity take it into account."""
    plain = calculate_metrics(RECTANGLE, convention="2025")
    holed = calculate_metrics(RECTANGLE, [HOLE], "2025")
    assert holed["Circularity"] == pytest.approx(4 * math.pi * 18400 / 600**2)
    assert holed["Sphericity"] == pytest.approx(math.pi * holed["EquivalentDiameter"] / 600)
    assert holed["Area"] == 18400
    for name in ("Perimeter", "Compactness", "Convexity", "Solidity"):
        assert holed[name] == plain[name]
    assert plain["Compactness"] == plain["Circularity"]


def test_an_ellipse_has_the_axes_in_the_order_of_opencv() -> None:
    metrics = calculate_metrics(ellipse(200, 80))
    assert metrics["LengthMajorDiameterThroughCentroid"] == pytest.approx(80, rel=1e-3)
    assert metrics["LengthMinorDiameterThroughCentroid"] == pytest.approx(200, rel=1e-3)
    assert metrics["FeretDiameterMax"] == pytest.approx(200, rel=1e-3)
    assert metrics["FeretDiameterMin"] == pytest.approx(80, rel=1e-3)
    assert metrics["Area"] == pytest.approx(math.pi * 100 * 40, rel=1e-3)


def test_one_distance_is_measured_between_whole_pixels() -> None:
    metrics = calculate_metrics([[10.9, 0], [110.2, 0], [110.2, 300], [10.9, 300]])
    assert metrics["FeretDiameterMin"] == pytest.approx(99.3, abs=1e-3)
    assert metrics["FeretDiameterMaxOrthogonalDistance"] == 100


def test_a_circle() -> None:
    metrics = calculate_metrics(ellipse(200, 200), convention="2025")
    assert metrics["Circularity"] == pytest.approx(1, abs=1e-3)
    assert metrics["Sphericity"] == pytest.approx(1, abs=1e-3)
    assert metrics["EquivalentDiameter"] == pytest.approx(200, rel=1e-3)
    assert metrics["Perimeter"] == pytest.approx(math.pi * 200, rel=1e-3)


def test_only_2026_smooths_the_steps_of_a_pixel_outline() -> None:
    diagonal: Outline = [[step // 2, (step + 1) // 2] for step in range(201)]
    triangle: Outline = [*diagonal, [100, 0]]
    length = 100 + 100 + math.hypot(100, 100)
    assert calculate_metrics(triangle)["Perimeter"] == pytest.approx(length, rel=0.02)
    assert calculate_metrics(triangle, convention="2025")["Perimeter"] > 1.15 * length


def test_2026_keeps_circularity_and_compactness_in_bounds() -> None:
    # Smoothing shortens this outline so far that the quotient exceeds one.
    small = ellipse(9, 9, 40)
    assert calculate_metrics(small)["Circularity"] <= 1
    assert calculate_metrics(small)["Compactness"] >= 1


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    "outline",
    [
        [[5, 5]] * 3,
        [[5, 5]] * 9,
        [[0, 0], [1, 1], [2, 2]],
        [[step, 2 * step] for step in range(9)],
        [[0, 0], [1e8, 0], [-1e8, 1e8], [3, 4], [5, 6]],
        [[0, 0], [1e-9, 0], [1e-9, 1e-9], [0, 1e-9], [5e-10, 2e-9]],
    ],
)
def test_degenerate_outlines_give_finite_numbers(
    outline: Outline, convention: MetricsConvention
) -> None:
    metrics = calculate_metrics(outline, convention=convention)
    assert all(math.isfinite(value) for value in metrics.values())


def test_holes_that_leave_no_area_make_it_zero() -> None:
    metrics = calculate_metrics(RECTANGLE, [RECTANGLE, HOLE])
    for name in ("Area", "EquivalentDiameter", "Circularity", "Compactness", "Solidity"):
        assert metrics[name] == 0


@pytest.mark.parametrize(
    ("contour", "holes", "where"),
    [
        ([], [], "contour"),
        ([[0, 0], [1, 1]], [], "contour"),
        ([[0, 0], [1, 1], [2, math.nan]], [], "contour"),
        ([[0, 0], [1, 1], [math.inf, 2]], [], "contour"),
        ([[0, 0], [1, 1], [1e300, 2]], [], "contour"),
        ([[0, 0], [1, 1], [1, 2, 3]], [], "contour"),
        (RECTANGLE, [HOLE, [[0, 0]]], "holes"),
    ],
)
def test_what_is_no_outline_is_refused(contour: Any, holes: Any, where: str) -> None:
    with pytest.raises(InvalidFields) as caught:
        calculate_metrics(contour, holes)
    (field,) = caught.value.fields
    assert where in field["loc"]  # type: ignore[operator]
