"""How the ingress calls the jobs, with handles of the test's own."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import ray.exceptions
from ray.serve.exceptions import BackPressureError, RayServeException

from deployments.errors import NotFound, Overloaded, ServiceError, StoreUnavailable
from serve_app import jobs_client
from serve_app.jobs_client import JobsClient


class Response:
    """Stands for Serve's ``DeploymentResponse``."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome
        self.cancelled = False

    def __await__(self) -> Any:
        async def answer() -> object:
            if isinstance(self.outcome, asyncio.Event):
                await self.outcome.wait()
            if isinstance(self.outcome, BaseException):
                raise self.outcome
            return self.outcome

        return answer().__await__()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """Stands for a deployment handle; each call takes the next outcome."""

    def __init__(self, *outcomes: object) -> None:
        self.outcomes = list(outcomes)
        self.responses: list[Response] = []

    @property
    def read(self) -> "Handle":
        return self

    def remote(self, *args: object) -> Response:
        self.responses.append(Response(self.outcomes.pop(0)))
        return self.responses[-1]


@pytest.fixture
def client_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Handle], JobsClient]:
    monkeypatch.setattr(jobs_client, "_FIRST_WAIT_S", 0.001)

    def build(handle: Handle) -> JobsClient:
        monkeypatch.setattr(jobs_client.serve, "get_deployment_handle", lambda *_: handle)
        sandbox: Any = None
        return JobsClient(sandbox)

    return build


ClientOf = Callable[[Handle], JobsClient]


def task_error(cause: Exception) -> ray.exceptions.RayTaskError:
    return ray.exceptions.RayTaskError("read", "traceback", cause)


async def test_a_call_is_repeated_where_the_replica_died(client_of: ClientOf) -> None:
    died = ray.exceptions.ActorDiedError()
    handle = Handle(died, died, b"result")
    assert await client_of(handle).read("ref") == b"result"
    assert len(handle.responses) == 3


async def test_not_for_ever(client_of: ClientOf) -> None:
    with pytest.raises(StoreUnavailable):
        await client_of(Handle(*[ray.exceptions.ActorDiedError()] * 5)).read("ref")


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (task_error(NotFound("there is no such file")), NotFound),
        (BackPressureError(num_queued_requests=1, max_queued_requests=1), Overloaded),
    ],
)
async def test_errors_are_ours(
    client_of: ClientOf, raised: Exception, error: type[ServiceError]
) -> None:
    with pytest.raises(error):
        await client_of(Handle(raised)).read("ref")


async def test_what_nobody_foresaw_is_not_hidden(client_of: ClientOf) -> None:
    with pytest.raises(ray.exceptions.RayTaskError):
        await client_of(Handle(task_error(ValueError("odd")))).read("ref")


async def test_whoever_leaves_cancels_the_call(client_of: ClientOf) -> None:
    handle = Handle(asyncio.Event())
    call = asyncio.create_task(client_of(handle).read("ref"))
    done, _ = await asyncio.wait([call], timeout=0.05)
    assert not done
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    assert handle.responses[0].cancelled


async def test_a_service_without_jobs_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise RayServeException("Application 'jobs' does not exist.")

    monkeypatch.setattr(jobs_client.serve, "get_deployment_handle", missing)
    sandbox: Any = None
    with pytest.raises(StoreUnavailable, match="runs without them"):
        await JobsClient(sandbox).read("ref")
