"""How images reach a model, on SQLite; what the store promises is tested on both databases."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from deployments.errors import (
    InferenceFailed,
    InsufficientStorage,
    ModelUnavailable,
    Overloaded,
    ServiceError,
    StoreUnavailable,
)
from deployments.jobs.states import ImageState, JobState
from deployments.jobs.store import JobStore
from tests.jobs.feeding import FakeModel, accept_images, feeding, images_of
from tests.scenes import encoded, spheroid

IMAGES = [encoded(spheroid(seed, width=90 + seed, height=80)[0]) for seed in range(12)]


@pytest.fixture
async def jobs(sqlite_url: str, tmp_path: Path) -> AsyncIterator[JobStore]:
    store = JobStore(sqlite_url, str(tmp_path / "files"))
    yield store
    await store.close()


async def test_good_and_bad_images_end_as_they_should(jobs: JobStore) -> None:
    job = await accept_images(jobs, [IMAGES[0], b"no image", IMAGES[1]])
    async with feeding(jobs, FakeModel()) as running:
        job = await running.until_ended(jobs, job)
    assert job.state is JobState.PARTIAL
    good, bad, other = await images_of(jobs, job)
    assert (bad.state, bad.attempts) == (ImageState.FAILED, 1)
    assert bad.error
    result = json.loads(await jobs.read(str(good.result)))
    assert result["image_size"] == {"width": 90, "height": 80}
    assert [polygon["type"] for polygon in result["polygons"]] == ["external"]
    stages = {"preprocessing", "waiting", "inference", "device_share", "polygons"}
    assert set(good.timings) == stages
    assert other.state is ImageState.SUCCEEDED


async def test_at_the_model_is_one_batch(jobs: JobStore) -> None:
    job = await accept_images(jobs, IMAGES)
    model = FakeModel(batch_size=3)
    model.held.clear()
    async with feeding(jobs, model) as running:
        await model.until(lambda: model.inside == 3)
        # As many again are claimed and decoded meanwhile, no more.
        assert len(running.feed.tokens) == 6
        model.held.set()
        job = await running.until_ended(jobs, job)
    assert model.most == 3
    assert job.counts.succeeded == len(IMAGES)


async def test_what_was_segmented_before_needs_no_model(jobs: JobStore) -> None:
    model = FakeModel()
    async with feeding(jobs, model) as running:
        first = await running.until_ended(jobs, await accept_images(jobs, IMAGES[:3]))
        again = await running.until_ended(jobs, await accept_images(jobs, IMAGES[:3]))
        assert model.calls == 3
        results = [image.result for image in await images_of(jobs, first)]
        assert [image.result for image in await images_of(jobs, again)] == results
        for parameters in ({"threshold": 0.6}, {"detect_holes": False}):
            other = await accept_images(jobs, IMAGES[:3], **parameters)
            await running.until_ended(jobs, other)
        assert model.calls == 9


async def test_new_weights_are_a_new_result(jobs: JobStore) -> None:
    model = FakeModel()
    async with feeding(jobs, model) as running:
        await running.until_ended(jobs, await accept_images(jobs, IMAGES[:1]))
        model.replicas = [{"effective_batch_size": 4, "weights_sha256": "b" * 64}]
        # The answer names its weights, whatever the feed has heard of them.
        await running.feed._take_over(model.replicas)
        await running.until_ended(jobs, await accept_images(jobs, IMAGES[:1]))
        assert model.calls == 2


@pytest.mark.parametrize("error", [InferenceFailed("no"), ModelUnavailable("died")])
async def test_an_image_is_given_up_after_three_failures(
    jobs: JobStore, error: ServiceError
) -> None:
    model = FakeModel()
    model.errors = [error] * 3
    async with feeding(jobs, model) as running:
        job = await running.until_ended(jobs, await accept_images(jobs, IMAGES[:1]))
    [image] = await images_of(jobs, job)
    assert (job.state, image.state, image.attempts) == (JobState.FAILED, ImageState.DEAD, 3)
    assert image.error == str(error)


@pytest.mark.parametrize(
    "error", [Overloaded("full"), StoreUnavailable("gone"), InsufficientStorage("full")]
)
async def test_troubles_of_the_service_cost_no_attempt(
    jobs: JobStore, error: ServiceError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.job_feed._PAUSE_S", 0.01)
    model = FakeModel()
    model.errors = [error] * 5
    async with feeding(jobs, model) as running:
        job = await running.until_ended(jobs, await accept_images(jobs, IMAGES[:1]))
    [image] = await images_of(jobs, job)
    assert (image.state, image.attempts, model.calls) == (ImageState.SUCCEEDED, 1, 6)


async def test_a_model_that_does_not_start_costs_no_attempt(
    jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.job_feed._PAUSE_S", 0.01)
    model = FakeModel()
    model.starts = False
    async with feeding(jobs, model, watch=False) as running:
        job = await accept_images(jobs, IMAGES[:3])
        running.feed.wake()
        # Twice so that it has been given back and claimed again.
        await model.until(lambda: model.refusals == 2)
        assert len(running.feed.tokens) == 1
        model.starts = True
        await running.feed._take_over(model.replicas)
        job = await running.until_ended(jobs, job)
    assert [image.attempts for image in await images_of(jobs, job)] == [1, 1, 1]


async def test_stopping_gives_everything_back(jobs: JobStore) -> None:
    job = await accept_images(jobs, IMAGES[:4])
    model = FakeModel()
    model.held.clear()
    async with feeding(jobs, model):
        await model.until(lambda: model.inside > 0)
    images = await images_of(jobs, job)
    assert {(image.state, image.attempts) for image in images} == {(ImageState.QUEUED, 0)}
    async with feeding(jobs, FakeModel(), owner="successor") as running:
        assert (await running.until_ended(jobs, job)).state is JobState.SUCCEEDED


async def test_an_image_that_another_worker_took_is_dropped(
    jobs: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This worker must not claim it again before the other one does.
    monkeypatch.setattr("deployments.job_feed._LOOK_S", 3600)
    job = await accept_images(jobs, IMAGES[:1])
    model = FakeModel()
    model.held.clear()
    async with feeding(jobs, model) as running:
        await model.until(lambda: model.inside == 1)
        # As if this process had been asleep for longer than its lease.
        await jobs.images.heartbeat(running.feed.tokens, timedelta(seconds=-1))
        assert (await jobs.images.reap()).returned == 1
        [taken] = await jobs.images.claim("other", 1, timedelta(seconds=60))
        await running.feed.heartbeat()
        await model.until(lambda: model.inside == 0)
        [result] = await jobs.save([b"the other's"])
        assert await jobs.images.complete(taken.token, result)
        model.held.set()
        await running.until_ended(jobs, job)
    [image] = await images_of(jobs, job)
    assert (image.result, image.attempts) == (result, 2)


async def test_images_of_other_models_are_left_alone(jobs: JobStore) -> None:
    other = await accept_images(jobs, IMAGES[:1], model="resunet_small")
    async with feeding(jobs, FakeModel()) as running:
        await running.until_ended(jobs, await accept_images(jobs, IMAGES[1:2]))
    assert (await jobs.jobs.get(other.id, "lab")).state is JobState.QUEUED
