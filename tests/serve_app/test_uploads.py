import asyncio

import httpx
import pytest

from serve_app.routes import create_app
from serve_app.settings import Settings
from tests.serve_app.conftest import ClientFactory
from tests.serve_app.fakes import NO_JOBS, FakeService, RawClient, multipart

PATHS = ["/api/v1/segment", "/api/v1/batch-segment", "/api/calculate-metrics"]


def raw_client(
    service: FakeService, path: str = PATHS[0], length: int | None = None, **settings: object
) -> RawClient:
    headers = {"content-type": multipart()[0]}
    if length is not None:
        headers["content-length"] = str(length)
    app = create_app(service, NO_JOBS, Settings(**settings))  # type: ignore[arg-type]
    return RawClient(app, path, headers)


async def finish(client: RawClient) -> None:
    await asyncio.wait_for(client.run(), 5)


@pytest.mark.parametrize("path", PATHS)
async def test_declared_length_is_refused_unread(service: FakeService, path: str) -> None:
    client = raw_client(service, path, length=1001, max_body_bytes=1000)
    await finish(client)
    assert client.status == 413
    assert client.json() == {"detail": "body: larger than the limit of 1000 bytes."}
    assert client.received == 0
    assert client.answer_headers["connection"] == "close"


async def test_absurd_length_is_refused(service: FakeService) -> None:
    client = raw_client(service)
    client.headers["content-length"] = "9" * 5000
    await finish(client)
    assert client.status == 413


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("length", [None, 10], ids=["chunked", "lying length"])
async def test_body_is_counted_while_it_arrives(
    service: FakeService, path: str, length: int | None
) -> None:
    client = raw_client(service, path, length, max_body_bytes=1000)
    _, start = multipart([("file", "a.png", b"")])
    client.push(start.removesuffix(b"\r\n--frontier--\r\n"))
    for _ in range(50):
        client.push(b"x" * 100)
    await finish(client)
    assert client.status == 413
    assert client.json() == {"detail": "body: larger than the limit of 1000 bytes."}
    assert client.received <= 11
    assert client.answer_headers["connection"] == "close"
    assert service.calls == []


async def test_body_of_exactly_the_limit_is_accepted(service: FakeService) -> None:
    _, body = multipart([("file", "a.png", b"image")])
    client = raw_client(service, length=len(body), max_body_bytes=len(body))
    client.push(body, more=False)
    await finish(client)
    assert client.status == 200


async def test_one_file_above_its_limit_ends_the_request_at_once(service: FakeService) -> None:
    client = raw_client(service, max_file_bytes=100)
    _, body = multipart([("file", "a.png", b"x" * 101)])
    client.push(body.removesuffix(b"\r\n--frontier--\r\n"))
    await finish(client)
    assert client.status == 413
    assert client.json() == {"detail": "file: larger than the limit of 100 bytes."}


async def test_file_of_exactly_the_limit_is_accepted(
    client_for: ClientFactory, service: FakeService
) -> None:
    client = client_for(max_file_bytes=100)
    answer = await client.post(PATHS[0], files={"file": ("a.png", b"x" * 100)})
    assert answer.status_code == 200
    assert service.calls[0][0] == b"x" * 100


@pytest.mark.parametrize("path", PATHS)
async def test_stalled_upload_is_cut(service: FakeService, path: str) -> None:
    client = raw_client(service, path, upload_stall_seconds=0.05)
    client.push(multipart()[1][:10])
    await finish(client)
    assert client.status == 408
    assert client.json() == {"detail": "body: nothing arrived for 0.05 seconds."}
    assert client.answer_headers["connection"] == "close"


async def test_stall_is_not_counted_while_the_model_works(service: FakeService) -> None:
    service.held.clear()
    client = raw_client(service, upload_stall_seconds=0.05)
    client.push(multipart([("file", "a.png", b"image")])[1], more=False)
    running = asyncio.create_task(client.run())
    async with asyncio.timeout(5):
        await service.started.acquire()
        done, _ = await asyncio.wait({running}, timeout=0.2)
        assert not done
        service.held.set()
        await running
    assert client.status == 200


async def test_disconnect_while_uploading_is_not_an_error(service: FakeService) -> None:
    client = raw_client(service)
    client.push(multipart()[1][:10])
    client.disconnect()
    await finish(client)
    assert client.answer == []


async def test_large_field_is_refused(client_for: ClientFactory) -> None:
    answer = await client_for(max_field_bytes=100).post(
        PATHS[0], files={"file": ("a.png", b"image")}, data={"model": "x" * 101}
    )
    assert answer.status_code == 413
    assert answer.json() == {"detail": "model: larger than the limit of 100 bytes."}


async def test_broken_multipart_is_400(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        PATHS[0], content=b"no boundary here", headers={"content-type": multipart()[0]}
    )
    assert answer.status_code == 400
    assert answer.json() == {"detail": "The multipart body is malformed."}
