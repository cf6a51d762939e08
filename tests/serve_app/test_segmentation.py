import asyncio
from typing import Any

import httpx
import pytest

from deployments.errors import ImageExceedsMemory, InferenceFailed, InvalidImage, Overloaded
from serve_app.routes import create_app
from serve_app.settings import Settings
from tests.serve_app.conftest import ClientFactory
from tests.serve_app.fakes import NO_JOBS, SQUARE, FakeService, RawClient, multipart, segmentation

PATH = "/api/v1/segment"


async def post(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    return await client.post(PATH, files={"file": ("a.png", b"image")}, data=fields)


async def test_answer_has_the_fields_of_the_contract(client: httpx.AsyncClient) -> None:
    answer = await post(client, model="resunet_small", threshold="0.3", detect_holes="false")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    processing_time = body.pop("processing_time")
    assert isinstance(processing_time, float)
    assert 0 < processing_time < 60
    assert body == {
        "success": True,
        "model_used": "resunet_small",
        "threshold_used": 0.3,
        "image_size": {"width": 320, "height": 200},
        "polygons": [SQUARE],
        "processing_info": {
            "device": "cuda:0",
            "num_polygons": 1,
            "confidence_scores": [0.75],
            "batch_size": 4,
        },
        "inference_time": 0.5,
        "preprocessing_time": 0.25,
        "device": "cuda:0",
        "gpu_enabled": True,
        "batch_size_used": 4,
    }


async def test_header_tells_how_long_each_stage_took(client: httpx.AsyncClient) -> None:
    answer = await post(client)
    timing = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
    total = float(timing.pop("total"))
    assert 0 < total < 60_000
    assert timing == {
        "decode": "250.00",
        "queue": "62.50",
        "batch_wait": "3.12",
        "device": "500.00",
        "transport": "31.25",
        "polygons": "125.00",
    }


async def test_no_polygons_is_a_success_with_a_warning(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.answers[b"image"] = segmentation(count=0)
    answer = await post(client)
    assert answer.status_code == 200
    assert answer.json()["polygons"] == []
    assert isinstance(answer.json()["warning"], str)


async def test_defaults(client: httpx.AsyncClient, service: FakeService) -> None:
    await post(client)
    assert service.calls == [(b"image", "hrnet", 0.5, True)]


async def test_empty_fields_mean_the_defaults(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    await post(client, model="", threshold="", detect_holes="")
    assert service.calls == [(b"image", "hrnet", 0.5, True)]


@pytest.mark.parametrize(
    ("spelling", "value"),
    [("true", True), ("False", False), ("0", False), ("on", True), ("no", False), ("t", True)],
)
async def test_spellings_of_booleans(
    client: httpx.AsyncClient, service: FakeService, spelling: str, value: bool
) -> None:
    assert (await post(client, detect_holes=spelling)).status_code == 200
    assert service.calls[0][3] is value


@pytest.mark.parametrize("threshold", ["0.1", "0.9"])
async def test_bounds_of_the_threshold_are_allowed(
    client: httpx.AsyncClient, threshold: str
) -> None:
    answer = await post(client, threshold=threshold)
    assert answer.json()["threshold_used"] == float(threshold)


@pytest.mark.parametrize(
    "name", ["photo.tif", "PHOTO.JPEG", "x.nd2 (frame 98)", "no_extension", "report.pdf", 'q"\n.p']
)
async def test_names_do_not_matter(
    client: httpx.AsyncClient, service: FakeService, name: str
) -> None:
    answer = await client.post(PATH, files={"file": (name, b"image", "text/plain")})
    assert answer.status_code == 200
    assert service.calls[0][0] == b"image"


@pytest.mark.parametrize(
    ("fields", "kind", "place"),
    [
        ({"threshold": "0.05"}, "greater_than_equal", ["body", "threshold"]),
        ({"threshold": "0.95"}, "less_than_equal", ["body", "threshold"]),
        ({"threshold": "nan"}, "finite_number", ["body", "threshold"]),
        ({"threshold": "half"}, "float_parsing", ["body", "threshold"]),
        ({"detect_holes": "perhaps"}, "bool_parsing", ["body", "detect_holes"]),
    ],
)
async def test_bad_field_is_422_with_a_list(
    client: httpx.AsyncClient,
    service: FakeService,
    fields: dict[str, str],
    kind: str,
    place: list[str],
) -> None:
    answer = await post(client, **fields)
    assert answer.status_code == 422
    [error] = answer.json()["detail"]
    assert error.keys() == {"type", "loc", "msg", "input"}
    assert (error["type"], error["loc"]) == (kind, place)
    assert error["input"] == next(iter(fields.values()))
    assert service.calls == []


@pytest.mark.parametrize(
    "request_arguments",
    [
        {"files": {"other": ("a.png", b"image")}},
        {"data": {"file": "not an upload"}, "files": {"other": ("a.png", b"image")}},
        {"data": {"threshold": "0.5"}},
        {"json": {"file": "text"}},
        {},
    ],
    ids=["other name", "text field", "urlencoded", "json", "nothing"],
)
async def test_missing_file_is_422(
    client: httpx.AsyncClient, request_arguments: dict[str, Any]
) -> None:
    answer = await client.post(PATH, **request_arguments)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "file"]


async def test_all_bad_fields_are_listed(client: httpx.AsyncClient) -> None:
    content_type, body = multipart(fields={"threshold": "7", "detect_holes": "x"})
    answer = await client.post(PATH, content=body, headers={"content-type": content_type})
    places = {error["loc"][1] for error in answer.json()["detail"]}
    assert places == {"file", "threshold", "detect_holes"}


async def test_unknown_model(client: httpx.AsyncClient, service: FakeService) -> None:
    answer = await post(client, model="unet")
    assert answer.status_code == 400
    assert answer.json() == {
        "detail": "model: 'unet' is none of hrnet, resunet_advanced, resunet_small."
    }
    assert service.calls == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidImage("not an image"), 400),
        (ImageExceedsMemory("needs 90 GB"), 413),
        (InferenceFailed("the network failed"), 500),
        (Overloaded("queues are full"), 503),
    ],
)
async def test_error_of_the_service(
    client: httpx.AsyncClient, service: FakeService, error: Exception, status: int
) -> None:
    service.answers[b"image"] = error
    answer = await post(client)
    assert (answer.status_code, answer.json()) == (status, {"detail": str(error)})


async def test_deadline_is_504_and_cancels(client_for: ClientFactory, service: FakeService) -> None:
    service.held.clear()
    answer = await post(client_for(request_timeout_seconds=0.5))
    assert answer.status_code == 504
    assert answer.json() == {"detail": "Not answered within 0.5 seconds."}
    assert service.cancelled.is_set()


async def test_deadline_counts_the_upload(service: FakeService) -> None:
    app = create_app(service, NO_JOBS, Settings(request_timeout_seconds=0.05))
    client = RawClient(app, PATH, {"content-type": multipart()[0]})
    client.push(multipart()[1][:10])
    await asyncio.wait_for(client.run(), 5)
    assert client.status == 504


async def test_disconnect_cancels_the_work(service: FakeService) -> None:
    service.held.clear()
    content_type, body = multipart([("file", "a.png", b"image")])
    client = RawClient(
        create_app(service, NO_JOBS, Settings()), PATH, {"content-type": content_type}
    )
    client.push(body, more=False)
    running = asyncio.create_task(client.run())
    async with asyncio.timeout(5):
        await service.started.acquire()
        assert not service.cancelled.is_set()
        client.disconnect()
        await running
    assert service.cancelled.is_set()
    assert client.answer == []


async def test_cancelled_request_cancels_the_work(service: FakeService) -> None:
    """Ray Serve cancels the task of a request whose client has gone."""
    service.held.clear()
    content_type, body = multipart([("file", "a.png", b"image")])
    client = RawClient(
        create_app(service, NO_JOBS, Settings()), PATH, {"content-type": content_type}
    )
    client.push(body, more=False)
    running = asyncio.create_task(client.run())
    async with asyncio.timeout(5):
        await service.started.acquire()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert service.cancelled.is_set()


async def test_cancellation_from_elsewhere_is_answered(
    client: httpx.AsyncClient, service: FakeService
) -> None:
    service.answers[b"image"] = asyncio.CancelledError()
    assert (await post(client)).status_code == 500
