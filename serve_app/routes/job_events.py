"""``GET /api/v1/jobs/{id}/events``: what happens to a job, as Server-Sent Events."""

import asyncio
import logging
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from deployments.errors import InvalidRequest, ServiceError
from serve_app.authentication import tenant
from serve_app.job_schemas import event_text
from serve_app.jobs_service import JobsService
from serve_app.routes.jobs import JOBS_PATH
from serve_app.settings import Settings

log = logging.getLogger(__name__)

# Between two events at most this long; then a comment keeps proxies from cutting the line.
_HEARTBEAT_S = 5.0
_HEARTBEAT = b": still here\n\n"
_RETRY = b"retry: 1000\n\n"


class JobEventRoutes:
    """The endpoint that streams."""

    def __init__(self, jobs: JobsService, settings: Settings) -> None:
        self._jobs = jobs
        self._settings = settings

    def routes(self) -> list[BaseRoute]:
        """Return the route."""
        return [Route(f"{JOBS_PATH}/{{job_id}}/events", self.events)]

    async def events(self, request: Request) -> Response:
        """Send all events after ``Last-Event-ID``, and end after the last one of the job."""
        job_id, owner = request.path_params["job_id"], tenant()
        last_id = _last_event_id(request)
        # While an error can still be an answer.
        await self._jobs.get_job(job_id, owner)
        return StreamingResponse(
            self._stream(job_id, owner, last_id),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    async def _stream(self, job_id: str, owner: str, last_id: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._settings.job_transfer_seconds
        yield _RETRY
        while loop.time() < end:
            try:
                followed = await self._jobs.follow(job_id, owner, last_id, _HEARTBEAT_S)
            except ServiceError as error:
                # The client comes back by itself, and then learns why.
                log.warning("the events of job %s end early: %s", job_id, error)
                return
            for event in followed.events:
                yield event_text(event.id, event.kind, event.data)
                last_id = event.id
            if followed.ended:
                return
            if not followed.events:
                yield _HEARTBEAT


def _last_event_id(request: Request) -> int:
    value = request.headers.get("last-event-id", "0")
    if not value.isdecimal() or len(value) > 9:
        raise InvalidRequest("Last-Event-ID must be a number that an event had.")
    return int(value)
