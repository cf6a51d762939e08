"""Jobs: accept, look up, list, cancel, follow."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from deployments.errors import Conflict, InvalidRequest, NotFound
from deployments.jobs.clock import Clock
from deployments.jobs.database import Database
from deployments.jobs.leases import finish_images
from deployments.jobs.lifecycle import (
    JobRow,
    append_events,
    count_images,
    finish_if_done,
    lock_jobs,
)
from deployments.jobs.records import Counts, Event, Image, Job, NewJob
from deployments.jobs.schema import events, images, jobs
from deployments.jobs.states import ImageState, JobState
from deployments.jobs.text import storable_text

_MAX_KEY_LENGTH = 255


class JobRepository:
    """The jobs and what their owners may do with them.

    ``tenant`` limits a call to the jobs of one tenant: those of others do not exist for it.
    None is for the service itself.
    """

    def __init__(self, database: Database, clock: Clock, mail_expiry: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._mail_expiry = mail_expiry

    async def create(self, new: NewJob) -> tuple[Job, bool]:
        """Accept a job, or find the one that the same request created before.

        Returns:
            The job, and whether it is new.

        Raises:
            InvalidRequest: The job has no images, or its idempotency key is too long.
            Conflict: The idempotency key belongs to another request of this tenant.
            InsufficientStorage: The disk is full.
        """
        if not new.images:
            raise InvalidRequest("a job needs at least one image")
        if new.idempotency_key is not None and len(new.idempotency_key) > _MAX_KEY_LENGTH:
            raise InvalidRequest(f"an Idempotency-Key has at most {_MAX_KEY_LENGTH} characters")
        now = self._clock()
        job_id = str(uuid.uuid4())
        statement = (
            self._database.insert(jobs)
            .values(
                id=job_id,
                tenant=new.tenant,
                idempotency_key=new.idempotency_key,
                request_hash=new.request_hash,
                model=new.model,
                threshold=new.threshold,
                detect_holes=new.detect_holes,
                outputs=new.outputs,
                notify=new.notify,
                locale=new.locale,
                state=JobState.QUEUED,
                last_event_id=0,
                created_at=now,
            )
            .on_conflict_do_nothing(index_elements=["tenant", "idempotency_key"])
        )
        async with self._database.write() as connection:
            if (await connection.execute(statement)).rowcount == 0:
                return await _same_request(connection, new), False
            await connection.execute(
                insert(images),
                [
                    {
                        "job_id": job_id,
                        "position": position,
                        "name": storable_text(image.name),
                        "content": image.content,
                        "state": ImageState.QUEUED,
                        "attempts": 0,
                        "fence": 0,
                        "timings": {},
                    }
                    for position, image in enumerate(new.images)
                ],
            )
            await append_events(connection, job_id, [("job", {"state": JobState.QUEUED})], now)
            return await _get(connection, jobs.c.id == job_id), True

    async def get(self, job_id: str, tenant: str | None) -> Job:
        """Return a job.

        Raises:
            NotFound: There is no such job of this tenant.
        """
        async with self._database.read() as connection:
            return await _get(connection, _visible(job_id, tenant))

    async def list(self, tenant: str, limit: int, after: str | None = None) -> list[Job]:
        """Return one page of a tenant's jobs, the newest first.

        Args:
            after: Id of the last job of the page before.
        """
        query = (
            select(jobs)
            .where(jobs.c.tenant == tenant)
            .order_by(jobs.c.created_at.desc(), jobs.c.id.desc())
            .limit(limit)
        )
        if after is not None:
            last = select(jobs.c.created_at, jobs.c.id).where(_visible(after, tenant))
            query = query.where(tuple_(jobs.c.created_at, jobs.c.id) < last.scalar_subquery())
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
            counts = await count_images(connection, [row.id for row in rows])
            return [_job(row, counts[row.id]) for row in rows]

    async def images(
        self,
        job_id: str,
        tenant: str | None,
        limit: int,
        after: int = -1,
        name: str | None = None,
    ) -> Sequence[Image]:
        """Return one page of a job's images in upload order.

        Args:
            after: Position of the last image of the page before.
            name: Returns only images of this name.

        Raises:
            NotFound: There is no such job of this tenant.
        """
        query = (
            select(images)
            .where(images.c.job_id == job_id, images.c.position > after)
            .order_by(images.c.position)
            .limit(limit)
        )
        if name is not None:
            query = query.where(images.c.name == storable_text(name))
        async with self._database.read() as connection:
            await _row(connection, _visible(job_id, tenant))
            return [
                Image(
                    position=row.position,
                    name=row.name,
                    content=row.content,
                    state=ImageState(row.state),
                    attempts=row.attempts,
                    error=row.error,
                    timings=row.timings,
                    result=row.result,
                )
                for row in await connection.execute(query)
            ]

    async def cancel(self, job_id: str, tenant: str | None) -> Job:
        """Let no further image of a job start. Images in flight finish; then the job ends.

        A job that has ended stays as it is.

        Raises:
            NotFound: There is no such job of this tenant.
        """
        now = self._clock()
        async with self._database.write() as connection:
            locked = await lock_jobs(connection, _visible(job_id, tenant))
            if locked and not JobState(locked[0].state).is_terminal:
                await connection.execute(
                    update(jobs)
                    .where(jobs.c.id == job_id, jobs.c.cancel_requested_at.is_(None))
                    .values(cancel_requested_at=now)
                )
                cancelled = await _row(connection, jobs.c.id == job_id)
                waiting = images.c.state == ImageState.QUEUED
                await finish_images(connection, cancelled, waiting, now, ImageState.CANCELLED)
                await finish_if_done(connection, cancelled, now, self._mail_expiry)
            return await _get(connection, _visible(job_id, tenant))

    async def events_since(
        self, job_id: str, tenant: str | None, last_id: int, limit: int = 1000
    ) -> Sequence[Event]:
        """Return the events of a job after the one with the id ``last_id``, in order.

        Raises:
            NotFound: There is no such job of this tenant.
        """
        query = (
            select(events)
            .where(events.c.job_id == job_id, events.c.id > last_id)
            .order_by(events.c.id)
            .limit(limit)
        )
        async with self._database.read() as connection:
            await _row(connection, _visible(job_id, tenant))
            return [
                Event(id=row.id, kind=row.kind, data=row.data, created_at=row.created_at)
                for row in await connection.execute(query)
            ]


def _visible(job_id: str, tenant: str | None) -> ColumnElement[bool]:
    condition = jobs.c.id == job_id
    return condition if tenant is None else condition & (jobs.c.tenant == tenant)


async def _same_request(connection: AsyncConnection, new: NewJob) -> Job:
    owner = (jobs.c.tenant == new.tenant) & (jobs.c.idempotency_key == new.idempotency_key)
    row = await _row(connection, owner)
    if row.request_hash != new.request_hash:
        raise Conflict("this Idempotency-Key was used for another request")
    return await _get(connection, owner)


async def _row(connection: AsyncConnection, condition: ColumnElement[bool]) -> JobRow:
    row = (await connection.execute(select(jobs).where(condition))).one_or_none()
    if row is None:
        raise NotFound("there is no such job")
    return row


async def _get(connection: AsyncConnection, condition: ColumnElement[bool]) -> Job:
    row = await _row(connection, condition)
    return _job(row, (await count_images(connection, [row.id]))[row.id])


def _job(row: JobRow, counts: Counts) -> Job:
    return Job(
        id=row.id,
        tenant=row.tenant,
        model=row.model,
        threshold=row.threshold,
        detect_holes=row.detect_holes,
        outputs=tuple(row.outputs),
        notify=tuple(row.notify),
        locale=row.locale,
        state=JobState(row.state),
        counts=counts,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        cancel_requested_at=row.cancel_requested_at,
    )
