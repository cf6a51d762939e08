"""What several tests of the job store need."""

from datetime import UTC, datetime, timedelta

from deployments.jobs.records import ImageLease, Job, NewImage, NewJob
from deployments.jobs.store import JobStore

LEASE = timedelta(seconds=60)


class FakeClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float = 0, **units: float) -> None:
        """Go on by some time."""
        self.now += timedelta(seconds=seconds, **units)


async def accept(store: JobStore, images: int = 1, **fields: object) -> Job:
    """Accept a job of so many images; all have the same content."""
    job, _ = await store.jobs.create(await new_job(store, images, **fields))
    return job


async def new_job(store: JobStore, images: int = 1, **fields: object) -> NewJob:
    """Return a job to be accepted, its image saved."""
    [ref] = await store.save([b"an image"])
    values: dict[str, object] = {
        "tenant": "lab",
        "model": "hrnet",
        "threshold": 0.5,
        "detect_holes": True,
        "images": tuple(NewImage(f"{number}.tif", ref) for number in range(images)),
    }
    return NewJob(**{**values, **fields})  # type: ignore[arg-type]


async def claim(store: JobStore, limit: int = 100, owner: str = "worker") -> list[ImageLease]:
    """Claim images for the usual time."""
    return await store.images.claim(owner, limit, LEASE)


async def finish(store: JobStore, job: Job, failing: int = 0) -> Job:
    """Work on all images of the only job; the first ones fail."""
    [result] = await store.save([b"a result"])
    for lease in await claim(store):
        if lease.token.position < failing:
            assert await store.images.fail(lease.token, "no image")
        else:
            assert await store.images.complete(lease.token, result, {"inference": 0.1})
    return await store.jobs.get(job.id, job.tenant)
