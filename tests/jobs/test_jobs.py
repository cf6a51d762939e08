"""Jobs: accepting them once, seeing only one's own, paging, cancelling, events."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from deployments.errors import Conflict, InvalidRequest, NotFound
from deployments.jobs.records import Counts
from deployments.jobs.states import ImageState, JobState
from deployments.jobs.store import JobStore
from tests.jobs.helpers import FakeClock, accept, claim, finish, new_job


async def test_an_accepted_job_reads_back_as_asked(store: JobStore, clock: FakeClock) -> None:
    request = await new_job(
        store, 2, threshold=0.25, detect_holes=False, outputs=("mask",), notify=("a@x.cz",)
    )
    created, is_new = await store.jobs.create(request)
    job = await store.jobs.get(created.id, "lab")

    assert is_new
    assert job == created
    assert UUID(job.id).version == 4
    assert (job.model, job.threshold, job.detect_holes) == ("hrnet", 0.25, False)
    assert (job.outputs, job.notify, job.locale) == (("mask",), ("a@x.cz",), "en")
    assert job.state is JobState.QUEUED
    assert job.counts == Counts(queued=2)
    assert job.created_at == clock.now
    assert (job.started_at, job.finished_at, job.error) == (None, None, None)


async def test_one_idempotency_key_makes_one_job(store: JobStore) -> None:
    request = await new_job(store, 2, idempotency_key="key")
    first, first_is_new = await store.jobs.create(request)
    second, second_is_new = await store.jobs.create(request)
    assert (first_is_new, second_is_new) == (True, False)
    assert second.id == first.id
    assert len(await store.jobs.list("lab", 10)) == 1


async def test_concurrent_requests_with_one_key_make_one_job(
    store: JobStore, other_store: JobStore
) -> None:
    request = await new_job(store, 3, idempotency_key="key")
    stores = [store, other_store] * 4
    answers = await asyncio.gather(*(each.jobs.create(request) for each in stores))
    assert len({job.id for job, _ in answers}) == 1
    assert [is_new for _, is_new in answers].count(True) == 1
    assert answers[0][0].counts.total == 3


async def test_one_key_for_two_requests_is_a_conflict(store: JobStore) -> None:
    request = await new_job(store, 2, idempotency_key="key")
    await store.jobs.create(request)
    renamed = replace(request.images[0], name="other.tif")
    for changed in (
        replace(request, threshold=0.6),
        replace(request, model="resunet"),
        replace(request, notify=("a@x.cz",)),
        replace(request, images=request.images[::-1]),
        replace(request, images=(renamed, request.images[1])),
    ):
        with pytest.raises(Conflict):
            await store.jobs.create(changed)
    assert len(await store.jobs.list("lab", 10)) == 1


async def test_keys_of_other_tenants_and_no_keys_do_not_meet(store: JobStore) -> None:
    request = await new_job(store)
    keyed = replace(request, idempotency_key="key")
    for each in (keyed, replace(keyed, tenant="other"), request, request):
        _, is_new = await store.jobs.create(each)
        assert is_new


async def test_a_job_without_images_is_refused(store: JobStore) -> None:
    with pytest.raises(InvalidRequest):
        await accept(store, 0)


async def test_a_key_that_is_too_long_is_refused(store: JobStore) -> None:
    await accept(store, idempotency_key="k" * 255)
    with pytest.raises(InvalidRequest):
        await accept(store, idempotency_key="k" * 256)


async def test_hostile_names_and_errors_can_be_stored(store: JobStore) -> None:
    request = await new_job(store)
    named = replace(request.images[0], name="a\0b\udcff.tif")
    job, _ = await store.jobs.create(replace(request, images=(named,)))
    [lease] = await claim(store)
    assert await store.images.fail(lease.token, "bad header: \0")
    [image] = await store.jobs.images(job.id, "lab", 10)
    assert (image.name, image.error) == ("a\ufffdb?.tif", "bad header: \ufffd")


async def test_jobs_of_another_tenant_do_not_exist(store: JobStore) -> None:
    job = await accept(store)
    for call in (
        store.jobs.get(job.id, "other"),
        store.jobs.images(job.id, "other", 10),
        store.jobs.cancel(job.id, "other"),
        store.jobs.events_since(job.id, "other", 0),
        store.jobs.get("no-such-id", "lab"),
    ):
        with pytest.raises(NotFound):
            await call
    assert await store.jobs.list("other", 10) == []
    assert (await store.jobs.get(job.id, None)).state is JobState.QUEUED


async def test_jobs_are_listed_newest_first_in_pages(store: JobStore, clock: FakeClock) -> None:
    accepted = []
    for number in range(5):
        accepted.append((await accept(store, number + 1)).id)
        # Two pairs have the same time; the id then decides.
        clock.advance(number % 2)
    pages: list[str] = []
    after = None
    while page := await store.jobs.list("lab", 2, after):
        assert len(page) <= 2
        pages += [job.id for job in page]
        after = page[-1].id
    assert sorted(pages) == sorted(accepted)
    assert pages[0] == accepted[4]
    [newest] = await store.jobs.list("lab", 1)
    assert newest.counts.total == 5


async def test_images_are_listed_in_upload_order_in_pages(store: JobStore) -> None:
    job = await accept(store, 5)
    await finish(store, job, failing=1)
    first = await store.jobs.images(job.id, "lab", 3)
    second = await store.jobs.images(job.id, "lab", 3, after=first[-1].position)
    listed = [*first, *second]
    assert await store.jobs.images(job.id, "lab", 3, name="3.tif") == [listed[3]]
    assert [image.position for image in listed] == [0, 1, 2, 3, 4]
    assert [image.name for image in listed] == [f"{number}.tif" for number in range(5)]
    assert (listed[0].state, listed[0].error) == (ImageState.FAILED, "no image")
    assert listed[1].state is ImageState.SUCCEEDED
    assert listed[1].timings == {"inference": 0.1}
    assert listed[1].result is not None
    assert await store.read(listed[1].result) == b"a result"


async def test_cancelling_a_waiting_job_ends_it_at_once(store: JobStore, clock: FakeClock) -> None:
    job = await accept(store, 3, notify=("a@x.cz",))
    cancelled = await store.jobs.cancel(job.id, "lab")
    assert cancelled.state is JobState.CANCELLED
    assert cancelled.counts == Counts(cancelled=3)
    assert cancelled.finished_at == clock.now
    assert await claim(store) == []
    assert sum((await store.outbox.counts()).values()) == 0


async def test_images_in_flight_finish_after_a_cancel_and_no_more_start(store: JobStore) -> None:
    job = await accept(store, 3)
    [lease] = await claim(store, limit=1)
    cancelling = await store.jobs.cancel(job.id, "lab")
    assert cancelling.state is JobState.RUNNING
    assert cancelling.cancel_requested_at is not None
    assert cancelling.counts == Counts(leased=1, cancelled=2)
    assert await claim(store) == []

    [result] = await store.save([b"a result"])
    assert await store.images.complete(lease.token, result)
    ended = await store.jobs.get(job.id, "lab")
    assert ended.state is JobState.CANCELLED
    assert ended.counts == Counts(succeeded=1, cancelled=2)


async def test_cancelling_again_or_too_late_changes_nothing(
    store: JobStore, clock: FakeClock
) -> None:
    job = await accept(store)
    finished = await finish(store, job)
    clock.advance(1)
    assert await store.jobs.cancel(job.id, "lab") == finished

    other = await accept(store, 2)
    await claim(store, limit=1)
    first = await store.jobs.cancel(other.id, "lab")
    clock.advance(1)
    assert await store.jobs.cancel(other.id, "lab") == first


async def test_events_tell_the_whole_story_and_resume_anywhere(store: JobStore) -> None:
    job = await accept(store, 2)
    await finish(store, job, failing=1)
    story = await store.jobs.events_since(job.id, "lab", 0)
    assert [event.id for event in story] == list(range(1, len(story) + 1))
    assert [(event.kind, event.data.get("position"), event.data["state"]) for event in story] == [
        ("job", None, "queued"),
        ("job", None, "running"),
        ("image", 0, "failed"),
        ("image", 1, "succeeded"),
        ("job", None, "partial"),
    ]
    assert story[2].data["error"] == "no image"
    for last_id in range(len(story) + 1):
        assert await store.jobs.events_since(job.id, "lab", last_id) == story[last_id:]
    assert await store.jobs.events_since(job.id, "lab", 0, limit=2) == story[:2]
