"""What is deleted, and above all what is not."""

from datetime import timedelta
from pathlib import Path

import pytest

from deployments.errors import NotFound
from deployments.jobs.files import content_ref
from deployments.jobs.results import cache_key
from deployments.jobs.retention import GRACE, Deleted
from deployments.jobs.states import JobState
from deployments.jobs.store import MAIL_EXPIRY, JobStore
from tests.jobs.helpers import FakeClock, accept, claim, finish

KEEP = timedelta(days=7)
LONG = timedelta(days=8)


async def test_a_finished_job_goes_with_its_files(store: JobStore, clock: FakeClock) -> None:
    job = await accept(store, 2)
    await finish(store, job)
    clock.now += KEEP
    assert await store.delete_expired(KEEP) == Deleted(jobs=0, files=0)
    clock.advance(1)
    assert await store.delete_expired(KEEP) == Deleted(jobs=1, files=2)
    with pytest.raises(NotFound):
        await store.jobs.get(job.id, None)
    for data in (b"an image", b"a result"):
        with pytest.raises(NotFound):
            await store.read(content_ref(data))


async def test_unfinished_jobs_stay_however_old(store: JobStore, clock: FakeClock) -> None:
    waiting = await accept(store)
    clock.advance(days=1000)
    assert await store.delete_expired(KEEP) == Deleted(jobs=0, files=0)
    ended = await finish(store, waiting)
    assert ended.state is JobState.SUCCEEDED


async def test_a_job_stays_while_its_mail_may_be_sent(store: JobStore, clock: FakeClock) -> None:
    job = await accept(store, notify=("a@x.cz",))
    await finish(store, job)
    short = timedelta(hours=1)
    clock.now += MAIL_EXPIRY - timedelta(seconds=1)
    assert (await store.delete_expired(short)).jobs == 0
    clock.advance(1)
    assert (await store.delete_expired(short)).jobs == 1
    assert await store.outbox.list(10) == []


async def test_a_file_stays_while_another_job_names_it(store: JobStore, clock: FakeClock) -> None:
    first = await accept(store)
    await finish(store, first)
    clock.now += LONG
    second = await accept(store)
    assert await store.delete_expired(KEEP) == Deleted(jobs=1, files=1)
    [image] = await store.jobs.images(second.id, None, 10)
    assert await store.read(image.content) == b"an image"


async def test_a_file_without_a_job_stays_for_the_grace_time(
    store: JobStore, clock: FakeClock
) -> None:
    [ref] = await store.save([b"put by a process that died"])
    clock.now += GRACE
    assert (await store.delete_expired(KEEP)).files == 0
    clock.advance(1)
    assert (await store.delete_expired(KEEP)).files == 1
    with pytest.raises(NotFound):
        await store.read(ref)


async def test_saving_a_known_file_again_protects_it(store: JobStore, clock: FakeClock) -> None:
    [ref] = await store.save([b"data"])
    clock.now += LONG
    assert await store.save([b"data", b"data"]) == [ref, ref]
    assert (await store.delete_expired(KEEP)).files == 0
    assert await store.read(ref) == b"data"


async def test_a_deleted_file_is_written_anew(store: JobStore, clock: FakeClock) -> None:
    [ref] = await store.save([b"data"])
    clock.now += LONG
    await store.delete_expired(KEEP)
    await store.save([b"data"])
    assert await store.read(ref) == b"data"


async def test_more_than_one_batch_goes(
    store: JobStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.jobs.retention._BATCH", 2)
    for _ in range(5):
        await finish(store, await accept(store))
    await store.save([b"1", b"2", b"3"])
    clock.now += LONG
    assert await store.delete_expired(KEEP) == Deleted(jobs=5, files=5)


async def test_a_cached_result_outlives_its_job_but_not_the_retention(
    store: JobStore, clock: FakeClock
) -> None:
    await finish(store, await accept(store))
    clock.now += KEEP
    key = cache_key(content_ref(b"an image"), "hrnet@1", {"threshold": 0.5})
    await store.results.add(key, content_ref(b"a result"))
    clock.advance(1)
    assert await store.delete_expired(KEEP) == Deleted(jobs=1, files=1)
    assert await store.results.lookup([key, "other"]) == {key: content_ref(b"a result")}

    clock.now += LONG
    # A lookup just before the deletion: the file stays, so that a job can still name it.
    found = (await store.results.lookup([key]))[key]
    assert (await store.delete_expired(KEEP)).files == 0
    assert await store.results.lookup([key]) == {}
    await accept(store)
    [lease] = await claim(store)
    assert await store.images.complete(lease.token, found)


async def test_the_first_result_of_a_key_stays(store: JobStore) -> None:
    first, second = await store.save([b"first", b"second"])
    await store.results.add("key", first)
    await store.results.add("key", second)
    assert await store.results.lookup(["key"]) == {"key": first}


def test_cache_keys_depend_on_all_that_decides_a_result() -> None:
    keys = [
        cache_key("a", "hrnet@1", {"threshold": 0.5, "holes": True}),
        cache_key("b", "hrnet@1", {"threshold": 0.5, "holes": True}),
        cache_key("a", "hrnet@2", {"threshold": 0.5, "holes": True}),
        cache_key("a", "hrnet@1", {"threshold": 0.6, "holes": True}),
    ]
    assert len(set(keys)) == len(keys)
    assert cache_key("a", "hrnet@1", {"holes": True, "threshold": 0.5}) == keys[0]


async def test_a_full_disk_loses_nothing_accepted(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await accept(store)
    monkeypatch.setattr("os.fsync", _full)
    with pytest.raises(Exception, match="disk of the job store is full"):
        await store.save([b"too much"])
    monkeypatch.undo()
    assert (await finish(store, job)).state is JobState.SUCCEEDED


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")
