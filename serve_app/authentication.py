"""ASGI middleware that lets only holders of a key in, and remembers who it was."""

import math
from contextvars import ContextVar

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from deployments.errors import Forbidden, ServiceError, Unauthorized
from serve_app.api_keys import ApiKey, KeyRing, Scope
from serve_app.error_handlers import error_response
from serve_app.rate_limits import KeyAllowances

ANYBODY = "default"
"""Owner of the jobs of a service without keys."""

_OPEN_PATHS = frozenset({"/", "/health", "/api/v1/health"})
_current: ContextVar[tuple[ApiKey, KeyAllowances] | None] = ContextVar("api_key", default=None)


def tenant() -> str:
    """Name of the key of the request at hand; ``default`` on a service without keys."""
    current = _current.get()
    return current[0].name if current else ANYBODY


def counts_pixels() -> bool:
    """Whether pixels are counted against the key of the request at hand."""
    current = _current.get()
    return current is not None and current[0].megapixels_per_minute is not None


def use_pixels(pixels: int) -> None:
    """Count pixels against the allowance of the request's key."""
    current = _current.get()
    if current:
        key, allowances = current
        allowances.use_pixels(key, pixels)


def require_operator() -> None:
    """Refuse a request whose key is not an operator's; on a service without keys, none.

    Raises:
        Forbidden: The key lacks the scope.
    """
    current = _current.get()
    if current and current[0].scope is not Scope.OPERATOR:
        raise Forbidden(f"API key '{current[0].name}' lacks the scope 'operator'")


class Authentication:
    """Checks the key of every request but those for health.

    The key comes as ``Authorization: Bearer KEY`` or ``X-API-Key: KEY``.

    Args:
        app: The application within.
        keys: The keys that are accepted; None lets everybody in.
        retry_after: Fewest seconds in the Retry-After header of 429; a key in debt is told to
            come back when it is paid.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing | None, retry_after: int) -> None:
        self.app = app
        self._keys = keys
        self._retry_after = retry_after
        self._allowances = KeyAllowances()

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer 401 or 429."""
        keys = self._keys
        if keys is None or scope["type"] != "http" or _path_below_prefix(scope) in _OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        wait = 0.0
        try:
            key = _authenticate(keys, Headers(scope=scope))
            # Reading is free; what counts is what makes work.
            if scope["method"] == "POST":
                wait = self._allowances.seconds_until_free(key)
                self._allowances.begin(key)
        except ServiceError as error:
            retry_after = max(self._retry_after, math.floor(wait) + 1)
            await error_response(error, retry_after)(scope, receive, send)
            return
        token = _current.set((key, self._allowances))
        try:
            await self.app(scope, receive, send)
        finally:
            _current.reset(token)


def _path_below_prefix(scope: AsgiScope) -> str:
    """Path of the request without the prefix that the application is mounted at."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", "")) or "/"


def _authenticate(keys: KeyRing, headers: Headers) -> ApiKey:
    kind, _, bearer = headers.get("authorization", "").partition(" ")
    presented = headers.get("x-api-key") or (bearer.strip() if kind.lower() == "bearer" else "")
    if not presented:
        raise Unauthorized("an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY")
    key = keys.find(presented)
    if key is None:
        raise Unauthorized("the API key is not known")
    return key
