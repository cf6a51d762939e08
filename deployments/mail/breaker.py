"""A circuit breaker: a server that fails again and again is left alone for a while."""

from datetime import datetime, timedelta


class CircuitBreaker:
    """Counts the failures of one server.

        closed ──failures in a row──▶ open ──rest over──▶ half open: one attempt
           ▲                            ▲                      │
           └───────── success ──────────┼──────────────────────┤
                                        └────── failure ───────┘

    Args:
        failures: Failures in a row that open it.
        rest: How long it then stays open.
    """

    def __init__(self, failures: int, rest: timedelta) -> None:
        self._limit = failures
        self._rest = rest
        self._failures = 0
        self._open_until: datetime | None = None

    def allowed(self, now: datetime, wanted: int) -> int:
        """Return how many attempts may start now: 0 while open, 1 half open, else ``wanted``."""
        if self._open_until is None:
            return wanted
        return 0 if now < self._open_until else 1

    def succeeded(self) -> None:
        """Note that the server held a dialogue."""
        self._failures = 0
        self._open_until = None

    def failed(self, now: datetime) -> bool:
        """Note that the server was not there. Returns whether this opened the breaker."""
        self._failures += 1
        if self._failures < self._limit:
            return False
        self._open_until = now + self._rest
        return True
