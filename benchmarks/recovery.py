"""How soon a killed replica and a killed proxy are replaced, by the period of their checks.

    python -m benchmarks.recovery

Once with our periods, once with Serve's own. A request that is sent to a model when its only
replica has just been killed is timed, and then how long the port is closed after the proxy was
killed. Writes ``benchmarks/results/recovery.json``.
"""

import contextlib
import datetime
import functools
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
from ray.serve._private.constants import DEFAULT_HEALTH_CHECK_PERIOD_S

from benchmarks.job_service import images
from benchmarks.local_service import local_service
from benchmarks.machine import describe_machine
from deployments.config import load_profile, packaged_configs
from serve_app.serve_config import CONTROLLER_ENVIRONMENT, render, required_cpus
from serve_app.settings import Settings
from tests.ray.processes import replica_pids

RESULT = Path(__file__).parent / "results" / "recovery.json"
KILLS = 3
_MODEL = "hrnet"
_SERVES_PROXY_PERIOD_S = 10
_PROXY_PERIOD = "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S"
_LOOK_S = 0.05
_PATIENCE_S = 120.0


def configuration(port: int, replica_period: float | None) -> dict[str, Any]:
    """The packaged local profile; None leaves the period of the models as it is."""
    profile = load_profile(packaged_configs(), "local")
    config = render(profile, Settings.from_environment(), "127.0.0.1", port)
    for deployment in config["applications"][0]["deployments"]:
        if replica_period is not None and deployment["name"] in profile.models:
            deployment["health_check_period_s"] = replica_period
    return config


def measure(replica_period: float | None, proxy_period: float) -> dict[str, Any]:
    """Kill the replica of one model and the proxy some times."""
    # The controller, which checks the proxies, inherits this environment.
    os.environ[_PROXY_PERIOD] = f"{proxy_period:g}"
    cpus = required_cpus(load_profile(packaged_configs(), "local"))
    configure = functools.partial(configuration, replica_period=replica_period)
    used = {
        deployment["name"]: deployment["health_check_period_s"]
        for deployment in configure(0)["applications"][0]["deployments"]
    }
    with (
        local_service(configure, cpus) as (_, port),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=_PATIENCE_S) as client,
    ):
        row = {
            "replica_period_s": used[_MODEL],
            "proxy_period_s": proxy_period,
            "replica_s": [_kill_replica(client) for _ in range(KILLS)],
            "proxy_s": [_kill_proxy(client) for _ in range(KILLS)],
        }
    print(row, flush=True)
    return row


def _kill_replica(client: httpx.Client) -> float:
    """Seconds until a request is answered that was sent right after the kill."""
    (victim,) = replica_pids(_MODEL)
    (content,) = images(0, 1)
    os.kill(victim, signal.SIGKILL)
    killed = time.monotonic()
    client.post(
        "/api/v1/segment", data={"model": _MODEL}, files={"file": ("a.png", content)}
    ).raise_for_status()
    return round(time.monotonic() - killed, 2)


def _kill_proxy(client: httpx.Client) -> float:
    """Seconds until the port answers again."""
    _proxy().kill()
    killed = time.monotonic()
    while time.monotonic() - killed < _PATIENCE_S:
        try:
            client.get("/health").raise_for_status()
        except httpx.TransportError:
            time.sleep(_LOOK_S)
        else:
            return round(time.monotonic() - killed, 2)
    raise TimeoutError(f"no proxy after {_PATIENCE_S:g} s")


def _proxy() -> psutil.Process:
    """The process of the proxy that this one has started."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if " ".join(process.cmdline()).startswith("ray::ProxyActor"):
                return process
    raise RuntimeError("there is no proxy")


def main() -> None:
    """Measure, and write the result."""
    rows = [
        measure(None, int(CONTROLLER_ENVIRONMENT[_PROXY_PERIOD])),
        measure(DEFAULT_HEALTH_CHECK_PERIOD_S, _SERVES_PROXY_PERIOD_S),
    ]
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": describe_machine(),
        "model": _MODEL,
        "periods": rows,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
