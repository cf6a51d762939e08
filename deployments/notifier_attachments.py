"""What the mail of a finished job carries: a small picture and the metrics as CSV.

Both are made in a child process. Neither may hold up the mail: what takes too long, grows too
large or fails is left out, and the mail says so.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from deployments.errors import PayloadTooLarge, ServiceError
from deployments.inference.images.limits import ImageLimits
from deployments.inference.sandbox import Sandbox
from deployments.inference.shape_metrics import MetricsConvention
from deployments.job_results import metrics_header, render
from deployments.jobs.records import Image, Job
from deployments.jobs.store import JobStore
from deployments.mail.message import Attachment
from deployments.mail.preview import render_preview

log = logging.getLogger(__name__)

# Two files fit into the margin that the lease of a mail leaves beside its sending.
_MOST_SECONDS = 15.0
# The recipients of a job, and further attempts, share what was made once.
_JOBS_REMEMBERED = 4


@dataclass(frozen=True, slots=True)
class Attachments:
    """The files of one job.

    Attributes:
        files: In order of importance.
        complete: False where one had to be left out.
    """

    files: tuple[Attachment, ...]
    complete: bool


class AttachmentMaker:
    """Makes the files that the mail of a job carries.

    Args:
        store: Where uploads and results are.
        sandbox: Where they are read.
        image_limits: What an upload may unpack to.
        convention: Formulas of the metrics.
        max_bytes: Most bytes of all files of one mail; 0 makes none.
        seconds: Time for each file.
    """

    def __init__(
        self,
        store: JobStore,
        sandbox: Sandbox,
        image_limits: ImageLimits,
        convention: MetricsConvention,
        max_bytes: int,
        seconds: float = _MOST_SECONDS,
    ) -> None:
        self._store = store
        self._sandbox = sandbox
        self._image_limits = image_limits
        self._convention = convention
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._made: OrderedDict[str, Attachments] = OrderedDict()
        self._turn = asyncio.Lock()

    async def make(self, job: Job, images: Sequence[Image]) -> Attachments:
        """Return the files of a job that has ended.

        Args:
            job: The job.
            images: All its images.
        """
        segmented = [image for image in images if image.result is not None]
        if self._max_bytes == 0 or not segmented:
            return Attachments((), complete=True)
        if job.id not in self._made:
            self._made[job.id] = await self._make(job, segmented)
            if len(self._made) > _JOBS_REMEMBERED:
                self._made.popitem(last=False)
        return self._made[job.id]

    async def _make(self, job: Job, segmented: Sequence[Image]) -> Attachments:
        wanted: list[tuple[str, str, Callable[[Sequence[Image]], Awaitable[bytes]]]] = [
            ("preview.jpg", "image/jpeg", self._preview)
        ]
        if "metrics" in job.outputs:
            wanted.append(("metrics.csv", "text/csv", self._metrics))
        files: list[Attachment] = []
        for filename, media_type, work in wanted:
            try:
                async with asyncio.timeout(self._seconds):
                    files.append(Attachment(filename, media_type, await work(segmented)))
            except (ServiceError, TimeoutError) as error:
                log.warning("job %s is told without %s: %r", job.id, filename, error)
        return Attachments(tuple(files), complete=len(files) == len(wanted))

    async def _preview(self, segmented: Sequence[Image]) -> bytes:
        first = segmented[0]
        upload, result = await asyncio.gather(
            self._store.read(first.content), self._store.read(_result(first))
        )
        return await self._sandbox.run(render_preview, upload, result, self._image_limits)

    async def _metrics(self, segmented: Sequence[Image]) -> bytes:
        lines = [metrics_header()]
        size = len(lines[0])
        for image in segmented:
            result = await self._store.read(_result(image))
            rendering = await self._sandbox.run(
                render, result, image.position, image.name, False, True, self._convention
            )
            lines.append(rendering.rows or b"")
            size += len(lines[-1])
            if size > self._max_bytes:
                raise PayloadTooLarge(f"the table has more than {self._max_bytes} bytes")
        return b"".join(lines)


def _result(image: Image) -> str:
    assert image.result is not None, "only segmented images are asked for"
    return image.result
