"""Changes to the images of a locked job, inside the transaction of the caller."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import ColumnElement, Update, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from deployments.jobs.lifecycle import JobRow, append_events, image_event, lock_jobs
from deployments.jobs.records import ImageLease, ImageToken
from deployments.jobs.schema import images, jobs
from deployments.jobs.states import ImageState, JobState

_NOTHING: Mapping[str, object] = MappingProxyType({})


def held(tokens: Collection[ImageToken]) -> ColumnElement[bool]:
    """Return the condition that an image is leased under one of the tokens."""
    keys = tuple_(images.c.job_id, images.c.position, images.c.fence)
    return (images.c.state == ImageState.LEASED) & keys.in_(
        [(token.job_id, token.position, token.fence) for token in tokens]
    )


async def lock_jobs_of(
    connection: AsyncConnection, tokens: Collection[ImageToken]
) -> Sequence[JobRow]:
    """Lock the jobs whose images the tokens name."""
    return await lock_jobs(connection, jobs.c.id.in_({token.job_id for token in tokens}))


async def lease_images(
    connection: AsyncConnection,
    job: JobRow,
    owner: str,
    number: int,
    now: datetime,
    lease_until: datetime,
) -> list[ImageLease]:
    """Lease the first ``number`` waiting images of a job; the first lease starts the job."""
    first = (
        select(images.c.position)
        .where(images.c.job_id == job.id, images.c.state == ImageState.QUEUED)
        .order_by(images.c.position)
        .limit(number)
    )
    statement = (
        update(images)
        .where(images.c.job_id == job.id, images.c.position.in_(first.scalar_subquery()))
        .values(
            state=ImageState.LEASED,
            attempts=images.c.attempts + 1,
            fence=images.c.fence + 1,
            lease_owner=owner,
            lease_until=lease_until,
        )
        .returning(images)
    )
    rows = (await connection.execute(statement)).all()
    if rows and job.state == JobState.QUEUED:
        await connection.execute(
            update(jobs).where(jobs.c.id == job.id).values(state=JobState.RUNNING, started_at=now)
        )
        await append_events(connection, job.id, [("job", {"state": JobState.RUNNING})], now)
    return [
        ImageLease(
            token=ImageToken(job.id, row.position, row.fence),
            name=row.name,
            content=row.content,
            attempt=row.attempts,
            lease_until=lease_until,
            model=job.model,
            threshold=job.threshold,
            detect_holes=job.detect_holes,
            outputs=tuple(job.outputs),
        )
        for row in sorted(rows, key=lambda row: row.position)
    ]


async def finish_images(
    connection: AsyncConnection,
    job: JobRow,
    condition: ColumnElement[bool],
    now: datetime,
    state: ImageState,
    error: str | None = None,
    values: Mapping[str, object] = _NOTHING,
) -> int:
    """Give the images of a job that fulfil a condition their terminal state.

    Args:
        values: Further columns to set.

    Returns:
        The number of images.
    """
    statement = _end_lease(job, condition).values(state=state, error=error, **values)
    positions = sorted((await connection.execute(statement)).scalars())
    new_events = [image_event(position, state, error) for position in positions]
    await append_events(connection, job.id, new_events, now)
    return len(positions)


async def requeue_images(
    connection: AsyncConnection,
    job: JobRow,
    condition: ColumnElement[bool],
    now: datetime,
    values: Mapping[str, object] = _NOTHING,
) -> int:
    """Put images of a job back into the queue; once the job is cancelled, end them instead.

    Args:
        values: Further columns to set.

    Returns:
        The number of images.
    """
    if job.cancel_requested_at is not None:
        return await finish_images(
            connection, job, condition, now, ImageState.CANCELLED, values=values
        )
    statement = _end_lease(job, condition).values(state=ImageState.QUEUED, **values)
    return len((await connection.execute(statement)).all())


def _end_lease(job: JobRow, condition: ColumnElement[bool]) -> Update:
    return (
        update(images)
        .where(images.c.job_id == job.id, condition)
        .values(lease_owner=None, lease_until=None)
        .returning(images.c.position)
    )
