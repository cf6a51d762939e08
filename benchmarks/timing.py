"""Repeated calls, and what their times say."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of each call.

    Attributes:
        wall: As a clock on the wall shows; grows when others use the machine.
        cpu: Of all threads of this process; hardly grows.
    """

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


def repeat(call: Callable[[], object], seconds: float, least: int = 5) -> Times:
    """Call until the time is up, after one call that does not count.

    Args:
        call: What is measured.
        seconds: Time to spend.
        least: Fewest calls, however long they take.
    """
    call()
    times = Times()
    end = time.perf_counter() + seconds
    while len(times.wall) < least or time.perf_counter() < end:
        started, worked = time.perf_counter(), time.process_time()
        call()
        times.wall.append(time.perf_counter() - started)
        times.cpu.append(time.process_time() - worked)
    return times


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of all are at or below (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(len(ranked) * percent / 100) - 1)]


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds, and how many there were."""
    return {
        "p50_ms": round(statistics.median(seconds) * 1000, 2),
        "p95_ms": round(percentile(seconds, 95) * 1000, 2),
        "repeats": len(seconds),
    }
