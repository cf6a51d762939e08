"""What goes from the ingress to a model replica: decoded pixels, or the bytes of the file.

All ways decode in a child process, cross one deployment handle and make polygons in a child
process; they differ in the carrier, and in the side of the handle on which the children are. No
network runs. ``python -m benchmarks.transfer`` writes
``benchmarks/results/transfer.json``.

- ``pixels``: children of the caller; uint8 (S, S, 3) goes there, uint8 (S, S) comes back, through
  Ray's object store, as is Ray's default for objects of that size.
- ``message``: the same within Ray's messages, which a variable of Ray allows.
- ``bytes``: children of the replica; the file goes there, polygons come back.
"""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import ray
from ray import serve

from benchmarks.job_service import machine
from benchmarks.processes import cpu_seconds
from benchmarks.sweep import run_child
from benchmarks.timing import summary
from deployments.inference.calibration_images import calibration_images
from deployments.inference.images.limits import ImageLimits
from deployments.inference.pipeline import finish, prepare
from deployments.inference.sandbox import Sandbox, SandboxLimits
from deployments.inference.types import Polygons, UInt8Array

RESULT = Path(__file__).parent / "results" / "transfer.json"

Row = dict[str, object]
Way = Callable[[bytes], Awaitable[Polygons]]

# Sides of the uploaded image and of the network's input, in pixels.
_CASES = ((448, 512), (2048, 512), (2048, 1024))
_CALLERS = (1, 8)
_PRESET = "spheroseg-2025-08"
_MODEL = "deployments.inference.models:HRNet"
_LIMITS = ImageLimits(max_pixels=100_000_000)
_WORKERS = 2
_SECONDS = 8.0
_LIMIT = "RAY_max_direct_call_object_size"
# An image of 1024² fits.
_DIRECT_BYTES = 4 * 2**20


class Pipeline:
    """Decoding and polygons in child processes, on whichever side it lives.

    Args:
        side: Side S of the network's input in pixels.
        upload: Side of the uploaded image in pixels.
    """

    def __init__(self, side: int, upload: int) -> None:
        self._side = side
        self._upload = upload
        self._sandbox = Sandbox(_WORKERS, SandboxLimits(2**30, 60, 60.0))

    async def prepare(self, data: bytes) -> UInt8Array:
        """The network's input, uint8 (S, S, 3)."""
        image = await self._sandbox.run(prepare, data, _MODEL, self._side, _PRESET, _LIMITS)
        return image.pixels

    async def finish(self, probability: UInt8Array) -> Polygons:
        """Polygons of a probability map, uint8 (S, S)."""
        size = (self._upload, self._upload)
        return await self._sandbox.run(finish, probability, _MODEL, *size, 0.5, True)

    def close(self) -> None:
        """End the child processes."""
        self._sandbox.close()


class Replica:
    """Stands for a model replica; its network answers at once, that bodies are where it is dark."""

    def __init__(self, side: int, upload: int) -> None:
        self._pipeline = Pipeline(side, upload)

    async def pixels(self, pixels: UInt8Array) -> UInt8Array:
        """Answer a probability map."""
        return np.where(pixels[..., 0] < 90, np.uint8(255), np.uint8(0))

    async def bytes(self, data: bytes) -> Polygons:
        """Answer the polygons of a file."""
        return await self._pipeline.finish(await self.pixels(await self._pipeline.prepare(data)))


def transfer(seconds: float) -> list[Row]:
    """Measure every way in turn.

    Args:
        seconds: Time to spend on each figure.
    """
    rows = []
    for upload, side in _CASES:
        row: Row = {"side": side}
        for way, limit in (("pixels", None), ("message", _DIRECT_BYTES), ("bytes", None)):
            # Ray reads its variables once in a process.
            os.environ.pop(_LIMIT, None)
            if limit is not None:
                os.environ[_LIMIT] = str(limit)
            row |= run_child(_measure, way, upload, side, seconds)
        print(row, flush=True)
        rows.append(row)
    return rows


def _measure(way: str, upload: int, side: int, seconds: float) -> Row:
    files = [cv2.imencode(".png", field)[1].tobytes() for field in calibration_images(upload, 4)]
    # The replica's process must find this module.
    environment = {"env_vars": {"PYTHONPATH": str(Path(__file__).parents[1])}}
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env=environment,
    )
    deployment = serve.deployment(Replica, max_ongoing_requests=64).bind(side, upload)
    handle = serve.run(deployment, name="transfer", route_prefix=None)
    here = Pipeline(side, upload)

    async def as_pixels(data: bytes) -> Polygons:
        probability: UInt8Array = await handle.pixels.remote(await here.prepare(data))
        return await here.finish(probability)

    async def as_bytes(data: bytes) -> Polygons:
        polygons: Polygons = await handle.bytes.remote(data)
        return polygons

    async def measure() -> dict[str, Row]:
        if await as_pixels(files[0]) != await as_bytes(files[0]):
            raise RuntimeError("the two ways do not answer the same")
        taken = as_bytes if way == "bytes" else as_pixels
        return {
            f"{way}, {callers} callers": await _load(taken, files, callers, seconds)
            for callers in _CALLERS
        }

    try:
        figures = asyncio.run(measure())
    finally:
        here.close()
        serve.shutdown()
        ray.shutdown()
    return {"upload": f"PNG {upload}², {len(files[0]) // 1000} kB", **figures}


async def _load(way: Way, files: Sequence[bytes], callers: int, seconds: float) -> Row:
    times: list[float] = []
    await asyncio.gather(*(way(files[0]) for _ in range(callers)))
    before = sum(cpu_seconds().values())
    end = time.perf_counter() + seconds

    async def call(number: int) -> None:
        while (started := time.perf_counter()) < end:
            await way(files[(number + len(times)) % len(files)])
            times.append(time.perf_counter() - started)

    await asyncio.gather(*(call(number) for number in range(callers)))
    spent = sum(cpu_seconds().values()) - before
    return {**summary(times), "cpu_ms_per_image": round(spent * 1000 / len(times), 2)}


def main() -> None:
    """Measure, and write the result."""
    # By its own name, under which the other processes find it.
    from benchmarks import transfer as module

    result = {"machine": machine(), "cases": module.transfer(_SECONDS)}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
