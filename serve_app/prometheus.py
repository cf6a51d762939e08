"""The text of ``GET /metrics``: what an ingress replica knows, in Prometheus' format.

Ray's exporter has more, of every replica, as ``ray_spheroserve_...``. This is for a server
where nobody scrapes that: one port, one page.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serve_app.service import ModelInfo

CONTENT_TYPE = CONTENT_TYPE_LATEST

_MIB = 2**20


def write_metrics(
    models: Mapping[str, ModelInfo],
    requests: Mapping[tuple[str, int], int],
    jobs: Mapping[str, Any] | None,
    ingress: str,
) -> bytes:
    """Write the page.

    Args:
        models: The served models.
        requests: Images asked for, by model and HTTP status.
        jobs: What ``deployments.job_metrics.summarise`` returns; None leaves those metrics out.
        ingress: Tells the counters of this ingress replica from those of others.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Page([*_requests(requests, ingress), *_models(models), *_jobs(jobs)]))
    return generate_latest(registry)


class _Page(Collector):
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _requests(requests: Mapping[tuple[str, int], int], ingress: str) -> Iterator[Metric]:
    family = CounterMetricFamily(
        "spheroserve_requests_total",
        "Images that the ingress was asked to segment, by the status of the answer",
        labels=("model", "status", "ingress"),
    )
    for (model, status), number in sorted(requests.items()):
        family.add_metric((model, str(status), ingress), number)
    yield family


def _models(models: Mapping[str, ModelInfo]) -> Iterator[Metric]:
    labels = ("model",)
    count = GaugeMetricFamily("spheroserve_replicas", "Replicas that answer", labels=labels)
    waiting = GaugeMetricFamily(
        "spheroserve_images_waiting", "Images that wait at the replicas", labels=labels
    )
    ceiling = GaugeMetricFamily(
        "spheroserve_batch_ceiling_images",
        "Images that the next device call may take, of the replica that takes fewest",
        labels=labels,
    )
    ooms = GaugeMetricFamily(
        "spheroserve_replica_ooms",
        "Device calls that ran out of memory, of the replicas that run now",
        labels=labels,
    )
    peak = GaugeMetricFamily(
        "spheroserve_device_peak_bytes", "Most memory that a device call held", labels=labels
    )
    refused = GaugeMetricFamily(
        "spheroserve_configuration_refused",
        "Replicas that keep their old configuration, since the new one cannot work",
        labels=labels,
    )
    for name, info in sorted(models.items()):
        replicas = info.state.get("replicas", [])
        assert isinstance(replicas, list)
        count.add_metric((name,), len(replicas))
        waiting.add_metric((name,), sum(each["waiting"] for each in replicas))
        ooms.add_metric((name,), sum(each["memory"]["ooms"] for each in replicas))
        refused.add_metric((name,), sum(each["refused"] is not None for each in replicas))
        if replicas:
            ceiling.add_metric((name,), min(each["effective_batch_size"] for each in replicas))
        peaks = [each["memory"]["peak_reserved_mb"] for each in replicas]
        if known := [megabytes for megabytes in peaks if megabytes is not None]:
            peak.add_metric((name,), max(known) * _MIB)
    yield from (count, waiting, ceiling, ooms, peak, refused)


def _jobs(jobs: Mapping[str, Any] | None) -> Iterator[Metric]:
    if jobs is None:
        return
    for key, text in (("jobs", "Jobs in the store"), ("mails", "Mails in the outbox")):
        family = GaugeMetricFamily(f"spheroserve_{key}", text, labels=("state",))
        for state, number in jobs[key].items():
            family.add_metric((state,), number)
        yield family
    yield GaugeMetricFamily(
        "spheroserve_jobs_oldest_unfinished_seconds",
        "Age of the oldest job that has not ended",
        value=jobs["oldest_unfinished_seconds"],
    )
    yield GaugeMetricFamily(
        "spheroserve_mails_oldest_unsent_seconds",
        "Age of the oldest mail that is neither sent nor given up",
        value=jobs["oldest_unsent_seconds"],
    )
