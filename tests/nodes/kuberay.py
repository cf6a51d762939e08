"""What KubeRay 1.7 makes of a group of a RayService, as it was seen to (research on real pods).

Not here: the init container that waits for the head, which Ray does by itself, and the
autoscaler, which needs an API server.
"""

import base64
import sys
from pathlib import Path
from typing import Any

from tests.k8s.rendered import Manifest, of_kind

GCS_PORT = 6379
DASHBOARD_PORT = 8265
_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text: str) -> float:
    """A Kubernetes quantity as a number: ``500m``, ``4``, ``8Gi``."""
    if text.endswith("m"):
        return float(text[:-1]) / 1000
    unit = _UNITS.get(text[-2:], 1)
    return float(text.removesuffix("Ki").removesuffix("Mi").removesuffix("Gi")) * unit


def start_command(group: Manifest, head_service: str | None) -> list[str]:
    """The command of the container of a group.

    Args:
        group: The head group or a worker group.
        head_service: Name of the service in front of the head; None for the head itself.
    """
    (container,) = group["template"]["spec"]["containers"]
    limits = container["resources"]["limits"]
    parameters = {
        "block": "true",
        "dashboard-agent-listen-port": "52365",
        "memory": f"{quantity(limits['memory']):.0f}",
        "metrics-export-port": "8080",
        "num-cpus": f"{quantity(limits['cpu']):.0f}",
        # In place of the head's monitor runs the container of the autoscaler.
        **({"address": f"{head_service}:{GCS_PORT}"} if head_service else {"no-monitor": "true"}),
        **group["rayStartParams"],
    }
    flags = " ".join(
        f"--{name}" if value == "true" else f"--{name}={value}"
        for name, value in parameters.items()
    )
    head = "--head " if head_service is None else ""
    return ["/bin/bash", "-c", "--", f"ulimit -n 65536; ray start {head}{flags}"]


def environment(
    manifests: list[Manifest], group: Manifest, head_service: str | None, token: str | None
) -> dict[str, str]:
    """The variables of the container of a group, those of the image first.

    Args:
        manifests: All objects, for the Secrets that the container names.
        group: The head group or a worker group.
        head_service: Name of the service in front of the head; None for the head itself.
        token: Ray's token, which the operator keeps in a Secret; None without ``authOptions``.
    """
    (container,) = group["template"]["spec"]["containers"]
    secrets = {
        secret["metadata"]["name"]: secret["data"] for secret in of_kind(manifests, "Secret")
    }
    variables = {
        # As the Dockerfile sets them.
        "HOME": "/tmp",
        "PATH": f"{Path(sys.executable).parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
    }
    for source in container.get("envFrom", []):
        data = secrets[source["secretRef"]["name"]]
        variables |= {name: base64.b64decode(value).decode() for name, value in data.items()}
    variables |= {entry["name"]: entry["value"] for entry in container["env"]}
    if head_service is not None:
        variables |= {"FQ_RAY_IP": head_service, "RAY_gcs_rpc_server_reconnect_timeout_s": "600"}
    if token is not None:
        variables |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    return variables | {
        "RAY_ADDRESS": f"{head_service or '127.0.0.1'}:{GCS_PORT}",
        "RAY_CLOUD_INSTANCE_ID": container["name"],
        "RAY_PORT": str(GCS_PORT),
    }


def volumes(manifests: list[Manifest], group: Manifest, folder: Path) -> list[tuple[str, str, str]]:
    """What is mounted into the container: its path, source, and ``ro``, ``rw`` or a size.

    Args:
        manifests: All objects, for the Secrets that are mounted.
        group: The head group or a worker group.
        folder: Where the contents of the volumes of this pod go.
    """
    spec = group["template"]["spec"]
    (container,) = spec["containers"]
    named = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = []
    for mount in container["volumeMounts"]:
        source, mode = _source(manifests, named[mount["name"]], folder)
        if source != "memory" and mount.get("readOnly"):
            mode = "ro"
        mounts.append((mount["mountPath"], source, mode))
    # A volume below another one comes after it.
    return sorted(mounts)


def _source(manifests: list[Manifest], volume: dict[str, Any], folder: Path) -> tuple[str, str]:
    if "hostPath" in volume:
        return volume["hostPath"]["path"], "rw"
    place = folder / volume["name"]
    place.mkdir(parents=True)
    if "secret" in volume:
        (secret,) = (
            secret
            for secret in of_kind(manifests, "Secret")
            if secret["metadata"]["name"] == volume["secret"]["secretName"]
        )
        for name, value in secret["data"].items():
            (place / name).write_bytes(base64.b64decode(value))
        return str(place), "ro"
    if volume["emptyDir"].get("medium") == "Memory":
        return "memory", f"{quantity(volume['emptyDir']['sizeLimit']):.0f}"
    return str(place), "rw"
