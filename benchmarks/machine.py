"""Which machine a figure belongs to."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from deployments.device_profiles import cpu_name

_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
_PACKAGES = ("torch", "openvino", "ray", "numpy", "opencv-python-headless")


def describe_machine() -> dict[str, object]:
    """JSON-ready facts: processor, memory, versions, and how busy the machine is."""
    info = Path("/proc/cpuinfo").read_text()
    flags = re.search(r"^flags\s*:(.*)$", info, re.MULTILINE)
    found = set(flags[1].split()) if flags else set()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "device": cpu_name(info),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "instructions": [flag for flag in _FLAGS if flag in found],
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "load_average": round(os.getloadavg()[0], 2),
    }
