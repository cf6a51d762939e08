"""The ingress replica: HTTP in front, child processes and model handles behind.

It implements ``serve_app.service.SegmentationService``. Nothing here computes: bytes go to a
child process for decoding, pixels to a model replica, probability maps to a child process for
polygons.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping

from ray.serve.handle import DeploymentHandle
from starlette.applications import Starlette

from deployments import tracing
from deployments.config import ModelSpec
from deployments.errors import DeadlineExceeded, UnknownModel
from deployments.image_steps import ImageSteps
from deployments.inference.images.limits import ImageLimits
from deployments.inference.sandbox import Sandbox, SandboxLimits
from deployments.logs import join_serve_logs
from deployments.model_client import ModelClient
from serve_app import metrics
from serve_app.authentication import use_pixels
from serve_app.deployments_status import DeploymentsStatus
from serve_app.directory import ModelDirectory, ModelLimits
from serve_app.drain import WorkInHand
from serve_app.exposure import check_http
from serve_app.jobs_client import JobsClient
from serve_app.request_metrics import RequestMetrics
from serve_app.routes import create_app
from serve_app.service import (
    Activity,
    DeploymentState,
    Health,
    MetricsConvention,
    ModelInfo,
    Segmentation,
)
from serve_app.settings import Settings

MIB = 1024 * 1024


class Ingress:
    """Routes requests to models.

    Args:
        specs: What of each model is fixed, by name, as plain values.
        handles: Handle of each model's deployment, by name.
        host: Address that the proxies listen on.

    Raises:
        ConfigurationError: Everybody who reaches that address would be let in.
    """

    def __init__(
        self,
        specs: dict[str, dict[str, object]],
        handles: dict[str, DeploymentHandle],
        host: str,
    ) -> None:
        join_serve_logs()
        self._settings = Settings.from_environment()
        check_http(host, self._settings)
        self._specs = {name: ModelSpec.model_validate(spec) for name, spec in specs.items()}
        self._clients = {name: ModelClient(name, handle) for name, handle in handles.items()}
        self._directory = ModelDirectory(self._specs, self._clients)
        self._deployments = DeploymentsStatus()
        self._sandbox = Sandbox(
            self._settings.decode_workers,
            SandboxLimits(
                memory_bytes=self._settings.decode_memory_mb * MIB,
                cpu_seconds=self._settings.decode_cpu_seconds,
                wall_seconds=self._settings.decode_wall_seconds,
            ),
        )
        image_limits = ImageLimits(max_pixels=self._settings.max_image_pixels)
        self._steps = ImageSteps(self._sandbox, image_limits)
        self._jobs = JobsClient(self._sandbox)
        self._work = WorkInHand()
        self._metrics = RequestMetrics(self._specs)

    def __serve_build_asgi_app__(self) -> Starlette:
        """Called by Serve after the constructor."""
        return create_app(self, self._jobs, self._settings, lifespan=self._lifespan)

    def reconfigure(self, user_config: dict[str, dict[str, object]]) -> None:
        """Take over the limits of the models, by name; called by Serve at every change."""
        self._directory.limits = {
            name: ModelLimits.model_validate(limits) for name, limits in user_config.items()
        }

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        watching = asyncio.create_task(self._directory.watch())
        try:
            yield
        finally:
            watching.cancel()
            self._sandbox.close()

    async def drain(self, seconds: float) -> int:
        """Take no more images and finish those at work; called before the service stops."""
        return await self._work.drain(seconds)

    def models(self) -> Mapping[str, ModelInfo]:
        """The served models; see ``SegmentationService``."""
        return self._directory.models()

    def health(self) -> Health:
        """The last known state; see ``SegmentationService``."""
        return self._directory.health()

    async def deployments(self) -> list[DeploymentState] | None:
        """See ``SegmentationService``."""
        return await self._deployments.states()

    def activity(self) -> Activity:
        """What this ingress replica waits for; see ``SegmentationService``."""
        at_work = self._work.by_model
        busy = [name for name, count in at_work.items() if count > 0]
        running = sum(self._directory.limits[name].optimal_batch_size for name in busy)
        return Activity(
            is_processing=bool(busy),
            current_model=busy[0] if busy else None,
            queue_length=max(0, at_work.total() - running),
        )

    def request_counts(self) -> Mapping[tuple[str, int], int]:
        """What this ingress replica was asked for; see ``SegmentationService``."""
        return self._metrics.counts

    async def forget_memory(self) -> None:
        """Forget what was learnt about memory; see ``SegmentationService``."""
        await asyncio.gather(*(client.forget_memory() for client in self._clients.values()))

    async def segment(
        self, data: bytes, model: str, threshold: float, detect_holes: bool
    ) -> Segmentation:
        """Segment one encoded image; see ``SegmentationService``."""
        with self._metrics.request(model):
            if model not in self._specs:
                known = ", ".join(sorted(self._specs))
                raise UnknownModel(f"unknown model '{model}'; available: {known}")
            with (
                self._work.image(model),
                tracing.span("segment", {"model": model, "bytes": len(data)}),
            ):
                return await self._segment(data, model, threshold, detect_holes)

    async def _segment(
        self, data: bytes, model: str, threshold: float, detect_holes: bool
    ) -> Segmentation:
        spec = self._specs[model]
        started = time.monotonic()
        deadline = started + self._settings.request_timeout_seconds
        image = await self._steps.prepare(data, spec)
        use_pixels(image.width * image.height)
        prepared = time.monotonic()
        answer = await self._clients[model].segment(image.pixels, deadline)
        answered = time.monotonic()
        polygons = await self._steps.finish(image, answer, spec, threshold, detect_holes)
        ended = time.monotonic()
        if ended > deadline:
            raise DeadlineExceeded(f"{model} did not answer within the time allowed")
        stages = {
            "decode": prepared - started,
            "queue": answer.queue_seconds,
            "batch_wait": answer.batch_wait_seconds,
            "device": answer.seconds,
            # Clocks of two processes may differ by a little.
            "transport": max(0.0, answered - prepared - answer.waited_seconds - answer.seconds),
            "polygons": ended - answered,
        }
        self._metrics.stages(model, stages)
        return Segmentation(
            width=image.width,
            height=image.height,
            polygons=polygons,
            device=answer.device,
            gpu=answer.device.startswith("cuda"),
            batch_size=answer.batch_size,
            stages=stages,
        )

    async def calculate_metrics(self, body: bytes, convention: MetricsConvention) -> bytes:
        """Shape metrics of one contour; see ``SegmentationService``."""
        result: bytes = await self._sandbox.run(metrics.calculate, body, convention)
        return result

    async def batch_calculate_metrics(self, body: bytes, convention: MetricsConvention) -> bytes:
        """Shape metrics of a list of contours; see ``SegmentationService``."""
        result: bytes = await self._sandbox.run(metrics.calculate_batch, body, convention)
        return result
