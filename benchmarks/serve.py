"""The service over real HTTP beside the bare engine, in one run."""

import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import yaml

from benchmarks.load import Observed, closed_loop, open_loop
from benchmarks.processes import CLIENTS, cpu_seconds, resident_mb
from benchmarks.subjects import SIZES, Subject, weights
from benchmarks.sweep import measure, run_child
from benchmarks.timing import repeat
from deployments.inference.calibration_images import calibration_images
from deployments.inference.images.limits import ImageLimits
from deployments.inference.pipeline import finish, prepare
from deployments.inference.types import UInt8Array

Row = dict[str, object]

BATCHES = {"compact": 12, "full": 2}
IMAGE_SIDE = 448
_IMAGES = 8
_OPEN_SHARE = 0.7
_LIMITS = ImageLimits(max_pixels=100_000_000)


def serve(variant: str, clients: Sequence[int], seconds: float, haproxy: bool) -> Row:
    """Measure HRNet behind the whole service.

    Args:
        variant: ``compact`` or ``full``.
        clients: Numbers of clients of the closed loop.
        seconds: Time to spend on each figure.
        haproxy: Whether Ray's HAProxy takes the place of its own proxy.
    """
    subject = Subject("hrnet", variant, "auto", "auto", SIZES[variant])
    fields = calibration_images(IMAGE_SIDE, _IMAGES)
    images = [cv2.imencode(".png", field)[1].tobytes() for field in fields]
    batch = BATCHES[variant]
    bare = {count: run_child(measure, subject, count, seconds) for count in (1, batch)}
    parts = _parts(subject, images[0])
    loops: dict[int, Row] = {}
    alone = Observed()
    with running(subject, haproxy) as url:
        asyncio.run(closed_loop(url, "hrnet", images, batch, seconds / 2))
        for count in clients:
            before = cpu_seconds()
            observed, wall = asyncio.run(closed_loop(url, "hrnet", images, count, seconds))
            after = cpu_seconds()
            loops[count] = {
                **observed.as_dict(wall),
                "cpu_ms_per_image": {
                    kind: round((used - before.get(kind, 0)) * 1000 / len(observed.seconds), 1)
                    for kind, used in sorted(after.items())
                },
            }
            print(variant, "haproxy" if haproxy else "proxy", count, loops[count], flush=True)
            if count == 1:
                alone = observed
        models = httpx.get(f"{url}/api/v1/models").json()["models"]
        replica = models["hrnet"]["replicas"][0]
        best = max(float(str(loop["images_per_second"])) for loop in loops.values())
        rate = best * _OPEN_SHARE
        observed, wall = asyncio.run(open_loop(url, "hrnet", images, rate, seconds))
        memory = {kind: round(size) for kind, size in resident_mb().items() if kind != CLIENTS}
    return {
        "model": "hrnet",
        "variant": variant,
        "side": subject.side,
        "engine": replica["engine"],
        "precision": replica["precision"],
        "proxy": "haproxy" if haproxy else "default",
        "image": f"PNG {IMAGE_SIDE} x {IMAGE_SIDE}, {len(images[0]) // 1000} kB",
        "batch": batch,
        "bare": list(bare.values()),
        "closed_loop": [{"clients": count, **loop} for count, loop in loops.items()],
        "open_loop": {"rate": round(rate, 2), **observed.as_dict(wall)},
        "one_request_ms": _decomposition(alone, parts),
        "resident_mb": memory,
    }


def _parts(subject: Subject, image: bytes) -> dict[str, float]:
    """Median milliseconds of what happens to one image beside the network, without service."""
    spec = subject.spec()

    def decode() -> UInt8Array:
        prepared = prepare(image, spec.implementation, spec.input_size, spec.preset, _LIMITS)
        return prepared.pixels

    dark = 255 - decode()[..., 0]
    times = {
        "decode": repeat(decode, 1),
        "polygons": repeat(
            lambda: finish(dark, spec.implementation, IMAGE_SIDE, IMAGE_SIDE, 0.5, True), 1
        ),
    }
    return {name: statistics.median(spent.wall) * 1000 for name, spent in times.items()}


def _decomposition(alone: Observed, parts: dict[str, float]) -> dict[str, float]:
    """Median milliseconds of one client's requests: each stage as the service reports it.

    ``http`` is what the client waits beyond all stages: reading the body, the proxy, the answer.
    ``overhead`` is everything that is not decoding, network or polygons.
    """
    stages = {name: statistics.median(times) * 1000 for name, times in alone.stages.items()}
    del stages["total"]
    total = statistics.median(alone.seconds) * 1000
    work = sum(stages[name] for name in ("decode", "device", "polygons"))
    figures = {
        "total": total,
        **stages,
        "http": total - sum(stages.values()),
        "overhead": total - work,
        **{f"{name}_alone": value for name, value in parts.items()},
    }
    return {name: round(value, 2) for name, value in figures.items()}


@contextmanager
def running(subject: Subject, haproxy: bool) -> Iterator[str]:
    """``spheroserve up`` with one model; yields its address."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        _write_configuration(Path(folder), subject)
        environment = {**os.environ, "SPHEROSERVE_DATA_DIR": f"{folder}/data"}
        if haproxy:
            environment["RAY_SERVE_ENABLE_HA_PROXY"] = "1"
            environment["RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"] = "1"
        command = [sys.executable, "-m", "serve_app", "up", "--config", folder, "--port", str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        try:
            if not any(line.startswith("ready ") for line in process.stdout or ()):
                raise RuntimeError("the service did not start")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _write_configuration(folder: Path, subject: Subject) -> None:
    spec = subject.spec()
    model = {
        "implementation": spec.implementation,
        "input_size": spec.input_size,
        "weights": str(weights(subject.model, subject.variant)),
        "num_cpus": 0.5,
    }
    profile = {"local": {"device": "cpu", "models": {"hrnet": model}}}
    (folder / "models.yaml").write_text(yaml.safe_dump({"models": {}, "profiles": profile}))
    sizes = {"hrnet": {"optimal_batch_size": BATCHES[subject.variant], "max_safe_batch_size": 16}}
    (folder / "batch_sizes.json").write_text(json.dumps({"batch_configurations": sizes}))
