"""Prometheus metrics of the images that one ingress replica was asked to segment.

Ray exports them on its metrics port as ``ray_spheroserve_...``; the counts are also kept here
for ``GET /metrics``.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ray.util import metrics

from deployments.errors import ServiceError
from serve_app.error_handlers import status_of

OTHER = "other"
"""Stands for every model that is not served, since a label must not take any value."""

STAGES = ("decode", "queue", "batch_wait", "device", "polygons", "transport", "total")
"""Parts of a request: in a child process, at the replica, for company in a batch, on the device,
in a child process, between the processes; and all of it."""

# What nginx logs where the client went away before the answer.
_CLIENT_GONE = 499
_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240]


class RequestMetrics:
    """Counts and times the images of requests.

    Args:
        models: The served models.

    Attributes:
        counts: Images so far by model and status.
    """

    def __init__(self, models: Iterable[str]) -> None:
        self.counts: Counter[tuple[str, int]] = Counter()
        self._models = frozenset(models)
        self._requests = metrics.Counter(
            "spheroserve_requests_total",
            "Images that the ingress was asked to segment, by the status of the answer",
            tag_keys=("model", "status"),
        )
        self._seconds = metrics.Histogram(
            "spheroserve_request_seconds",
            "Time of an image at the ingress and behind it, by stage",
            boundaries=_SECONDS,
            tag_keys=("model", "stage"),
        )

    @contextmanager
    def request(self, model: str) -> Iterator[None]:
        """Count the block as one request, whatever comes of it, and time it."""
        started = time.monotonic()
        status = _CLIENT_GONE
        try:
            yield
            status = 200
        except ServiceError as error:
            status = status_of(error)
            raise
        except Exception:
            status = 500
            raise
        finally:
            label = model if model in self._models else OTHER
            self.counts[label, status] += 1
            self._requests.inc(tags={"model": label, "status": str(status)})
            self._observe(label, "total", time.monotonic() - started)

    def stages(self, model: str, seconds: dict[str, float]) -> None:
        """Record how long the stages of one answered image took.

        Args:
            model: A served model.
            seconds: Seconds by stage.
        """
        for stage, duration in seconds.items():
            self._observe(model, stage, duration)

    def _observe(self, model: str, stage: str, seconds: float) -> None:
        # Stages are differences of times taken in two processes.
        self._seconds.observe(max(0.0, seconds), {"model": model, "stage": stage})
