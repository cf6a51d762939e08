"""Memory that really runs out, in torch's own allocator, without a GPU."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA is Linux's")


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    finished = subprocess.run(
        [sys.executable, "-m", "tests.inference.memory.starved"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    read: dict[str, Any] = json.loads(finished.stdout)
    return read


def test_torch_ran_out_of_memory_once(report: dict[str, Any]) -> None:
    assert len(report["shrinks"]) == 1
    assert "DefaultCPUAllocator: can't allocate memory" in report["shrinks"][0]


def test_every_image_was_answered_as_without_a_limit(report: dict[str, Any]) -> None:
    assert report["first_sizes"] == [12, 6, 6]
    assert report["first_worst"] <= 1  # of 255: rounding differs with the batch size


def test_no_tensor_of_the_failed_call_was_alive_at_the_retry(report: dict[str, Any]) -> None:
    before, retry = report["tensors"][:2]
    assert retry == before


def test_the_process_stays_useful_at_what_it_has_learnt(report: dict[str, Any]) -> None:
    assert report["ceiling"] == 6
    assert report["later_sizes"] == [[6, 6]] * 3


def test_a_cleared_limit_brings_the_batch_back(report: dict[str, Any]) -> None:
    assert report["last_sizes"] == [12]
    assert report["last_worst"] <= 1


def test_the_peak_covers_the_tensors_of_the_largest_call(report: dict[str, Any]) -> None:
    two_layers_of_twelve = 2 * 12 * 32 * 192 * 192 * 4 / 2**20
    assert two_layers_of_twelve * 0.9 < report["peak_mib"] < two_layers_of_twelve * 2
    assert report["needed_mib"] > two_layers_of_twelve / 12 * 0.9
