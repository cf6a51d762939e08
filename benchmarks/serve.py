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
import yaml

from benchmarks.load import Observed, closed_loop, open_loop
from benchmarks.subjects import SIZES, Subject, weights
from benchmarks.sweep import measure, run_child
from benchmarks.timing import repeat
from deployments.inference.calibration_images import calibration_images
from deployments.inference.images.limits import ImageLimits
from deployments.inference.pipeline import finish, prepare
from deployments.inference.types import UInt8Array

Row = dict[str, object]

BATCH = 12
IMAGE_SIDE = 600
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
    bare = {count: run_child(measure, subject, count, seconds) for count in (1, BATCH)}
    parts = _parts(subject, images[0])
    loops: dict[int, Row] = {}
    alone = Observed()
    with running(subject, haproxy) as url:
        asyncio.run(closed_loop(url, "hrnet", images, BATCH, seconds / 2))
        for count in clients:
            observed, wall = asyncio.run(closed_loop(url, "hrnet", images, count, seconds))
            loops[count] = observed.as_dict(wall)
            print(variant, "haproxy" if haproxy else "proxy", count, loops[count], flush=True)
            if count == 1:
                alone = observed
        best = max(float(str(loop["images_per_second"])) for loop in loops.values())
        rate = best * _OPEN_SHARE
        observed, wall = asyncio.run(open_loop(url, "hrnet", images, rate, seconds))
        memory = _resident_mb()
    return {
        "model": "hrnet",
        "variant": variant,
        "side": subject.side,
        "proxy": "haproxy" if haproxy else "default",
        "image": f"PNG {IMAGE_SIDE} x {IMAGE_SIDE}, {len(images[0]) // 1000} kB",
        "batch": BATCH,
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
    total = statistics.median(alone.seconds) * 1000
    device = statistics.median(alone.device) * 1000
    named = {**parts, "device": device}
    return {
        name: round(value, 2)
        for name, value in {
            "total": total,
            **named,
            "wait_and_transport": total - sum(named.values()),
        }.items()
    }


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
    sizes = {"hrnet": {"optimal_batch_size": BATCH, "max_safe_batch_size": 16}}
    (folder / "batch_sizes.json").write_text(json.dumps({"batch_configurations": sizes}))


def _resident_mb() -> dict[str, int]:
    """Proportional resident memory of the service's processes, by what they are."""
    import psutil

    found: dict[str, int] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            name = " ".join(process.cmdline()) or process.name()
            size = process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
        found[_kind(name)] = found.get(_kind(name), 0) + size
    return {kind: round(size / 2**20) for kind, size in sorted(found.items())}


def _kind(command: str) -> str:
    for text, kind in (
        ("ServeReplica:inference:hrnet", "model replica"),
        ("ServeReplica:inference:ingress", "ingress replica"),
        ("sandbox", "decoding processes"),
        ("forkserver", "decoding processes"),
        ("ServeReplica", "other replicas"),
        ("serve_app", "spheroserve up"),
        ("raylet", "raylet"),
        ("ray::", "Ray Serve"),
        ("haproxy", "HAProxy"),
    ):
        if text in command:
            return kind
    return "Ray"
