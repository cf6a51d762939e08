"""What the HTTP routes need from whatever runs the jobs.

``serve_app/jobs_client.py`` implements it with a deployment handle; the tests implement it with
a job store of their own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from deployments.inference.images.limits import ImageLimits
from deployments.job_events import Followed
from deployments.job_results import Rendering
from deployments.jobs.records import Image, Job, NewJob
from serve_app.archives import ArchiveEntry, ArchiveLimits


class JobsService(Protocol):
    """The jobs, as the routes see them.

    Every method may raise ``StoreUnavailable`` where the jobs do not answer or do not exist,
    and those with a ``job_id`` raise ``NotFound`` for a job that the tenant does not have.
    """

    async def list_archive(self, path: Path, limits: ArchiveLimits) -> list[ArchiveEntry]:
        """Run ``serve_app.archives.list_entries`` in a child process."""
        ...

    async def read_archive(self, path: Path, entries: Sequence[ArchiveEntry]) -> list[bytes]:
        """Run ``serve_app.archives.read_entries`` in a child process."""
        ...

    async def count_pixels(self, contents: Sequence[bytes], limits: ImageLimits) -> int:
        """Run ``deployments.inference.images.declared.count_pixels`` in a child process."""
        ...

    async def save(self, contents: Sequence[bytes]) -> list[str]:
        """Store files durably and return their refs; a job must name them within a day.

        Raises:
            InsufficientStorage: The disk is full.
        """
        ...

    async def create(self, new: NewJob) -> tuple[Job, bool]:
        """Accept a job durably; return it and whether it is new.

        Raises:
            Conflict: The idempotency key belongs to another request.
        """
        ...

    async def get_job(self, job_id: str, tenant: str) -> Job:
        """Return a job."""
        ...

    async def list_jobs(self, tenant: str, limit: int, after: str | None) -> list[Job]:
        """Return one page of jobs, the newest first, after the job of that id."""
        ...

    async def list_images(
        self, job_id: str, tenant: str, limit: int, after: int = -1, name: str | None = None
    ) -> Sequence[Image]:
        """Return one page of images in upload order, after the one of that position."""
        ...

    async def cancel(self, job_id: str, tenant: str) -> Job:
        """Let no further image of a job start."""
        ...

    async def follow(self, job_id: str, tenant: str, last_id: int, seconds: float) -> Followed:
        """Return the events after ``last_id``, waiting at most so long for the first one."""
        ...

    async def overview(self) -> dict[str, object]:
        """Count jobs and mails of all tenants; see ``deployments.job_metrics.summarise``."""
        ...

    async def read(self, result: str) -> bytes:
        """Return a result file.

        Raises:
            NotFound: It was deleted.
        """
        ...

    async def render(
        self, result: str, position: int, name: str, mask: bool, metrics: bool
    ) -> Rendering:
        """Make mask and metrics rows of a result file."""
        ...
