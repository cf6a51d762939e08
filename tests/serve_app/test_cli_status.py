import importlib
import io
from typing import Any

import click
import httpx
import pytest
from click.testing import CliRunner
from rich.console import Console, RenderableType
from rich.live import Live

from serve_app.cli.status import status, view
from serve_app.service import ModelInfo
from tests.serve_app.fakes import FakeService, model

# The package has the command under the name of the module.
status_module = importlib.import_module("serve_app.cli.status")


def text_of(shown: RenderableType) -> str:
    written = io.StringIO()
    Console(width=120, file=written).print(shown)
    return written.getvalue()


def test_every_replica_is_shown(url: str) -> None:
    result = CliRunner().invoke(status, ["--url", url], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    serve, *rows = [line for line in result.output.splitlines() if "hrnet" in line]
    assert "inference/hrnet" in serve
    assert "2 RUNNING" in serve
    (notifier,) = (line for line in result.output.splitlines() if "jobs/notifier" in line)
    assert "UNHEALTHY" in notifier
    assert "it died" in notifier
    assert len(rows) == 2
    assert "112" in rows[0]
    assert "12 of 12" in rows[0]
    assert "105" in rows[1]
    assert "5 of 12" in rows[1]
    assert "512 MiB" in rows[1]
    assert "jobs and mails: no answer" in result.output


def test_a_model_without_replica_fails(
    url: str, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def models() -> dict[str, ModelInfo]:
        info = model("hrnet")
        info.state["replicas"].clear()  # type: ignore[attr-defined]
        return {"hrnet": info}

    monkeypatch.setattr(service, "models", models)
    result = CliRunner().invoke(status, ["--url", url], env={"COLUMNS": "120"})
    assert result.exit_code == 1
    assert "no replica" in result.output


def test_a_refused_configuration_fails_and_is_told(
    url: str, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    def models() -> dict[str, ModelInfo]:
        info = model("hrnet")
        info.state["replicas"][0]["refused"] = "a.safetensors is damaged"  # type: ignore[index]
        return {"hrnet": info}

    monkeypatch.setattr(service, "models", models)
    result = CliRunner().invoke(status, ["--url", url], env={"COLUMNS": "120"})
    assert result.exit_code == 1
    assert "hrnet: process 112 keeps what it had: a.safetensors is damaged" in result.output


def test_a_silent_service_is_one_sentence() -> None:
    result = CliRunner().invoke(status, ["--url", "http://127.0.0.1:9"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: no answer from http://127.0.0.1:9")
    assert result.output.count("\n") == 1


def test_a_watcher_sees_the_service_go_and_come_back(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, False, True])
    genuine = status_module.fetch

    def fetch(client: httpx.Client) -> dict[str, Any]:
        if next(answers):
            return genuine(client)
        raise click.ClickException("no answer")

    pauses = iter([None, None, KeyboardInterrupt()])

    def sleep(seconds: float) -> None:
        if (interrupt := next(pauses)) is not None:
            raise interrupt

    shown: list[str] = []
    monkeypatch.setattr(status_module, "fetch", fetch)
    monkeypatch.setattr(status_module.time, "sleep", sleep)
    monkeypatch.setattr(Live, "update", lambda self, view, refresh: shown.append(text_of(view)))
    result = CliRunner().invoke(status, ["--url", url, "--watch"])
    assert result.exit_code == 1
    assert "Aborted" in result.output
    assert ["hrnet" in text for text in shown] == [True, False, True]
    assert shown[1] == "no answer\n"


def test_jobs_and_mails_are_counted() -> None:
    numbers = {
        "jobs": {"queued": 2, "running": 1, "succeeded": 0},
        "oldest_unfinished_seconds": 5400.0,
        "mails": {"sent": 4, "dead": 1},
        "oldest_unsent_seconds": 0.0,
    }
    text = text_of(view({"deployments": None, "models": {}, "queue_length": 3, "jobs": numbers}))
    assert "images that wait for a device: 3" in text
    assert "jobs: 2 queued, 1 running; oldest unfinished 1.5 h\n" in text
    assert "mails: 4 sent, 1 dead\n" in text
