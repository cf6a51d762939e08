"""The images of a job count against the pixels that its key may send."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from deployments.jobs.store import JobStore
from serve_app.api_keys import ApiKey, digest_of, new_key
from serve_app.routes import create_app
from serve_app.settings import Settings
from tests.scenes import encoded
from tests.serve_app.fakes import FakeService
from tests.serve_app.local_jobs import LocalJobs
from tests.serve_app.test_jobs import JOBS, archive, images

KEY, UNLIMITED = {"X-API-Key": new_key()}, {"X-API-Key": new_key()}
# Megapixels that a key may send a minute, and an image of a little more than half of that: two
# leave a debt of 12 seconds.
PER_MINUTE = 0.1
IMAGE = encoded(np.zeros((200, 300, 3), np.uint8))


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    entries = [
        ApiKey(name="lab", sha256=digest_of(KEY["X-API-Key"]), megapixels_per_minute=PER_MINUTE),
        ApiKey(name="other", sha256=digest_of(UNLIMITED["X-API-Key"])),
    ]
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [entry.model_dump(mode="json") for entry in entries]}))
    store = await JobStore.open(f"sqlite:///{tmp_path}/jobs.db", str(tmp_path / "files"))
    settings = Settings(api_keys_file=path, retry_after_seconds=20, max_image_pixels=1_000_000)
    app = create_app(FakeService(), LocalJobs(store), settings)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://service"
    ) as client:
        yield client
    await store.close()


async def post(
    client: httpx.AsyncClient, *contents: bytes, key: dict[str, str] = KEY, **headers: str
) -> httpx.Response:
    """Send a job; its headers are named with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.post(JOBS, files=images(*contents), headers={**key, **named})


async def single(client: httpx.AsyncClient) -> httpx.Response:
    files = {"file": ("a.png", IMAGE)}
    return await client.post("/api/v1/segment", files=files, headers=KEY)


async def test_a_job_uses_up_the_allowance(client: httpx.AsyncClient) -> None:
    assert (await post(client, IMAGE)).status_code == 202
    assert (await post(client, IMAGE)).status_code == 202
    refused = await post(client, IMAGE)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "20"
    assert (await single(client)).status_code == 429
    assert (await client.get(JOBS, headers=KEY)).status_code == 200
    assert (await post(client, *[IMAGE] * 5, key=UNLIMITED)).status_code == 202
    assert (await post(client, IMAGE, key=UNLIMITED)).status_code == 202


async def test_a_job_larger_than_the_allowance_is_taken_and_paid_for_later(
    client: httpx.AsyncClient,
) -> None:
    assert (await post(client, *[IMAGE] * 6)).status_code == 202
    refused = await post(client, IMAGE)
    assert refused.status_code == 429
    # 0.36 megapixels less the 0.1 that were there take 156 seconds.
    assert 140 <= int(refused.headers["Retry-After"]) <= 157


async def test_the_files_of_an_archive_count(client: httpx.AsyncClient) -> None:
    data = archive({f"{number}.png": IMAGE for number in range(3)})
    assert (await post(client, data)).status_code == 202
    assert (await post(client, IMAGE)).status_code == 429


async def test_what_is_refused_or_sent_again_costs_nothing(client: httpx.AsyncClient) -> None:
    huge = bytearray(IMAGE)
    huge[16:24] = b"\x7f\xff\xff\xff" * 2
    # No images, and one that will be refused for its size.
    assert (await post(client, b"no image", bytes(huge))).status_code == 202
    files = images(*[IMAGE] * 5)
    invalid = await client.post(JOBS, files=files, data={"threshold": "7"}, headers=KEY)
    assert invalid.status_code == 422
    for _ in range(3):
        assert (await post(client, IMAGE, idempotency_key="one")).status_code == 202
    assert (await post(client, IMAGE)).status_code == 202
    assert (await post(client, IMAGE)).status_code == 429
