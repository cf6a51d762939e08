"""The entrance to the job store."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Self

from deployments.jobs.clock import Clock, utc_now
from deployments.jobs.database import Database
from deployments.jobs.files import content_ref, open_file_store
from deployments.jobs.images import ImageQueue
from deployments.jobs.jobs import JobRepository
from deployments.jobs.outbox import Outbox
from deployments.jobs.overview import Overview
from deployments.jobs.results import ResultCache
from deployments.jobs.retention import Deleted, Retention
from deployments.jobs.upgrade import upgrade

MAIL_EXPIRY = timedelta(hours=24)


class JobStore:
    """Jobs, images, mails and files that survive the process.

    A job is accepted by ``refs = await store.save(contents)``, then ``store.jobs.create(...)``
    naming the refs. Clocks of several nodes must agree to within a fraction of a lease; where
    they do not, images are worked on twice, but never recorded twice.

    Attributes:
        jobs: Accept, look up, list, cancel, follow.
        images: Claim, heartbeat, complete, fail, release, reap.
        outbox: Mails that are owed.
        results: Cached results.
        overview: Numbers over all jobs.
    """

    def __init__(
        self,
        database_url: str,
        data_dir: str,
        *,
        clock: Clock = utc_now,
        mail_expiry: timedelta = MAIL_EXPIRY,
    ) -> None:
        """Prepare the parts; ``open`` also brings the database up to date.

        Args:
            database_url: ``sqlite:////folder/file`` or ``postgresql://host/database``.
            data_dir: A folder, or a bucket as fsspec writes it.
            clock: Returns the present time, with its zone.
            mail_expiry: How long the delivery of a mail is tried.

        Raises:
            ConfigurationError: The URL or the folder cannot be used.
        """
        self._database = Database(database_url)
        self._files = open_file_store(data_dir)
        # Syncs to disk and uploads mostly wait, so several at once cost little more than one.
        self._threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="files")
        self._retention = Retention(self._database, self._files, clock)
        self.jobs = JobRepository(self._database, clock, mail_expiry)
        self.images = ImageQueue(self._database, clock, mail_expiry)
        self.outbox = Outbox(self._database, clock, mail_expiry)
        self.results = ResultCache(self._database, clock)
        self.overview = Overview(self._database, clock)

    @classmethod
    async def open(
        cls,
        database_url: str,
        data_dir: str,
        *,
        clock: Clock = utc_now,
        mail_expiry: timedelta = MAIL_EXPIRY,
    ) -> Self:
        """Create or migrate the tables and return the store; arguments as for the class.

        Raises:
            ConfigurationError: The URL or the folder cannot be used.
            StoreUnavailable: The database does not answer.
        """
        await upgrade(database_url)
        return cls(database_url, data_dir, clock=clock, mail_expiry=mail_expiry)

    async def save(self, contents: Sequence[bytes]) -> list[str]:
        """Store files durably and return their refs in the same order.

        A row that names them must follow within a day.

        Raises:
            InsufficientStorage: The disk is full. Files stored before stay intact.
            StoreUnavailable: The database, the folder or the bucket does not answer.
        """
        refs = await asyncio.to_thread(lambda: [content_ref(data) for data in contents])
        sizes = {ref: len(data) for ref, data in zip(refs, contents, strict=True)}
        await self._retention.reserve(sizes)
        run = asyncio.get_running_loop().run_in_executor
        await asyncio.gather(*(run(self._threads, self._files.put, data) for data in contents))
        return refs

    async def read(self, ref: str) -> bytes:
        """Return a whole file.

        Raises:
            NotFound: There is no such file.
            StoreUnavailable: The folder or bucket does not answer.
        """
        return await asyncio.to_thread(self._files.read, ref)

    async def delete_expired(self, keep: timedelta) -> Deleted:
        """Delete what ended longer ago than ``keep``, and the files that nothing names."""
        return await self._retention.delete_expired(keep)

    async def close(self) -> None:
        """Close all connections."""
        self._threads.shutdown(wait=False)
        await self._database.close()
