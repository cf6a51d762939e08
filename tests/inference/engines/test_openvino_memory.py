"""OpenVINO under a real shortage of memory: every image is answered, and nothing is fatal."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.inference.engines.conftest import SIDE, Converted

ROOT = Path(__file__).parents[3]


def starve(converted: Converted, count: int, limit_mb: int) -> dict[str, Any]:
    program = [sys.executable, "-m", "tests.inference.engines.starved_openvino"]
    cache = converted.cache / "compiled"
    arguments = [str(converted.graph), str(cache), str(SIDE), str(count), str(limit_mb)]
    done = subprocess.run([*program, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_shortage_is_met_with_smaller_batches(converted: Converted) -> None:
    report = starve(converted, 512, 256)
    assert report["shrinks"]
    assert report["others"] == []
    assert report["wrong"] == [0, 0, 0]
    largest_later = max(report["sizes"][-3:])
    assert 1 < largest_later < report["sizes"][0], "what fits is found and kept to"


@pytest.mark.parametrize("limit_mb", [4, 16])
def test_without_room_for_anything_more_single_images_are_answered(
    converted: Converted, limit_mb: int
) -> None:
    report = starve(converted, 16, limit_mb)
    assert report["others"] == []
    assert report["wrong"] == [0, 0, 0]
    assert set(report["sizes"][-10:]) == {1}
    assert (report["relieved_wrong"], len(report["relieved_sizes"])) == (0, 1)
