"""Runs a convolution network in a process whose memory really runs out; prints JSON.

Started by test_real_oom.py: a limit on the memory of the process must not be set in pytest.
"""

import gc
import json
import sys
import threading
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.executor import BatchExecutor
from deployments.inference.memory.heap import return_freed_memory
from deployments.inference.memory.limits import ProcessMemoryLimit
from deployments.inference.memory.outcomes import Decision, Event, Item, Result
from deployments.inference.memory.state import MemoryKey
from deployments.inference.memory.tracking import MemoryTracker, ProcessProbe
from deployments.inference.types import UInt8Array

SIDE = 192
BATCH = 12
LIMIT_MB = 90


def network() -> nn.Module:
    torch.manual_seed(7)
    layers: list[nn.Module] = []
    for channels in (3, 32, 32, 32):
        layers += [nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(32, 1, 1)).eval().requires_grad_(False)


class Starved:
    """The network behind an executor, with what happened to it."""

    def __init__(self) -> None:
        self.network = network()
        self.sizes: list[int] = []
        self.tensors: list[int] = []
        self.decisions: list[Decision] = []
        self.tracker = MemoryTracker(ProcessProbe())
        self.controller = MemoryController(
            MemoryKey("starved", "1", "float32", SIDE, "cpu"), BATCH * SIDE**2
        )
        self.executor = BatchExecutor(
            self.call,
            self.controller,
            _collect,
            None,
            self.decisions.append,
        )

    @torch.inference_mode()
    def call(self, payloads: Sequence[UInt8Array]) -> Sequence[UInt8Array]:
        self.sizes.append(len(payloads))
        self.tensors.append(
            sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())
        )
        with self.tracker.measure(len(payloads) * SIDE**2):
            images = torch.from_numpy(np.stack(payloads)).permute(0, 3, 1, 2).float() / 255
            maps = torch.sigmoid(self.network(images)[:, 0]) * 255
            return list(maps.round().to(torch.uint8).numpy())

    def run(self, images: list[UInt8Array]) -> tuple[list[UInt8Array | str], list[int]]:
        """Answers, and the sizes of the device calls they took."""
        before = len(self.sizes)
        items = [Item(image, SIDE**2, str(index)) for index, image in enumerate(images)]
        outcomes = self.executor.run(items)
        answers = [o.value if isinstance(o, Result) else str(o.error) for o in outcomes]
        return answers, self.sizes[before:]


def _collect() -> None:
    gc.collect()


def main() -> None:
    torch.set_num_threads(1)
    return_freed_memory()
    starved = Starved()
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(BATCH)]
    expected = [starved.run([image])[0][0] for image in images]

    limit = ProcessMemoryLimit()
    limit.set(LIMIT_MB)
    starved.controller.configure(BATCH * SIDE**2, LIMIT_MB)
    starved.tensors.clear()
    first, first_sizes = starved.run(images)
    tensors = list(starved.tensors)
    later_sizes = [starved.run(images)[1] for _ in range(3)]
    shrinks = [d.reason for d in starved.decisions if d.event is Event.SHRINK]
    ceiling = starved.controller.ceiling_items(SIDE**2)

    limit.set(None)
    starved.controller.configure(BATCH * SIDE**2, None)
    last, last_sizes = starved.run(images)

    def worst(answers: list[UInt8Array | str]) -> int:
        """Largest difference to the unlimited answers; 255 where there is no answer."""
        return max(
            int(np.abs(a.astype(int) - e.astype(int)).max())
            if isinstance(a, np.ndarray) and isinstance(e, np.ndarray)
            else 255
            for a, e in zip(answers, expected, strict=True)
        )

    peak = starved.tracker.largest
    assert peak is not None
    json.dump(
        {
            "first_sizes": first_sizes,
            "first_worst": worst(first),
            "tensors": tensors,
            "later_sizes": later_sizes,
            "shrinks": shrinks,
            "ceiling": ceiling,
            "last_sizes": last_sizes,
            "last_worst": worst(last),
            "peak_mib": (peak.peak_bytes - peak.start_bytes) / 2**20,
            "needed_mib": (starved.tracker.needed_bytes(SIDE**2) or 0) / 2**20,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    # As in a replica: not on the main thread, whose heap glibc treats differently.
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
