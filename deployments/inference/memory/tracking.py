"""How much memory device calls really take: peaks, never differences of moments.

What is allocated after a call minus what was before it is negative whenever a cache shrinks
(and hides the peak in between). Here the peak is reset before a call and read after it, so it
is at least what was in use when the call began.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from deployments.inference.memory.process import read_process_memory, reset_process_peak


@dataclass(frozen=True, slots=True)
class Peak:
    """Memory of one device call, in bytes.

    Attributes:
        start_bytes: In use when the call began.
        peak_bytes: Most in use during the call, at least ``start_bytes``.
        reserved_bytes: Most held from the device during the call, caches included.
    """

    start_bytes: int
    peak_bytes: int
    reserved_bytes: int


class MemoryProbe(Protocol):
    """Measures one kind of device."""

    def start(self) -> int:
        """Reset the peak and return the bytes in use, as the peak counts them."""
        ...

    def peak(self) -> tuple[int, int]:
        """The most bytes in use and held since ``start``."""
        ...

    def free_bytes(self) -> int | None:
        """Bytes free on the whole device, None where that has no meaning."""
        ...


class ProcessProbe:
    """Resident memory of this process: for engines on CPU.

    It counts everything in the process, not the device call alone.
    """

    def start(self) -> int:
        reset_process_peak()
        return read_process_memory().peak_bytes

    def peak(self) -> tuple[int, int]:
        peak = read_process_memory().peak_bytes
        return peak, peak

    def free_bytes(self) -> int | None:
        return None


class CudaProbe:
    """Torch's caching allocator on one GPU.

    Args:
        device: ``cuda:N``.
    """

    def __init__(self, device: str) -> None:
        import torch

        self._cuda = torch.cuda
        self._device = device

    def start(self) -> int:
        self._cuda.reset_peak_memory_stats(self._device)
        return self._cuda.max_memory_allocated(self._device)

    def peak(self) -> tuple[int, int]:
        return (
            self._cuda.max_memory_allocated(self._device),
            self._cuda.max_memory_reserved(self._device),
        )

    def free_bytes(self) -> int | None:
        return self._cuda.mem_get_info(self._device)[0]


class MemoryTracker:
    """Remembers what device calls took, and estimates what another one needs.

    Args:
        probe: Measures the device.
    """

    def __init__(self, probe: MemoryProbe) -> None:
        self._probe = probe
        self._bytes_per_cost = 0.0
        self.last: Peak | None = None
        """The last device call, None before the first."""
        self.largest: Peak | None = None
        """The device call that held the most."""

    @contextmanager
    def measure(self, cost: int) -> Iterator[None]:
        """Measure the device call made inside.

        A call that raises is measured too, but teaches nothing about what its cost needs: it
        stopped before its peak.

        Args:
            cost: Its padded pixels.
        """
        start = self._probe.start()
        completed = False
        try:
            yield
            completed = True
        finally:
            used, held = self._probe.peak()
            peak = Peak(start, max(start, used), max(start, used, held))
            self.last = peak
            if self.largest is None or peak.reserved_bytes > self.largest.reserved_bytes:
                self.largest = peak
        if completed:
            needed = (peak.peak_bytes - peak.start_bytes) / cost
            self._bytes_per_cost = max(self._bytes_per_cost, needed)

    def needed_bytes(self, cost: int) -> int | None:
        """Memory that a call of ``cost`` needs beyond what is in use between calls.

        In proportion to the most expensive call per padded pixel so far; None before any.
        """
        return int(self._bytes_per_cost * cost) or None

    def free_bytes(self) -> int | None:
        """Bytes free on the whole device, None where that has no meaning."""
        return self._probe.free_bytes()
