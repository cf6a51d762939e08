"""Batch sizes that were measured on the device at hand: ``profiles/<device>.json``."""

import logging
import platform
import re
from pathlib import Path

from deployments.batch_sizes import load_batch_sizes
from deployments.config import Profile

log = logging.getLogger(__name__)

_CPU_INFO = Path("/proc/cpuinfo")


def with_measured_sizes(profile: Profile, directory: Path, tuned: bool) -> Profile:
    """Give a profile the batch sizes that were measured on this machine's device.

    Args:
        profile: The profile with the sizes of batch_sizes.json.
        directory: The folder of configuration files.
        tuned: Whether to do so on a CPU too; on a GPU it is always done.

    Returns:
        The profile as it was where the device has not been measured, with a warning.
    """
    if profile.device == "cpu" and not tuned:
        return profile
    name, path = device_profile(directory, profile.device)
    if path is None:
        log.warning("%s has not been measured: the sizes of batch_sizes.json hold", name)
        return profile
    sizes = load_batch_sizes(path, profile.models)
    return profile.model_copy(update={"batch_sizes": sizes})


def device_profile(directory: Path, kind: str) -> tuple[str, Path | None]:
    """Find the file of this machine's device.

    Args:
        directory: The folder of configuration files.
        kind: ``cpu`` or ``cuda``.

    Returns:
        The name of the device, and its file of batch sizes, None where nobody has measured it.
    """
    name = cpu_name(_CPU_INFO.read_text()) if kind == "cpu" else gpu_name()
    path = directory / "profiles" / f"{slug(name)}.json"
    return name, path if path.exists() else None


def gpu_name() -> str:
    """The first GPU of this machine; there is one, or the profile would have been refused."""
    import torch

    return torch.cuda.get_device_name(0)


def cpu_name(info: str) -> str:
    """The processor by name and generation; a cloud may hide the name, not the generation.

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
