"""Shape metrics of contours that the client sends. The work is done in child processes."""

from collections.abc import Callable, Coroutine
from typing import Any

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from deployments.inference.shape_metrics import MetricsConvention, metrics_info
from serve_app.json_response import json_response
from serve_app.lifetime import Deadline, while_connected
from serve_app.schemas import invalid_fields
from serve_app.service import SegmentationService
from serve_app.settings import Settings

Calculation = Callable[[bytes, MetricsConvention], Coroutine[Any, Any, bytes]]


class _Query(BaseModel):
    convention: MetricsConvention


class MetricsRoutes:
    """The three endpoints around shape metrics.

    ``?convention=2025`` or ``2026`` chooses the formulas.
    """

    def __init__(self, service: SegmentationService, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        """Return all three routes."""
        return [
            Route("/api/calculate-metrics", self.calculate, methods=["POST"]),
            Route("/api/batch-calculate-metrics", self.calculate_batch, methods=["POST"]),
            Route("/api/metrics-info", self.info),
        ]

    async def calculate(self, request: Request) -> Response:
        """Answer the 18 metrics of one contour."""
        return await self._run(request, self._service.calculate_metrics)

    async def calculate_batch(self, request: Request) -> Response:
        """Answer a list, one object per contour in order."""
        return await self._run(request, self._service.batch_calculate_metrics)

    async def info(self, request: Request) -> Response:
        """Describe the metrics."""
        return json_response(metrics_info(self._convention(request)))

    async def _run(self, request: Request, calculation: Calculation) -> Response:
        deadline = Deadline.after(self._settings.request_timeout_seconds)
        async with deadline.limit():
            body = await request.body()
            convention = self._convention(request)
            answer = await while_connected(request, calculation(body, convention))
        return Response(answer, media_type="application/json")

    def _convention(self, request: Request) -> MetricsConvention:
        value = request.query_params.get("convention", self._settings.metrics_convention)
        try:
            return _Query.model_validate({"convention": value}).convention
        except ValidationError as error:
            raise invalid_fields(error, "query") from error
