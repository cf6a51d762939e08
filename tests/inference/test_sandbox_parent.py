"""What children do when their parent is killed, and when its program cannot be imported."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Like Ray's worker program, this one must not be run a second time by the children.
PROGRAM = '''
import asyncio, sys
from deployments.inference.sandbox import Sandbox, SandboxLimits

if __name__ != "__main__":
    sys.exit("the program was imported")

# Backtracking that takes for ever and never lets go of the GIL.
TASK = """
import os, re
print(os.getpid(), os.getppid(), flush=True)
re.match("(a+)+$", "a" * 60 + "b")
"""

async def main():
    sandbox = Sandbox(2, SandboxLimits(memory_bytes=1 << 30, cpu_seconds=60, wall_seconds=60))
    await sandbox.run(exec, TASK)

asyncio.run(main())
'''


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    yield process
    process.kill()
    process.wait()


def test_no_child_outlives_a_killed_parent(program: subprocess.Popen[str]) -> None:
    assert program.stdout is not None
    child, server = (os.pidfd_open(int(pid)) for pid in program.stdout.readline().split())
    program.send_signal(signal.SIGKILL)
    for process in (child, server):
        ready, _, _ = select.select([process], [], [], 20)
        assert ready, "a process outlives its parent"
        os.close(process)
