"""The outbox: mails that are owed, leased to whoever sends them.

At-least-once: a sender that dies between the server's acknowledgement and ``mark_sent`` leaves
a lease that expires, and the mail is sent again under the same Message-ID (RFC 1047 explains
why no protocol over SMTP can do better).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, and_, func, insert, or_, select, tuple_, update

from deployments.errors import Conflict, NotFound
from deployments.jobs.clock import Clock
from deployments.jobs.database import Database
from deployments.jobs.lifecycle import new_mail
from deployments.jobs.records import Mail, MailLease, MailToken
from deployments.jobs.schema import outbox
from deployments.jobs.states import MailState
from deployments.jobs.text import storable_text

UNSENT = (MailState.QUEUED, MailState.SENDING, MailState.DEFERRED)


class Outbox:
    """The mails of jobs, written when a job ends, and those to the operator."""

    def __init__(self, database: Database, clock: Clock, mail_expiry: timedelta) -> None:
        self._database = database
        self._clock = clock
        self._mail_expiry = mail_expiry

    async def add(self, kind: str, recipient: str, locale: str, data: dict[str, object]) -> str:
        """Owe a mail that belongs to no job; return its id."""
        row = new_mail(None, kind, recipient, locale, data, self._clock(), self._mail_expiry)
        async with self._database.write() as connection:
            await connection.execute(insert(outbox).values(row))
        return str(row["id"])

    async def claim(self, owner: str, limit: int, lease: timedelta) -> list[MailLease]:
        """Lease up to ``limit`` mails that are due, longest due first; count one attempt each.

        Mails of a dead sender are claimed again. Those past their expiry are claimed too: the
        sender gives them up, and tells.
        """
        async with self._database.write() as connection:
            # Not before: the time spent waiting for the lock must not be taken off the lease.
            now = self._clock()
            due_ids = (await connection.execute(_due(now, limit))).scalars().all()
            statement = (
                update(outbox)
                .where(outbox.c.id.in_(due_ids))
                .values(
                    state=MailState.SENDING,
                    attempts=outbox.c.attempts + 1,
                    fence=outbox.c.fence + 1,
                    lease_owner=owner,
                    lease_until=now + lease,
                )
                .returning(outbox)
            )
            rows = (await connection.execute(statement)).all()
        rows = sorted(rows, key=lambda row: due_ids.index(row.id))
        return [MailLease(MailToken(row.id, row.fence), _mail(row), now + lease) for row in rows]

    async def mark_sent(self, token: MailToken, reply: str) -> bool:
        """Record that the server took the mail; False if the token is outdated."""
        return await self._report(token, _finished(MailState.SENT, self._clock(), reply))

    async def mark_deferred(self, token: MailToken, next_attempt_at: datetime, reply: str) -> bool:
        """Record that the mail is to be tried again; False if the token is outdated."""
        values = {
            "state": MailState.DEFERRED,
            "next_attempt_at": next_attempt_at,
            "last_reply": storable_text(reply),
            "lease_owner": None,
            "lease_until": None,
        }
        return await self._report(token, values)

    async def mark_dead(self, token: MailToken, reply: str) -> bool:
        """Record that the mail is given up; False if the token is outdated."""
        return await self._report(token, _finished(MailState.DEAD, self._clock(), reply))

    async def retry(self, mail_id: str) -> Mail:
        """Let a dead or deferred mail start anew, at once and with a new expiry.

        Raises:
            NotFound: There is no such mail.
            Conflict: The mail is sent, being sent or already waiting.
        """
        now = self._clock()
        statement = (
            update(outbox)
            .where(
                outbox.c.id == mail_id,
                outbox.c.state.in_([MailState.DEAD, MailState.DEFERRED]),
            )
            .values(
                state=MailState.QUEUED,
                next_attempt_at=now,
                expires_at=now + self._mail_expiry,
                finished_at=None,
            )
            .returning(outbox)
        )
        present = select(outbox.c.state).where(outbox.c.id == mail_id)
        async with self._database.write() as connection:
            row = (await connection.execute(statement)).one_or_none()
            if row is not None:
                return _mail(row)
            state = (await connection.execute(present)).scalar_one_or_none()
        if state is None:
            raise NotFound("there is no such mail")
        raise Conflict(f"the mail is {state}; only a dead or deferred one can be tried again")

    async def list(
        self, limit: int, state: MailState | None = None, after: str | None = None
    ) -> Sequence[Mail]:
        """Return one page of mails, the newest first.

        Args:
            after: Id of the last mail of the page before.
        """
        query = select(outbox).order_by(outbox.c.created_at.desc(), outbox.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(outbox.c.state == state)
        if after is not None:
            last = select(outbox.c.created_at, outbox.c.id).where(outbox.c.id == after)
            query = query.where(tuple_(outbox.c.created_at, outbox.c.id) < last.scalar_subquery())
        async with self._database.read() as connection:
            return [_mail(row) for row in await connection.execute(query)]

    async def counts(self) -> dict[MailState, int]:
        """Return the number of mails in each state."""
        query = select(outbox.c.state, func.count().label("number")).group_by(outbox.c.state)
        async with self._database.read() as connection:
            found = {row.state: row.number for row in await connection.execute(query)}
        return {state: found.get(state, 0) for state in MailState}

    async def oldest_unsent_age(self) -> timedelta:
        """Return how long the oldest mail has waited that is neither sent nor given up."""
        query = select(func.min(outbox.c.created_at)).where(outbox.c.state.in_(UNSENT))
        async with self._database.read() as connection:
            oldest: datetime | None = (await connection.execute(query)).scalar_one()
        return timedelta() if oldest is None else self._clock() - oldest

    async def _report(self, token: MailToken, values: dict[str, Any]) -> bool:
        statement = (
            update(outbox)
            .where(
                outbox.c.id == token.id,
                outbox.c.fence == token.fence,
                outbox.c.state == MailState.SENDING,
            )
            .values(values)
        )
        async with self._database.write() as connection:
            return (await connection.execute(statement)).rowcount == 1


def _due(now: datetime, limit: int) -> Select[tuple[str]]:
    """Ids of the mails that may be claimed, locked against other claims."""
    free = or_(
        outbox.c.state.in_([MailState.QUEUED, MailState.DEFERRED]),
        and_(outbox.c.state == MailState.SENDING, outbox.c.lease_until <= now),
    )
    return (
        select(outbox.c.id)
        .where(free, outbox.c.next_attempt_at <= now)
        .order_by(outbox.c.next_attempt_at, outbox.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )


def _finished(state: MailState, now: datetime, reply: str) -> dict[str, Any]:
    return {
        "state": state,
        "last_reply": storable_text(reply),
        "finished_at": now,
        "lease_owner": None,
        "lease_until": None,
    }


def _mail(row: Row[Any]) -> Mail:
    return Mail(
        id=row.id,
        job_id=row.job_id,
        kind=row.kind,
        recipient=row.recipient,
        locale=row.locale,
        data=row.data,
        message_key=row.message_key,
        state=MailState(row.state),
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        expires_at=row.expires_at,
        last_reply=row.last_reply,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
