"""Any sequence of operations against a model of a few lines."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete

from deployments.jobs.images import MAX_ATTEMPTS
from deployments.jobs.records import ImageToken
from deployments.jobs.schema import metadata
from deployments.jobs.states import JobState
from deployments.jobs.store import JobStore
from tests.jobs.helpers import LEASE, FakeClock, accept

_TERMINAL = {"succeeded", "failed", "cancelled", "dead"}

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class ImageModel:
    """What an image should look like."""

    state: str = "queued"
    attempts: int = 0
    fence: int = 0
    lease_until: datetime = _NEVER


class StoreMachine(RuleBasedStateMachine):
    """Operations by any number of owners, late ones included."""

    tokens: Bundle[ImageToken] = Bundle("tokens")
    jobs: Bundle[str] = Bundle("jobs")

    def __init__(self, database_url: str, data_dir: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.clock = FakeClock()
        self.store = JobStore(database_url, data_dir, clock=self.clock)
        self.model: dict[str, list[ImageModel]] = {}
        self.cancelled: set[str] = set()
        self.runner.run(self._empty())

    async def _empty(self) -> None:
        async with self.store._database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                await connection.execute(delete(table))
        [self.result] = await self.store.save([b"a result"])

    def teardown(self) -> None:
        self.the_store_is_the_model()
        self.runner.run(self.store.close())
        self.runner.close()

    def _held(self, token: ImageToken) -> ImageModel | None:
        image = self.model[token.job_id][token.position]
        return image if image.state == "leased" and image.fence == token.fence else None

    def _back(self, job: str, image: ImageModel) -> None:
        image.state = "cancelled" if job in self.cancelled else "queued"

    @initialize(target=jobs, images=st.integers(1, 3))
    def first_job(self, images: int) -> str:
        return self.create(images)

    @rule(target=jobs, images=st.integers(1, 3))
    def another_job(self, images: int) -> str:
        return self.create(images)

    def create(self, images: int) -> str:
        job = self.runner.run(accept(self.store, images, notify=("a@x.cz",)))
        self.model[job.id] = [ImageModel() for _ in range(images)]
        self.clock.advance(1)
        return job.id

    @rule(target=tokens, limit=st.integers(1, 4))
    def claim(self, limit: int) -> MultipleResults[ImageToken]:
        leases = self.runner.run(self.store.images.claim("owner", limit, LEASE))
        waiting = [image for job in self.model.values() for image in job if image.state == "queued"]
        assert len(leases) == min(limit, len(waiting))
        for lease in leases:
            image = self.model[lease.token.job_id][lease.token.position]
            assert image.state == "queued"
            assert (lease.attempt, lease.token.fence) == (image.attempts + 1, image.fence + 1)
            image.state, image.lease_until = "leased", self.clock.now + LEASE
            image.attempts += 1
            image.fence += 1
        return multiple(*(lease.token for lease in leases))

    @rule(token=tokens)
    def complete(self, token: ImageToken) -> None:
        image = self._held(token)
        told = self.runner.run(self.store.images.complete(token, self.result))
        known = self.model[token.job_id][token.position]
        repeated = known.state == "succeeded" and known.fence == token.fence
        assert told == (image is not None or repeated)
        if image:
            image.state = "succeeded"

    @rule(token=tokens, retry=st.booleans())
    def fail(self, token: ImageToken, retry: bool) -> None:
        image = self._held(token)
        told = self.runner.run(self.store.images.fail(token, "no image", retry=retry))
        assert told == (image is not None)
        if image and retry and image.attempts < MAX_ATTEMPTS:
            self._back(token.job_id, image)
        elif image:
            image.state = "dead" if retry else "failed"

    @rule(token=tokens)
    def release(self, token: ImageToken) -> None:
        image = self._held(token)
        assert self.runner.run(self.store.images.release([token])) == (image is not None)
        if image:
            image.attempts -= 1
            self._back(token.job_id, image)

    @rule(token=tokens)
    def heartbeat(self, token: ImageToken) -> None:
        image = self._held(token)
        valid = self.runner.run(self.store.images.heartbeat([token], LEASE))
        assert valid == ({token} if image else set())
        if image:
            image.lease_until = self.clock.now + LEASE

    @rule(seconds=st.sampled_from([10, 61]))
    def reap(self, seconds: int) -> None:
        self.clock.now += timedelta(seconds=seconds)
        self.runner.run(self.store.images.reap())
        for job, images in self.model.items():
            for image in images:
                if image.state == "leased" and image.lease_until <= self.clock.now:
                    if image.attempts >= MAX_ATTEMPTS:
                        image.state = "dead"
                    else:
                        self._back(job, image)

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        self.runner.run(self.store.jobs.cancel(job, "lab"))
        if any(image.state not in _TERMINAL for image in self.model[job]):
            self.cancelled.add(job)
            for image in self.model[job]:
                if image.state == "queued":
                    image.state = "cancelled"

    def _job_state(self, job: str) -> JobState:
        states = [image.state for image in self.model[job]]
        if not _TERMINAL.issuperset(states):
            started = any(image.fence for image in self.model[job])
            return JobState.RUNNING if started else JobState.QUEUED
        if job in self.cancelled:
            return JobState.CANCELLED
        if set(states) == {"succeeded"}:
            return JobState.SUCCEEDED
        return JobState.PARTIAL if "succeeded" in states else JobState.FAILED

    @rule()
    def the_store_is_the_model(self) -> None:
        self.runner.run(self._compare())

    async def _compare(self) -> None:
        mailed = sorted(str(mail.job_id) for mail in await self.store.outbox.list(1000))
        owed = []
        for job_id, model in self.model.items():
            job = await self.store.jobs.get(job_id, None)
            images = await self.store.jobs.images(job_id, None, 10)
            assert [(image.state, image.attempts) for image in images] == [
                (image.state, image.attempts) for image in model
            ]
            assert job.state is self._job_state(job_id)
            assert (job.finished_at is not None) == job.state.is_terminal
            if job.state.is_terminal and job.state is not JobState.CANCELLED:
                owed.append(job_id)
            events = await self.store.jobs.events_since(job_id, None, 0)
            assert [event.id for event in events] == list(range(1, len(events) + 1))
            ended = [event.data["position"] for event in events if event.kind == "image"]
            finished = [at for at, image in enumerate(model) if image.state in _TERMINAL]
            assert sorted(ended, key=str) == finished
            assert events[-1].data["state"] == job.state or not job.state.is_terminal
        assert mailed == sorted(owed)


@pytest.mark.parametrize("examples", [10, pytest.param(300, marks=pytest.mark.long)])
def test_any_sequence_of_operations_keeps_the_model(
    database_url: str, tmp_path: Path, examples: int
) -> None:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(database_url, str(tmp_path / "files"))

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            deadline=None,
            # Each step is a few commits: to shrink a failure would take minutes.
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
