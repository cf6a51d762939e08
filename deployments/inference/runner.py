"""The network of one replica: runs batches within memory, and describes itself.

No Ray here: a test, a benchmark or a script uses it as a replica does. ``run``, ``tune`` and
``warm_up`` block and never run at the same time; ``check_health`` and ``describe`` may be called
from any.
"""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments import tracing
from deployments.config import ModelSpec, Tunables
from deployments.errors import ImageExceedsMemory, InferenceFailed, ServiceError
from deployments.inference.loader import LoadedModel, load_model
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.device import DeviceMemory
from deployments.inference.memory.executor import BatchExecutor
from deployments.inference.memory.faults import FaultInjector, faults_of
from deployments.inference.memory.lessons import Lessons
from deployments.inference.memory.outcomes import Decision, Event, Failure, Item
from deployments.inference.memory.state import MemoryKey
from deployments.inference.types import UNTRAINED, ProbabilityMap, UInt8Array

log = logging.getLogger(__name__)

_GREY = 128


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One image in a batch.

    Attributes:
        pixels: uint8 (S, S, 3) RGB.
        arrived: ``time.monotonic()`` of its arrival at the replica.
        admitted: The same of its admission to the next batch.
        deadline: ``time.monotonic()`` after which nobody waits for it.
        request_id: For the log.
    """

    pixels: UInt8Array
    arrived: float
    admitted: float
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
        spec: What of the model is fixed.
        loaded: The network on its device.
        tunables: Batch size and limits.
        memory: The memory of the device, as it is with the network loaded.
        lessons: Where to read and leave what is learnt about memory; None keeps it to itself.
    """

    def __init__(
        self,
        name: str,
        spec: ModelSpec,
        loaded: LoadedModel,
        tunables: Tunables,
        memory: DeviceMemory,
        lessons: Lessons | None = None,
    ) -> None:
        self.name = name
        self._spec = spec
        self._loaded = loaded
        self._tunables = tunables
        self._memory = memory
        self._lessons = lessons
        self._side = spec.input_size
        self._image_cost = self._side * self._side
        self._images = 0
        self._calls = 0
        self._to_single_images = 0
        self._shares_process = False
        self._cpu: LoadedModel | None = None
        engine = loaded.engine
        # Evidence of one engine says nothing about another.
        arithmetic = f"{engine.name} {engine.precision}"
        key = MemoryKey(
            name, loaded.sha256 or UNTRAINED, arithmetic, self._side, engine.device_name
        )
        self._controller = MemoryController(
            key, self._max_cost(tunables), memory_limit_mb=_whole(tunables.memory_limit_mb)
        )
        known = lessons.recall(key) if lessons else None
        if known is not None:
            self._controller.adopt(known)
        faults = faults_of(name, os.environ)
        on_gpu = engine.device != "cpu"
        self._executor: BatchExecutor[UInt8Array, _Answer] = BatchExecutor(
            FaultInjector(faults).wrap(self._device_call) if faults else self._device_call,
            self._controller,
            loaded.engine.release,
            fallback=self._cpu_call if spec.cpu_fallback and on_gpu else None,
            on_decision=self._on_decision,
            needed_bytes=memory.tracker.needed_bytes,
        )
        self._limit_memory()

    def tune(self, tunables: Tunables) -> None:
        """Take over tunables that concern the same network."""
        self._tunables = tunables
        self._shares_process = False
        self._controller.configure(self._max_cost(tunables), _whole(tunables.memory_limit_mb))
        self._limit_memory()

    def make_room(self) -> None:
        """Let another network be loaded beside this one, which goes on running until ``tune``.

        The process may take what it needs meanwhile, and what it takes says nothing about this
        network.
        """
        self._lift_limit()
        self._shares_process = True

    def forget(self) -> None:
        """Drop all that was learnt about memory and start again at the configured batch."""
        self._controller.reset()
        self._publish()

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
        item = BatchItem(grey, started, started, float("inf"), "warm-up")
        for outcome in self.run([item] * self._tunables.max_batch_size):
            if isinstance(outcome, ImageExceedsMemory) and self._tunables.memory_limit_mb:
                raise self._shortage(grey, self._tunables.memory_limit_mb)
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
                queue_seconds=item.admitted - item.arrived,
                batch_wait_seconds=outcome.value.started - item.admitted,
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
            "memory": {
                **self._controller.snapshot().as_dict(),
                **self._memory.describe(),
                "single_image_fallbacks": self._to_single_images,
                "cpu_fallbacks": self._executor.fallbacks,
            },
        }

    def _shortage(self, image: UInt8Array, limit_mb: float) -> ImageExceedsMemory:
        """Find out, without the limit, by how much one image does not fit."""
        self._lift_limit()
        self._device_call([image])
        needed_mb = (self._memory.tracker.needed_bytes(self._image_cost) or 0) / 2**20
        missing_mb = max(1, round(needed_mb - limit_mb))
        return ImageExceedsMemory(
            f"one image of {self.name} needs about {limit_mb + missing_mb:.0f} MiB, "
            f"{missing_mb} MiB more than memory_limit_mb {limit_mb:g}"
        )

    def _max_cost(self, tunables: Tunables) -> int:
        return tunables.max_batch_size * self._image_cost

    def _lift_limit(self) -> None:
        self._memory.limit(None, self._tunables.memory_reserve_percent)

    def _limit_memory(self) -> None:
        tunables = self._tunables
        self._memory.limit(_whole(tunables.memory_limit_mb), tunables.memory_reserve_percent)

    def _device_call(self, batch: Sequence[UInt8Array]) -> list[_Answer]:
        if self._shares_process:
            return self._run_engine(self._loaded, batch)
        with self._memory.tracker.measure(len(batch) * self._image_cost):
            return self._run_engine(self._loaded, batch)

    def _cpu_call(self, batch: Sequence[UInt8Array]) -> list[_Answer]:
        if self._cpu is None:
            spec = self._spec.model_copy(
                update={"device": "cpu", "engine": "auto", "precision": "auto"}
            )
            self._cpu = load_model(spec, self._tunables, "cpu")
        return self._run_engine(self._cpu, batch)

    def _run_engine(self, loaded: LoadedModel, batch: Sequence[UInt8Array]) -> list[_Answer]:
        started = time.monotonic()
        with tracing.span("device call", {"images": len(batch), "device": loaded.engine.device}):
            maps = loaded.engine.run(np.stack(batch))
        seconds = time.monotonic() - started
        self._calls += 1
        self._images += len(batch)
        return [_Answer(probability, started, seconds) for probability in maps]

    def _on_decision(self, decision: Decision) -> None:
        self._log(decision)
        if decision.event is Event.SHRINK and self.batch_size() == 1:
            self._to_single_images += 1
        if decision.event in (Event.SHRINK, Event.REGROW):
            self._publish()

    def _publish(self) -> None:
        if self._lessons is not None:
            self._lessons.publish(self._controller.export_evidence())

    def _log(self, decision: Decision) -> None:
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


def _whole(megabytes: float | None) -> int | None:
    return None if megabytes is None else round(megabytes)
