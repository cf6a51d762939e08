"""What the HTTP routes need from whatever runs the models.

The routes know this protocol and nothing of Ray. ``serve_app/ingress.py`` implements it with
deployment handles; the tests implement it with a few lines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from deployments.inference.shape_metrics import MetricsConvention as MetricsConvention
from deployments.inference.types import Polygons


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One served model, as ``GET /api/v1/models`` lists it.

    Attributes:
        name: The name that clients send.
        description: One line for people.
        has_pretrained: Whether weights trained on other data are served.
        has_finetuned: Whether weights trained on spheroids are served.
        recommended_threshold: Probability threshold, 0.1 to 0.9.
        optimal_batch_size: Images per device call that the model starts with.
        max_safe_batch_size: Most files that one batch-segment request may hold.
        expected_throughput: Images per second of one replica; 0.0 where it was not measured.
        state: JSON-serialisable facts of the moment (replicas, device, memory ceiling),
            listed beside the fields above. A key must not repeat one of them.
    """

    name: str
    description: str
    has_pretrained: bool
    has_finetuned: bool
    optimal_batch_size: int
    max_safe_batch_size: int
    expected_throughput: float
    recommended_threshold: float = 0.5
    state: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Segmentation:
    """The answer for one image.

    Attributes:
        width: Width of the uploaded image in pixels, after EXIF orientation.
        height: Height of the uploaded image in pixels, after EXIF orientation.
        polygons: Outlines in pixels of the uploaded image.
        device: Where the network ran, for example ``cuda:0``.
        gpu: Whether that device is a GPU.
        batch_size: Images in the device call that served this one.
        stages: Seconds by stage: ``decode`` (from bytes to network input), ``queue``,
            ``device`` (the device call), ``transport`` (between processes), ``polygons``.
    """

    width: int
    height: int
    polygons: Polygons
    device: str
    gpu: bool
    batch_size: int
    stages: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Health:
    """What the health endpoints tell.

    Attributes:
        models_loaded: Models with at least one replica that is ready.
        gpu_available: Whether a replica runs on a GPU.
        device_count: Number of GPUs in use.
        device_name: Name of the GPU, ``CPU`` without one.
        models_failed: Names of the models whose replicas cannot start.
    """

    models_loaded: int
    gpu_available: bool
    device_count: int
    device_name: str
    models_failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Activity:
    """What the service is doing.

    Attributes:
        current_model: A model that is at work, None when idle.
        queue_length: Images that wait for a device.
    """

    is_processing: bool
    current_model: str | None
    queue_length: int


@dataclass(frozen=True, slots=True)
class DeploymentState:
    """A deployment of Ray Serve.

    Attributes:
        application: The application that it belongs to.
        name: Its name.
        status: ``HEALTHY``, ``UPDATING``, ``UNHEALTHY`` and so on, see Serve's DeploymentStatus.
        replicas: Number of replicas by state: ``RUNNING``, ``STARTING`` and so on.
        message: Why, where it is not healthy.
    """

    application: str
    name: str
    status: str
    replicas: Mapping[str, int]
    message: str


class SegmentationService(Protocol):
    """The models, as the routes see them.

    Every method may raise any ``ServiceError`` except ``RetryElsewhere``. Cancelling an
    awaited method drops the work it has not started yet.
    """

    def models(self) -> Mapping[str, ModelInfo]:
        """Return the served models by name, loaded or not. Never waits."""
        ...

    def health(self) -> Health:
        """Return the last known state. Never waits, least of all for inference."""
        ...

    def activity(self) -> Activity:
        """Return what is at work now. Never waits."""
        ...

    def request_counts(self) -> Mapping[tuple[str, int], int]:
        """Return how many images were asked for, by model and HTTP status, since the start."""
        ...

    async def deployments(self) -> Sequence[DeploymentState] | None:
        """Return what Serve says of every deployment, those of the jobs included, if it answers."""
        ...

    async def forget_memory(self) -> None:
        """Let every replica of every model forget what it learnt about memory."""
        ...

    async def segment(
        self, data: bytes, model: str, threshold: float, detect_holes: bool
    ) -> Segmentation:
        """Segment one encoded image, waiting for the model to load if need be.

        Args:
            data: A PNG, JPEG, TIFF or BMP file.
            model: A name from ``models()``.
            threshold: A pixel is foreground where its probability is above it.
            detect_holes: Whether holes are reported as polygons of their own.
        """
        ...

    async def calculate_metrics(self, body: bytes, convention: MetricsConvention) -> bytes:
        """Run ``serve_app.metrics.calculate`` in a child process."""
        ...

    async def batch_calculate_metrics(self, body: bytes, convention: MetricsConvention) -> bytes:
        """Run ``serve_app.metrics.calculate_batch`` in a child process."""
        ...
