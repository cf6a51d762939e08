"""The text of ``GET /metrics``: what an ingress replica knows, in Prometheus' format.

Ray's exporter has more, of every replica, as ``ray_spheroserve_...``. This is for a server
where nobody scrapes that: one port, one page.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from serve_app.model_gauges import GAUGES, gauge_values
from serve_app.service import ModelInfo

CONTENT_TYPE = CONTENT_TYPE_LATEST


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
    families = {
        name: GaugeMetricFamily(name, text, labels=("model",)) for name, text in GAUGES.items()
    }
    for model, info in sorted(models.items()):
        replicas = info.state.get("replicas", [])
        assert isinstance(replicas, list)
        for name, value in gauge_values(replicas).items():
            families[name].add_metric((model,), value)
    yield from families.values()


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
