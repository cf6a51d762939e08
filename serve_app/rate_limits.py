"""Allowances per minute: token buckets that refill steadily.

Counted by each ingress replica for itself: with n of them a key gets up to n times as much.
"""

import time
from collections.abc import Callable

from deployments.errors import RateLimited
from serve_app.api_keys import ApiKey

_MINUTE_S = 60.0


class Allowance:
    """One bucket: full at first, it holds what may be used at once.

    Args:
        per_minute: Size of the bucket, and what flows in each minute.
        clock: Seconds that never go back.
    """

    def __init__(self, per_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = per_minute
        self._clock = clock
        self._level = per_minute
        self._filled_at = clock()

    @property
    def level(self) -> float:
        """What is left; below zero after a use that was larger than what there was."""
        now = self._clock()
        self._level += (now - self._filled_at) * self._size / _MINUTE_S
        self._level = min(self._level, self._size)
        self._filled_at = now
        return self._level

    def use(self, amount: float) -> None:
        """Take an amount out, even if that leaves a debt.

        Pixels are known only when an image is decoded or all images of a job have arrived, and
        a job may hold more than a bucket; so a use is never refused, but the next request is,
        until the debt is paid.
        """
        self._level = self.level - amount

    def seconds_until(self, level: float) -> float:
        """How long it takes until so much is there if nothing more is taken out."""
        return max(0.0, level - self.level) / self._size * _MINUTE_S


class KeyAllowances:
    """The allowances of all keys, made when a key is first seen."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests: dict[str, Allowance] = {}
        self._megapixels: dict[str, Allowance] = {}

    def begin(self, key: ApiKey) -> None:
        """Count a request.

        Raises:
            RateLimited: The key has used up an allowance.
        """
        if key.requests_per_minute is not None:
            requests = self._bucket(self._requests, key.name, key.requests_per_minute)
            if requests.level < 1:
                raise RateLimited(
                    f"API key '{key.name}' may make {key.requests_per_minute:g} requests a minute"
                )
            requests.use(1)
        if key.megapixels_per_minute is not None:
            pixels = self._bucket(self._megapixels, key.name, key.megapixels_per_minute)
            if pixels.level <= 0:
                raise RateLimited(
                    f"API key '{key.name}' may send {key.megapixels_per_minute:g} megapixels "
                    "a minute"
                )

    def seconds_until_free(self, key: ApiKey) -> float:
        """How long ``begin`` will refuse a key that does nothing meanwhile."""
        waits = [0.0]
        if key.requests_per_minute is not None:
            requests = self._bucket(self._requests, key.name, key.requests_per_minute)
            waits.append(requests.seconds_until(1))
        if key.megapixels_per_minute is not None:
            pixels = self._bucket(self._megapixels, key.name, key.megapixels_per_minute)
            waits.append(pixels.seconds_until(0))
        return max(waits)

    def use_pixels(self, key: ApiKey, pixels: int) -> None:
        """Count the pixels of a decoded image, or those of all images of a job."""
        if key.megapixels_per_minute is not None:
            bucket = self._bucket(self._megapixels, key.name, key.megapixels_per_minute)
            bucket.use(pixels / 1e6)

    def _bucket(self, buckets: dict[str, Allowance], name: str, size: float) -> Allowance:
        if name not in buckets:
            buckets[name] = Allowance(size, self._clock)
        return buckets[name]
