"""Runs OpenVINO in a process whose memory really runs out; prints JSON.

Started by test_openvino_memory.py: a limit on the memory of the process must not be set in
pytest. Arguments: graph, cache folder, side, images in a batch, MiB above what is in use.
"""

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deployments.inference.engines.openvino_engine import OpenVinoEngine
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.executor import BatchExecutor
from deployments.inference.memory.heap import return_freed_memory
from deployments.inference.memory.limits import ProcessMemoryLimit
from deployments.inference.memory.outcomes import Decision, Event, Item, Result
from deployments.inference.memory.state import MemoryKey
from deployments.inference.types import UInt8Array


def main() -> None:
    graph, cache = map(Path, sys.argv[1:3])
    side, count, limit_mb = map(int, sys.argv[3:])
    cost = side * side
    return_freed_memory()
    engine = OpenVinoEngine(graph, "float32", 1, cache)
    sizes: list[int] = []
    decisions: list[Decision] = []

    def call(payloads: Sequence[UInt8Array]) -> Sequence[UInt8Array]:
        sizes.append(len(payloads))
        return list(engine.run(np.stack(payloads)))

    key = MemoryKey("starved", "1", "openvino float32", side, "cpu")
    controller = MemoryController(key, count * cost)
    executor = BatchExecutor(call, controller, engine.release, None, decisions.append)

    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]
    items = [Item(image, cost, str(index)) for index, image in enumerate(images)]

    limit = ProcessMemoryLimit()
    limit.set(limit_mb)
    starved = [executor.run(items) for _ in range(3)]
    starved_sizes = list(sizes)
    sizes.clear()
    limit.set(None)
    controller.configure(count * cost, 1)
    relieved = executor.run(items)
    # Only now: the first call of all must be one under the limit.
    expected = [engine.run(image[None])[0] for image in images]

    def wrong(outcomes: Sequence[object]) -> int:
        """Answers that are missing or not those of the unlimited engine."""
        return sum(
            not isinstance(outcome, Result)
            or int(np.abs(outcome.value.astype(int) - wanted).max()) > 1
            for outcome, wanted in zip(outcomes, expected, strict=True)
        )

    json.dump(
        {
            "wrong": [wrong(outcomes) for outcomes in starved],
            "sizes": starved_sizes,
            "shrinks": [d.reason for d in decisions if d.event is Event.SHRINK],
            "others": [d.reason for d in decisions if d.event in (Event.FATAL, Event.ITEM_FAILED)],
            "relieved_wrong": wrong(relieved),
            "relieved_sizes": sizes,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    # As in a replica: not on the main thread, whose heap glibc treats differently.
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
