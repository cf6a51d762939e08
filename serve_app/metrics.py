"""Shape metrics from JSON to JSON: what a child process runs for the metrics endpoints."""

from typing import Annotated, TypeVar

import orjson
from pydantic import BaseModel, Field, FiniteFloat, TypeAdapter, ValidationError

from deployments.errors import ClientError
from deployments.inference.shape_metrics import (
    MetricsConvention,
    calculate_metrics,
    metrics_info,
)
from serve_app.schemas import invalid_fields

Point = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]


class Contour(BaseModel):
    """One outline in pixels, and the holes in it."""

    contour: list[Point]
    holes: list[list[Point]] = []


T = TypeVar("T")

_CONTOUR = TypeAdapter(Contour)
_CONTOURS = TypeAdapter(list[Contour])


def calculate(body: bytes, convention: MetricsConvention) -> bytes:
    """Return the metrics of one contour as a JSON object.

    Args:
        body: JSON ``{"contour": [[x, y], ...], "holes": [[[x, y], ...], ...]}``.
        convention: Whose formulas.

    Raises:
        InvalidFields: The body is no such JSON, or the contour is no polygon.
    """
    return orjson.dumps(_metrics(_parse(_CONTOUR, body), convention))


def calculate_batch(body: bytes, convention: MetricsConvention) -> bytes:
    """Return the metrics of several contours as a JSON array, in order.

    As in the original service, a contour that is no polygon gives a row of zeros.

    Args:
        body: JSON array of the objects that :func:`calculate` takes.
        convention: Whose formulas.

    Raises:
        InvalidFields: The body is no such JSON.
    """
    rows = []
    for contour in _parse(_CONTOURS, body):
        try:
            rows.append(_metrics(contour, convention))
        except ClientError:
            rows.append(dict.fromkeys(metrics_info()["metrics"], 0.0))
    return orjson.dumps(rows)


def _metrics(contour: Contour, convention: MetricsConvention) -> dict[str, float]:
    return calculate_metrics(contour.contour, contour.holes, convention)


def _parse(schema: TypeAdapter[T], body: bytes) -> T:
    try:
        return schema.validate_json(body)
    except ValidationError as error:
        raise invalid_fields(error, "body") from error
