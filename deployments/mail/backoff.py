"""When a mail is tried again."""

import random
from collections.abc import Sequence
from datetime import timedelta


class RetrySchedule:
    """Growing delays, the last of which repeats, each varied at random.

    The variation keeps mails that failed together from coming back together.

    Args:
        minutes: Delay after the first, second, ... attempt.
        jitter: Share by which a delay varies up and down, 0 to 0.5.
        random_source: Source of the variation.
    """

    def __init__(
        self, minutes: Sequence[float], jitter: float, random_source: random.Random
    ) -> None:
        self._minutes = tuple(minutes)
        self._jitter = jitter
        self._random = random_source

    def delay(self, attempts: int) -> timedelta:
        """Return the time until the next attempt.

        Args:
            attempts: Attempts made so far, from 1.
        """
        minutes = self._minutes[min(attempts, len(self._minutes)) - 1]
        return timedelta(minutes=minutes * self._random.uniform(1 - self._jitter, 1 + self._jitter))
