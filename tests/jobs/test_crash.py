"""Writers are killed in the middle of their work: what they had acknowledged is there."""

import asyncio
import sqlite3
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deployments.jobs.files import content_ref
from deployments.jobs.states import ImageState
from deployments.jobs.store import JobStore

_WRITER = Path(__file__).with_name("crash_writer.py")
_ROOT = Path(__file__).parents[2]
_WRITERS = 2
_LINES_BEFORE_KILL = 15


async def killed_writer(database_url: str, data_dir: str) -> list[list[str]]:
    """Start a writer and kill it after some lines; return all that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        _WRITER,
        database_url,
        data_dir,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(_ROOT)},
    )
    assert process.stdout is not None
    said = [await process.stdout.readline() for _ in range(_LINES_BEFORE_KILL)]
    process.kill()
    said += (await process.stdout.read()).splitlines(keepends=True)
    await process.wait()
    assert len(said) >= _LINES_BEFORE_KILL
    assert all(line.endswith(b"\n") for line in said)
    return [line.decode().split() for line in said]


async def test_nothing_acknowledged_is_lost(database_url: str, tmp_path: Path) -> None:
    data_dir = str(tmp_path / "files")
    writers = [killed_writer(database_url, data_dir) for _ in range(_WRITERS)]
    said = [line for lines in await asyncio.gather(*writers) for line in lines]
    accepted = {line[1]: line[2:] for line in said if line[0] == "accepted"}
    completed = [(line[1], int(line[2]), line[3]) for line in said if line[0] == "completed"]
    assert accepted
    assert completed

    later = datetime.now(UTC) + timedelta(minutes=2)
    store = JobStore(database_url, data_dir, clock=lambda: later)
    for job_id, refs in accepted.items():
        images = await store.jobs.images(job_id, "lab", 10)
        assert [image.content for image in images] == refs
        for ref in refs:
            assert content_ref(await store.read(ref)) == ref
    for job_id, position, result in completed:
        image = (await store.jobs.images(job_id, "lab", 10))[position]
        assert (image.state, image.result) == (ImageState.SUCCEEDED, result)
        assert content_ref(await store.read(result)) == result
    # At most one completion of each image was acknowledged.
    assert len({line[:2] for line in completed}) == len(completed)

    jobs = await store.jobs.list("lab", 10_000)
    mails = [mail.job_id for mail in await store.outbox.list(10_000)]
    assert sorted(mails, key=str) == sorted(job.id for job in jobs if job.state.is_terminal)

    # What was in flight comes back and is finished by somebody else.
    await store.images.reap()
    [result] = await store.save([b"a result"])
    for lease in await store.images.claim("heir", 10_000, timedelta(minutes=1)):
        assert await store.images.complete(lease.token, result)
    jobs = await store.jobs.list("lab", 10_000)
    assert all(job.counts.succeeded == 2 and job.state.is_terminal for job in jobs)
    assert len(await store.outbox.list(10_000)) == len(jobs)
    await store.close()


@pytest.mark.long
async def test_nothing_acknowledged_is_lost_again_and_again(
    database_url: str, tmp_path: Path
) -> None:
    for round_ in range(10):
        await test_nothing_acknowledged_is_lost(database_url, tmp_path)
        if database_url.startswith("sqlite"):
            connection = sqlite3.connect(database_url.removeprefix("sqlite:///"))
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",), round_
            connection.close()
