"""Peaks of device calls: never negative, whatever the cache does."""

import pytest

from deployments.inference.memory.process import read_process_memory, reset_process_peak
from deployments.inference.memory.tracking import MemoryTracker, Peak, ProcessProbe

MIB = 2**20


class ScriptedProbe:
    """A probe that reports what it is told."""

    def __init__(self, start: int, used: int, held: int) -> None:
        self.values = (start, used, held)

    def start(self) -> int:
        return self.values[0]

    def peak(self) -> tuple[int, int]:
        return self.values[1:]

    def free_bytes(self) -> int | None:
        return 5


def test_a_call_is_remembered() -> None:
    tracker = MemoryTracker(ScriptedProbe(100, 500, 800))
    assert (tracker.last, tracker.largest, tracker.needed_bytes(10)) == (None, None, None)
    with tracker.measure(10):
        pass
    assert tracker.last == tracker.largest == Peak(100, 500, 800)
    assert tracker.needed_bytes(5) == 200
    assert tracker.free_bytes() == 5


def test_a_shrinking_cache_never_makes_a_peak_negative() -> None:
    tracker = MemoryTracker(ScriptedProbe(800, 300, 200))
    with tracker.measure(10):
        pass
    assert tracker.last == Peak(800, 800, 800)
    assert tracker.needed_bytes(10) is None


def test_the_largest_call_is_kept() -> None:
    probe = ScriptedProbe(0, 500, 800)
    tracker = MemoryTracker(probe)
    with tracker.measure(10):
        pass
    probe.values = (0, 50, 80)
    with tracker.measure(10):
        pass
    assert (tracker.last, tracker.largest) == (Peak(0, 50, 80), Peak(0, 500, 800))
    assert tracker.needed_bytes(10) == 500


def test_a_failed_call_is_measured_but_teaches_no_need() -> None:
    tracker = MemoryTracker(ScriptedProbe(0, 500, 800))

    def fail() -> None:
        with tracker.measure(10):
            raise MemoryError

    with pytest.raises(MemoryError):
        fail()
    assert tracker.last == Peak(0, 500, 800)
    assert tracker.needed_bytes(10) is None


def test_the_process_probe_sees_memory_that_is_free_again() -> None:
    tracker = MemoryTracker(ProcessProbe())
    with tracker.measure(1):
        block = bytearray(64 * MIB)
        del block
    assert tracker.last is not None
    assert 60 * MIB < tracker.last.peak_bytes - tracker.last.start_bytes < 100 * MIB
    with tracker.measure(1):
        pass
    assert tracker.last.peak_bytes - tracker.last.start_bytes < 30 * MIB
    assert tracker.free_bytes() is None


def test_the_peak_of_the_process_can_be_reset() -> None:
    block = bytearray(64 * MIB)
    del block
    before = read_process_memory().peak_bytes
    reset_process_peak()
    after = read_process_memory()
    assert after.peak_bytes < before - 30 * MIB
    assert after.peak_bytes >= after.resident_bytes - MIB
    assert after.data_bytes > 0


@pytest.mark.gpu
def test_the_cuda_probe_sees_memory_that_is_free_again() -> None:
    import torch

    from deployments.inference.memory.tracking import CudaProbe

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    tracker = MemoryTracker(CudaProbe("cuda:0"))
    with tracker.measure(1):
        torch.empty(64 * MIB, dtype=torch.uint8, device="cuda:0")
    assert tracker.last is not None
    assert tracker.last.peak_bytes - tracker.last.start_bytes == 64 * MIB
    assert tracker.last.reserved_bytes >= 64 * MIB
    assert (tracker.free_bytes() or 0) > 0
