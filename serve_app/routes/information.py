"""Endpoints that tell about the service. None of them waits for a model."""

from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from serve_app.json_response import json_response
from serve_app.schemas import model_entry
from serve_app.service import SegmentationService

SERVICE_NAME = "cell-segmentation"
CONTRACT_VERSION = "1.0.0"


def information_routes(service: SegmentationService) -> list[BaseRoute]:
    """Return ``GET`` /, /health, /api/v1/health, /models and /status."""

    async def root(request: Request) -> Response:
        return json_response(
            {"service": SERVICE_NAME, "version": CONTRACT_VERSION, "status": "running"}
        )

    async def health(request: Request) -> Response:
        state = service.health()
        return json_response(
            {
                "status": "healthy",
                "timestamp": _now(),
                "models_loaded": state.models_loaded,
                "gpu_available": state.gpu_available,
            }
        )

    async def detailed_health(request: Request) -> Response:
        state = service.health()
        return json_response(
            {
                "status": "healthy",
                "timestamp": _now(),
                "service": SERVICE_NAME,
                "version": CONTRACT_VERSION,
                "device": {
                    "gpu_available": state.gpu_available,
                    "device_count": state.device_count,
                    "device_name": state.device_name,
                },
                "models_failed": state.models_failed,
            }
        )

    async def models(request: Request) -> Response:
        entries = {name: model_entry(info) for name, info in service.models().items()}
        return json_response({"models": entries})

    async def status(request: Request) -> Response:
        activity = service.activity()
        return json_response(
            {
                "status": "processing" if activity.is_processing else "idle",
                "is_processing": activity.is_processing,
                "current_model": activity.current_model,
                "queue_length": activity.queue_length,
                "available": True,
                "timestamp": _now(),
            }
        )

    return [
        Route("/", root),
        Route("/health", health),
        Route("/api/v1/health", detailed_health),
        Route("/api/v1/models", models),
        Route("/api/v1/status", status),
    ]


def _now() -> str:
    """Return the local time without zone, as SpheroSeg's clients know it."""
    return datetime.now().isoformat()
