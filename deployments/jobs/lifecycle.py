"""Steps that several operations share, inside the transaction of the caller.

Lock order: a transaction first locks the rows of the jobs that it changes, oldest first, and
only then touches their images and events. Two transactions on one job so follow one another,
and no two wait for each other. (SQLite has one writer; there the locks are no-ops.)
"""

import hashlib
import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from deployments.jobs.records import Counts
from deployments.jobs.schema import events, images, jobs, outbox
from deployments.jobs.states import ImageState, JobState, MailState

JobRow = Row[Any]

JOB_FINISHED = "job_finished"
JOB_FAILED = "job_failed"
_MAIL_KINDS = {
    JobState.SUCCEEDED: JOB_FINISHED,
    JobState.PARTIAL: JOB_FINISHED,
    JobState.FAILED: JOB_FAILED,
}


async def lock_jobs(
    connection: AsyncConnection,
    condition: ColumnElement[bool],
    *,
    limit: int | None = None,
    skip_locked: bool = False,
) -> Sequence[JobRow]:
    """Lock the jobs that fulfil a condition until the end of the transaction, oldest first."""
    query = (
        select(jobs)
        .where(condition)
        .order_by(jobs.c.created_at, jobs.c.id)
        .limit(limit)
        .with_for_update(skip_locked=skip_locked)
    )
    return (await connection.execute(query)).all()


async def count_images(connection: AsyncConnection, job_ids: Collection[str]) -> dict[str, Counts]:
    """Return the number of images in each state, by job."""
    query = (
        select(images.c.job_id, images.c.state, func.count())
        .where(images.c.job_id.in_(job_ids))
        .group_by(images.c.job_id, images.c.state)
    )
    by_job: dict[str, dict[str, int]] = {job_id: {} for job_id in job_ids}
    for job_id, state, number in await connection.execute(query):
        by_job[job_id][state] = number
    return {job_id: Counts(**states) for job_id, states in by_job.items()}


async def append_events(
    connection: AsyncConnection,
    job_id: str,
    new_events: Sequence[tuple[str, dict[str, object]]],
    now: datetime,
) -> None:
    """Append (kind, data) pairs to the events of a locked job."""
    if not new_events:
        return
    statement = (
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(last_event_id=jobs.c.last_event_id + len(new_events))
        .returning(jobs.c.last_event_id)
    )
    last_id = (await connection.execute(statement)).scalar_one()
    first_id = last_id - len(new_events) + 1
    await connection.execute(
        insert(events),
        [
            {"job_id": job_id, "id": id_, "kind": kind, "data": data, "created_at": now}
            for id_, (kind, data) in enumerate(new_events, start=first_id)
        ],
    )


def image_event(
    position: int, state: ImageState, error: str | None
) -> tuple[str, dict[str, object]]:
    """Return the event that tells of one finished image."""
    return "image", {"position": position, "state": state, "error": error}


async def finish_if_done(
    connection: AsyncConnection, job: JobRow, now: datetime, mail_expiry: timedelta
) -> JobState | None:
    """Give a locked job its terminal state once all its images have theirs.

    The mails to its recipients enter the outbox here, so that there is never a finished job
    without them, nor a mail for a job that is not finished. A cancelled job sends none.

    Returns:
        The terminal state, or None if images are pending or the job had ended before.
    """
    if JobState(job.state).is_terminal:
        return None
    pending = select(images.c.position).where(
        images.c.job_id == job.id, images.c.state.in_([ImageState.QUEUED, ImageState.LEASED])
    )
    if (await connection.execute(pending.limit(1))).first() is not None:
        return None
    counts = (await count_images(connection, [job.id]))[job.id]
    cancelled = job.cancel_requested_at is not None
    state = outcome(counts, cancelled=cancelled)
    error = await _first_error(connection, job.id, counts) if state is JobState.FAILED else None
    await connection.execute(
        update(jobs).where(jobs.c.id == job.id).values(state=state, error=error, finished_at=now)
    )
    await append_events(connection, job.id, [("job", {"state": state, "error": error})], now)
    await _notify(connection, job, state, now, mail_expiry)
    return state


def outcome(counts: Counts, *, cancelled: bool) -> JobState:
    """Return the terminal state of a job whose images are all finished."""
    if cancelled:
        return JobState.CANCELLED
    if counts.succeeded == counts.total:
        return JobState.SUCCEEDED
    return JobState.PARTIAL if counts.succeeded else JobState.FAILED


async def _first_error(connection: AsyncConnection, job_id: str, counts: Counts) -> str:
    query = (
        select(images.c.error)
        .where(images.c.job_id == job_id, images.c.error.is_not(None))
        .order_by(images.c.position)
        .limit(1)
    )
    first = (await connection.execute(query)).scalar_one()
    return f"none of {counts.total} images could be segmented; the first error: {first}"


async def _notify(
    connection: AsyncConnection,
    job: JobRow,
    state: JobState,
    now: datetime,
    mail_expiry: timedelta,
) -> None:
    kind = _MAIL_KINDS.get(state)
    recipients = list(dict.fromkeys(job.notify))
    if kind is None or not recipients:
        return
    await connection.execute(
        insert(outbox),
        [
            new_mail(job.id, kind, recipient, job.locale, {}, now, mail_expiry)
            for recipient in recipients
        ],
    )


def new_mail(
    job_id: str | None,
    kind: str,
    recipient: str,
    locale: str,
    data: dict[str, object],
    now: datetime,
    expiry: timedelta,
) -> dict[str, object]:
    """Return the outbox row of a mail that is due at once."""
    mail_id = str(uuid.uuid4())
    identity = "\n".join((job_id or mail_id, kind, recipient))
    return {
        "id": mail_id,
        "job_id": job_id,
        "kind": kind,
        "recipient": recipient,
        "locale": locale,
        "data": data,
        "message_key": hashlib.sha256(identity.encode()).hexdigest(),
        "state": MailState.QUEUED,
        "attempts": 0,
        "fence": 0,
        "next_attempt_at": now,
        "expires_at": now + expiry,
        "created_at": now,
    }
