"""The one place where a failure becomes an HTTP answer."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments import errors
from serve_app.json_response import json_response

logger = logging.getLogger(__name__)

STATUS: Mapping[type[errors.ServiceError], int] = {
    errors.ServiceError: 500,
    errors.ClientError: 400,
    errors.InvalidRequest: 400,
    errors.InvalidFields: 422,
    errors.InvalidImage: 400,
    errors.UnknownModel: 400,
    errors.PayloadTooLarge: 413,
    errors.ImageTooLarge: 413,
    errors.ImageExceedsMemory: 413,
    errors.UploadStalled: 408,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.RateLimited: 429,
    errors.ServerError: 500,
    errors.Overloaded: 503,
    errors.ModelUnavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.InferenceFailed: 500,
    # A child process works on nothing but what the client sent: a file that exhausts its
    # limits is a bad file, and sending it again will not help.
    errors.WorkerDied: 400,
    errors.InsufficientStorage: 507,
    errors.StoreUnavailable: 503,
    errors.RetryElsewhere: 503,
    errors.ConfigurationError: 500,
    errors.WeightsError: 500,
}


def status_of(error: errors.ServiceError) -> int:
    """Return the HTTP status of an error, that of its nearest base for an unlisted class."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


def error_response(error: errors.ServiceError, retry_after: int) -> Response:
    """Answer ``{"detail": ...}``: a list for :class:`InvalidFields`, else a sentence.

    Args:
        error: What went wrong.
        retry_after: Seconds for the Retry-After header of 429 and 503.
    """
    status = status_of(error)
    detail = error.fields if isinstance(error, errors.InvalidFields) else str(error)
    headers: dict[str, str] = {}
    if status in (429, 503):
        headers["Retry-After"] = str(retry_after)
    elif status in (408, 413):
        # The rest of the body may still be on its way; it must not be read as a request.
        headers["Connection"] = "close"
    elif status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return json_response({"detail": detail}, status, headers)


def describe_unexpected(error: BaseException) -> str:
    """Log an error nobody foresaw and return the sentence that names only its log line."""
    incident = secrets.token_hex(4)
    logger.error("Internal error (id: %s)", incident, exc_info=error)
    return f"Internal error (id: {incident})"


def exception_handlers(
    retry_after: int,
) -> dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]:
    """Return the handlers to give to ``Starlette``, for its errors and for ours."""

    async def on_service_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, errors.ServiceError)
        if status_of(error) >= 500:
            logger.warning(
                "%s %r: %s: %s", request.method, request.url.path, type(error).__name__, error
            )
        return error_response(error, retry_after)

    async def on_http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return json_response({"detail": error.detail}, error.status_code, error.headers)

    return {errors.ServiceError: on_service_error, HTTPException: on_http_exception}


class ErrorBoundary:
    """ASGI middleware that answers 500 for errors nobody foresaw, without their text.

    Starlette's own handler for ``Exception`` sits outside the CORS middleware, so a browser
    could not read its answer, and raises the error once more afterwards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and answer if that raises."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except ClientDisconnect:
            logger.info("%s %r: the client went away", scope["method"], scope["path"])
        except Exception as error:
            if started:
                raise
            answer = {
                "success": False,
                "error": "Internal server error",
                "detail": describe_unexpected(error),
            }
            await json_response(answer, 500)(scope, receive, send)
