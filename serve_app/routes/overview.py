"""``GET /api/v1/overview`` for operators and ``GET /metrics`` for Prometheus: what goes on."""

import asyncio
import dataclasses
import os
import socket
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from deployments.errors import ServerError
from serve_app.authentication import require_operator
from serve_app.jobs_service import JobsService
from serve_app.json_response import json_response
from serve_app.prometheus import CONTENT_TYPE, write_metrics
from serve_app.service import SegmentationService

T = TypeVar("T")

# Process numbers repeat on other nodes.
_INGRESS = f"{socket.gethostname()}-{os.getpid()}"

# Whoever watches must learn soon that the jobs or the controller do not answer.
_PATIENCE_S = 3.0


def overview_routes(service: SegmentationService, jobs: JobsService) -> list[BaseRoute]:
    """Return both routes."""

    async def overview(request: Request) -> Response:
        require_operator()
        activity = service.activity()
        jobs_now, deployments = await asyncio.gather(
            _or_none(jobs.overview()), _or_none(service.deployments())
        )
        return json_response(
            {
                "deployments": None
                if deployments is None
                else [dataclasses.asdict(each) for each in deployments],
                "models": {name: dict(info.state) for name, info in service.models().items()},
                "queue_length": activity.queue_length,
                "jobs": jobs_now,
            }
        )

    async def metrics(request: Request) -> Response:
        require_operator()
        text = write_metrics(
            service.models(), service.request_counts(), await _or_none(jobs.overview()), _INGRESS
        )
        return Response(text, media_type=CONTENT_TYPE)

    return [Route("/api/v1/overview", overview), Route("/metrics", metrics)]


async def _or_none(answer: Awaitable[T]) -> T | None:
    """What is answered; None where who should does not exist or does not answer."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await answer
    except (ServerError, TimeoutError):
        return None
