"""Torch on the CPU goes on once there is memory again, in a process of its own."""

import subprocess
import sys

from deployments.inference.memory.classify import Kind, classify

SCRIPT = """
import numpy as np

from deployments.config import ModelSpec, Tunables
from deployments.inference.loader import load_model
from deployments.inference.memory.limits import ProcessMemoryLimit

spec = ModelSpec(
    implementation="deployments.inference.models:HRNet", input_size=64, engine="torch", threads=1
)
engine = load_model(spec, Tunables(widths={"base": 2, "stem": 2, "planes": 2}), "cpu").engine
images = np.full((2, 64, 64, 3), 128, np.uint8)
limit = ProcessMemoryLimit()
limit.set(1)
try:
    engine.run(images)
except RuntimeError as error:
    print(str(error).splitlines()[0])
limit.set(None)
for count in (1, 2):
    print(engine.run(images[:count]).shape)
"""


def test_answers_once_there_is_memory_again() -> None:
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
    shortage, *answers = result.stdout.splitlines()
    assert classify(RuntimeError(shortage)).kind in (Kind.OOM, Kind.SUSPECT_OOM)
    assert answers == ["(1, 64, 64)", "(2, 64, 64)"]
