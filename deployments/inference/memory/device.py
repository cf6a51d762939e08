"""The memory of one replica's device: its limit is set here, its use is measured here."""

from deployments.inference.memory.heap import prepare_heap
from deployments.inference.memory.limits import ProcessMemoryLimit, limit_gpu_memory
from deployments.inference.memory.tracking import (
    CudaProbe,
    MemoryProbe,
    MemoryTracker,
    ProcessProbe,
)

_MIB = 2**20


class DeviceMemory:
    """What a replica may use, and what it uses.

    Create it when the network is loaded: on a CPU what is in use then is the base of the limit.

    Args:
        device: ``cpu`` or ``cuda:N``.
        gpu_share: The replica's share of that GPU, 0 on a CPU.
    """

    def __init__(self, device: str, gpu_share: float) -> None:
        self._device = device
        self._gpu_share = gpu_share
        self._on_gpu = device != "cpu"
        probe: MemoryProbe = CudaProbe(device) if self._on_gpu else ProcessProbe()
        self.tracker = MemoryTracker(probe)
        self._process = None if self._on_gpu else ProcessMemoryLimit()

    def limit(self, memory_limit_mb: int | None, reserve_percent: float) -> None:
        """Set the limit, or move it.

        On a GPU the replica gets its share less the reserve; ``memory_limit_mb`` is for CPUs.

        Args:
            memory_limit_mb: MiB above what the loaded network takes, None for no limit.
            reserve_percent: Percent of the GPU share that torch leaves alone.

        Raises:
            ConfigurationError: A value is out of range.
        """
        if self._process is None:
            limit_gpu_memory(self._device, self._gpu_share, reserve_percent)
        elif memory_limit_mb is not None or self._process.limit_mb is not None:
            if self._process.limit_mb is None:
                # Without a limit the C library has kept what earlier calls freed, and it goes
                # on counting: the limit is on top of what is held now.
                prepare_heap()
                self._process = ProcessMemoryLimit()
            self._process.set(memory_limit_mb)

    def describe(self) -> dict[str, float | None]:
        """Peaks and free memory in MiB, for operators. Nothing here can be negative."""
        largest, last, free = self.tracker.largest, self.tracker.last, self.tracker.free_bytes()
        return {
            "peak_mb": round(largest.peak_bytes / _MIB, 1) if largest else None,
            "peak_reserved_mb": round(largest.reserved_bytes / _MIB, 1) if largest else None,
            "last_peak_mb": round(last.peak_bytes / _MIB, 1) if last else None,
            "device_free_mb": round(free / _MIB, 1) if free is not None else None,
        }
