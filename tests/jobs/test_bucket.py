"""The whole store with its files in an S3 bucket."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from s3fs import S3FileSystem

from deployments.errors import NotFound, StoreUnavailable
from deployments.jobs.files import content_ref, open_file_store
from deployments.jobs.states import JobState
from deployments.jobs.store import JobStore
from tests.jobs.helpers import FakeClock, accept, claim, finish
from tests.jobs.s3_server import S3Server, s3_server


@pytest.fixture
async def stores(sqlite_url: str, s3_url: str, clock: FakeClock) -> AsyncIterator[list[JobStore]]:
    """The views of two processes."""
    stores = [JobStore(sqlite_url, s3_url, clock=clock) for _ in range(2)]
    yield stores
    for store in stores:
        await store.close()


def keys(s3: S3Server, url: str) -> set[str]:
    """Names of the objects in the bucket."""
    found = s3.client().list_objects_v2(Bucket=url.split("/")[2])
    return {entry["Key"] for entry in found.get("Contents", [])}


async def test_a_job_lives_in_a_bucket_until_it_expires(
    stores: list[JobStore], s3: S3Server, s3_url: str, clock: FakeClock
) -> None:
    store, other = stores
    job = await accept(store, images=2)
    leases = await claim(other)
    lease = leases[0]
    assert await other.read(lease.content) == b"an image"
    assert keys(s3, s3_url) == {f"jobs/{lease.content[:2]}/{lease.content}"}
    await other.images.release([each.token for each in leases])
    assert (await finish(store, job)).state is JobState.SUCCEEDED
    [image, _] = await other.jobs.images(job.id, None, 10)
    assert image.result is not None
    assert await other.read(image.result) == b"a result"
    clock.advance(days=40)
    deleted = await store.delete_expired(timedelta(days=14))
    assert (deleted.jobs, deleted.files) == (1, 2)
    assert keys(s3, s3_url) == set()
    with pytest.raises(NotFound):
        await other.read(image.result)


async def test_many_files_at_once(stores: list[JobStore], s3: S3Server, s3_url: str) -> None:
    contents = [bytes([number]) * 100_000 for number in range(64)]
    refs = await stores[0].save(contents)
    assert len(keys(s3, s3_url)) == 64
    assert await asyncio.gather(*(stores[1].read(ref) for ref in refs)) == contents


def test_a_server_that_is_away_is_not_the_fault_of_an_image(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What botocore raises then is no OSError.
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with s3_server() as server:
        server.client().create_bucket(Bucket="short-lived")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        # One object for all buckets remembers where the server was.
        S3FileSystem.clear_instance_cache()
        files = open_file_store("s3://short-lived/jobs")
        ref = files.put(b"an image")
    for call in (lambda: files.put(b"another"), lambda: files.read(ref), lambda: files.delete(ref)):
        with pytest.raises(StoreUnavailable, match="EndpointConnectionError"):
            call()
    S3FileSystem.clear_instance_cache()


def test_a_bucket_that_does_not_exist_is_unavailable(s3: S3Server) -> None:
    with pytest.raises(StoreUnavailable):
        open_file_store("s3://nosuch/jobs").put(b"an image")
    with pytest.raises(NotFound):
        open_file_store("s3://nosuch/jobs").read(content_ref(b"an image"))
