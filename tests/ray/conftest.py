"""One real Ray cluster with the packaged local profile, for all tests that need one."""

import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.config import load_profile, packaged_configs
from serve_app.serve_config import render, required_cpus
from serve_app.settings import Settings
from tests.smtp_sink import SmtpSink

PASSWORD = secrets.token_hex(16)
PLUGINS = Path(__file__).parent.parent / "plugins"


@dataclass(frozen=True)
class Service:
    """The running service.

    Attributes:
        url: Its address.
        config: The configuration that was deployed.
        cluster: Its LocalCluster.
        data_dir: Folder of its job store.
    """

    url: str
    config: dict[str, Any]
    cluster: Any
    data_dir: Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def sink() -> Iterator[SmtpSink]:
    """The mail server of the running service."""
    with SmtpSink() as sink:
        yield sink


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, sink: SmtpSink) -> Iterator[Service]:
    from serve_app.local_cluster import LocalCluster

    paths = [str(PLUGINS), *filter(None, [os.environ.get("PYTHONPATH")])]
    data_dir = tmp_path_factory.mktemp("jobs")
    variables = {
        # Replicas and their child processes find a model that is not part of the package.
        "PYTHONPATH": os.pathsep.join(paths),
        "SPHEROSERVE_DATA_DIR": str(data_dir),
        # Short, since the tests wait for the leases of replicas that they kill.
        "SPHEROSERVE_LEASE_SECONDS": "3",
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(sink.port),
        "SMTP_IGNORE_TLS": "true",
        "EMAIL_RETRY_MINUTES": "0.05",
        # Never used, and never to be seen anywhere.
        "SMTP_AUTH": "false",
        "SMTP_USER": "robot",
        "SMTP_PASS": PASSWORD,
        "OPS_EMAIL": "operator@example.org",
        "OPS_DIGEST_MINUTES": "0.1",
    }
    profile = load_profile(packaged_configs(), "local")
    port = free_port()
    config = render(profile, Settings.from_environment(), "127.0.0.1", port)
    # Room for a second application beside the three models.
    cluster = LocalCluster(config, required_cpus(profile) + 1)
    # Ray's processes keep the variables; the other tests must not see them.
    with pytest.MonkeyPatch.context() as environment:
        for name, value in variables.items():
            environment.setenv(name, value)
        cluster.start()
    try:
        assert cluster.wait_until_running()
        yield Service(f"http://127.0.0.1:{port}", config, cluster, data_dir)
    finally:
        cluster.stop()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=service.url, timeout=240, limits=limits) as client:
        yield client
