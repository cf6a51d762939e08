"""The network of one replica: runs batches within memory, and describes itself.

No Ray here: a test, a benchmark or a script uses it as a replica does. ``run``, ``tune`` and
``warm_up`` block and belong to one thread; ``check_health`` and ``describe`` may be called
from any.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.config import ModelSpec, Tunables
from deployments.errors import InferenceFailed, ServiceError
from deployments.inference.loader import LoadedModel, load_model
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.executor import BatchExecutor
from deployments.inference.memory.outcomes import Decision, Event, Failure, Item
from deployments.inference.memory.state import MemoryKey
from deployments.inference.types import UNTRAINED, ProbabilityMap, UInt8Array

log = logging.getLogger(__name__)

_DTYPE = "float32"
_GREY = 128


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One image in a batch.

    Attributes:
        pixels: uint8 (S, S, 3) RGB.
        arrived: ``time.monotonic()`` of its arrival at the replica.
        deadline: ``time.monotonic()`` after which nobody waits for it.
        request_id: For the log.
    """

    pixels: UInt8Array
    arrived: float
    deadline: float
    request_id: str


@dataclass(frozen=True, slots=True)
class _Answer:
    """One map, and when and how long the device call ran that made it."""

    probability: UInt8Array
    started: float
    seconds: float


class ModelRunner:
    """A loaded network, and what its device was found to bear.

    Args:
        name: Name of the model.
        loaded: The network on its device.
        tunables: Batch size and limits.
        side: Input size S in pixels.
    """

    def __init__(self, name: str, loaded: LoadedModel, tunables: Tunables, side: int) -> None:
        self.name = name
        self._loaded = loaded
        self._tunables = tunables
        self._side = side
        self._image_cost = side * side
        self._images = 0
        self._calls = 0
        key = MemoryKey(name, loaded.sha256 or UNTRAINED, _DTYPE, side, loaded.engine.device_name)
        self._controller = MemoryController(
            key, self._max_cost(tunables), memory_limit_mb=_whole(tunables.memory_limit_mb)
        )
        self._executor: BatchExecutor[UInt8Array, _Answer] = BatchExecutor(
            self._device_call,
            self._controller,
            loaded.engine.release,
            on_decision=self._log_decision,
        )

    def tune(self, tunables: Tunables) -> None:
        """Take over tunables that concern the same network."""
        self._tunables = tunables
        self._controller.configure(self._max_cost(tunables), _whole(tunables.memory_limit_mb))

    def batch_size(self) -> int:
        """Most images that the next device call should take."""
        return self._controller.ceiling_items(self._image_cost)

    def warm_up(self) -> float:
        """Run one full batch of grey images and return its seconds.

        A batch that does not fit teaches the controller and goes on in smaller ones.

        Raises:
            ServiceError: Not even one image can be answered.
        """
        grey = np.full((self._side, self._side, 3), _GREY, dtype=np.uint8)
        started = time.monotonic()
        item = BatchItem(grey, started, float("inf"), "warm-up")
        for outcome in self.run([item] * self._tunables.max_batch_size):
            if isinstance(outcome, ServiceError):
                raise outcome
        self._images = self._calls = 0
        return time.monotonic() - started

    def run(
        self, items: Sequence[BatchItem], more_waiting: bool = False
    ) -> list[ProbabilityMap | ServiceError]:
        """Answer every item once, in order.

        Args:
            items: The images of one batch.
            more_waiting: Whether an image waits that this batch had no place for.
        """
        work = [Item(item.pixels, self._image_cost, item.request_id) for item in items]
        outcomes = self._executor.run(work, self._image_cost if more_waiting else None)
        return [
            outcome.error
            if isinstance(outcome, Failure)
            else ProbabilityMap(
                probability=outcome.value.probability,
                batch_size=outcome.batch_size,
                device=self._loaded.engine.device,
                weights=self._loaded.sha256,
                seconds=outcome.value.seconds,
                queue_seconds=outcome.value.started - item.arrived,
            )
            for item, outcome in zip(items, outcomes, strict=True)
        ]

    def check_health(self) -> None:
        """Raise when this process can answer nothing any more.

        Raises:
            InferenceFailed: Its device is lost.
        """
        if self._controller.down:
            raise InferenceFailed(f"the device of {self.name} is lost")

    def describe(self) -> dict[str, object]:
        """JSON-ready facts for /api/v1/models."""
        return {
            **self._loaded.describe(),
            "configured_batch_size": self._tunables.max_batch_size,
            "effective_batch_size": self.batch_size(),
            "images": self._images,
            "device_calls": self._calls,
            "memory": self._controller.snapshot().as_dict(),
        }

    def _max_cost(self, tunables: Tunables) -> int:
        return tunables.max_batch_size * self._image_cost

    def _device_call(self, batch: Sequence[UInt8Array]) -> list[_Answer]:
        started = time.monotonic()
        maps = self._loaded.engine.run(np.stack(batch))
        seconds = time.monotonic() - started
        self._calls += 1
        self._images += len(batch)
        return [_Answer(probability, started, seconds) for probability in maps]

    def _log_decision(self, decision: Decision) -> None:
        level = logging.ERROR if decision.event is Event.FATAL else logging.WARNING
        log.log(
            level,
            "%s %s: %d images, ceiling now %d, requests %s: %s",
            self.name,
            decision.event,
            decision.cost // self._image_cost,
            decision.ceiling // self._image_cost,
            ",".join(decision.request_ids),
            decision.reason,
        )


def load_runner(name: str, spec: ModelSpec, tunables: Tunables, device: str) -> ModelRunner:
    """Load a model and prove it on a full batch.

    Raises:
        ConfigurationError: The model or its weights do not fit the configuration.
        ServiceError: The warm-up failed.
    """
    started = time.monotonic()
    loaded = load_model(spec, tunables, device)
    runner = ModelRunner(name, loaded, tunables, spec.input_size)
    loading = time.monotonic() - started
    warming = runner.warm_up()
    log.info("%s: loaded in %.2f s, warm-up %.2f s on %s", name, loading, warming, device)
    return runner


def _whole(megabytes: float | None) -> int | None:
    return None if megabytes is None else round(megabytes)
