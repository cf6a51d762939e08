"""A service without models, and a client that speaks ASGI by hand."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.types import ASGIApp, Message

from deployments.errors import StoreUnavailable
from deployments.inference.types import Polygons
from serve_app import metrics
from serve_app.service import (
    Activity,
    DeploymentState,
    Health,
    MetricsConvention,
    ModelInfo,
    Segmentation,
)

SQUARE = {
    "id": "polygon_1",
    "points": [{"x": 1.0, "y": 1.0}, {"x": 9.5, "y": 1.0}, {"x": 9.5, "y": 9.0}],
    "type": "external",
    "class": "spheroid",
    "confidence": 0.75,
    "vertices_count": 3,
}


def segmentation(count: int = 1, width: int = 320, height: int = 200) -> Segmentation:
    """An answer with ``count`` polygons."""
    polygons = [{**SQUARE, "id": f"polygon_{n + 1}"} for n in range(count)]
    return Segmentation(
        width=width,
        height=height,
        polygons=Polygons(orjson.dumps(polygons), [0.75] * count),
        device="cuda:0",
        gpu=True,
        batch_size=4,
        stages={
            "decode": 0.25,
            "queue": 0.0625,
            "batch_wait": 0.003125,
            "device": 0.5,
            "transport": 0.03125,
            "polygons": 0.125,
        },
    )


def replica(effective: int) -> dict[str, object]:
    """What a replica says of itself."""
    return {
        "pid": 100 + effective,
        "device": "cpu",
        "configured_batch_size": 12,
        "effective_batch_size": effective,
        "refused": None,
        "waiting": 2,
        "busy": True,
        "images": 40,
        "device_calls": 10,
        "memory": {"state": "probing", "ooms": 1, "shrinks": 1, "peak_reserved_mb": 512.0},
    }


def model(name: str, max_files: int = 16) -> ModelInfo:
    """A served model."""
    return ModelInfo(
        name=name,
        description=f"{name} for spheroids",
        has_pretrained=True,
        has_finetuned=False,
        optimal_batch_size=12,
        max_safe_batch_size=max_files,
        expected_throughput=17.5,
        state={"replicas": [replica(12), replica(5)]},
    )


@dataclass
class FakeService:
    """Answers from a table of file contents; unknown contents give one polygon.

    Attributes:
        answers: What ``segment`` returns or raises, by the bytes of the file.
        held: While cleared, ``segment`` waits.
        calls: Arguments of each call of ``segment``.
        started: Released once for each call of ``segment``.
        cancelled: Set when a call of ``segment`` is cancelled.
    """

    answers: dict[bytes, Segmentation | BaseException] = field(default_factory=dict)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[tuple[bytes, str, float, bool]] = field(default_factory=list)
    started: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False
    forgotten: int = 0

    def __post_init__(self) -> None:
        self.held.set()

    def models(self) -> dict[str, ModelInfo]:
        return {name: model(name) for name in ("hrnet", "resunet_small", "resunet_advanced")}

    def request_counts(self) -> dict[tuple[str, int], int]:
        return {("hrnet", 200): 7, ("other", 400): 1}

    async def deployments(self) -> list[DeploymentState]:
        return [
            DeploymentState("inference", "hrnet", "HEALTHY", {"RUNNING": 2}, ""),
            DeploymentState("jobs", "notifier", "UNHEALTHY", {"STARTING": 1}, "it died"),
        ]

    async def forget_memory(self) -> None:
        self.forgotten += 1

    def health(self) -> Health:
        return Health(2, True, 1, "NVIDIA H100", ("resunet_small",))

    def activity(self) -> Activity:
        return Activity(self.busy, "hrnet" if self.busy else None, 3 if self.busy else 0)

    async def segment(
        self, data: bytes, model: str, threshold: float, detect_holes: bool
    ) -> Segmentation:
        self.calls.append((data, model, threshold, detect_holes))
        self.started.release()
        try:
            await self.held.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        answer = self.answers.get(data, segmentation())
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def calculate_metrics(self, body: bytes, convention: MetricsConvention) -> bytes:
        return metrics.calculate(body, convention)

    async def batch_calculate_metrics(self, body: bytes, convention: MetricsConvention) -> bytes:
        return metrics.calculate_batch(body, convention)


class _NoJobs:
    """Stands for a service without jobs."""

    def __getattr__(self, method: str) -> Any:
        async def call(*args: object, **kwargs: object) -> None:
            raise StoreUnavailable("this server has no jobs")

        return call


NO_JOBS = _NoJobs()


def multipart(
    files: Iterable[tuple[str, str, bytes]] = (), fields: dict[str, str] | None = None
) -> tuple[str, bytes]:
    """Return Content-Type and body of a form; files are (field, file name, bytes)."""
    parts = [
        b'--frontier\r\nContent-Disposition: form-data; name="%b"; filename="%b"\r\n\r\n%b\r\n'
        % (name.encode(), filename.encode(), data)
        for name, filename, data in files
    ]
    parts += [
        b'--frontier\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (name.encode(), value.encode())
        for name, value in (fields or {}).items()
    ]
    return "multipart/form-data; boundary=frontier", b"".join(parts) + b"--frontier--\r\n"


@dataclass
class RawClient:
    """One POST request whose body arrives when, and as far as, the test says.

    Attributes:
        sent: Messages still to be received by the application; put more at any time.
        received: Number of messages the application has taken.
        answer: Messages that the application has sent.
    """

    app: ASGIApp
    path: str
    headers: dict[str, str]
    sent: "asyncio.Queue[Message]" = field(default_factory=asyncio.Queue)
    received: int = 0
    answer: list[Message] = field(default_factory=list)

    def push(self, body: bytes, more: bool = True) -> None:
        """Let a piece of the body arrive."""
        self.sent.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def disconnect(self) -> None:
        """Go away."""
        self.sent.put_nowait({"type": "http.disconnect"})

    async def run(self) -> None:
        """Serve the request to its end."""
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": self.path,
            "query_string": b"",
            "headers": [(k.encode(), v.encode()) for k, v in self.headers.items()],
        }
        await self.app(scope, self._receive, self._send)

    async def _receive(self) -> Message:
        message = await self.sent.get()
        self.received += 1
        return message

    async def _send(self, message: Message) -> None:
        self.answer.append(message)

    @property
    def status(self) -> int:
        """Status of the answer."""
        status: int = self.answer[0]["status"]
        return status

    @property
    def answer_headers(self) -> dict[str, str]:
        """Headers of the answer."""
        return {k.decode(): v.decode() for k, v in self.answer[0]["headers"]}

    def json(self) -> Any:
        """Body of the answer."""
        return orjson.loads(b"".join(message.get("body", b"") for message in self.answer))
