"""What the autoscaling benchmark reads, and what it calls a failure."""

import copy
import datetime
from typing import Any

import httpx
import pytest

from benchmarks import autoscale_report
from benchmarks.autoscale import failures
from benchmarks.clients import Load, Request
from benchmarks.replicas import parse

LOG = """\
INFO 2026-11-24 16:00:01,250 controller 71 -- Registering autoscaling state for deployment hrnet
INFO 2026-11-24 16:00:09,500 controller 71 -- Upscaling Deployment(name='hrnet', app='inference') \
from 1 to 2 replicas. Current ongoing requests: 27.30, current running replicas: 1.
INFO 2026-11-24 16:01:00,000 controller 71 -- Downscaling Deployment(name='resunet_small', \
app='inference') from 1 to 0 replicas. Current ongoing requests: 0.00, current running replicas: 1.
"""

RESULT: dict[str, Any] = {
    "model": "hrnet",
    "replicas": {"hrnet": [1, 2, 1], "resunet_small": [1], "resunet_advanced": [1]},
    "sent": 40,
    "answered": 40,
    "errors": {},
    "phases": [
        {"clients": 2, "began": 0.0, "images_per_second": 8.0, "p50_ms": 250, "p95_ms": 300},
        {"clients": 30, "began": 15.0, "images_per_second": 9.0, "p50_ms": 3000, "p95_ms": 4000},
    ],
    "decisions": [{"at": 22.5, "model": "hrnet", "old": 1, "new": 2, "requests": 27.3}],
    "samples": [[0.0, 2, 1, 1, 1], [15.0, 30, 1, 1, 1], [25.0, 30, 2, 1, 1]],
    "latency": [[0.0, 0.25, 0.3], [14.0, 3.0, 4.5]],
    "zero": {
        "model": "resunet_small",
        "change_restarted_nothing": True,
        "sent": 33,
        "answered": 33,
        "errors": {},
    },
}


def test_decisions_are_read_from_the_log_of_the_controller() -> None:
    up, down = parse(LOG.splitlines())
    assert (up.model, up.old, up.new, up.requests) == ("hrnet", 1, 2, 27.3)
    assert (down.model, down.old, down.new) == ("resunet_small", 1, 0)
    assert up.at == datetime.datetime(2026, 11, 24, 16, 0, 9, 500_000).timestamp()


def test_it_fails_where_a_request_is_lost_or_the_replicas_do_not_follow() -> None:
    assert failures(RESULT) == []
    lost = copy.deepcopy(RESULT)
    lost["zero"]["answered"] = 32
    assert failures(lost) == ["resunet_small: 33 sent, 32 answered"]
    for replicas in ({"hrnet": [1]}, {"hrnet": [1, 2]}, {"resunet_small": [1, 2, 1]}):
        assert failures({**RESULT, "replicas": {**RESULT["replicas"], **replicas}})


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(httpx.Response(200), "200"), (httpx.Response(503), "503"), (None, "ReadError")],
)
async def test_every_request_is_counted(answer: httpx.Response | None, outcome: str) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if answer is None:
            raise httpx.ReadError("gone")
        return answer

    transport = httpx.MockTransport(respond)
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        load = Load(client, "hrnet")
        request = await load.send()
        await load.keep_up(3, 0.05)
    assert request.outcome == outcome
    assert load.sent == len(load.requests) > 3
    assert load.clients == 3


async def test_latency_is_summed_up_by_time_of_sending() -> None:
    async with httpx.AsyncClient() as client:
        load = Load(client, "hrnet")
    load.requests = [
        Request(at, took, "200") for at, took in ((0.1, 1), (1.9, 3), (0.5, 2), (2, 9))
    ]
    assert load.latency() == [[0, 2, 3], [2, 9, 9]]


def test_a_decision_is_told_with_the_time_since_the_load_changed() -> None:
    text = autoscale_report.decision_table(RESULT)
    assert "| 22.5 | HRNet | 1 → 2 | 27.3 | 7.5 s |" in text


def test_the_plot_has_clients_replicas_and_latency() -> None:
    drawing = autoscale_report.plot(RESULT)
    assert drawing.count("<polyline") == 1 + 3 + 2
