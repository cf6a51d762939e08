"""The queue of images: claim, heartbeat, complete, fail, release, reap."""

from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import exists, select

from deployments.jobs.clock import Clock
from deployments.jobs.database import Database
from deployments.jobs.leases import (
    finish_images,
    held,
    lease_images,
    lock_jobs_of,
    requeue_images,
)
from deployments.jobs.lifecycle import count_images, finish_if_done, lock_jobs
from deployments.jobs.records import ImageLease, ImageToken, Reaped
from deployments.jobs.schema import images, jobs
from deployments.jobs.shares import fair_shares
from deployments.jobs.states import ImageState, JobState
from deployments.jobs.text import storable_text

MAX_ATTEMPTS = 3


class ImageQueue:
    """Hands images to workers and takes their answers.

    A worker holds an image until its lease ends and prolongs it by heartbeats. An answer is
    valid as long as nobody else has claimed the image, even if the lease has just expired.
    """

    def __init__(self, database: Database, clock: Clock, mail_expiry: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._mail_expiry = mail_expiry

    async def claim(
        self, owner: str, limit: int, lease: timedelta, model: str | None = None
    ) -> list[ImageLease]:
        """Lease up to ``limit`` images to a worker and count one attempt for each.

        The oldest ``limit`` jobs that have images waiting share: the next image comes from
        the job with the fewest in flight, of equals from the oldest.

        Args:
            model: Claims only images for this model.
        """
        waiting = jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING]) & exists().where(
            images.c.job_id == jobs.c.id, images.c.state == ImageState.QUEUED
        )
        if model is not None:
            waiting &= jobs.c.model == model
        async with self._database.write() as connection:
            # A job that another transaction holds is passed over, unless no other is left.
            locked = await lock_jobs(connection, waiting, limit=limit, skip_locked=True)
            if not locked:
                locked = await lock_jobs(connection, waiting, limit=limit)
            # Not before: the time spent waiting for locks must not be taken off the lease.
            now = self._clock()
            counts = await count_images(connection, [job.id for job in locked])
            shares = fair_shares(
                limit,
                waiting=[counts[job.id].queued for job in locked],
                in_flight=[counts[job.id].leased for job in locked],
            )
            leases: list[ImageLease] = []
            for job, share in zip(locked, shares, strict=True):
                if share:
                    leases += await lease_images(connection, job, owner, share, now, now + lease)
            return leases

    async def heartbeat(self, tokens: Collection[ImageToken], lease: timedelta) -> set[ImageToken]:
        """Prolong leases, counted from now; return the tokens that are still valid."""
        async with self._database.write() as connection:
            await lock_jobs_of(connection, tokens)
            statement = (
                images.update()
                .where(held(tokens))
                .values(lease_until=self._clock() + lease)
                .returning(images.c.job_id, images.c.position, images.c.fence)
            )
            return {ImageToken(*row) for row in await connection.execute(statement)}

    async def complete(
        self, token: ImageToken, result: str, timings: dict[str, float] | None = None
    ) -> bool:
        """Record the result of an image.

        Args:
            result: SHA-256 (hex) of the result file, which the file store already holds.
            timings: Seconds by name.

        Returns:
            False if the token is outdated; then nothing was changed. Repeating a call whose
            answer was lost returns True again.
        """
        now = self._clock()
        recorded = select(images.c.position).where(
            images.c.job_id == token.job_id,
            images.c.position == token.position,
            images.c.fence == token.fence,
            images.c.result == result,
        )
        async with self._database.write() as connection:
            for job in await lock_jobs_of(connection, [token]):
                if await finish_images(
                    connection,
                    job,
                    held([token]),
                    now,
                    ImageState.SUCCEEDED,
                    values={"result": result, "timings": timings or {}},
                ):
                    await finish_if_done(connection, job, now, self._mail_expiry)
                    return True
            return (await connection.execute(recorded)).first() is not None

    async def fail(self, token: ImageToken, error: str, *, retry: bool = False) -> bool:
        """Record that an image failed: for good or, with ``retry``, until its last attempt.

        Args:
            error: One sentence for the owner of the job.
            retry: Whether another attempt may succeed.

        Returns:
            False if the token is outdated; then nothing was changed.
        """
        now = self._clock()
        mine = held([token])
        async with self._database.write() as connection:
            for job in await lock_jobs_of(connection, [token]):
                changed = 0
                if retry:
                    again = mine & (images.c.attempts < MAX_ATTEMPTS)
                    changed = await requeue_images(connection, job, again, now)
                if not changed:
                    state = ImageState.DEAD if retry else ImageState.FAILED
                    changed = await finish_images(
                        connection, job, mine, now, state, storable_text(error)
                    )
                if changed:
                    await finish_if_done(connection, job, now, self._mail_expiry)
                    return True
            return False

    async def release(self, tokens: Collection[ImageToken]) -> int:
        """Give back images that were not worked on; their attempts do not count.

        Returns:
            The number of images that were given back; those of outdated tokens were not.
        """
        now = self._clock()
        released = 0
        async with self._database.write() as connection:
            for job in await lock_jobs_of(connection, tokens):
                released += await requeue_images(
                    connection, job, held(tokens), now, {"attempts": images.c.attempts - 1}
                )
                await finish_if_done(connection, job, now, self._mail_expiry)
        return released

    async def reap(self, spare: Collection[ImageToken] = ()) -> Reaped:
        """Take back the images whose leases have expired; give up those tried too often.

        Args:
            spare: Images of the caller itself, which knows that it is alive however late its
                heartbeats are.
        """
        # Before waiting for locks: what is claimed meanwhile cannot seem expired.
        now = self._clock()
        expired = (
            (images.c.state == ImageState.LEASED) & (images.c.lease_until <= now) & ~held(spare)
        )
        exhausted = expired & (images.c.attempts >= MAX_ATTEMPTS)
        error = f"given up: the worker ended {MAX_ATTEMPTS} times without an answer"
        returned = dead = 0
        async with self._database.write() as connection:
            for job in await lock_jobs(
                connection, exists().where(images.c.job_id == jobs.c.id, expired)
            ):
                dead += await finish_images(connection, job, exhausted, now, ImageState.DEAD, error)
                returned += await requeue_images(connection, job, expired, now)
                await finish_if_done(connection, job, now, self._mail_expiry)
        return Reaped(returned=returned, dead=dead)
