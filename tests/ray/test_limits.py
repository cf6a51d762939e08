"""The limits of the HTTP edge through Ray Serve's own proxy, by a client that misbehaves."""

import asyncio
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.ray.applications import Application, application
from tests.ray.conftest import Service
from tests.scenes import encoded, spheroid

pytestmark = pytest.mark.ray

LIMIT = 1_000_000
MOODY = {"implementation": "moody:MoodyModel", "input_size": 64}
ENVIRONMENT = {
    "SPHEROSERVE_MAX_FILE_BYTES": str(LIMIT),
    "SPHEROSERVE_MAX_BODY_BYTES": str(LIMIT),
    "SPHEROSERVE_UPLOAD_STALL_SECONDS": "1",
}


async def raw_post(app: Application, chunks: int, chunk_bytes: int) -> bytes:
    """Announce a chunked body, send so many chunks of it, and return the status line.

    The body is never ended: the service has to decide by itself.
    """
    host, port = app.service.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = (
        f"POST {app.prefix}/api/v1/segment HTTP/1.1\r\nHost: {host}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    try:
        writer.write(head.encode())
        writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        for _ in range(chunks):
            writer.write(b"%x\r\n%s\r\n" % (chunk_bytes, b"x" * chunk_bytes))
        await writer.drain()
        async with asyncio.timeout(60):
            return await reader.readline()
    finally:
        writer.close()


async def test_a_stalled_or_endless_upload_is_cut_and_harms_nobody(
    service: Service, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with application(
        service, client, tmp_path, "moody", MOODY, environment=ENVIRONMENT
    ) as app:
        assert b" 408 " in await raw_post(app, chunks=1, chunk_bytes=1000)
        assert b" 413 " in await raw_post(app, chunks=20, chunk_bytes=100_000)
        declared = await client.post(f"{app.prefix}/api/v1/segment", content=b"x" * (LIMIT + 1))
        assert declared.status_code == 413
        assert (await app.segment(encoded(spheroid(width=300, height=200)[0]))).status_code == 200


async def test_a_full_queue_is_503_with_a_time_to_come_back(
    service: Service,
    client: httpx.AsyncClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SPHEROSERVE_MAX_QUEUED_REQUESTS", "2")
    model: dict[str, object] = {
        "implementation": "deployments.inference.models:HRNet",
        "weights": "package:hrnet_compact.safetensors",
        "input_size": 512,
        "engine": "torch",
    }
    data = encoded(spheroid()[0])
    async with application(service, client, tmp_path, "narrow", model, batch_size=1) as app:
        answers = await asyncio.gather(*(app.segment(data) for _ in range(30)))
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) == {200, 503}
    assert statuses[200] >= 5
    refused = [answer for answer in answers if answer.status_code == 503]
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    assert all(isinstance(answer.json()["detail"], str) for answer in refused)
