"""Which machine a figure belongs to."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
_PACKAGES = ("torch", "openvino", "ray", "numpy", "opencv-python-headless")


def describe_machine() -> dict[str, object]:
    """JSON-ready facts: processor, memory, versions, and how busy the machine is."""
    info = Path("/proc/cpuinfo").read_text()
    flags = re.search(r"^flags\s*:(.*)$", info, re.MULTILINE)
    found = set(flags[1].split()) if flags else set()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "device": device_name(info),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**30, 1),
        "instructions": [flag for flag in _FLAGS if flag in found],
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "load_average": round(os.getloadavg()[0], 2),
    }


def device_name(info: str) -> str:
    """The processor by name, and by generation where a cloud hides the name.

    Args:
        info: Contents of ``/proc/cpuinfo``.
    """
    fields = dict(re.findall(r"^(\S[^\t:]*)\s*:\s*(.*)$", info, re.MULTILINE))
    name = re.sub(r"\((R|TM)\)|CPU|@.*", " ", fields.get("model name", platform.machine()))
    kind = f"family {fields['cpu family']} model {fields['model']}" if "model" in fields else ""
    return " ".join(f"{name} {kind}".split())


def slug(name: str) -> str:
    """The name as part of a path."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
