"""A probability map to the polygons of SpheroSeg's contract.

Coordinates are pixel indices of the original image: (0, 0) is the centre of the first pixel,
and an outline runs through the centres of the outermost foreground pixels. The outline of a
hole runs through the foreground pixels around it. This is OpenCV's convention and SpheroSeg's.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
import orjson

from deployments.inference.types import Polygons, UInt8Array

MIN_AREA = 50.0
"""Outlines that enclose fewer square pixels of the original image are dropped."""

MIN_POINTS = 3

Contour = npt.NDArray[np.int32]


@dataclass(slots=True)
class _Outline:
    """A contour that is kept: int32 (N, 1, 2) points, x before y."""

    id: str
    points: Contour
    area: float
    parent: "_Outline | None" = None
    children: list["_Outline"] = field(default_factory=list)


def extract_polygons(
    probability: UInt8Array, width: int, height: int, threshold: float, detect_holes: bool
) -> Polygons:
    """Outline the regions where the probability exceeds the threshold.

    The map is resized to the original size (bilinear) and only then compared.

    A region is "external", also where it lies inside a hole of another region. A hole is
    "internal" and has the region around it as its parent. ``area`` is the area inside the
    outline in square pixels, holes included. ``confidence`` of an external polygon is the
    mean probability inside it, reported holes left out; of an internal one it is one minus
    the mean probability inside it, which says how sure it is that this is a hole.

    Args:
        probability: uint8 (S, S), 255 = probability 1.
        width: Width of the original image in pixels.
        height: Height of the original image in pixels.
        threshold: A pixel is foreground where its probability is above it.
        detect_holes: Report holes. Without, regions are taken as filled.
    """
    resized = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    _, mask = cv2.threshold(resized, 255 * threshold, 1, cv2.THRESH_BINARY)
    outlines = _find_outlines(mask, detect_holes)
    confidences = [_confidence(outline, resized, mask) for outline in outlines]
    polygons = [
        _polygon(outline, confidence)
        for outline, confidence in zip(outlines, confidences, strict=True)
    ]
    return Polygons(json=orjson.dumps(polygons), confidences=confidences)


def _find_outlines(mask: UInt8Array, detect_holes: bool) -> list[_Outline]:
    # RETR_CCOMP has two levels, regions and their holes: a region inside a hole is at the
    # first level again, which is the parity of its nesting depth.
    mode = cv2.RETR_CCOMP if detect_holes else cv2.RETR_EXTERNAL
    contours, hierarchy = cv2.findContours(mask, mode, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return []
    parents = hierarchy[0, :, 3].tolist()
    kept: dict[int, _Outline] = {}
    for index, points in enumerate(contours):
        if len(points) < MIN_POINTS:
            continue
        area = cv2.contourArea(points)
        if area >= MIN_AREA:
            kept[index] = _Outline(f"polygon_{len(kept) + 1}", points, area)
    for index, outline in kept.items():
        if parents[index] >= 0:
            # A hole is smaller than the region around it, which is therefore kept too.
            outline.parent = kept[parents[index]]
            outline.parent.children.append(outline)
    return list(kept.values())


def _confidence(outline: _Outline, probability: UInt8Array, mask: UInt8Array) -> float:
    left, top, width, height = cv2.boundingRect(outline.points)
    window = np.s_[top : top + height, left : left + width]
    inside = np.zeros((height, width), np.uint8)
    rings = [outline.points, *(child.points for child in outline.children)]
    cv2.fillPoly(inside, rings, 1, offset=(-left, -top))
    if outline.parent is not None:
        # The outline of a hole runs through foreground; regions inside the hole are foreground.
        inside &= 1 - mask[window]
    mean = cv2.mean(probability[window], inside)[0] / 255
    return round(mean if outline.parent is None else 1 - mean, 4)


def _polygon(outline: _Outline, confidence: float) -> dict[str, object]:
    polygon: dict[str, object] = {
        "id": outline.id,
        "points": orjson.Fragment(_serialise_points(outline.points)),
        "type": "external" if outline.parent is None else "internal",
        "class": "spheroid",
        "confidence": confidence,
        "vertices_count": len(outline.points),
        "area": outline.area,
    }
    if outline.parent is not None:
        polygon["parent_id"] = outline.parent.id
    return polygon


def _serialise_points(points: Contour) -> bytes:
    """Return ``[{"x":1.0,"y":2.0},...]``.

    orjson writes the integers of the array in one go and three replacements make objects and
    floats of them, several times as fast as a dict per point.
    """
    text = orjson.dumps(points[:, 0], option=orjson.OPT_SERIALIZE_NUMPY)
    pairs = text[2:-2].replace(b"],[", b";").replace(b",", b'.0,"y":')
    return b'[{"x":' + pairs.replace(b";", b'.0},{"x":') + b".0}]"
