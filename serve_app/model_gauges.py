"""What is told of every model as a number: on ``GET /metrics`` and by Ray's exporter.

The ingress sets these and not the replicas, which set nothing between two batches: Ray drops
a gauge that was not set for half a minute.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from ray.util import metrics

GAUGES = {
    "spheroserve_replicas": "Replicas that answer",
    "spheroserve_images_waiting": "Images that wait at the replicas",
    "spheroserve_batch_ceiling_images": (
        "Images that the next device call may take, of the replica that takes fewest"
    ),
    "spheroserve_replica_ooms": (
        "Device calls that ran out of memory, of the replicas that run now"
    ),
    "spheroserve_device_peak_bytes": "Most memory that a device call held",
    "spheroserve_configuration_refused": (
        "Replicas that keep their old configuration, since the new one cannot work"
    ),
}

_MIB = 2**20


def gauge_values(replicas: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Return the values of one model by the name of the gauge; those that nobody knows lack.

    Args:
        replicas: What each replica says of itself (``Segmenter.describe``).
    """
    replicas = list(replicas)
    memories = [replica["memory"] for replica in replicas]
    values: dict[str, float] = {
        "spheroserve_replicas": len(replicas),
        "spheroserve_images_waiting": sum(replica["waiting"] for replica in replicas),
        "spheroserve_replica_ooms": sum(memory["ooms"] for memory in memories),
        "spheroserve_configuration_refused": sum(
            replica["refused"] is not None for replica in replicas
        ),
    }
    if replicas:
        ceilings = (replica["effective_batch_size"] for replica in replicas)
        values["spheroserve_batch_ceiling_images"] = min(ceilings)
    peaks = [memory["peak_reserved_mb"] for memory in memories]
    if known := [megabytes for megabytes in peaks if megabytes is not None]:
        values["spheroserve_device_peak_bytes"] = max(known) * _MIB
    return values


class ModelGauges:
    """The gauges on Ray's exporter, as ``ray_spheroserve_...``."""

    def __init__(self) -> None:
        self._gauges = {
            name: metrics.Gauge(name, text, tag_keys=("model",)) for name, text in GAUGES.items()
        }

    def set(self, model: str, replicas: Iterable[Mapping[str, Any]]) -> None:
        """Set those of one model; to be called at least every half minute."""
        for name, value in gauge_values(replicas).items():
            self._gauges[name].set(value, tags={"model": model})
