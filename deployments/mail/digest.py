"""Mails to the operator, few however much happens."""

from datetime import datetime, timedelta

from deployments.mail.content import MOST_LISTED
from deployments.mail.notifications import Digest, DigestEntry, OperatorEvent


class OperatorLimiter:
    """Lets the first event of a kind through and gathers what follows it into one digest.

    It lives in memory: a restart forgets events that wait for the digest. Their logs remain.

    Args:
        window: Least time between two mails of one kind, and between two digests.
    """

    def __init__(self, window: timedelta) -> None:
        self._window = window
        self._quiet_until: dict[str, datetime] = {}
        self._waiting: list[DigestEntry] = []
        self._waiting_kinds: set[str] = set()
        self._total = 0
        self._since: datetime | None = None

    def offer(self, event: OperatorEvent, now: datetime) -> OperatorEvent | None:
        """Return the event where it is to be mailed now, None where it waits for the digest."""
        quiet_until = self._quiet_until.get(event.kind)
        quiet = quiet_until is not None and now < quiet_until
        if not quiet and event.kind not in self._waiting_kinds:
            self._quiet_until[event.kind] = now + self._window
            return event
        self._since = self._since or now
        self._waiting_kinds.add(event.kind)
        self._total += 1
        if len(self._waiting) < MOST_LISTED:
            entry = DigestEntry(kind=event.kind, summary=event.summary, at=event.at)
            self._waiting.append(entry)
        return None

    def take_digest(self, now: datetime) -> Digest | None:
        """Return the digest once its window is over, None while it is not or nothing waits."""
        if self._since is None or now < self._since + self._window:
            return None
        digest = Digest(
            since=self._since, until=now, total=self._total, entries=tuple(self._waiting)
        )
        for kind in self._waiting_kinds:
            self._quiet_until[kind] = now + self._window
        self._waiting, self._waiting_kinds, self._total = [], set(), 0
        self._since = None
        return digest
