"""Which files are stored, and the deletion of what nobody needs any more.

A file is put first and named by a row later. In between it is protected by ``touched_at``:
deletion spares the files touched within the grace time. It happens while the row of the file
is locked, so a ``reserve`` at the same moment waits, and its file is then written anew.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, exists, select

from deployments.jobs.clock import Clock
from deployments.jobs.database import Database
from deployments.jobs.files import FileStore
from deployments.jobs.lifecycle import lock_jobs
from deployments.jobs.outbox import UNSENT
from deployments.jobs.schema import files, images, jobs, outbox, result_cache

GRACE = timedelta(days=1)
_BATCH = 100


@dataclass(frozen=True, slots=True)
class Deleted:
    """How much was deleted."""

    jobs: int
    files: int


class Retention:
    """The index of stored files and its clean-up."""

    def __init__(self, database: Database, file_store: FileStore, clock: Clock) -> None:
        self._database = database
        self._file_store = file_store
        self._clock = clock

    async def reserve(self, sizes: Mapping[str, int]) -> None:
        """Protect files from deletion for the grace time; to be called before they are put.

        Args:
            sizes: Bytes of each file by its ref.
        """
        if not sizes:
            return
        now = self._clock()
        statement = self._database.insert(files)
        statement = statement.on_conflict_do_update(
            index_elements=["ref"], set_={"touched_at": now}
        )
        # In one order everywhere, so that two calls cannot wait for each other.
        rows = [
            {"ref": ref, "size": size, "touched_at": now} for ref, size in sorted(sizes.items())
        ]
        async with self._database.write() as connection:
            await connection.execute(statement, rows)

    async def delete_expired(self, keep: timedelta) -> Deleted:
        """Delete the jobs that ended longer ago than ``keep``, cached results and mails of that
        age, and the files that no row names any more.

        A job stays while a mail about it may still be sent.
        """
        deleted_jobs = 0
        while batch := await self._delete_jobs(keep):
            deleted_jobs += batch
        await self._delete_mails_and_results(keep)
        deleted_files = 0
        while batch := await self._delete_files():
            deleted_files += batch
        before = self._clock() - GRACE
        await asyncio.to_thread(self._file_store.delete_abandoned, before)
        return Deleted(jobs=deleted_jobs, files=deleted_files)

    async def _delete_jobs(self, keep: timedelta) -> int:
        now = self._clock()
        owes_mail = exists().where(
            outbox.c.job_id == jobs.c.id, outbox.c.state.in_(UNSENT), outbox.c.expires_at > now
        )
        expired = (jobs.c.finished_at < now - keep) & ~owes_mail
        async with self._database.write() as connection:
            locked = await lock_jobs(connection, expired, limit=_BATCH)
            await connection.execute(delete(jobs).where(jobs.c.id.in_([job.id for job in locked])))
        return len(locked)

    async def _delete_mails_and_results(self, keep: timedelta) -> None:
        before = self._clock() - keep
        async with self._database.write() as connection:
            await connection.execute(
                delete(outbox).where(outbox.c.job_id.is_(None), outbox.c.finished_at < before)
            )
            await connection.execute(delete(result_cache).where(result_cache.c.created_at < before))

    async def _delete_files(self) -> int:
        unreferenced = (
            select(files.c.ref)
            .where(
                files.c.touched_at < self._clock() - GRACE,
                ~exists().where(images.c.content == files.c.ref),
                ~exists().where(images.c.result == files.c.ref),
                ~exists().where(result_cache.c.result == files.c.ref),
            )
            .limit(_BATCH)
            .with_for_update(skip_locked=True)
        )
        async with self._database.write() as connection:
            refs = (await connection.execute(unreferenced)).scalars().all()
            # The rows go first: where one is still named, the database refuses.
            await connection.execute(delete(files).where(files.c.ref.in_(refs)))
            await asyncio.gather(*(asyncio.to_thread(self._file_store.delete, ref) for ref in refs))
        return len(refs)
