"""How many processors a network may keep busy."""

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def usable_cpus(cgroup: Path = _CGROUP) -> int:
    """CPUs that this process may use: those it may run on, or its container's limit if lower.

    More threads than the limit would run for a moment and then all stand still until the next
    period of the kernel's bandwidth control.

    Args:
        cgroup: Folder of the control group, version 2; ``cpu.max`` in it is "quota period" in
            microseconds or "max period" (kernel documentation, cgroup-v2).
    """
    allowed = len(os.sched_getaffinity(0))
    limit = cgroup / "cpu.max"
    if not limit.exists():
        return allowed
    quota, period = limit.read_text().split()
    return allowed if quota == "max" else max(1, min(allowed, math.ceil(int(quota) / int(period))))
