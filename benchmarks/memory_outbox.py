"""The outbox in memory, with the rules of the real one: leases, fences, counted attempts."""

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta

from deployments.jobs.records import Mail, MailLease, MailToken
from deployments.jobs.states import MailState


class MemoryOutbox:
    """Mails by id.

    Args:
        clock: The time, in UTC.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._fences: dict[str, int] = {}
        self.mails: dict[str, Mail] = {}

    def add(self, job_id: str, recipient: str, kind: str, data: dict[str, object]) -> Mail:
        """Owe a mail that is due at once and expires after 24 hours."""
        now = self._clock()
        identity = "\n".join((job_id, kind, recipient))
        mail = Mail(
            id=f"mail-{len(self.mails)}",
            job_id=job_id,
            kind=kind,
            recipient=recipient,
            locale="en",
            data=data,
            message_key=hashlib.sha256(identity.encode()).hexdigest(),
            state=MailState.QUEUED,
            attempts=0,
            next_attempt_at=now,
            expires_at=now + timedelta(hours=24),
            last_reply=None,
            created_at=now,
            finished_at=None,
        )
        self.mails[mail.id] = mail
        self._fences[mail.id] = 0
        return mail

    async def claim(self, owner: str, limit: int, lease: timedelta) -> list[MailLease]:
        """Lease up to ``limit`` mails that are due."""
        now = self._clock()
        waiting = (MailState.QUEUED, MailState.DEFERRED)
        due = [m for m in self.mails.values() if m.state in waiting and m.next_attempt_at <= now]
        leases = []
        for mail in sorted(due, key=lambda mail: mail.next_attempt_at)[:limit]:
            self._fences[mail.id] += 1
            sending = dataclasses.replace(mail, state=MailState.SENDING, attempts=mail.attempts + 1)
            self.mails[mail.id] = sending
            token = MailToken(mail.id, self._fences[mail.id])
            leases.append(MailLease(token, sending, now + lease))
        return leases

    def take_over(self, mail_id: str) -> None:
        """Let another notifier hold the lease of a mail."""
        self._fences[mail_id] += 1

    async def mark_sent(self, token: MailToken, reply: str) -> bool:
        """Note that the server took the mail."""
        return self._mark(token, MailState.SENT, reply)

    async def mark_deferred(self, token: MailToken, next_attempt_at: datetime, reply: str) -> bool:
        """Note that the mail is to be tried again."""
        if not self._mark(token, MailState.DEFERRED, reply):
            return False
        self.mails[token.id] = dataclasses.replace(
            self.mails[token.id], next_attempt_at=next_attempt_at
        )
        return True

    async def mark_dead(self, token: MailToken, reply: str) -> bool:
        """Note that the mail is given up."""
        return self._mark(token, MailState.DEAD, reply)

    def next_due(self) -> datetime | None:
        """Return when the next mail is due, None where none waits."""
        waiting = (MailState.QUEUED, MailState.DEFERRED)
        return min(
            (m.next_attempt_at for m in self.mails.values() if m.state in waiting), default=None
        )

    def _mark(self, token: MailToken, state: MailState, reply: str) -> bool:
        if self._fences[token.id] != token.fence:
            return False
        self.mails[token.id] = dataclasses.replace(
            self.mails[token.id], state=state, last_reply=reply
        )
        return True
