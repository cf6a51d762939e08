"""What is done to a running cluster; each step returns what it saw.

The tests assert on it, ``benchmarks/nodes.py`` writes it down.
"""

import asyncio
import copy
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from deployments.config import PACKAGE_WEIGHTS
from deployments.inference import checkpoints
from deployments.inference.weights_metadata import METADATA_KEY
from tests.nodes.asking import (
    MODEL,
    client,
    describe,
    job_end,
    start_job,
    until,
    until_moved,
    until_refused,
)
from tests.nodes.cluster import Nodes, messages
from tests.nodes.load import SEGMENT, Load
from tests.nodes.site import WEIGHTS
from tests.scenes import encoded, spheroid

DEPLOYMENTS = ("ingress", "hrnet", "resunet_small", "resunet_advanced")
GOOD, BAD = "other.safetensors", "damaged.safetensors"
_PACKAGED = PACKAGE_WEIGHTS / "hrnet_compact.safetensors"
CLIENTS_PER_WORKER = 2
_STEADY_ANSWERS = 40

Facts = dict[str, Any]


def changed(config: dict[str, Any], **tunables: object) -> dict[str, Any]:
    """The configuration with some of the model's user_config replaced."""
    config = copy.deepcopy(config)
    for entry in config["applications"][0]["deployments"]:
        if entry["name"] == MODEL:
            entry["user_config"].update(tunables)
    return config


def load(nodes: Nodes) -> Load:
    """Load on the model through every worker that lives."""
    addresses = [pod.address for pod in nodes.workers if pod.alive]
    image = encoded(spheroid()[0])
    return Load(addresses * CLIENTS_PER_WORKER, nodes.key, image, MODEL)


async def deploy(nodes: Nodes) -> Facts:
    """Deploy the rendered configuration, and send an image to every worker."""
    started = time.monotonic()
    nodes.deploy(nodes.config)
    nodes.wait_until_running()
    running = time.monotonic() - started
    image = encoded(spheroid()[0])
    answers = {}
    for pod in nodes.workers:
        pod.wait_until("readinessProbe")
        async with client(nodes, pod.address) as to_worker:
            answer = await to_worker.post(SEGMENT, files={"file": ("a.png", image)})
            anonymous = await to_worker.post(SEGMENT, headers={"Authorization": ""})
        answers[pod.name] = (
            answer.status_code,
            len(answer.json().get("polygons", [])),
            anonymous.status_code,
        )
    ingresses = Counter(replica.node for replica in nodes.replicas("ingress"))
    return {
        "seconds_to_running": round(running, 1),
        "answers": answers,
        "ingresses": [ingresses[pod.address] for pod in nodes.workers],
    }


async def change_batch_size(nodes: Nodes, size: int) -> Facts:
    """Deploy another batch size; return the replicas before and after, and batches seen."""
    before = {name: nodes.replicas(name) for name in DEPLOYMENTS}
    started = time.monotonic()
    nodes.deploy(changed(nodes.config, max_batch_size=size))
    await until(nodes, configured_batch_size=size)
    seconds = time.monotonic() - started
    image = encoded(spheroid()[0])
    async with client(nodes, nodes.workers[0].address) as to_worker:
        answers = await asyncio.gather(
            *(to_worker.post(SEGMENT, files={"file": ("a.png", image)}) for _ in range(3 * size))
        )
    nodes.wait_until_running()
    return {
        "seconds": round(seconds, 1),
        "same_replicas": before == {name: nodes.replicas(name) for name in DEPLOYMENTS},
        "statuses": sorted({answer.status_code for answer in answers}),
        "largest_batch": max(answer.json()["batch_size_used"] for answer in answers),
    }


async def roll_weights(nodes: Nodes) -> Facts:
    """Deploy other weights under load."""
    state = {key: tensor.float() * 0.99 for key, tensor in load_file(_PACKAGED).items()}
    checkpoints.save(nodes.weights / GOOD, state, checkpoints.read_metadata(_PACKAGED))
    before = nodes.replicas(MODEL)
    async with load(nodes).running() as traffic:
        # What the first requests wait for is not the steady state.
        await traffic.answered(_STEADY_ANSWERS // 2)
        steady_from = time.monotonic()
        await traffic.answered(_STEADY_ANSWERS)
        started = time.monotonic()
        await asyncio.to_thread(nodes.deploy, changed(nodes.config, weights=f"{WEIGHTS}/{GOOD}"))
        await until(nodes, weights=GOOD)
        rolled = time.monotonic()
        await traffic.answered(_STEADY_ANSWERS // 2)
    nodes.wait_until_running()
    steady = traffic.seconds(steady_from, started)
    during = traffic.seconds(started, rolled)
    return {
        "requests": len(traffic.sent),
        "lost": len(traffic.lost()),
        "seconds": round(rolled - started, 1),
        "same_replicas": before == nodes.replicas(MODEL),
        "steady_p50_s": round(statistics.median(steady), 3),
        "steady_max_s": round(max(steady), 3),
        "roll_max_s": round(max(during), 3),
        "roll_max_by_steady_max": round(max(during) / max(steady), 2),
    }


async def roll_back(nodes: Nodes) -> Facts:
    """Deploy damaged weights under load, then the configuration before."""
    write_damaged(_PACKAGED, nodes.weights / BAD)
    before = nodes.replicas(MODEL)
    good = changed(nodes.config, weights=f"{WEIGHTS}/{GOOD}")
    async with load(nodes).running() as traffic:
        await traffic.answered(4)
        await asyncio.to_thread(nodes.deploy, changed(good, weights=f"{WEIGHTS}/{BAD}"))
        said = await until_refused(nodes)
        serving = (await describe(nodes))["weights"]
        serve_says = messages(nodes.status())[f"inference/{MODEL}"]
        await traffic.answered(_STEADY_ANSWERS // 2)
        await asyncio.to_thread(nodes.deploy, good)
        await until(nodes, weights=GOOD, refused=None)
        await traffic.answered(4)
    nodes.wait_until_running()
    return {
        "requests": len(traffic.sent),
        "lost": len(traffic.lost()),
        "served_meanwhile": serving,
        "service_says": said,
        "serve_says": serve_says,
        "same_replicas": before == nodes.replicas(MODEL),
    }


def write_damaged(good: Path, path: Path) -> None:
    """Write a weight file whose tensors do not have the digest that it names."""
    metadata = checkpoints.read_metadata(good).model_copy(update={"sha256": "0" * 64})
    save_file(load_file(good), path, {METADATA_KEY: metadata.model_dump_json()})


async def kill_worker(nodes: Nodes) -> Facts:
    """SIGKILL every process of the worker that runs the model, under load and during a job."""
    (model,) = nodes.replicas(MODEL)
    (victim,) = (pod for pod in nodes.workers if pod.address == model.node)
    (survivor,) = (pod for pod in nodes.workers if pod.alive and pod is not victim)
    hosted = sorted(
        name
        for application, names in (("inference", DEPLOYMENTS), ("jobs", ("jobs", "notifier")))
        for name in names
        if victim.address in {replica.node for replica in nodes.replicas(name, application)}
    )
    job = await start_job(nodes, victim.address)
    async with load(nodes).running() as traffic:
        await traffic.answered(_STEADY_ANSWERS // 2)
        victim.kill()
        killed = time.monotonic()
        await asyncio.to_thread(until_moved, nodes, survivor.address)
        running = time.monotonic() - killed
        await traffic.answered(_STEADY_ANSWERS // 2)
    lost = traffic.lost()
    after = [sent for sent in traffic.sent if sent.via == survivor.address and sent.ended > killed]
    return {
        "killed": victim.name,
        "hosted": hosted,
        "requests": len(traffic.sent),
        "lost_in_flight_on_it": sum(
            sent.via == victim.address and sent.began <= killed <= sent.ended for sent in lost
        ),
        "lost_otherwise": [
            f"{sent.via} {sent.began - killed:+.2f} s: {sent.failure}"
            for sent in lost
            if sent.via != victim.address or not sent.began <= killed <= sent.ended
        ],
        "answered_through_the_other": sum(not sent.failure for sent in after),
        "longest_wait_s": round(max(sent.seconds for sent in after), 1),
        "seconds_to_running": round(running, 1),
        "job": await job_end(nodes, survivor.address, job),
    }
