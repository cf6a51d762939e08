"""Transactions of two processes on one job of one PostgreSQL follow one another."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, text

from deployments.jobs.database import Database
from deployments.jobs.leases import requeue_images
from deployments.jobs.records import Counts
from deployments.jobs.schema import jobs
from deployments.jobs.states import JobState
from deployments.jobs.store import JobStore
from tests.jobs.helpers import LEASE, FakeClock, accept, claim


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database(postgres_url)
    yield database
    await database.close()


@pytest.fixture
async def store(postgres_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[JobStore]:
    store = JobStore(postgres_url, str(tmp_path / "files"), clock=clock)
    yield store
    await store.close()


async def waits(database: Database, task: "asyncio.Task[object]") -> bool:
    """Return whether a task comes to wait for a lock; False if it ends without."""
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    while not task.done():
        async with database.read() as connection:
            if (await connection.execute(waiting)).scalar_one():
                return True
    return False


async def test_a_cancel_waits_for_a_reap_of_the_same_job(
    store: JobStore, database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await accept(store)
    await claim(store)
    clock.advance(61)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def pause(*arguments: object) -> int:
        reached.set()
        await go_on.wait()
        return await requeue_images(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("deployments.jobs.images.requeue_images", pause)
    reap = asyncio.create_task(store.images.reap())
    await reached.wait()
    cancel = asyncio.create_task(store.jobs.cancel(job.id, None))
    assert await waits(database, cancel)
    go_on.set()
    await reap
    # The image was back in the queue when the cancel came to it.
    ended = await cancel
    assert (ended.state, ended.counts) == (JobState.CANCELLED, Counts(cancelled=1))


async def test_a_claim_passes_over_a_job_that_is_held(store: JobStore, database: Database) -> None:
    held, free = await accept(store), await accept(store)
    async with database.write() as connection:
        await connection.execute(select(jobs).where(jobs.c.id == held.id).with_for_update())
        [lease] = await claim(store)
        assert lease.token.job_id == free.id
        # Only the held one is left: now it is worth waiting.
        task = asyncio.create_task(claim(store))
        assert await waits(database, task)
    [lease] = await task
    assert lease.token.job_id == held.id


async def test_a_mail_that_is_being_claimed_is_passed_over(
    store: JobStore, database: Database
) -> None:
    for recipient in ("held@x.cz", "free@x.cz"):
        await store.outbox.add("digest", recipient, "en", {})
    async with database.write() as connection:
        await connection.execute(
            text("SELECT 1 FROM outbox WHERE recipient = 'held@x.cz' FOR UPDATE")
        )
        [lease] = await store.outbox.claim("notifier", 10, LEASE)
    assert lease.mail.recipient == "free@x.cz"


async def test_files_that_are_being_deleted_are_written_anew(
    store: JobStore, database: Database, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    [ref] = await store.save([b"data"])
    clock.advance(days=2)
    reached, go_on = asyncio.Event(), asyncio.Event()
    to_thread = asyncio.to_thread

    async def pause(*arguments: object) -> object:
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return await to_thread(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("deployments.jobs.retention.asyncio.to_thread", pause)
    deletion = asyncio.create_task(store._retention._delete_files())
    await reached.wait()
    save = asyncio.create_task(store.save([b"data"]))
    assert await waits(database, save)
    go_on.set()
    assert await deletion == 1
    assert await save == [ref]
    assert await store.read(ref) == b"data"
