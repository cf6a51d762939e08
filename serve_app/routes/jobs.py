"""``/api/v1/jobs``: accept, look up, list and cancel jobs."""

import uuid
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from deployments.errors import InvalidFields, InvalidRequest, UnknownModel
from deployments.jobs.records import NewJob
from deployments.mail.address import RecipientPolicy
from deployments.mail.settings import MailSettings
from serve_app.authentication import tenant, use_pixels
from serve_app.job_schemas import ImagePage, JobForm, Page, images_page, job_answer
from serve_app.job_upload import JobUpload
from serve_app.jobs_service import JobsService
from serve_app.json_response import json_response
from serve_app.lifetime import Deadline
from serve_app.multipart import Form, FormLimits, read_form
from serve_app.schemas import invalid_fields
from serve_app.service import SegmentationService
from serve_app.settings import Settings

JOBS_PATH = "/api/v1/jobs"

_REPEATED = ("notify", "outputs")
_MAX_RECIPIENT_FIELDS = 100

QueryT = TypeVar("QueryT", bound=BaseModel)


class JobRoutes:
    """The endpoints of jobs that answer at once."""

    def __init__(self, service: SegmentationService, jobs: JobsService, settings: Settings) -> None:
        self._service = service
        self._jobs = jobs
        self._settings = settings
        self._mail = MailSettings()
        self._recipients = RecipientPolicy.from_settings(self._mail)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route(JOBS_PATH, self.create, methods=["POST"]),
            Route(JOBS_PATH, self.list_jobs),
            Route(f"{JOBS_PATH}/{{job_id}}", self.get_job),
            Route(f"{JOBS_PATH}/{{job_id}}", self.cancel, methods=["DELETE"]),
        ]

    async def create(self, request: Request) -> Response:
        """Accept a job: 202 once its images and its row are on disk."""
        async with Deadline.after(self._settings.job_transfer_seconds).limit():
            upload = JobUpload(self._jobs, self._settings)
            form = self._validate(await self._read(request, upload))
            # A key of our own makes the call repeatable where the client sent none.
            key = request.headers.get("idempotency-key") or f"generated-{uuid.uuid4()}"
            job, created = await self._jobs.create(
                NewJob(
                    tenant=tenant(),
                    model=form.model,
                    threshold=form.threshold,
                    detect_holes=form.detect_holes,
                    images=await upload.finish(),
                    outputs=form.outputs,
                    notify=self._check_recipients(form.notify),
                    locale=form.locale,
                    idempotency_key=key,
                )
            )
        if created:
            use_pixels(upload.pixels)
        base = jobs_base(request)
        return json_response(job_answer(job, base), 202, {"Location": f"{base}/{job.id}"})

    async def list_jobs(self, request: Request) -> Response:
        """Answer one page of jobs, the newest first."""
        page = validate_query(Page, request)
        jobs = await self._jobs.list_jobs(tenant(), page.limit, page.after)
        following = jobs[-1].id if len(jobs) == page.limit else None
        base = jobs_base(request)
        return json_response({"jobs": [job_answer(job, base) for job in jobs], "next": following})

    async def get_job(self, request: Request) -> Response:
        """Answer a job and one page of its images."""
        job_id, owner = request.path_params["job_id"], tenant()
        page = validate_query(ImagePage, request)
        job = await self._jobs.get_job(job_id, owner)
        images = await self._jobs.list_images(job_id, owner, page.limit, page.after)
        return json_response(
            {**job_answer(job, jobs_base(request)), **images_page(images, page.limit)}
        )

    async def cancel(self, request: Request) -> Response:
        """Let no further image start; images in flight finish."""
        job = await self._jobs.cancel(request.path_params["job_id"], tenant())
        return json_response(job_answer(job, jobs_base(request)))

    async def _read(self, request: Request, upload: JobUpload) -> Form:
        settings = self._settings
        limits = FormLimits(
            max_files=settings.max_job_images,
            max_fields=settings.max_form_fields + _MAX_RECIPIENT_FIELDS,
            max_file_bytes=settings.max_file_bytes,
            max_field_bytes=settings.max_field_bytes,
            refuse_large_file=True,
            max_archive_bytes=settings.max_job_bytes,
        )
        content_type = request.headers.get("content-type", "")
        return await read_form(content_type, request.stream(), limits, upload.add)

    def _validate(self, form: Form) -> JobForm:
        values: dict[str, object] = {
            name: sent if name in _REPEATED else sent[-1]
            for name, sent in form.items()
            if sent[-1] != ""
        }
        try:
            valid = JobForm.model_validate(values)
        except ValidationError as error:
            raise invalid_fields(error, "body") from error
        models = self._service.models()
        if valid.model not in models:
            raise UnknownModel(
                f"model: {valid.model[:64]!r} is none of {', '.join(sorted(models))}."
            )
        return valid

    def _check_recipients(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if not addresses:
            return ()
        try:
            if not self._mail.enabled:
                raise InvalidRequest("This server sends no mail.")
            return tuple(self._recipients.check_all(addresses))
        except InvalidRequest as error:
            raise InvalidFields(
                [{"type": "value_error", "loc": ["body", "notify"], "msg": str(error)}]
            ) from error


def jobs_base(request: Request) -> str:
    """Return the path of the jobs as the client sees it."""
    return f"{request.scope.get('root_path', '')}{JOBS_PATH}"


def validate_query(schema: type[QueryT], request: Request) -> QueryT:
    """Check the query of a request.

    Raises:
        InvalidFields: A value is out of range.
    """
    values: Mapping[str, str] = request.query_params
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        raise invalid_fields(error, "query") from error
