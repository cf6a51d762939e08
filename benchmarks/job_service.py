"""The whole service on this machine, for benchmarks that send jobs to it."""

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from deployments.config import load_profile, packaged_configs
from serve_app.serve_config import render, required_cpus
from serve_app.settings import Settings
from tests.scenes import encoded, spheroid
from tests.smtp_sink import SmtpSink

JOBS = "/api/v1/jobs"
_PROFILE = "local"


@contextmanager
def running_service(sink: SmtpSink, lease_seconds: float = 5) -> Iterator[str]:
    """Start the packaged local profile with an empty store; yield its address.

    Args:
        sink: Where its mails go.
        lease_seconds: Time after which the images of a dead process are taken over.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "SPHEROSERVE_DATA_DIR": folder,
            "SPHEROSERVE_LEASE_SECONDS": f"{lease_seconds:g}",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": f"{sink.port}",
            "SMTP_IGNORE_TLS": "true",
            "EMAIL_RETRY_MINUTES": "0.05",
            # A mail whose sender died is sent again after this and a minute.
            "EMAIL_TIMEOUT": "5000",
        }
        # After the environment: Ray's processes inherit it.
        from serve_app.local_cluster import LocalCluster

        profile = load_profile(packaged_configs(), _PROFILE)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = render(profile, Settings.from_environment(), "127.0.0.1", port)
        with LocalCluster(config, required_cpus(profile)) as cluster:
            cluster.wait_until_running()
            yield f"http://127.0.0.1:{port}"


def images(first_seed: int, number: int) -> list[bytes]:
    """So many PNG files of 600 x 450 pixels, all different."""
    return [encoded(spheroid(first_seed + n)[0]) for n in range(number)]


async def start_job(client: httpx.AsyncClient, contents: list[bytes], **fields: object) -> str:
    """Send a job and return its id."""
    files = [("files", (f"{n}.png", data)) for n, data in enumerate(contents)]
    response = await client.post(JOBS, files=files, data=fields)
    response.raise_for_status()
    job_id: str = response.json()["id"]
    return job_id


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.partition(": ")[2]
            break
    return {"cpu": cpu, "cores": os.cpu_count(), "profile": _PROFILE}
