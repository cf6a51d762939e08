"""Requests are counted whatever becomes of them, under few labels."""

import asyncio
from typing import Any

import pytest
from ray.util import metrics

from deployments.errors import Overloaded
from serve_app.request_metrics import STAGES, RequestMetrics

Recorded = list[tuple[str, float, dict[str, str]]]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """What would reach Ray's exporter: name, value and labels."""
    values: Recorded = []

    def record(metric: Any, value: float, tags: dict[str, str] | None = None) -> None:
        values.append((metric.info["name"], value, tags or {}))

    monkeypatch.setattr(
        metrics.Counter, "inc", lambda self, value=1.0, tags=None: record(self, value, tags)
    )
    monkeypatch.setattr(metrics.Histogram, "observe", record)
    return values


def test_an_answer_is_counted_and_timed(recorded: Recorded) -> None:
    counter = RequestMetrics(["hrnet"])
    with counter.request("hrnet"):
        pass
    (requests, number, labels), (seconds, duration, stage) = recorded
    assert (requests, number) == ("spheroserve_requests_total", 1)
    assert labels == {"model": "hrnet", "status": "200"}
    assert (seconds, stage) == (
        "spheroserve_request_seconds",
        {"model": "hrnet", "stage": "total"},
    )
    assert duration >= 0


@pytest.mark.parametrize(
    ("error", "status"),
    [(Overloaded("full"), 503), (KeyError("bug"), 500), (asyncio.CancelledError(), 499)],
)
def test_a_failure_is_counted_and_raised(
    recorded: Recorded, error: BaseException, status: int
) -> None:
    counter = RequestMetrics(["hrnet"])
    with pytest.raises(type(error)), counter.request("hrnet"):
        raise error
    assert counter.counts == {("hrnet", status): 1}
    assert recorded[0][2]["status"] == str(status)


def test_names_from_outside_make_no_labels(recorded: Recorded) -> None:
    counter = RequestMetrics(["hrnet"])
    for name in ("x", "y", "hrnet; drop"):
        with counter.request(name):
            pass
    assert counter.counts == {("other", 200): 3}
    assert {labels["model"] for _, _, labels in recorded} == {"other"}


def test_no_stage_lasts_less_than_nothing(recorded: Recorded) -> None:
    RequestMetrics(["hrnet"]).stages("hrnet", {"queue": 0.5, "transport": -0.001})
    assert [value for _, value, _ in recorded] == [0.5, 0.0]
    assert {labels["stage"] for _, _, labels in recorded} <= set(STAGES)
