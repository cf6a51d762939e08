"""The results of a job as a ZIP file, made while it is sent.

One image at a time is in memory; the table of metrics, which comes last, is put on disk where
it is long.
"""

import asyncio
import tempfile
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import PurePosixPath

import orjson
from zipstream import ZipStream  # type: ignore[import-untyped]

from deployments.errors import DeadlineExceeded
from deployments.job_results import metrics_header
from deployments.jobs.records import Image, Job
from serve_app.job_schemas import image_answer, job_answer, result_answer
from serve_app.jobs_service import JobsService

_PAGE = 100
_TABLE_BYTES_IN_MEMORY = 8 * 1024 * 1024
_PIECE_BYTES = 256 * 1024


class ResultsArchive:
    """``json/``, ``masks/``, ``metrics.csv`` (as the job asks for) and ``summary.json``.

    A job that is not finished gives what there is.

    Args:
        jobs: Where the results are.
        job: The job.
        tenant: Its owner.
    """

    def __init__(self, jobs: JobsService, job: Job, tenant: str) -> None:
        self._jobs = jobs
        self._job = job
        self._tenant = tenant
        self._zip = ZipStream(compress_type=zipfile.ZIP_DEFLATED)

    async def stream(self, seconds: float) -> AsyncIterator[bytes]:
        """Return the archive piece by piece.

        Args:
            seconds: Time allowed.

        Raises:
            ServiceError: A result could not be read; the archive has no end then.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        summary: list[dict[str, object]] = []
        with tempfile.SpooledTemporaryFile(_TABLE_BYTES_IN_MEMORY) as table:
            table.write(metrics_header())
            async for image in self._images():
                if asyncio.get_running_loop().time() > deadline:
                    raise DeadlineExceeded(f"the results were not sent within {seconds:g} s")
                summary.append(image_answer(image))
                if image.result is not None:
                    table.write(await self._add(image, image.result))
                    yield await self._pack()
            if "metrics" in self._job.outputs:
                table.seek(0)
                self._zip.add(iter(lambda: table.read(_PIECE_BYTES), b""), "metrics.csv")
            job = await self._jobs.get_job(self._job.id, self._tenant)
            answer = {**job_answer(job, ""), "images": summary}
            answer.pop("links")
            self._zip.add(orjson.dumps(answer, option=orjson.OPT_INDENT_2), "summary.json")
            rest = self._zip.finalize()
            while piece := await asyncio.to_thread(_take, rest):
                yield piece

    async def _images(self) -> AsyncIterator[Image]:
        after = -1
        while page := await self._jobs.list_images(self._job.id, self._tenant, _PAGE, after):
            for image in page:
                yield image
            after = page[-1].position

    async def _add(self, image: Image, result: str) -> bytes:
        """Add the files of one image and return its rows of the table."""
        outputs, name = self._job.outputs, safe_name(image.position, image.name)
        if "json" in outputs:
            data = await self._jobs.read(result)
            self._zip.add(orjson.dumps(result_answer(image, data)), f"json/{name}.json")
        masks, metrics = "masks" in outputs, "metrics" in outputs
        if not masks and not metrics:
            return b""
        rendering = await self._jobs.render(result, image.position, image.name, masks, metrics)
        if rendering.mask is not None:
            # A PNG is compressed already.
            self._zip.add(rendering.mask, f"masks/{name}.png", compress_type=zipfile.ZIP_STORED)
        return rendering.rows or b""

    async def _pack(self) -> bytes:
        """Compress what was added, in a thread."""
        return await asyncio.to_thread(lambda: b"".join(self._zip.all_files()))


def _take(pieces: Iterator[bytes]) -> bytes:
    """Join pieces until they are worth sending."""
    taken = bytearray()
    for piece in pieces:
        taken += piece
        if len(taken) >= _PIECE_BYTES:
            break
    return bytes(taken)


def safe_name(position: int, name: str) -> str:
    """Return a file name for the results of an image: unique in its job, safe on any system."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    kept = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)
    return f"{position:04d}-{kept[:80]}" if kept else f"{position:04d}"
