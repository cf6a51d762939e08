from datetime import timedelta

from deployments.jobs.states import JobState
from deployments.jobs.store import JobStore
from tests.jobs.helpers import FakeClock, accept, claim, finish


async def test_numbers_over_all_jobs(store: JobStore, clock: FakeClock) -> None:
    assert await store.overview.oldest_unfinished_age() == timedelta(0)
    await finish(store, await accept(store))
    await accept(store, tenant="another lab")
    clock.advance(30)
    await accept(store)
    counts = await store.overview.jobs_by_state()
    assert counts == {
        **dict.fromkeys(JobState, 0),
        JobState.QUEUED: 2,
        JobState.SUCCEEDED: 1,
    }
    assert await store.overview.oldest_unfinished_age() == timedelta(seconds=30)


async def test_claims_may_be_for_one_model(store: JobStore) -> None:
    await accept(store, model="hrnet")
    await accept(store, model="resunet_small")
    leases = await store.images.claim("worker", 10, timedelta(seconds=60), "resunet_small")
    assert [lease.model for lease in leases] == ["resunet_small"]
    assert len(await claim(store)) == 1
