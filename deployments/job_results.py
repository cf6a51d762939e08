"""The result file of one image, and what is made of it: masks and rows of the metrics table.

A result depends on the bytes of the image, the weights and the parameters alone, so that it
serves every job that asks for the same. ``render`` walks through all points of an image and
belongs into a child process.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import orjson

from deployments.errors import InvalidFields
from deployments.inference.shape_metrics import MetricsConvention, calculate_metrics, metrics_info
from deployments.inference.types import Polygons, PreparedImage, ProbabilityMap


@dataclass(frozen=True, slots=True)
class Rendering:
    """What is made of one result.

    Attributes:
        mask: PNG of the size of the image, 255 inside a spheroid; None if not asked for.
        rows: Lines of the metrics table, CRLF at the end of each; None if not asked for.
    """

    mask: bytes | None
    rows: bytes | None


def encode_result(
    model: str,
    threshold: float,
    detect_holes: bool,
    image: PreparedImage,
    answer: ProbabilityMap,
    polygons: Polygons,
    timings: dict[str, float],
) -> bytes:
    """Return the result file: UTF-8 JSON with the fields of ``POST /api/v1/segment``.

    Args:
        model: Name of the model.
        threshold: A pixel was foreground where its probability was above it.
        detect_holes: Whether holes are among the polygons.
        image: The image as the model saw it.
        answer: What the model said.
        polygons: Outlines in pixels of the uploaded image.
        timings: Seconds by name.
    """
    return orjson.dumps(
        {
            "model_used": model,
            "weights_sha256": answer.weights,
            "threshold_used": threshold,
            "detect_holes": detect_holes,
            "image_size": {"width": image.width, "height": image.height},
            "polygons": orjson.Fragment(polygons.json),
            "processing_info": {
                "device": answer.device,
                "num_polygons": len(polygons.confidences),
                "confidence_scores": polygons.confidences,
                "batch_size": answer.batch_size,
            },
            "timings": timings,
        }
    )


def metrics_header() -> bytes:
    """Return the first line of the metrics table."""
    return _csv([["position", "image", "polygon", *metrics_info()["metrics"]]])


def render(
    result: bytes,
    position: int,
    name: str,
    mask: bool,
    metrics: bool,
    convention: MetricsConvention,
) -> Rendering:
    """Make mask and metrics rows of a result file.

    Args:
        result: The file.
        position: Place of the image in its job, the first column of the table.
        name: Name of the image, the second column.
        mask: Whether the mask is wanted.
        metrics: Whether the rows are wanted: one per external polygon, its holes taken off.
        convention: Whose formulas.
    """
    parsed = orjson.loads(result)
    size, polygons = parsed["image_size"], parsed["polygons"]
    rows = [[position, name, *row] for row in _measure(polygons, convention)] if metrics else []
    return Rendering(
        mask=_paint(polygons, size["width"], size["height"]) if mask else None,
        rows=_csv(rows) if metrics else None,
    )


def _paint(polygons: Sequence[dict[str, Any]], width: int, height: int) -> bytes:
    canvas = np.zeros((height, width), np.uint8)
    rings = [np.rint(_points(polygon)).astype(np.int32) for polygon in polygons]
    # All rings at once are filled by the even-odd rule: holes stay empty, and a region inside
    # a hole is filled again.
    cv2.fillPoly(canvas, rings, 255)
    done, encoded = cv2.imencode(".png", canvas)
    if not done:
        raise RuntimeError("OpenCV could not encode a PNG")
    return encoded.tobytes()


def _measure(
    polygons: Sequence[dict[str, Any]], convention: MetricsConvention
) -> list[list[object]]:
    """Return polygon id and 18 fields, empty ones where an outline is no polygon."""
    holes: dict[str, list[list[list[float]]]] = {}
    for polygon in polygons:
        if polygon["type"] == "internal":
            holes.setdefault(polygon["parent_id"], []).append(_points(polygon))
    rows: list[list[object]] = []
    for polygon in polygons:
        if polygon["type"] == "external":
            try:
                measured = calculate_metrics(
                    _points(polygon), holes.get(polygon["id"], []), convention
                )
                rows.append([polygon["id"], *measured.values()])
            except InvalidFields:
                rows.append([polygon["id"], *("" for _ in metrics_info()["metrics"])])
    return rows


def _points(polygon: dict[str, Any]) -> list[list[float]]:
    return [[point["x"], point["y"]] for point in polygon["points"]]


def _csv(rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([[_as_text(cell) for cell in row] for row in rows])
    return text.getvalue().encode()


def _as_text(cell: object) -> object:
    """Keep a spreadsheet from running a file name as a formula: OWASP, CSV injection."""
    if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{cell}"
    return cell
