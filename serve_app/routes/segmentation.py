"""``POST /api/v1/segment`` and ``POST /api/v1/batch-segment``."""

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from deployments.errors import InvalidRequest, UnknownModel
from serve_app.json_response import json_response
from serve_app.lifetime import Deadline, while_connected
from serve_app.multipart import Form, FormLimits, Upload, part_too_large, read_form
from serve_app.schemas import (
    BatchForm,
    SegmentForm,
    batch_answer,
    segment_answer,
    validate_form,
)
from serve_app.service import ModelInfo, Segmentation, SegmentationService
from serve_app.settings import Settings


class SegmentationRoutes:
    """The two endpoints that run a model."""

    def __init__(self, service: SegmentationService, settings: Settings) -> None:
        self._service = service
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        """Return both routes."""
        return [
            Route("/api/v1/segment", self.segment, methods=["POST"]),
            Route("/api/v1/batch-segment", self.batch_segment, methods=["POST"]),
        ]

    async def segment(self, request: Request) -> Response:
        """Segment one image."""
        deadline = Deadline.after(self._settings.request_timeout_seconds)
        async with deadline.limit():
            form = validate_form(SegmentForm, await self._read(request, refuse_large_file=True))
            self._find_model(form.model)
            work = self._service.segment(
                form.file.data, form.model, form.threshold, form.detect_holes
            )
            found = await while_connected(request, work)
        elapsed = deadline.elapsed
        timing = {"Server-Timing": server_timing({**found.stages, "total": elapsed})}
        return json_response(segment_answer(found, form, elapsed), headers=timing)

    async def batch_segment(self, request: Request) -> Response:
        """Segment several images at once; what is wrong with one is said in its own item.

        The deadline, too, fails only the items that are not done: SpheroSeg drops a whole
        batch that is answered with anything but 200.
        """
        deadline = Deadline.after(self._settings.request_timeout_seconds)
        async with deadline.limit():
            form = validate_form(BatchForm, await self._read(request, refuse_large_file=False))
        limit = self._find_model(form.model).max_safe_batch_size
        if len(form.files) > limit:
            raise InvalidRequest(f"Batch size for {form.model} model cannot exceed {limit} images")

        async def segment_all() -> list[Segmentation | BaseException]:
            return await asyncio.gather(
                *(self._segment_file(file, form, deadline) for file in form.files),
                return_exceptions=True,
            )

        results = await while_connected(request, segment_all())
        return json_response(batch_answer(form, results, deadline.elapsed))

    async def _segment_file(
        self, file: Upload, form: BatchForm, deadline: Deadline
    ) -> Segmentation:
        if file.too_large:
            raise part_too_large("files", self._settings.max_file_bytes)
        async with deadline.limit():
            return await self._service.segment(
                file.data, form.model, form.threshold, form.detect_holes
            )

    async def _read(self, request: Request, refuse_large_file: bool) -> Form:
        settings = self._settings
        limits = FormLimits(
            max_files=settings.max_files,
            max_fields=settings.max_form_fields,
            max_file_bytes=settings.max_file_bytes,
            max_field_bytes=settings.max_field_bytes,
            refuse_large_file=refuse_large_file,
        )
        return await read_form(request.headers.get("content-type", ""), request.stream(), limits)

    def _find_model(self, name: str) -> ModelInfo:
        models = self._service.models()
        if name not in models:
            raise UnknownModel(f"model: {name[:64]!r} is none of {', '.join(sorted(models))}.")
        return models[name]


def server_timing(seconds: Mapping[str, float]) -> str:
    """Value of the header Server-Timing (W3C), which browsers show beside the request.

    Args:
        seconds: Seconds by name of the stage.
    """
    return ", ".join(f"{stage};dur={1000 * each:.2f}" for stage, each in seconds.items())
