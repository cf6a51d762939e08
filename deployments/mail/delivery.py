"""The loop step that empties the outbox: claim what is due, send, note the verdict.

At-least-once: a mail is marked sent only after the server's final reply, so a reply that gets
lost makes a second copy, with the same Message-ID. Exactly-once is impossible over SMTP
(RFC 1047).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import Protocol

from deployments import tracing
from deployments.errors import ClientError
from deployments.jobs.records import Mail, MailLease, MailToken
from deployments.mail.backoff import RetrySchedule
from deployments.mail.breaker import CircuitBreaker
from deployments.mail.notifications import OPERATOR_KINDS, MailDeadLettered
from deployments.mail.outcome import Cause, Dead, Deferred, Sent
from deployments.mail.sender import Sender
from deployments.mail.settings import MailSettings

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
Compose = Callable[[Mail], Awaitable[EmailMessage]]
OnDead = Callable[[MailDeadLettered], Awaitable[None]]

# A lease outlives the longest send, so that no second notifier takes a mail that is under way.
_LEASE_MARGIN = timedelta(seconds=60)
# Stands in front of the reason of every later deferral: the row itself remembers the loss.
_LOST_ONCE = "Acknowledgement lost once"


class Outbox(Protocol):
    """The calls that the delivery needs of the store. Each mark is refused (False) when the
    lease was lost to another notifier."""

    async def claim(self, owner: str, limit: int, lease: timedelta) -> Sequence[MailLease]:
        """Lease due mails, oldest first, counting an attempt on each."""
        ...

    async def mark_sent(self, token: MailToken, reply: str) -> bool:
        """Note that the server took the mail."""
        ...

    async def mark_deferred(self, token: MailToken, next_attempt_at: datetime, reply: str) -> bool:
        """Note that the mail is to be tried again."""
        ...

    async def mark_dead(self, token: MailToken, reply: str) -> bool:
        """Note that the mail is given up."""
        ...


@dataclass(slots=True)
class DeliveryCounts:
    """Mails by verdict in one step."""

    sent: int = 0
    deferred: int = 0
    dead: int = 0


class Delivery:
    """Delivers what is due.

    Args:
        outbox: The store.
        sender: Sends one mail.
        compose: Writes the message of a mail. A :class:`ClientError` from it (the job is deleted)
            ends the mail; anything else leaves it to the next claim.
        settings: Retries, expiry, breaker, number of connections.
        clock: The time, in UTC.
        owner: Name of this notifier on its leases.
        on_dead: Told of every mail to a user that is given up. Not of mails to the operator:
            that mail would be about a mail that cannot be delivered either.
        random_source: Source of the variation of delays.
    """

    def __init__(
        self,
        outbox: Outbox,
        sender: Sender,
        compose: Compose,
        settings: MailSettings,
        clock: Clock,
        owner: str,
        on_dead: OnDead,
        random_source: random.Random,
    ) -> None:
        self._outbox = outbox
        self._sender = sender
        self._compose = compose
        self._clock = clock
        self._owner = owner
        self._on_dead = on_dead
        self._schedule = RetrySchedule(
            settings.email_retry_minutes, settings.email_retry_jitter, random_source
        )
        self._breaker = CircuitBreaker(
            settings.email_breaker_failures, timedelta(seconds=settings.email_breaker_seconds)
        )
        self._lease = timedelta(seconds=settings.timeout_seconds) + _LEASE_MARGIN
        self._connections = settings.email_concurrency
        self._hold_unknown = settings.email_hold_unknown
        self._stopped = False

    def stop(self) -> None:
        """Claim nothing more; what is being sent is sent to its end."""
        self._stopped = True

    async def deliver_due(self) -> DeliveryCounts:
        """Attempt every mail that is due, until none is left or the breaker opens."""
        counts = DeliveryCounts()
        while allowed := self._allowed():
            leases = await self._outbox.claim(self._owner, allowed, self._lease)
            if not leases:
                break
            results = await asyncio.gather(
                *(self._attempt(lease, counts) for lease in leases), return_exceptions=True
            )
            # Siblings finish first: a send that is cut off may leave a copy behind.
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        return counts

    def _allowed(self) -> int:
        return 0 if self._stopped else self._breaker.allowed(self._clock(), self._connections)

    async def _attempt(self, lease: MailLease, counts: DeliveryCounts) -> None:
        mail = lease.mail
        # A first attempt is made however late: the notifier may have been down for a day.
        if mail.attempts > 1 and self._clock() >= mail.expires_at:
            await self._bury(lease, f"Expired; last reply: {mail.last_reply}", counts)
            return
        try:
            message = await self._compose(mail)
        except ClientError as error:
            await self._bury(lease, f"The mail could not be written: {error}", counts)
            return
        with tracing.span("mail", {"mail": mail.id, "kind": mail.kind}) as span:
            outcome = await self._sender.send(message, mail.recipient)
            span.set_attribute("outcome", type(outcome).__name__)
        self._note_server(outcome)
        match outcome:
            case Sent(reply):
                counts.sent += 1
                self._warn_if_lost(lease, await self._outbox.mark_sent(lease.token, reply))
            case Dead(reason):
                await self._bury(lease, reason, counts)
            case Deferred():
                await self._defer(lease, outcome, counts)

    async def _defer(self, lease: MailLease, outcome: Deferred, counts: DeliveryCounts) -> None:
        mail = lease.mail
        reason = outcome.reason
        lost_before = (mail.last_reply or "").startswith(_LOST_ONCE)
        if outcome.cause is Cause.UNKNOWN and (lost_before or self._hold_unknown):
            await self._bury(
                lease, f"Acknowledgement lost, the mail may be there: {reason}", counts
            )
            return
        if outcome.cause is Cause.UNKNOWN or lost_before:
            reason = f"{_LOST_ONCE}; {reason}"
        next_attempt_at = self._clock() + self._schedule.delay(mail.attempts)
        if next_attempt_at >= mail.expires_at:
            await self._bury(lease, f"Gave up after {mail.attempts} attempts: {reason}", counts)
            return
        counts.deferred += 1
        logger.info("Mail %s (attempt %d) deferred: %s", mail.id, mail.attempts, reason)
        self._warn_if_lost(
            lease, await self._outbox.mark_deferred(lease.token, next_attempt_at, reason)
        )

    async def _bury(self, lease: MailLease, reason: str, counts: DeliveryCounts) -> None:
        mail = lease.mail
        counts.dead += 1
        logger.error("Mail %s (%s) given up: %s", mail.id, mail.kind, reason)
        held = await self._outbox.mark_dead(lease.token, reason)
        self._warn_if_lost(lease, held)
        if held and mail.kind not in OPERATOR_KINDS:
            await self._on_dead(
                MailDeadLettered(
                    mail_id=mail.id,
                    mail_kind=mail.kind,
                    recipient=mail.recipient,
                    reason=reason,
                    at=self._clock(),
                )
            )

    def _note_server(self, outcome: Sent | Deferred | Dead) -> None:
        if not isinstance(outcome, Deferred) or outcome.cause is not Cause.SERVER:
            self._breaker.succeeded()
        elif self._breaker.failed(self._clock()):
            logger.warning("The mail server is left alone for a while: %s", outcome.reason)

    @staticmethod
    def _warn_if_lost(lease: MailLease, held: bool) -> None:
        if not held:
            logger.warning("Mail %s was taken over by another notifier meanwhile.", lease.mail.id)
