"""Results of jobs: one image, a whole job as a ZIP file, and SpheroSeg's task endpoint."""

from typing import Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from deployments.errors import NotFound
from deployments.jobs.records import Image
from serve_app.authentication import tenant
from serve_app.job_schemas import job_answer, result_answer
from serve_app.jobs_service import JobsService
from serve_app.json_response import json_response
from serve_app.results_archive import ResultsArchive
from serve_app.routes.jobs import JOBS_PATH, jobs_base, validate_query
from serve_app.settings import Settings


class _Query(BaseModel):
    format: Literal["json", "mask"] = "json"


class JobResultRoutes:
    """The endpoints that answer results."""

    def __init__(self, jobs: JobsService, settings: Settings) -> None:
        self._jobs = jobs
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route(f"{JOBS_PATH}/{{job_id}}/results", self.archive),
            Route(f"{JOBS_PATH}/{{job_id}}/results/{{image:path}}", self.image),
            Route("/api/v1/segment/{task_id}", self.task),
        ]

    async def archive(self, request: Request) -> Response:
        """Answer a ZIP file of what there is; see docs/jobs.md."""
        owner = tenant()
        job = await self._jobs.get_job(request.path_params["job_id"], owner)
        archive = ResultsArchive(self._jobs, job, owner)
        return StreamingResponse(
            archive.stream(self._settings.job_transfer_seconds),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="spheroserve-{job.id}.zip"'},
        )

    async def image(self, request: Request) -> Response:
        """Answer one image by its position or name: JSON, or with ``?format=mask`` a PNG."""
        query = validate_query(_Query, request)
        job_id, owner = request.path_params["job_id"], tenant()
        image = await self._find(job_id, owner, request.path_params["image"])
        if query.format == "json":
            return await self._image_answer(image)
        if image.result is None:
            raise NotFound(f"image {image.position} has no mask: it is {image.state}")
        rendering = await self._jobs.render(image.result, image.position, image.name, True, False)
        return Response(rendering.mask, media_type="image/png")

    async def task(self, request: Request) -> Response:
        """Answer a job, or for ``JOB:POSITION`` one image."""
        owner = tenant()
        job_id, _, position = request.path_params["task_id"].partition(":")
        if position:
            return await self._image_answer(await self._find(job_id, owner, position))
        job = await self._jobs.get_job(job_id, owner)
        return json_response(job_answer(job, jobs_base(request)))

    async def _find(self, job_id: str, owner: str, image: str) -> Image:
        """Find an image by position, else by name; of equal names the first."""
        if image.isdecimal() and len(image) < 10:
            position = int(image)
            found = await self._jobs.list_images(job_id, owner, 1, position - 1)
            if found and found[0].position == position:
                return found[0]
        found = await self._jobs.list_images(job_id, owner, 1, name=image)
        if not found:
            raise NotFound("there is no such image in this job")
        return found[0]

    async def _image_answer(self, image: Image) -> Response:
        result = None if image.result is None else await self._jobs.read(image.result)
        return json_response(result_answer(image, result))
