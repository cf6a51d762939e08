"""What happens to an image before and after the model, in child processes.

Requests and jobs take the same steps; what differs is who counts, waits and stores in between.
"""

from deployments import tracing
from deployments.config import ModelSpec
from deployments.errors import InvalidImage, WorkerDied
from deployments.inference.images.limits import ImageLimits
from deployments.inference.pipeline import finish, prepare
from deployments.inference.sandbox import Sandbox
from deployments.inference.types import Polygons, PreparedImage, ProbabilityMap

_MIB = 1024 * 1024


class ImageSteps:
    """The two steps around a device call.

    Args:
        sandbox: Where they run.
        limits: What a file may unpack to.
    """

    def __init__(self, sandbox: Sandbox, limits: ImageLimits) -> None:
        self._sandbox = sandbox
        self._limits = limits

    async def prepare(self, data: bytes, spec: ModelSpec) -> PreparedImage:
        """Decode a file and bring it to the input size of a model.

        Raises:
            InvalidImage: The bytes are no image we can decode within the limits of a task.
            ImageTooLarge: The image unpacks to more than is allowed.
        """
        with tracing.span("decode"):
            try:
                return await self._sandbox.run(
                    prepare, data, spec.implementation, spec.input_size, spec.preset, self._limits
                )
            except WorkerDied as error:
                allowed = self._sandbox.limits
                raise InvalidImage(
                    f"the image cannot be decoded within {allowed.cpu_seconds} s "
                    f"and {allowed.memory_bytes // _MIB} MB"
                ) from error

    async def finish(
        self,
        image: PreparedImage,
        answer: ProbabilityMap,
        spec: ModelSpec,
        threshold: float,
        detect_holes: bool,
    ) -> Polygons:
        """Turn what a model answered into polygons in pixels of the uploaded image.

        Raises:
            WorkerDied: They could not be found within the limits of a task.
        """
        with tracing.span("polygons"):
            return await self._sandbox.run(
                finish,
                answer.probability,
                spec.implementation,
                image.width,
                image.height,
                threshold,
                detect_holes,
            )
