"""A batch that takes all the memory there is leaves some to the threads beside it."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest

from deployments.inference.memory.heap import ONE_HEAP, prepare_heap

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA is Linux's")


def starve(how: str) -> dict[str, int]:
    name, value = ONE_HEAP
    finished = subprocess.run(
        [sys.executable, "-m", "tests.inference.memory.starved_neighbours", how],
        cwd=ROOT,
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    got: dict[str, int] = json.loads(finished.stdout)
    return got


def test_unprepared_a_neighbour_gets_nothing() -> None:
    got = starve("unprepared")
    assert 10 <= got["large"] <= 13
    # What is left is less than one large block.
    assert got["small"] <= 5
    assert got["threads"] == 0


def test_prepared_it_gets_buffers_and_threads() -> None:
    got = starve("prepared")
    assert 10 <= got["large"] <= 13
    assert got["small"] >= 30
    assert got["threads"] == 4


@pytest.mark.parametrize("value", [None, "2"])
def test_several_heaps_are_warned_of(
    value: str | None, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ONE_HEAP[0], raising=False)
    if value is not None:
        monkeypatch.setenv(ONE_HEAP[0], value)
    with (
        caplog.at_level(logging.WARNING),
        mock.patch("deployments.inference.memory.heap.return_freed_memory"),
    ):
        prepare_heap()
    assert "MALLOC_ARENA_MAX=1" in caplog.text
