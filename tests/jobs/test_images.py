"""The queue of images: claims, leases, fencing tokens, attempts, the end of a job."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from deployments.jobs.images import MAX_ATTEMPTS
from deployments.jobs.records import Counts, ImageToken, Reaped
from deployments.jobs.schema import jobs
from deployments.jobs.states import ImageState, JobState, MailState
from deployments.jobs.store import JobStore
from tests.jobs.helpers import LEASE, FakeClock, accept, claim, finish


async def test_a_claim_says_all_that_a_worker_needs(store: JobStore, clock: FakeClock) -> None:
    job = await accept(store, 1, model="resunet", threshold=0.3, outputs=("mask",))
    [lease] = await claim(store)
    assert (lease.token.job_id, lease.token.position) == (job.id, 0)
    assert (lease.name, lease.model, lease.threshold) == ("0.tif", "resunet", 0.3)
    assert (lease.detect_holes, lease.outputs, lease.attempt) == (True, ("mask",), 1)
    assert lease.lease_until == clock.now + LEASE
    assert await store.read(lease.content) == b"an image"

    running = await store.jobs.get(job.id, "lab")
    assert (running.state, running.started_at) == (JobState.RUNNING, clock.now)
    assert await claim(store) == []


async def test_the_oldest_job_goes_first_and_the_others_share(
    store: JobStore, clock: FakeClock
) -> None:
    jobs = []
    for images in (9, 9, 1):
        jobs.append((await accept(store, images)).id)
        clock.advance(1)

    async def claimed_by_job(limit: int) -> list[int]:
        leases = await claim(store, limit)
        return [sum(lease.token.job_id == job for lease in leases) for job in jobs]

    assert await claimed_by_job(1) == [1, 0, 0]
    # All three are now in the window: those with nothing in flight go before the oldest.
    assert await claimed_by_job(3) == [1, 1, 1]
    assert await claimed_by_job(5) == [2, 3, 0]
    assert await claimed_by_job(100) == [5, 5, 0]


async def test_a_claim_can_be_for_one_model(store: JobStore) -> None:
    await accept(store, 2, model="hrnet")
    await accept(store, 2, model="resunet")
    leases = await store.images.claim("worker", 10, LEASE, model="resunet")
    assert [lease.model for lease in leases] == ["resunet", "resunet"]
    assert await store.images.claim("worker", 10, LEASE, model="resunet") == []
    assert len(await claim(store)) == 2


@pytest.mark.parametrize(
    ("failing", "state"),
    [(0, JobState.SUCCEEDED), (1, JobState.PARTIAL), (3, JobState.FAILED)],
)
async def test_the_last_image_ends_the_job_and_owes_the_mails(
    store: JobStore, clock: FakeClock, failing: int, state: JobState
) -> None:
    job = await accept(store, 3, notify=("a@x.cz", "b@x.cz", "a@x.cz"), locale="cs")
    await claim(store, limit=0)
    assert sum((await store.outbox.counts()).values()) == 0

    ended = await finish(store, job, failing)
    assert (ended.state, ended.finished_at) == (state, clock.now)
    assert ended.counts == Counts(succeeded=3 - failing, failed=failing)
    assert (ended.error is not None) == (state is JobState.FAILED)
    mails = await store.outbox.list(10)
    assert sorted(mail.recipient for mail in mails) == ["a@x.cz", "b@x.cz"]
    kind = "job_failed" if state is JobState.FAILED else "job_finished"
    assert {(mail.kind, mail.locale, mail.job_id) for mail in mails} == {(kind, "cs", job.id)}


async def test_a_job_and_its_mails_are_one_transaction(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await accept(store, 1, notify=("a@x.cz",))
    [lease] = await claim(store)
    [result] = await store.save([b"a result"])

    def broken(*_: object) -> None:
        raise RuntimeError("the process ends here")

    with monkeypatch.context() as patch:
        patch.setattr("deployments.jobs.lifecycle.new_mail", broken)
        with pytest.raises(RuntimeError):
            await store.images.complete(lease.token, result)
    assert (await store.jobs.get(job.id, None)).counts == Counts(leased=1)
    assert await store.images.complete(lease.token, result)
    assert (await store.jobs.get(job.id, None)).state is JobState.SUCCEEDED


async def test_an_outdated_token_changes_nothing_and_is_told_so(
    store: JobStore, clock: FakeClock
) -> None:
    job = await accept(store, 1)
    [old] = await claim(store)
    clock.advance(61)
    assert await store.images.reap() == Reaped(returned=1, dead=0)
    [new] = await claim(store, owner="another")
    [late, right] = await store.save([b"late", b"right"])
    before = await store.jobs.get(job.id, None), await store.jobs.images(job.id, None, 10)

    assert not await store.images.complete(old.token, late)
    assert not await store.images.fail(old.token, "late")
    assert not await store.images.fail(old.token, "late", retry=True)
    assert await store.images.release([old.token]) == 0
    assert await store.images.heartbeat([old.token, new.token], LEASE) == {new.token}
    after = await store.jobs.get(job.id, None), await store.jobs.images(job.id, None, 10)
    assert after == before

    assert await store.images.complete(new.token, right)
    assert not await store.images.complete(old.token, late)
    [image] = await store.jobs.images(job.id, None, 10)
    assert image.result == right


async def test_repeating_a_completion_is_safe(store: JobStore) -> None:
    job = await accept(store, 2)
    lease, _ = await claim(store)
    [result, other] = await store.save([b"a result", b"other"])
    assert await store.images.complete(lease.token, result)
    events = await store.jobs.events_since(job.id, None, 0)
    assert await store.images.complete(lease.token, result)
    assert not await store.images.complete(lease.token, other)
    assert not await store.images.fail(lease.token, "too late")
    assert await store.jobs.events_since(job.id, None, 0) == events


async def test_a_result_that_is_not_stored_is_refused(store: JobStore) -> None:
    job = await accept(store)
    [lease] = await claim(store)
    with pytest.raises(IntegrityError):
        await store.images.complete(lease.token, "0" * 64)
    assert (await store.jobs.get(job.id, None)).counts == Counts(leased=1)


async def test_a_heartbeat_keeps_the_lease(store: JobStore, clock: FakeClock) -> None:
    await accept(store, 2)
    kept, lost = await claim(store)
    clock.advance(50)
    assert await store.images.heartbeat([kept.token], LEASE) == {kept.token}
    clock.advance(50)
    assert await store.images.reap() == Reaped(returned=1, dead=0)
    [again] = await claim(store)
    assert (again.token.position, again.attempt) == (lost.token.position, 2)


async def test_an_image_that_kills_its_workers_is_given_up(
    store: JobStore, clock: FakeClock
) -> None:
    job = await accept(store, 1, notify=("a@x.cz",))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        [lease] = await claim(store)
        assert lease.attempt == attempt
        assert await store.images.reap() == Reaped(returned=0, dead=0)
        clock.advance(61)
        last = attempt == MAX_ATTEMPTS
        assert await store.images.reap() == Reaped(returned=int(not last), dead=int(last))
    ended = await store.jobs.get(job.id, None)
    assert (ended.state, ended.counts) == (JobState.FAILED, Counts(dead=1))
    assert (await store.outbox.counts())[MailState.QUEUED] == 1
    assert not await store.images.fail(lease.token, "late")


async def test_a_failure_worth_a_retry_is_retried_until_the_last_attempt(store: JobStore) -> None:
    job = await accept(store)
    for _ in range(MAX_ATTEMPTS - 1):
        [lease] = await claim(store)
        assert await store.images.fail(lease.token, "no replica", retry=True)
        assert (await store.jobs.get(job.id, None)).counts == Counts(queued=1)
    [lease] = await claim(store)
    assert await store.images.fail(lease.token, "no replica", retry=True)
    [image] = await store.jobs.images(job.id, None, 10)
    assert (image.state, image.error) == (ImageState.DEAD, "no replica")
    assert (await store.jobs.get(job.id, None)).state is JobState.FAILED


async def test_an_answer_after_the_end_does_not_end_a_job_again(store: JobStore) -> None:
    job = await accept(store, notify=("a@x.cz",))
    [lease] = await claim(store)
    [result] = await store.save([b"a result"])
    await store.images.complete(lease.token, result)
    ended = await store.jobs.get(job.id, None)
    assert await store.images.release([lease.token]) == 0
    assert await store.jobs.get(job.id, None) == ended
    assert len(await store.outbox.list(10)) == 1


async def test_released_images_do_not_lose_an_attempt(store: JobStore) -> None:
    await accept(store, 2)
    for _ in range(MAX_ATTEMPTS + 1):
        leases = await claim(store)
        assert [lease.attempt for lease in leases] == [1, 1]
        assert await store.images.release([lease.token for lease in leases]) == 2
    # Nor do they make an old token valid again.
    old_token = leases[0].token
    new_token = (await claim(store))[0].token
    assert await store.images.heartbeat([old_token, new_token], LEASE) == {new_token}


@pytest.mark.parametrize("give_back", ["reap", "release", "fail"])
async def test_an_image_that_comes_back_to_a_cancelled_job_ends_it(
    store: JobStore, clock: FakeClock, give_back: str
) -> None:
    job = await accept(store)
    [lease] = await claim(store)
    await store.jobs.cancel(job.id, None)
    if give_back == "reap":
        clock.advance(61)
        await store.images.reap()
    elif give_back == "release":
        await store.images.release([lease.token])
    else:
        await store.images.fail(lease.token, "no replica", retry=True)
    ended = await store.jobs.get(job.id, None)
    assert (ended.state, ended.counts) == (JobState.CANCELLED, Counts(cancelled=1))


async def test_two_owners_never_both_complete_one_image(
    store: JobStore, other_store: JobStore, clock: FakeClock
) -> None:
    jobs = [await accept(store, 8, notify=("a@x.cz",)) for _ in range(2)]
    [result] = await store.save([b"a result"])
    completed: list[tuple[str, int]] = []

    async def work(mine: JobStore, owner: str) -> None:
        # Every lease is at its end at once, so that owners take one another's images.
        while leases := await mine.images.claim(owner, 3, timedelta()):
            await mine.images.reap()
            for lease in leases:
                if await mine.images.complete(lease.token, result):
                    completed.append((lease.token.job_id, lease.token.position))

    stores = {"a": store, "b": other_store, "c": store, "d": other_store}
    await asyncio.gather(*(work(mine, owner) for owner, mine in stores.items()))
    for job in jobs:
        ended = await store.jobs.get(job.id, None)
        assert ended.counts.pending == 0
        assert ended.state.is_terminal
        mine = [position for job_id, position in completed if job_id == job.id]
        assert len(mine) == len(set(mine)) == ended.counts.succeeded
    assert len(await store.outbox.list(100)) == len(jobs)


async def test_waiting_for_locks_is_not_taken_off_a_lease(
    store: JobStore, clock: FakeClock
) -> None:
    job = await accept(store)
    token = ImageToken(job.id, 0, 1)
    for work in (claim(store), store.images.heartbeat([token], LEASE)):
        async with store.images._database.write() as connection:
            await connection.execute(select(jobs).with_for_update())
            task = asyncio.create_task(work)
            # It has begun, and waits for the lock that is held here.
            await asyncio.sleep(0)
            clock.advance(50)
        assert len(await task) == 1
        clock.advance(59)
        assert await store.images.reap() == Reaped(returned=0, dead=0)


async def test_a_reaper_spares_what_its_own_process_works_on(
    store: JobStore, clock: FakeClock
) -> None:
    await accept(store, images=2)
    mine, other = await claim(store)
    clock.advance(61)
    assert await store.images.reap(spare={mine.token}) == Reaped(returned=1, dead=0)
    assert await store.images.heartbeat([mine.token, other.token], LEASE) == {mine.token}
