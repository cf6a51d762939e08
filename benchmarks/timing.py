"""Repeated calls, and what their times say."""

import statistics
import time
from collections.abc import Callable, Sequence


def repeat(call: Callable[[], object], seconds: float, least: int = 5) -> list[float]:
    """Call until the time is up, after one call that does not count.

    Args:
        call: What is measured.
        seconds: Time to spend.
        least: Fewest calls, however long they take.

    Returns:
        Seconds of each call.
    """
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of all are at or below (nearest rank)."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(len(ranked) * percent / 100))]


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds, and how many there were."""
    return {
        "p50_ms": round(statistics.median(seconds) * 1000, 2),
        "p95_ms": round(percentile(seconds, 95) * 1000, 2),
        "repeats": len(seconds),
    }
