"""Puts mails to the operator into the outbox, few however much happens."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from deployments.mail.digest import OperatorLimiter
from deployments.mail.notifications import Digest, OperatorEvent
from deployments.mail.settings import MailSettings

log = logging.getLogger(__name__)


class OperatorOutbox(Protocol):
    """The call that is needed of the store's outbox."""

    async def add(self, kind: str, recipient: str, locale: str, data: dict[str, object]) -> str:
        """Owe a mail that belongs to no job; return its id."""
        ...


class OperatorMails:
    """Logs every event, and owes the mails of those that the rate limit lets through.

    Args:
        outbox: The store.
        settings: OPS_EMAIL, OPS_LOCALE, OPS_DIGEST_MINUTES.
        clock: The time, in UTC.
    """

    def __init__(
        self, outbox: OperatorOutbox, settings: MailSettings, clock: Callable[[], datetime]
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._clock = clock
        self._limiter = OperatorLimiter(timedelta(minutes=settings.ops_digest_minutes))
        self._recipients = settings.ops_email if settings.enabled else ()

    async def tell(self, event: OperatorEvent) -> None:
        """Take an event: mail it now, or keep it for the digest.

        Raises:
            StoreUnavailable: The database does not answer; the log has the event.
        """
        log.error("%s: %s", event.kind, event.summary)
        if self._recipients and self._limiter.offer(event, self._clock()) is not None:
            await self._owe(event)

    async def flush(self) -> None:
        """Owe the digest once its time has come.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        digest = self._limiter.take_digest(self._clock())
        if digest is not None:
            await self._owe(digest)

    async def _owe(self, notification: OperatorEvent | Digest) -> None:
        facts = notification.model_dump(mode="json", exclude={"kind"})
        for address in self._recipients:
            await self._outbox.add(notification.kind, address, self._settings.ops_locale, facts)
