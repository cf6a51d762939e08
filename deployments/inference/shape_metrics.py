"""Shape metrics of one outline, as SpheroSeg's contract names them.

The formulas of a name changed over time. ``"2026"`` stands for those of commit bf99ac26
(July 2026) and is the default, ``"2025"`` for those of commit 32f51033 (August 2025). The four
fields that only the later one has are answered under both. All lengths are in pixels.

In the formulas A is the area inside the outline, H its convex hull, R the rectangle of least
area around it and h its holes; |x| is the area and P(x) the perimeter of x. In the convention
of 2026, outlines are simplified by 2 pixels (Douglas and Peucker) before P is measured,
because the steps of a pixel outline make it too long.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from deployments.errors import InvalidFields

MetricsConvention = Literal["2025", "2026"]

Points = Sequence[Sequence[float]]
_Contour = npt.NDArray[np.float32]

_SIMPLIFICATION = 2.0

_MAX_COORDINATE = 1e8

_DESCRIPTIONS = {
    "Area": "Area inside the outline minus the area of the holes: |A| - |h|",
    "Perimeter": "Length of the outline: P",
    "PerimeterWithHoles": "Length of the outline and of the outlines of the holes: P + P(h)",
    "EquivalentDiameter": "Diameter of the circle of the same area: sqrt(4 Area / pi)",
    "Circularity": "4 pi Area / PerimeterWithHoles^2, at most 1",
    "FeretDiameterMax": "Longer side of R",
    "FeretDiameterMaxOrthogonalDistance": "Shortest side of R, its corners cut to whole pixels",
    "FeretDiameterMin": "Shorter side of R",
    "FeretAspectRatio": "Longer side of R / shorter side of R",
    "LengthMajorDiameterThroughCentroid": "First axis of the fitted ellipse (the minor axis)",
    "LengthMinorDiameterThroughCentroid": "Second axis of the fitted ellipse (the major axis)",
    "Compactness": "PerimeterWithHoles^2 / (4 pi Area), at least 1",
    "Convexity": "P(H) / PerimeterWithHoles",
    "Solidity": "Area / |H|",
    "Sphericity": "pi EquivalentDiameter / PerimeterWithHoles",
    "Extent": "Area / (BoundingBoxWidth x BoundingBoxHeight)",
    "BoundingBoxWidth": "Width of the upright bounding box",
    "BoundingBoxHeight": "Height of the upright bounding box",
}

_DESCRIPTIONS_2025 = {
    "Circularity": "4 pi Area / Perimeter^2; can exceed 1",
    "Compactness": "4 pi |A| / Perimeter^2, holes not taken off",
    "Convexity": "P(H) / Perimeter",
    "Solidity": "|A| / |H|, holes not taken off",
    "Sphericity": "pi EquivalentDiameter / Perimeter",
}

_UNITS = "pixels for lengths, square pixels for Area, dimensionless for the rest"


def metrics_info(convention: MetricsConvention = "2026") -> dict[str, Any]:
    """Return ``{"metrics": {name: description}, "units": str, "version": convention}``."""
    descriptions = dict(_DESCRIPTIONS)
    if convention == "2025":
        descriptions.update(_DESCRIPTIONS_2025)
    return {"metrics": descriptions, "units": _UNITS, "version": convention}


def calculate_metrics(
    contour: Points, holes: Sequence[Points] = (), convention: MetricsConvention = "2026"
) -> dict[str, float]:
    """Measure one outline.

    A quotient whose divisor is zero (all points on one line) is 0, and so are the ellipse axes
    of fewer than five points. Holes that leave no area make Area 0.

    Args:
        contour: At least three points (x, y) in pixels, not closed.
        holes: Outlines of the holes, of the same form.
        convention: Whose formulas; see the module.

    Returns:
        The 18 fields of `metrics_info`, all finite.

    Raises:
        InvalidFields: An outline has fewer than three points, or a coordinate is not finite
            or beyond 1e8.
    """
    outline = _parse(contour, ["body", "contour"])
    rings = [_parse(hole, ["body", "holes", index]) for index, hole in enumerate(holes)]

    full_area = cv2.contourArea(outline)
    area = max(full_area - sum(cv2.contourArea(ring) for ring in rings), 0.0)
    tolerance = _SIMPLIFICATION if convention == "2026" else 0.0
    perimeter = _perimeter(outline, tolerance)
    all_perimeters = perimeter + sum(_perimeter(ring, tolerance) for ring in rings)
    hull = cv2.convexHull(outline)
    hull_area, hull_perimeter = cv2.contourArea(hull), cv2.arcLength(hull, closed=True)
    equivalent_diameter = math.sqrt(4 * area / math.pi)
    rectangle = cv2.minAreaRect(outline)
    shorter, longer = sorted(rectangle[1])
    first_axis, second_axis = _ellipse_axes(outline)
    _, _, box_width, box_height = cv2.boundingRect(outline)

    fields = {
        "Area": area,
        "Perimeter": perimeter,
        "PerimeterWithHoles": all_perimeters,
        "EquivalentDiameter": equivalent_diameter,
        "FeretDiameterMax": longer,
        "FeretDiameterMaxOrthogonalDistance": _shortest_truncated_side(rectangle),
        "FeretDiameterMin": shorter,
        "FeretAspectRatio": _quotient(longer, shorter),
        "LengthMajorDiameterThroughCentroid": first_axis,
        "LengthMinorDiameterThroughCentroid": second_axis,
        "Extent": _quotient(area, box_width * box_height),
        "BoundingBoxWidth": box_width,
        "BoundingBoxHeight": box_height,
    }
    if convention == "2026":
        roundness = _quotient(4 * math.pi * area, all_perimeters**2)
        fields["Circularity"] = min(roundness, 1.0)
        fields["Compactness"] = max(_quotient(1.0, roundness), 1.0) if roundness else 0.0
        fields["Convexity"] = _quotient(hull_perimeter, all_perimeters)
        fields["Solidity"] = _quotient(area, hull_area)
        fields["Sphericity"] = _quotient(math.pi * equivalent_diameter, all_perimeters)
    else:
        fields["Circularity"] = _quotient(4 * math.pi * area, perimeter**2)
        fields["Compactness"] = _quotient(4 * math.pi * full_area, perimeter**2)
        fields["Convexity"] = _quotient(hull_perimeter, perimeter)
        fields["Solidity"] = _quotient(full_area, hull_area)
        fields["Sphericity"] = _quotient(math.pi * equivalent_diameter, perimeter)
    return {name: float(fields[name]) for name in _DESCRIPTIONS}


def _parse(points: Points, where: list[str | int]) -> _Contour:
    if len(points) < 3:
        raise _invalid(where, "an outline has at least 3 points")
    if any(len(point) != 2 for point in points):
        raise _invalid(where, "a point is a pair of numbers")
    contour = np.asarray(points, dtype=np.float64)
    # Far beyond any image, and far from where OpenCV's float32 and int32 overflow.
    if not np.all(np.abs(contour) <= _MAX_COORDINATE):
        raise _invalid(where, f"a coordinate is not finite or beyond {_MAX_COORDINATE:g} pixels")
    return contour.astype(np.float32).reshape(-1, 1, 2)


def _invalid(where: list[str | int], message: str) -> InvalidFields:
    return InvalidFields([{"loc": where, "msg": message, "type": "value_error"}])


def _perimeter(contour: _Contour, tolerance: float) -> float:
    if tolerance:
        contour = cv2.approxPolyDP(contour, tolerance, closed=True)
    return float(cv2.arcLength(contour, closed=True))


def _ellipse_axes(contour: _Contour) -> tuple[float, float]:
    """Return the axes in OpenCV's order, the shorter first; 0, 0 where no ellipse fits."""
    if len(contour) < 5:
        return 0.0, 0.0
    _, axes, _ = cv2.fitEllipse(contour)
    return axes if np.isfinite(axes).all() else (0.0, 0.0)


def _shortest_truncated_side(rectangle: Any) -> float:
    corners = np.trunc(cv2.boxPoints(rectangle))
    return float(np.hypot(*(corners - np.roll(corners, 1, axis=0)).T).min())


def _quotient(dividend: float, divisor: float) -> float:
    return dividend / divisor if divisor else 0.0
