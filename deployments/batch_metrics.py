"""Prometheus metrics of one model replica, exported by Ray on its metrics port."""

from collections.abc import Mapping, Sequence
from typing import Any

from ray.util.metrics import Counter, Histogram

from deployments.errors import ServiceError
from deployments.inference.types import ProbabilityMap

_SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0]
_MEMORY_COUNTERS = {
    "ooms": ("spheroserve_oom_total", "Device calls that ran out of memory"),
    "shrinks": ("spheroserve_shrinks_total", "Times that the ceiling was lowered"),
    "single_image_fallbacks": (
        "spheroserve_single_image_fallbacks_total",
        "Times that the ceiling fell to single images",
    ),
}
_IMAGES = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64]


class BatchMetrics:
    """Counts what the batches of one model did."""

    def __init__(self, model: str) -> None:
        tags = ("model",)
        default = {"model": model}
        self._batch = Histogram(
            "spheroserve_batch_images",
            "Images in the device call that served an image",
            boundaries=_IMAGES,
            tag_keys=tags,
        )
        self._device = Histogram(
            "spheroserve_device_seconds",
            "Wall time of the device call that served an image",
            boundaries=_SECONDS,
            tag_keys=tags,
        )
        self._queue = Histogram(
            "spheroserve_queue_seconds",
            "Time of an image from arrival at the replica to its device call",
            boundaries=_SECONDS,
            tag_keys=tags,
        )
        self._failed = Counter(
            "spheroserve_images_failed_total",
            "Images that a model replica answered with an error",
            tag_keys=("model", "error"),
        )
        self._counters = {
            field: Counter(name, text, tag_keys=tags)
            for field, (name, text) in _MEMORY_COUNTERS.items()
        }
        self._counted = dict.fromkeys(_MEMORY_COUNTERS, 0)
        histograms = (self._batch, self._device, self._queue)
        for metric in (*histograms, self._failed, *self._counters.values()):
            metric.set_default_tags(default)

    def record(self, outcomes: Sequence[ProbabilityMap | ServiceError]) -> None:
        """Count the outcomes of one batch."""
        for outcome in outcomes:
            if isinstance(outcome, ServiceError):
                self._failed.inc(tags={"error": type(outcome).__name__})
            else:
                self._batch.observe(outcome.batch_size)
                self._device.observe(outcome.seconds)
                self._queue.observe(outcome.waited_seconds)

    def record_memory(self, described: Mapping[str, Any]) -> None:
        """Take over what a runner describes of its memory."""
        memory = described["memory"]
        for field, counter in self._counters.items():
            total, counted = memory[field], self._counted[field]
            # New weights come with a runner that counts from 0 again.
            new = total - counted if total >= counted else total
            if new:
                counter.inc(new)
            self._counted[field] = total
