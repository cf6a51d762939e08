"""Takes all large blocks that a limit allows, then sees what another thread still gets.

Started by test_heap.py with "prepared" or "unprepared"; prints JSON.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread

from deployments.inference.memory.heap import prepare_heap
from deployments.inference.memory.limits import ProcessMemoryLimit

MIB = 2**20


def take(size: int, most: int) -> list[bytearray]:
    """Blocks of this many bytes, until there are no more."""
    blocks: list[bytearray] = []
    try:
        while len(blocks) < most:
            blocks.append(bytearray(size))
    except MemoryError:
        pass
    return blocks


def count_threads(most: int) -> int:
    """How many threads can run at the same time."""
    done = Event()
    threads = [Thread(target=done.wait) for _ in range(most)]
    started = 0
    try:
        for thread in threads:
            thread.start()
            started += 1
    except RuntimeError:
        pass
    finally:
        done.set()
    return started


def main() -> None:
    device, neighbour = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
    neighbour.submit(bytes, 1).result()
    if sys.argv[1] == "prepared":
        device.submit(prepare_heap).result()
    limit = ProcessMemoryLimit()
    limit.set(64)
    large = device.submit(take, 5 * MIB, 100).result()
    small = neighbour.submit(take, MIB, 100).result()
    threads = neighbour.submit(count_threads, 4).result()
    limit.set(None)
    json.dump({"large": len(large), "small": len(small), "threads": threads}, sys.stdout)


if __name__ == "__main__":
    main()
