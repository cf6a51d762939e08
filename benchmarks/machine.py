"""Which machine a figure belongs to."""

import importlib.metadata
import os
import platform
import re
from pathlib import Path

from deployments.device_profiles import cpu_name
from deployments.inference.engines.processors import usable_cpus

_FLAGS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
_PACKAGES = ("torch", "openvino", "ray", "numpy", "opencv-python-headless")


def describe_machine(device: str = "cpu") -> dict[str, object]:
    """JSON-ready facts: processor, memory, versions, and how busy the machine is.

    Args:
        device: ``cpu``, or the GPU whose name and memory take the place of the machine's.
    """
    info = Path("/proc/cpuinfo").read_text()
    flags = re.search(r"^flags\s*:(.*)$", info, re.MULTILINE)
    found = set(flags[1].split()) if flags else set()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts = {
        "device": cpu_name(info),
        "cpus": usable_cpus(),
        "memory_gb": round(memory / 2**30, 1),
        "instructions": [flag for flag in _FLAGS if flag in found],
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "load_average": round(os.getloadavg()[0], 2),
    }
    return facts if device == "cpu" else {**facts, **_gpu(device), "processor": facts["device"]}


def _gpu(device: str) -> dict[str, object]:
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {
        "device": properties.name,
        "memory_gb": round(properties.total_memory / 2**30, 1),
        "instructions": [f"compute capability {properties.major}.{properties.minor}"],
        "cuda": torch.version.cuda,
        "tf32": torch.backends.cudnn.allow_tf32,
    }
