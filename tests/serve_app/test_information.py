import asyncio
from datetime import datetime

import httpx
import pytest

from tests.serve_app.fakes import FakeService, replica


async def test_root(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.status_code == 200
    assert answer.json() == {
        "service": "cell-segmentation",
        "version": "1.0.0",
        "status": "running",
    }


async def test_health(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/health")).json()
    assert datetime.fromisoformat(answer.pop("timestamp")).tzinfo is None
    assert answer == {"status": "healthy", "models_loaded": 2, "gpu_available": True}


async def test_detailed_health(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/v1/health")).json()
    assert datetime.fromisoformat(answer.pop("timestamp")).tzinfo is None
    assert answer == {
        "status": "healthy",
        "service": "cell-segmentation",
        "version": "1.0.0",
        "device": {"gpu_available": True, "device_count": 1, "device_name": "NVIDIA H100"},
        "models_failed": ["resunet_small"],
    }


async def test_models_is_an_object_keyed_by_name(client: httpx.AsyncClient) -> None:
    answer = (await client.get("/api/v1/models")).json()
    assert answer.keys() == {"models"}
    assert answer["models"].keys() == {"hrnet", "resunet_small", "resunet_advanced"}
    assert answer["models"]["hrnet"] == {
        "name": "hrnet",
        "description": "hrnet for spheroids",
        "has_pretrained": True,
        "has_finetuned": False,
        "recommended_threshold": 0.5,
        "optimal_batch_size": 12,
        "max_safe_batch_size": 16,
        "expected_throughput": 17.5,
        "replicas": [replica(12), replica(5)],
    }


@pytest.mark.parametrize(
    ("busy", "status", "model", "waiting"),
    [(False, "idle", None, 0), (True, "processing", "hrnet", 3)],
)
async def test_status(
    client: httpx.AsyncClient,
    service: FakeService,
    busy: bool,
    status: str,
    model: str | None,
    waiting: int,
) -> None:
    service.busy = busy
    answer = (await client.get("/api/v1/status")).json()
    assert datetime.fromisoformat(answer.pop("timestamp")).tzinfo is None
    assert answer == {
        "status": status,
        "is_processing": busy,
        "current_model": model,
        "queue_length": waiting,
        "available": True,
    }


@pytest.mark.parametrize("path", ["/health", "/api/v1/health", "/api/v1/models", "/api/v1/status"])
async def test_information_does_not_wait_for_inference(
    client: httpx.AsyncClient, service: FakeService, path: str
) -> None:
    service.held.clear()
    segmenting = asyncio.create_task(
        client.post("/api/v1/segment", files={"file": ("a.png", b"image")})
    )
    async with asyncio.timeout(5):
        await service.started.acquire()
        assert (await client.get(path)).status_code == 200
    assert not segmenting.done()
    service.held.set()
    assert (await segmenting).status_code == 200


async def test_unknown_path(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v2/segment")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


async def test_wrong_method(client: httpx.AsyncClient) -> None:
    answer = await client.get("/api/v1/segment")
    assert (answer.status_code, answer.json()) == (405, {"detail": "Method Not Allowed"})
    assert answer.headers["allow"] == "POST"
