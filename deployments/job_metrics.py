"""Numbers about the jobs: Prometheus gauges, exported by Ray, and a summary as JSON."""

from collections.abc import Mapping

from ray.util.metrics import Gauge

from deployments.jobs.store import JobStore


class JobMetrics:
    """What the store holds and what is in flight."""

    def __init__(self) -> None:
        self._jobs = Gauge("spheroserve_jobs", "Jobs in the store", tag_keys=("state",))
        self._oldest = Gauge(
            "spheroserve_jobs_oldest_unfinished_seconds", "Age of the oldest job that has not ended"
        )
        self._in_flight = Gauge(
            "spheroserve_job_images_in_flight",
            "Images of jobs that are claimed by this process",
            tag_keys=("model",),
        )

    async def update(self, store: JobStore, in_flight: Mapping[str, int]) -> None:
        """Set all gauges.

        Args:
            store: The job store.
            in_flight: Claimed images by model.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        for state, number in (await store.overview.jobs_by_state()).items():
            self._jobs.set(number, {"state": state})
        self._oldest.set((await store.overview.oldest_unfinished_age()).total_seconds())
        for model, number in in_flight.items():
            self._in_flight.set(number, {"model": model})


async def summarise(store: JobStore) -> dict[str, object]:
    """Count jobs and mails, as JSON-ready values.

    Raises:
        StoreUnavailable: The database does not answer.
    """
    jobs = await store.overview.jobs_by_state()
    mails = await store.outbox.counts()
    return {
        "jobs": {state.value: number for state, number in jobs.items()},
        "oldest_unfinished_seconds": (await store.overview.oldest_unfinished_age()).total_seconds(),
        "mails": {state.value: number for state, number in mails.items()},
        "oldest_unsent_seconds": (await store.outbox.oldest_unsent_age()).total_seconds(),
    }
