"""What happens to one image of a job, from its file to its result."""

import time
from dataclasses import dataclass

from deployments import tracing
from deployments.config import ModelSpec, Strict
from deployments.image_steps import ImageSteps
from deployments.inference.images.limits import ImageLimits
from deployments.inference.sandbox import Sandbox, SandboxLimits
from deployments.inference.shape_metrics import MetricsConvention
from deployments.job_places import Places
from deployments.job_results import encode_result
from deployments.jobs.records import ImageLease
from deployments.jobs.results import cache_key
from deployments.jobs.store import JobStore
from deployments.model_client import ModelClient

_MIB = 1024 * 1024


class JobLimits(Strict):
    """What one image may take, as for an image of a request.

    Attributes:
        max_image_pixels: Most pixels of one image.
        image_seconds: Time from the claim of an image to its result.
        decode_workers: Child processes for decoding, polygons and renderings.
        decode_memory_mb: Address space of one task in MiB.
        decode_cpu_seconds: CPU time of one task.
        decode_wall_seconds: Wall time of one task.
        metrics_convention: Formulas of the metrics table.
    """

    max_image_pixels: int
    image_seconds: float
    decode_workers: int
    decode_memory_mb: int
    decode_cpu_seconds: int
    decode_wall_seconds: float
    metrics_convention: MetricsConvention

    def sandbox(self, workers: int) -> Sandbox:
        """Return child processes of which each task may take this much.

        Args:
            workers: Largest number of tasks at a time.
        """
        return Sandbox(
            workers,
            SandboxLimits(
                memory_bytes=self.decode_memory_mb * _MIB,
                cpu_seconds=self.decode_cpu_seconds,
                wall_seconds=self.decode_wall_seconds,
            ),
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of one image.

    Attributes:
        result: SHA-256 (hex) of the stored result file.
        timings: Seconds by name; empty for a result that was known before.
    """

    result: str
    timings: dict[str, float]


class ImageWorker:
    """Segments images with one model.

    Args:
        store: Where images and results are.
        sandbox: Where untrusted bytes are decoded.
        client: The model.
        spec: What of the model is fixed.
        limits: What one image may take.
        places: How many images may be at the model.
    """

    def __init__(
        self,
        store: JobStore,
        sandbox: Sandbox,
        client: ModelClient,
        spec: ModelSpec,
        limits: JobLimits,
        places: Places,
    ) -> None:
        self._store = store
        self._steps = ImageSteps(sandbox, ImageLimits(max_pixels=limits.max_image_pixels))
        self._client = client
        self._spec = spec
        self._limits = limits
        self._places = places

    def cache_key(self, lease: ImageLease, weights: str) -> str:
        """Return the key under which the result of an image is remembered.

        Args:
            lease: The image and its parameters.
            weights: SHA-256 (hex) of the weights.
        """
        spec = self._spec
        version = f"{lease.model} {spec.implementation} {spec.input_size} {spec.preset} {weights}"
        parameters = {"threshold": lease.threshold, "detect_holes": lease.detect_holes}
        return cache_key(lease.content, version, parameters)

    async def segment(self, lease: ImageLease) -> Answer:
        """Segment an image and store the result.

        Raises:
            ClientError: The image can never be segmented.
            ServerError: It could not be segmented now.
        """
        token = lease.token
        image = {"model": lease.model, "job": token.job_id, "position": str(token.position)}
        with tracing.span("job image", image):
            return await self._segment(lease)

    async def _segment(self, lease: ImageLease) -> Answer:
        spec = self._spec
        data = await self._store.read(lease.content)
        started = time.monotonic()
        deadline = started + self._limits.image_seconds
        image = await self._steps.prepare(data, spec)
        prepared = time.monotonic()
        async with self._places.take():
            answer = await self._client.segment(image.pixels, deadline)
        answered = time.monotonic()
        polygons = await self._steps.finish(
            image, answer, spec, lease.threshold, lease.detect_holes
        )
        timings = {
            "preprocessing": prepared - started,
            "waiting": answered - prepared - answer.seconds,
            "inference": answer.seconds,
            # Its part of a device call that served the whole batch, so that sums make sense.
            "device_share": answer.seconds / answer.batch_size,
            "polygons": time.monotonic() - answered,
        }
        encoded = encode_result(
            lease.model, lease.threshold, lease.detect_holes, image, answer, polygons, timings
        )
        [result] = await self._store.save([encoded])
        if answer.weights is not None:
            await self._store.results.add(self.cache_key(lease, answer.weights), result)
        return Answer(result, timings)
