"""One replica of one model: gate, batch queue, and the thread that runs the network.

The class is bound once per model by ``serve_app/app.py``. Its event loop never blocks: device
calls run in one thread of their own, so that ``check_health`` answers meanwhile. New weights are
loaded in a thread that yields to it, and warmed up there where memory has no limit, while the old
ones go on serving.
"""

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass

import ray
from opentelemetry.trace import SpanContext
from pydantic import ValidationError
from ray import serve

from deployments import evidence_store, tracing
from deployments.assigned_device import assigned_device
from deployments.batch_metrics import BatchMetrics
from deployments.config import ModelSpec, Tunables
from deployments.errors import ConfigurationError, DeadlineExceeded, InferenceFailed, ServiceError
from deployments.gate import Gate, Priority
from deployments.inference.loader import load_model
from deployments.inference.runner import BatchItem, ModelRunner
from deployments.inference.start import start_runner
from deployments.inference.types import UNTRAINED, ProbabilityMap, UInt8Array
from deployments.logs import join_serve_logs
from deployments.scaling import IDLE_SECONDS, Idleness
from deployments.threads import in_thread, one_thread

log = logging.getLogger(__name__)

# A replica without instructions yet forms batches of one; reconfigure() sets the real size.
_INITIAL_BATCH = 1

# The most there is. Ray starts replicas with 15, so that a batch gets two thirds of the processor
# while weights are loaded beside it. OpenVINO's helper threads serve both and keep the 15.
_LOADER_NICENESS = 19


@dataclass(frozen=True, slots=True)
class TracedItem(BatchItem):
    """One image in a batch, and the span of the request that it belongs to."""

    span: SpanContext


class Segmenter:
    """Serves one model.

    Args:
        name: Name of the model, which is also the name of the deployment.
        spec: A ``ModelSpec`` as plain values.
    """

    def __init__(self, name: str, spec: dict[str, object]) -> None:
        join_serve_logs()
        self._name = name
        self._spec = ModelSpec.model_validate(spec)
        self._device = assigned_device(self._spec.device)
        self._gpu_share = float(ray.get_runtime_context().get_assigned_resources().get("GPU", 0))
        self._thread = one_thread(name)
        self._loader = one_thread(f"{name} loader", _LOADER_NICENESS)
        self._gate = Gate()
        self._tunables: Tunables | None = None
        self._runner: ModelRunner | None = None
        self._metrics = BatchMetrics(name)
        self._loading: str | None = None
        self._refused: str | None = None
        self._changing = asyncio.Lock()
        self._changes: set[asyncio.Task[None]] = set()
        self._hung_at = float("inf")
        self._idleness = Idleness()
        self._join_batch = serve.batch(
            max_batch_size=_INITIAL_BATCH, batch_wait_timeout_s=0.0, max_concurrent_batches=1
        )(self._run_batch)

    async def reconfigure(self, user_config: dict[str, object]) -> None:
        """Take over tunables; called by Serve before the first request and at every change.

        Serve sends no requests to a replica until this returns, and stops one that raises. So a
        replica that serves changes in the background: new weights are loaded and warmed up beside
        the old ones, which go on serving until the new network has answered a full batch. What
        cannot work is refused: the replica keeps what it has, and says why in :meth:`describe`.

        Raises:
            ServiceError: This first configuration cannot work.
            ValidationError: The same, for a value out of range.
        """
        if self._runner is None:
            await self._change(user_config)
        else:
            task = asyncio.create_task(self._change_or_refuse(user_config))
            self._changes.add(task)
            task.add_done_callback(self._changes.discard)

    async def _change_or_refuse(self, user_config: dict[str, object]) -> None:
        # One after the other, so that the last one stays.
        async with self._changing:
            try:
                await self._change(user_config)
                self._refused = None
            # Whatever it is: memory that runs out beside the old network raises a RuntimeError,
            # and nobody waits for this task who could be told.
            except Exception as error:
                log.exception("%s keeps its configuration", self._name)
                known = isinstance(error, ServiceError | ValidationError)
                self._refused = str(error) if known else f"{type(error).__name__}: {error}"

    async def _change(self, user_config: dict[str, object]) -> None:
        tunables = Tunables.model_validate(user_config)
        old = self._tunables
        runner = self._runner
        if runner is None or old is None or needs_reload(old, tunables):
            path = tunables.weights_path
            self._loading = path.name if path is not None else UNTRAINED
            try:
                self._runner = await self._load(tunables, runner)
            finally:
                self._loading = None
        else:
            await in_thread(self._thread, lambda: runner.tune(tunables))
        self._tunables = tunables
        self._join_batch.set_max_batch_size(self._batch_size())
        self._wait_for_company(False)

    async def segment(
        self, pixels: UInt8Array, seconds: float, priority: Priority = Priority.INTERACTIVE
    ) -> ProbabilityMap:
        """Run the network on one image, together with others that wait.

        Args:
            pixels: uint8 (S, S, 3) RGB at the model's input size.
            seconds: Time that the caller will still wait. An image whose time is up is dropped
                before it reaches the device.
            priority: Images of jobs wait behind those of people.

        Raises:
            DeadlineExceeded: Its time was up.
            ImageExceedsMemory: It does not fit the device even alone.
            RetryElsewhere: The device of this replica has failed.
            InferenceFailed: The network raised.
        """
        request_id = serve.context._get_serve_request_context().request_id
        now = time.monotonic()
        span = tracing.current()
        with self._idleness.image():
            async with self._gate.passage(priority):
                admitted = time.monotonic()
                item = TracedItem(pixels, now, admitted, now + seconds, request_id, span)
                outcome: ProbabilityMap | ServiceError = await self._join_batch(item)
        if isinstance(outcome, ServiceError):
            raise outcome
        began = now + outcome.waited_seconds
        tracing.past_span("queue", now, admitted)
        tracing.past_span("batch wait", admitted, began)
        tracing.past_span("device", began, began + outcome.seconds)
        return outcome

    async def describe(self) -> dict[str, object]:
        """What this replica is and has done, as JSON-ready values for /api/v1/models."""
        if self._runner is None:
            raise ConfigurationError(f"{self._name} has no weights yet")
        return {
            "pid": os.getpid(),
            **self._runner.describe(),
            "loading": self._loading,
            "refused": self._refused,
            "waiting": self._gate.waiting,
            "busy": self._hung_at != float("inf"),
        }

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Called by Serve again and again; ``deployments.scaling`` reads it."""
        return {IDLE_SECONDS: self._idleness.seconds}

    async def forget_memory(self) -> None:
        """Drop what was learnt about memory; the next batches have the configured size."""
        if (runner := self._runner) is not None:
            runner.forget()
            self._join_batch.set_max_batch_size(self._batch_size())

    async def check_health(self) -> None:
        """Called by Serve; raising makes it replace this replica.

        Raises:
            InferenceFailed: The device has failed, or a device call hangs.
        """
        if time.monotonic() > self._hung_at:
            raise InferenceFailed(f"a device call of {self._name} hangs")
        if self._runner is not None:
            self._runner.check_health()

    async def _run_batch(self, items: list[TracedItem]) -> list[ProbabilityMap | ServiceError]:
        """The batch function. Nothing escapes it, since what does would hang or fail everyone.

        An exception here reaches all callers of the batch, and a ``BaseException`` none of
        them, ever; so each item's outcome travels in the list.
        """
        self._gate.close()
        try:
            with tracing.batch_span(f"batch {self._name}", [item.span for item in items]):
                return await self._execute(items)
        except BaseException as error:
            log.exception("batch of %s failed", self._name)
            failure = InferenceFailed(f"{self._name} failed: {type(error).__name__}")
            return [failure for _ in items]
        finally:
            size = self._batch_size()
            self._join_batch.set_max_batch_size(size)
            self._wait_for_company(len(items) > 1 or self._gate.waiting > 0)
            self._gate.open(size)

    def _wait_for_company(self, likely: bool) -> None:
        """Let the next batch wait for more images only where there are several at a time.

        A client that sends one image after the other would wait in vain each time.
        """
        wait_ms = self._tunables.batch_wait_ms if likely and self._tunables else 0.0
        self._join_batch.set_batch_wait_timeout_s(wait_ms / 1000)

    async def _execute(self, items: list[TracedItem]) -> list[ProbabilityMap | ServiceError]:
        runner = self._runner
        if runner is None:
            raise ConfigurationError(f"{self._name} has no weights yet")
        now = time.monotonic()
        live = [item for item in items if item.deadline > now]
        late = DeadlineExceeded(f"{self._name} could not start within the time allowed")
        if not live:
            return [late for _ in items]
        self._hung_at = max(item.deadline for item in live)
        try:
            crowded = self._gate.waiting > 0
            done = await in_thread(self._thread, lambda: runner.run(live, crowded))
        finally:
            self._hung_at = float("inf")
        self._metrics.record(done)
        self._metrics.record_memory(runner.describe())
        answers = iter(done)
        return [next(answers) if item.deadline > now else late for item in items]

    async def _load(self, tunables: Tunables, present: ModelRunner | None) -> ModelRunner:
        """Load a network beside the present one, which goes on serving and stays if that fails."""

        loading = proving = self._thread
        if present is not None:
            await in_thread(self._thread, present.make_room)
            loading = self._loader
            # A limit of memory holds for the process or its share of a GPU, not for a thread: both
            # networks at once would not fit, and one would pay for the other.
            limited = self._device != "cpu" or tunables.memory_limit_mb is not None
            proving = self._thread if limited else self._loader
        try:
            loaded = await in_thread(
                loading, lambda: load_model(self._spec, tunables, self._device)
            )
            return await in_thread(
                proving,
                lambda: start_runner(
                    self._name, self._spec, loaded, tunables, self._gpu_share, evidence_store
                ),
            )
        except Exception:
            if present is not None and self._tunables is not None:
                kept = self._tunables
                await in_thread(self._thread, lambda: present.tune(kept))
            raise

    def _batch_size(self) -> int:
        return self._runner.batch_size() if self._runner is not None else _INITIAL_BATCH

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            self._thread.shutdown(wait=False, cancel_futures=True)
            self._loader.shutdown(wait=False, cancel_futures=True)


def needs_reload(old: Tunables, new: Tunables) -> bool:
    """Whether the change concerns the network itself."""
    return (old.weights, old.widths) != (new.weights, new.widths)
