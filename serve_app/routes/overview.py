"""``GET /api/v1/overview`` for operators and ``GET /metrics`` for Prometheus: what goes on."""

import asyncio
import os

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from deployments.errors import ServerError
from serve_app.authentication import require_operator
from serve_app.jobs_service import JobsService
from serve_app.json_response import json_response
from serve_app.prometheus import CONTENT_TYPE, write_metrics
from serve_app.service import SegmentationService

# Whoever watches must learn soon that the jobs do not answer.
_PATIENCE_S = 3.0


def overview_routes(service: SegmentationService, jobs: JobsService) -> list[BaseRoute]:
    """Return both routes."""

    async def overview(request: Request) -> Response:
        require_operator()
        activity = service.activity()
        return json_response(
            {
                "models": {name: dict(info.state) for name, info in service.models().items()},
                "queue_length": activity.queue_length,
                "jobs": await _job_numbers(jobs),
            }
        )

    async def metrics(request: Request) -> Response:
        require_operator()
        text = write_metrics(
            service.models(), service.request_counts(), await _job_numbers(jobs), str(os.getpid())
        )
        return Response(text, media_type=CONTENT_TYPE)

    return [Route("/api/v1/overview", overview), Route("/metrics", metrics)]


async def _job_numbers(jobs: JobsService) -> dict[str, object] | None:
    """Jobs and mails by state; None where the jobs do not exist or do not answer."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await jobs.overview()
    except (ServerError, TimeoutError):
        return None
