import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import httpx
import psutil
import pytest

from tests.ray.conftest import free_port
from tests.scenes import encoded, spheroid

pytestmark = pytest.mark.ray

UP = [sys.executable, "-m", "serve_app", "up"]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [
        process
        for process in processes
        if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    ]


def test_up_serves_until_sigterm_and_leaves_nothing(tmp_path: Path) -> None:
    port = free_port()
    process = subprocess.Popen(
        [*UP, "--port", str(port)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "SPHEROSERVE_DATA_DIR": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        assert next(process.stdout) == f"ready http://127.0.0.1:{port}\n"
        health = httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).json()
        assert health["status"] == "healthy"
        family = psutil.Process(process.pid).children(recursive=True)
        assert any("raylet" in member.name() for member in family)
        image = encoded(spheroid()[0])
        with ThreadPoolExecutor(12) as clients:
            requests = [
                clients.submit(
                    httpx.post,
                    f"http://127.0.0.1:{port}/api/v1/segment",
                    files={"file": ("a", image)},
                    timeout=60,
                )
                for _ in range(12)
            ]
            wait(requests, return_when=FIRST_COMPLETED)
            assert not all(request.done() for request in requests), "nothing was in flight"
            process.send_signal(signal.SIGTERM)
            asked = time.monotonic()
            # What had been accepted is answered; what came too late is told so.
            assert {request.result().status_code for request in requests} <= {200, 503}
        assert sum(request.result().status_code == 200 for request in requests) > 1
        assert process.wait(timeout=60) == 0
        # The promise of 15 s, with the slack that a loaded test machine needs.
        assert time.monotonic() - asked < 25
        # The resource tracker of multiprocessing ends once it sees that its parent has.
        _, left = psutil.wait_procs(family, timeout=5)
        assert alive(left) == []
    finally:
        process.kill()


def test_a_taken_port_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(
            [*UP, "--port", str(port)], capture_output=True, text=True, timeout=60, check=False
        )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in result.stderr


def test_a_missing_gpu_is_one_sentence(tmp_path: Path) -> None:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(
        [*UP, "--profile", "gpu"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=environment,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "needs a GPU" in result.stderr


def test_an_env_file_is_read(tmp_path: Path) -> None:
    env_file = tmp_path / ".env.green"
    env_file.write_text("# limits\nSPHEROSERVE_MAX_FILE_BYTES=none\n")
    result = subprocess.run(
        [*UP, "--env-file", str(env_file)], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert "SPHEROSERVE_MAX_FILE_BYTES" in result.stderr


def test_listening_for_everybody_must_be_meant() -> None:
    result = subprocess.run(
        [*UP, "--host", "0.0.0.0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert "SPHEROSERVE_ALLOW_ANONYMOUS" in result.stderr


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("SPHEROSERVE_HA", "true", "PostgreSQL"),
        ("SPHEROSERVE_DATABASE_URL", "mysql://host/jobs", "mysql"),
        ("SMTP_PORT", "none", "SMTP_PORT"),
    ],
)
def test_jobs_that_would_be_lost_are_one_sentence(
    tmp_path: Path, variable: str, value: str, named: str
) -> None:
    environment = {**os.environ, "SPHEROSERVE_DATA_DIR": str(tmp_path), variable: value}
    result = subprocess.run(
        UP, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert named in result.stderr
