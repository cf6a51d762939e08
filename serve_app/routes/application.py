"""The Starlette application: endpoints, limits, errors, CORS."""

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from serve_app.api_keys import key_ring
from serve_app.authentication import Authentication
from serve_app.error_handlers import ErrorBoundary, exception_handlers
from serve_app.jobs_service import JobsService
from serve_app.json_response import json_response
from serve_app.routes.information import information_routes
from serve_app.routes.job_events import JobEventRoutes
from serve_app.routes.job_results import JobResultRoutes
from serve_app.routes.jobs import JOBS_PATH, JobRoutes
from serve_app.routes.memory import memory_routes
from serve_app.routes.metrics import MetricsRoutes
from serve_app.routes.overview import overview_routes
from serve_app.routes.segmentation import SegmentationRoutes
from serve_app.service import SegmentationService
from serve_app.settings import Settings
from serve_app.uploads import BodyLimits


def create_app(
    service: SegmentationService,
    jobs: JobsService,
    settings: Settings,
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Build the application around the models and the jobs.

    The order of the middleware matters: the errors of everything within carry CORS headers,
    and the body is limited before any endpoint can wait for something else.
    """
    return Starlette(
        lifespan=lifespan,
        routes=[
            *information_routes(service),
            *SegmentationRoutes(service, settings).routes(),
            *MetricsRoutes(service, settings).routes(),
            *memory_routes(service),
            *overview_routes(service, jobs),
            *JobRoutes(service, jobs, settings).routes(),
            *JobResultRoutes(jobs, settings).routes(),
            *JobEventRoutes(jobs, settings).routes(),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["*"],
                allow_headers=["*"],
            ),
            Middleware(ErrorBoundary),
            Middleware(
                BodyLimits,
                max_bytes=settings.max_body_bytes,
                stall_seconds=settings.upload_stall_seconds,
                by_path={JOBS_PATH: settings.max_job_bytes},
            ),
            Middleware(
                Authentication,
                keys=key_ring(settings.api_keys_file),
                retry_after=settings.retry_after_seconds,
            ),
            Middleware(PlainOptions, any_origin="*" in settings.cors_origins),
        ],
        exception_handlers=exception_handlers(settings.retry_after_seconds),
    )


class PlainOptions:
    """ASGI middleware that answers ``OPTIONS`` on any path, as the original service does.

    Preflight requests of browsers are answered before, by the CORS middleware.
    """

    def __init__(self, app: ASGIApp, any_origin: bool) -> None:
        self.app = app
        self.headers = {"Allow": "GET, POST, OPTIONS"}
        if any_origin:
            self.headers |= {
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
                "Access-Control-Allow-Headers": "*",
                "Access-Control-Max-Age": "600",
            }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``OPTIONS``, pass everything else on."""
        if scope["type"] == "http" and scope["method"] == "OPTIONS":
            await json_response({}, headers=self.headers)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
