"""``GET /api/v1/memory`` and ``POST /api/v1/memory/reset``: what the devices were found to bear."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from serve_app.authentication import require_operator
from serve_app.json_response import json_response
from serve_app.service import ModelInfo, SegmentationService

_REPLICA_FACTS = ("pid", "device", "configured_batch_size", "effective_batch_size", "memory")


def memory_routes(service: SegmentationService) -> list[BaseRoute]:
    """Return both routes."""

    async def memory(request: Request) -> Response:
        return json_response({name: _entry(info) for name, info in service.models().items()})

    async def reset(request: Request) -> Response:
        require_operator()
        await service.forget_memory()
        return json_response({"reset": sorted(service.models())})

    return [
        Route("/api/v1/memory", memory),
        Route("/api/v1/memory/reset", reset, methods=["POST"]),
    ]


def _entry(info: ModelInfo) -> dict[str, object]:
    """Each replica, and the smallest batch that all of them take."""
    replicas = info.state.get("replicas", [])
    assert isinstance(replicas, list)
    sizes = [replica["effective_batch_size"] for replica in replicas]
    return {
        "effective_batch_size": min(sizes, default=None),
        "replicas": [{fact: replica[fact] for fact in _REPLICA_FACTS} for replica in replicas],
    }
