"""The memory of this process as the kernel counts it."""

from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc_pid_clear_refs(5)


@dataclass(frozen=True, slots=True)
class ProcessMemory:
    """Memory of this process in bytes, see proc_pid_status(5).

    Attributes:
        resident_bytes: VmRSS, pages in memory now.
        peak_bytes: VmHWM, most pages in memory since the last reset of the peak.
        data_bytes: VmData, private writable memory; what RLIMIT_DATA limits.
    """

    resident_bytes: int
    peak_bytes: int
    data_bytes: int


def read_process_memory() -> ProcessMemory:
    """Read the memory of this process.

    Raises:
        OSError: There is no ``/proc/self/status``.
    """
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())

    def size(name: str) -> int:
        return int(fields[name].split()[0]) * 1024

    return ProcessMemory(size("VmRSS"), size("VmHWM"), size("VmData"))


def reset_process_peak() -> None:
    """Set VmHWM to the present VmRSS.

    Raises:
        OSError: The kernel does not allow it.
    """
    _CLEAR_REFS.write_text(_RESET_PEAK)
