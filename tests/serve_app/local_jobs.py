"""The jobs without Ray: a store of the test's own and nobody who works on the images."""

from collections.abc import Sequence
from pathlib import Path

from deployments.inference.images.declared import count_pixels
from deployments.inference.images.limits import ImageLimits
from deployments.job_events import Followed, JobFollower
from deployments.job_metrics import summarise
from deployments.job_results import Rendering, render
from deployments.jobs.records import Image, Job, NewJob
from deployments.jobs.store import JobStore
from serve_app.archives import ArchiveEntry, ArchiveLimits, list_entries, read_entries


class LocalJobs:
    """Implements ``serve_app.jobs_service.JobsService``.

    Attributes:
        store: Where the jobs are.
        saved: Number of files in each call of ``save``.
    """

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.saved: list[int] = []
        self._follower = JobFollower(store)

    async def list_archive(self, path: Path, limits: ArchiveLimits) -> list[ArchiveEntry]:
        return list_entries(path, limits)

    async def read_archive(self, path: Path, entries: Sequence[ArchiveEntry]) -> list[bytes]:
        return read_entries(path, entries)

    async def count_pixels(self, contents: Sequence[bytes], limits: ImageLimits) -> int:
        return count_pixels(contents, limits)

    async def save(self, contents: Sequence[bytes]) -> list[str]:
        self.saved.append(len(contents))
        return await self.store.save(contents)

    async def create(self, new: NewJob) -> tuple[Job, bool]:
        return await self.store.jobs.create(new)

    async def get_job(self, job_id: str, tenant: str) -> Job:
        return await self.store.jobs.get(job_id, tenant)

    async def list_jobs(self, tenant: str, limit: int, after: str | None) -> list[Job]:
        return await self.store.jobs.list(tenant, limit, after)

    async def list_images(
        self, job_id: str, tenant: str, limit: int, after: int = -1, name: str | None = None
    ) -> Sequence[Image]:
        return await self.store.jobs.images(job_id, tenant, limit, after, name)

    async def cancel(self, job_id: str, tenant: str) -> Job:
        return await self.store.jobs.cancel(job_id, tenant)

    async def follow(self, job_id: str, tenant: str, last_id: int, seconds: float) -> Followed:
        return await self._follower.follow(job_id, tenant, last_id, seconds)

    async def overview(self) -> dict[str, object]:
        return await summarise(self.store)

    async def read(self, result: str) -> bytes:
        return await self.store.read(result)

    async def render(
        self, result: str, position: int, name: str, mask: bool, metrics: bool
    ) -> Rendering:
        data = await self.store.read(result)
        return render(data, position, name, mask, metrics, "2026")
