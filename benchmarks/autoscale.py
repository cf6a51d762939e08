"""Replicas that follow the load, and a model that goes to zero and comes back.

    python -m benchmarks.autoscale

Clients load one of three models, each of which may have one or two replicas; then another model
may go to zero, and its first requests are timed. The local Ray cluster is told of more CPUs than
the machine has, and decides sooner than by default, so that minutes suffice. Writes
``benchmarks/results/autoscale.json``; exit status 1 where a request was lost or the replicas did
not follow.
"""

import asyncio
import datetime
import itertools
import json
import statistics
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx

from benchmarks import replicas
from benchmarks.clients import Load
from benchmarks.local_service import local_service
from benchmarks.machine import describe_machine
from benchmarks.timing import summary
from deployments.config import Autoscaling, Profile, load_profile, packaged_configs
from serve_app.local_cluster import LocalCluster
from serve_app.serve_config import INFERENCE, render
from serve_app.settings import Settings
from tests.ray.processes import replica_pids

RESULT = Path(__file__).parent / "results" / "autoscale.json"
LOADED, EMPTIED = "hrnet", "resunet_small"
LOGICAL_CPUS = 4
CLIENTS = ((2, 15.0), (30, 45.0), (2, 40.0))
COLD_STARTS = 3
_WARM_REQUESTS = 10
_SAMPLE_S = 0.5
_PATIENCE_S = 120.0
# Serve's own interval of 10 s has no other switch: the variable that should replace this key,
# RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S, is read by nothing in Ray 2.60.
_REPORT_S = 1.0
_SCALING = {"look_back_period_s": 5.0, "upscale_delay_s": 3.0, "downscale_delay_s": 8.0}


def profile(**emptied: int) -> Profile:
    """The packaged local profile: one or two replicas of each model, decided soon.

    Args:
        emptied: What is different for the model that goes to zero.
    """
    loaded = load_profile(packaged_configs(), "local")
    limits = {name: {"min_replicas": 1, "max_replicas": 2} for name in loaded.models}
    limits[EMPTIED] |= emptied
    models = {
        name: model.model_copy(
            update={"autoscaling": Autoscaling.model_validate({**_SCALING, **limits[name]})}
        )
        for name, model in loaded.models.items()
    }
    return loaded.model_copy(update={"models": models})


def configuration(models: Profile, port: int) -> dict[str, Any]:
    """Serve's configuration, with handles that report often."""
    config = render(models, Settings.from_environment(), "127.0.0.1", port)
    for deployment in config["applications"][0]["deployments"]:
        if "autoscaling_config" in deployment:
            deployment["autoscaling_config"]["metrics_interval_s"] = _REPORT_S
    return config


async def follow_load(client: httpx.AsyncClient) -> dict[str, Any]:
    """Load one model and watch the replicas of all."""
    load = Load(client, LOADED)
    samples: list[tuple[float, int, dict[str, int]]] = []

    async def sample() -> None:
        while True:
            counts = await asyncio.to_thread(replicas.running, INFERENCE)
            samples.append((round(load.seconds, 2), load.clients, counts))
            await asyncio.sleep(_SAMPLE_S)

    sampling = asyncio.create_task(sample())
    phases = []
    for clients, seconds in CLIENTS:
        began, before = load.seconds, len(load.requests)
        await load.keep_up(clients, seconds)
        answered = [each.seconds for each in load.requests[before:] if each.outcome == "200"]
        wall = load.seconds - began
        speed = {"images_per_second": round(len(answered) / wall, 2), **summary(answered)}
        phases.append({"clients": clients, "began": round(began, 1), **speed})
    sampling.cancel()
    models = list(profile().models)
    outcomes = Counter(request.outcome for request in load.requests)
    return {
        "model": LOADED,
        "phases": phases,
        "sent": load.sent,
        "answered": outcomes.pop("200", 0),
        "errors": dict(outcomes),
        "replicas": {name: _changes([counts[name] for *_, counts in samples]) for name in models},
        "decisions": [
            {**asdict(decision), "at": round(decision.at - load.started, 1)}
            for decision in await asyncio.to_thread(replicas.logged_decisions)
            if decision.at >= load.started
        ],
        "samples": [[at, clients, *(counts[m] for m in models)] for at, clients, counts in samples],
        "latency": load.latency(),
    }


def _changes(counts: Sequence[int]) -> list[int]:
    """Each number once where it stays the same."""
    return [count for count, _ in itertools.groupby(counts)]


async def go_to_zero(client: httpx.AsyncClient, cluster: LocalCluster, port: int) -> dict[str, Any]:
    """Let a model go to zero some times, and time its first request and later ones."""
    load = Load(client, EMPTIED)
    cold, warm, waits = [], [], []
    config = configuration(profile(min_replicas=0, max_replicas=1), port)
    before = await asyncio.to_thread(replica_pids, LOADED)
    await asyncio.to_thread(cluster.deploy, config)
    await asyncio.to_thread(cluster.wait_until_running)
    for _ in range(COLD_STARTS):
        idle = load.seconds
        await asyncio.to_thread(replicas.wait_until_none, INFERENCE, EMPTIED, _PATIENCE_S)
        waits.append(round(load.seconds - idle, 1))
        cold.append((await load.send()).seconds)
        warm += [(await load.send()).seconds for _ in range(_WARM_REQUESTS)]
    outcomes = Counter(request.outcome for request in load.requests)
    return {
        "model": EMPTIED,
        "change_restarted_nothing": await asyncio.to_thread(replica_pids, LOADED) == before,
        "seconds_to_zero": waits,
        "first_request_s": cold,
        "warm_s": round(statistics.median(warm), 3),
        "sent": load.sent,
        "answered": outcomes.pop("200", 0),
        "errors": dict(outcomes),
    }


async def measure(cluster: LocalCluster, port: int) -> dict[str, Any]:
    """Both parts."""
    limits = httpx.Limits(max_connections=None)
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=url, timeout=300, limits=limits) as client:
        followed = await follow_load(client)
        return {**followed, "zero": await go_to_zero(client, cluster, port)}


def failures(result: dict[str, Any]) -> list[str]:
    """What did not go as it should."""
    wanted = {name: [1, 2, 1] if name == LOADED else [1] for name in result["replicas"]}
    found = []
    if result["replicas"] != wanted:
        found.append(f"replicas were {result['replicas']}")
    for part in (result, result["zero"]):
        if part["answered"] != part["sent"]:
            found.append(f"{part['model']}: {part['sent']} sent, {part['answered']} answered")
    if not result["zero"]["change_restarted_nothing"]:
        found.append("other limits restarted replicas")
    return found


def main() -> None:
    """Measure, write the result, and fail where something was lost."""
    with local_service(lambda port: configuration(profile(), port), LOGICAL_CPUS) as (
        cluster,
        port,
    ):
        measured = asyncio.run(measure(cluster, port))
    result = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": describe_machine(),
        "logical_cpus": LOGICAL_CPUS,
        "delays": {**_SCALING, "metrics_interval_s": _REPORT_S},
        **measured,
    }
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items())
    RESULT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("replicas", "decisions", "phases", "zero")}))
    sys.exit("\n".join(failures(result)) or 0)


if __name__ == "__main__":
    main()
