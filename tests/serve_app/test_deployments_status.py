"""The controller is asked one question at a time, and may be gone."""

import asyncio
import threading

import pytest
from ray import serve
from ray.exceptions import RayActorError
from ray.serve.schema import ServeStatus

from serve_app.deployments_status import DeploymentsStatus


async def test_a_controller_that_does_not_answer_is_asked_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = threading.Event()
    asked: list[int] = []

    def status() -> ServeStatus:
        asked.append(threading.get_ident())
        answer.wait()
        return ServeStatus()

    monkeypatch.setattr(serve, "status", status)
    deployments = DeploymentsStatus()
    try:
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(deployments.states(), 0.01)
        assert len(asked) == 1
    finally:
        answer.set()
    assert await deployments.states() is None
    assert await deployments.states() is None
    # The first of these two heard the answer to the old question.
    assert len(asked) == 2
    assert len(set(asked)) == 1


async def test_a_controller_that_is_lost_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def status() -> ServeStatus:
        raise RayActorError

    monkeypatch.setattr(serve, "status", status)
    assert await DeploymentsStatus().states() is None
