import asyncio
from datetime import timedelta

import pytest

from deployments.errors import NotFound
from deployments.job_events import JobFollower
from deployments.jobs.store import JobStore
from tests.jobs.helpers import accept, claim, finish


async def test_what_has_happened_is_told_at_once(store: JobStore) -> None:
    job = await accept(store)
    await finish(store, job)
    followed = await JobFollower(store).follow(job.id, "lab", 1, seconds=60)
    assert [event.id for event in followed.events] == [2, 3, 4]
    assert followed.ended


async def test_the_next_event_wakes_those_who_wait(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.job_events._LOOK_S", 3600)
    job = await accept(store)
    follower = JobFollower(store)
    waiting = [asyncio.create_task(follower.follow(job.id, "lab", 1, 3600)) for _ in range(3)]
    done, _ = await asyncio.wait(waiting, timeout=0.2)
    assert not done
    await claim(store)
    follower.notify(job.id)
    async with asyncio.timeout(30):
        answers = await asyncio.gather(*waiting)
    assert [[event.data["state"] for event in each.events] for each in answers] == [["running"]] * 3
    assert not any(each.ended for each in answers)
    del waiting, answers
    assert len(follower._changes) == 0


async def test_what_another_process_does_is_seen_too(
    store: JobStore, other_store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.job_events._LOOK_S", 0.05)
    job = await accept(store)
    waiting = asyncio.create_task(JobFollower(store).follow(job.id, "lab", 1, 60))
    await other_store.images.claim("other", 1, timedelta(seconds=60))
    assert [event.id for event in (await waiting).events] == [2]


async def test_patience_ends(store: JobStore) -> None:
    job = await accept(store)
    followed = await JobFollower(store).follow(job.id, "lab", 1, seconds=0.05)
    assert (list(followed.events), followed.ended) == ([], False)


async def test_nobody_follows_the_jobs_of_others(store: JobStore) -> None:
    job = await accept(store)
    with pytest.raises(NotFound):
        await JobFollower(store).follow(job.id, "another lab", 0, seconds=60)
