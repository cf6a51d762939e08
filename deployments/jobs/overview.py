"""Numbers over the jobs of all tenants, for whoever watches the service."""

from datetime import timedelta

from sqlalchemy import func, select

from deployments.jobs.clock import Clock
from deployments.jobs.database import Database
from deployments.jobs.schema import jobs
from deployments.jobs.states import JobState


class Overview:
    """Counts and ages."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def jobs_by_state(self) -> dict[JobState, int]:
        """Return the number of jobs in each state, zeros included."""
        query = select(jobs.c.state, func.count().label("number")).group_by(jobs.c.state)
        async with self._database.read() as connection:
            counts = {row.state: row.number for row in await connection.execute(query)}
        return {state: counts.get(state, 0) for state in JobState}

    async def oldest_unfinished_age(self) -> timedelta:
        """Return the age of the oldest job that has not ended; zero if there is none."""
        query = select(func.min(jobs.c.created_at)).where(
            jobs.c.state.in_([JobState.QUEUED, JobState.RUNNING])
        )
        async with self._database.read() as connection:
            created_at = (await connection.execute(query)).scalar_one()
        return timedelta(0) if created_at is None else self._clock() - created_at
