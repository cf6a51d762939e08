"""Request bodies: at most so many bytes, and never a pause longer than so many seconds.

Nothing between the client and this process limits a body: bytes that nobody reads pile up in
memory. So the limit comes before everything else that a request does.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import PayloadTooLarge, UploadStalled
from serve_app.error_handlers import error_response


class BodyLimits:
    """ASGI middleware that refuses bodies that are too large or do not arrive.

    A Content-Length above the limit is answered with 413 before a byte is read. Otherwise
    ``receive`` raises, inside the route that reads, ``PayloadTooLarge`` at the first byte
    above the limit and ``UploadStalled`` after ``stall_seconds`` without a byte.

    Args:
        app: The application within.
        max_bytes: Most bytes of a body.
        stall_seconds: Longest pause.
        by_path: Most bytes for single paths, which have limits of their own.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        stall_seconds: float,
        by_path: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.stall_seconds = stall_seconds
        self.by_path = by_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a limited ``receive``, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        max_bytes = self.by_path.get(path, self.max_bytes)
        if _declared_length(scope) > max_bytes:
            response = error_response(_too_large(max_bytes), retry_after=0)
            await response(scope, receive, send)
            return
        received = 0
        complete = False

        async def limited_receive() -> Message:
            nonlocal received, complete
            if complete:
                # Only the disconnect is still to come, and it may take its time.
                return await receive()
            message = await self._receive_in_time(receive)
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > max_bytes:
                raise _too_large(max_bytes)
            return message

        await self.app(scope, limited_receive, send)

    async def _receive_in_time(self, receive: Receive) -> Message:
        try:
            async with asyncio.timeout(self.stall_seconds) as pause:
                return await receive()
        except TimeoutError as error:
            if not pause.expired():
                raise
            raise UploadStalled(
                f"body: nothing arrived for {self.stall_seconds:g} seconds."
            ) from error


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"body: larger than the limit of {max_bytes} bytes.")


def _declared_length(scope: Scope) -> int:
    """Return Content-Length, 0 where there is none (the bytes are counted all the same)."""
    value = Headers(scope=scope).get("content-length", "")
    # Python refuses to read integers of thousands of digits; 18 exceed every limit.
    return int(value[:18]) if value.isdecimal() else 0
