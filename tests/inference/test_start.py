"""A limit under which not even one image fits, in a process of its own: limits are for good."""

import re
import subprocess
import sys

SCRIPT = """
from deployments.config import ModelSpec, Tunables
from deployments.errors import ImageExceedsMemory
from deployments.inference.start import load_runner

spec = ModelSpec(
    implementation="deployments.inference.models:HRNet", input_size=256, engine="torch", threads=1
)
tunables = Tunables(
    weights="package:hrnet_compact.safetensors", max_batch_size=4, memory_limit_mb=LIMIT
)
try:
    print("batches of", load_runner("hrnet", spec, tunables, "cpu").batch_size())
except ImageExceedsMemory as error:
    print(error)
"""


def start(limit_mb: int) -> str:
    script = SCRIPT.replace("LIMIT", str(limit_mb))
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_start_that_cannot_work_says_by_how_much() -> None:
    said = re.fullmatch(
        r"one image of hrnet needs about (\d+) MiB, (\d+) MiB more than memory_limit_mb 4\n",
        start(4),
    )
    assert said is not None
    assert int(said[1]) == 4 + int(said[2])
    assert 4 < int(said[1]) < 200


def test_a_start_with_room_takes_the_configured_batch() -> None:
    assert start(1000) == "batches of 4\n"
