"""Three ways to live with a shortage of memory, on the same requests and the same device.

    python -m benchmarks.oom_simulation            simulate; writes results/oom-simulation.json
    python -m benchmarks.oom_simulation --update   put its table into docs/out-of-memory.md
    python -m benchmarks.oom_simulation --check    fail where that table is another one

Time is virtual and the random numbers are seeded, so the result is the same on any machine. The
time model is assumed, not measured: 20 ms a call, then 10 ms a unit of cost, or 250 ms where the
call runs out of memory (however much it had computed). Only the ranking is evidence.
"""

import argparse
import json
import random
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.virtual_device import VirtualClock, VirtualDevice, Work
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.executor import BatchExecutor
from deployments.inference.memory.outcomes import Result
from deployments.inference.memory.state import MemoryKey

RESULT = Path(__file__).parent / "results" / "oom-simulation.json"
PAGE = Path(__file__).parents[1] / "docs" / "out-of-memory.md"
BEGIN, END = "<!-- begin: oom-simulation -->", "<!-- end: oom-simulation -->"

UNIT = 100  # cost of one unit, so that costs stay integers
MAX_COST = 64 * UNIT
QUEUE = 64  # images that always wait
COSTS = [UNIT // 4, UNIT // 2, UNIT, UNIT, UNIT, 4 * UNIT]
SQUEEZE = (30 * 60, 40 * 60)  # seconds between which memory is short
CAPACITY, SQUEEZED = 40 * UNIT, 10 * UNIT
HOUR = 3600


class SimulatedDevice:
    """A device whose memory is squeezed for ten minutes, and the clock that its calls move."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self._device = VirtualDevice(CAPACITY)

    def __call__(self, batch: Sequence[Work]) -> list[int]:
        """Answer a batch, or run out of memory."""
        start, stop = SQUEEZE
        self._device.capacity = SQUEEZED if start <= self.clock.now < stop else CAPACITY
        self.clock.now += 0.02
        try:
            names = self._device(batch)
        except RuntimeError:
            self.clock.now += 0.25
            raise
        self.clock.now += 0.01 * sum(work.cost for work in batch) / UNIT
        return names

    @property
    def calls(self) -> int:
        """Device calls so far."""
        return len(self._device.calls)

    @property
    def ooms(self) -> int:
        """Device calls that ran out of memory so far."""
        return len(self._device.ooms)


class Queue:
    """Images that wait; there are always ``QUEUE`` of them."""

    def __init__(self) -> None:
        self._random = random.Random(20)
        self._waiting: deque[Work] = deque()
        self._names = 0
        self.refill()

    def refill(self) -> None:
        while len(self._waiting) < QUEUE:
            self._waiting.append(Work(self._names, self._random.choice(COSTS)))
            self._names += 1

    def take(self, ceiling: int | None = None, count: int = QUEUE) -> list[Work]:
        """The first images, at least one: as many as ``count`` and ``ceiling`` allow."""
        batch = [self._waiting.popleft()]
        cost = batch[0].cost
        while self._waiting and len(batch) < count:
            cost += self._waiting[0].cost
            if ceiling is not None and cost > ceiling:
                break
            batch.append(self._waiting.popleft())
        self.refill()
        return batch

    @property
    def next_cost(self) -> int:
        return self._waiting[0].cost


class Controlled:
    """The memory controller and the batch executor."""

    name = "memory controller"

    def __init__(self, device: SimulatedDevice) -> None:
        key = MemoryKey("simulated", "1", "float32", 1, "virtual")
        self._controller = MemoryController(key, MAX_COST, clock=device.clock)
        self._executor: BatchExecutor[Work, int] = BatchExecutor(
            device, self._controller, lambda: None
        )

    def step(self, queue: Queue) -> int:
        """Run one batch; the number of images answered."""
        batch = queue.take(self._controller.ceiling())
        outcomes = self._executor.run([work.item() for work in batch], queue.next_cost)
        return sum(isinstance(outcome, Result) for outcome in outcomes)

    def end(self) -> str:
        """What one call may take at the end."""
        return f"{self._controller.ceiling() / UNIT:.1f} of {CAPACITY / UNIT:.0f} units"


class HalveAndForget:
    """Every batch is full; one that does not fit is halved until its parts do."""

    name = "halve and forget"

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device

    def step(self, queue: Queue) -> int:
        """Run one batch; the number of images answered."""
        parts, done = deque([queue.take()]), 0
        while parts:
            part = parts.popleft()
            if _fits(self._device, part):
                done += len(part)
            else:
                middle = len(part) // 2
                parts.extendleft([part[middle:], part[:middle]])
        return done

    def end(self) -> str:
        """What one call may take at the end."""
        return "nothing learnt"


class NineTenths:
    """After a failure batches have nine tenths of the images, for ever."""

    name = "×0.9, never grow"

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self._count = QUEUE

    def step(self, queue: Queue) -> int:
        """Run one batch; the number of images answered."""
        batch = queue.take(count=self._count)
        done = 0
        while done < len(batch):
            part = batch[done : done + self._count]
            if _fits(self._device, part):
                done += len(part)
            else:
                self._count = max(1, int(self._count * 0.9))
        return done

    def end(self) -> str:
        """What one call may take at the end."""
        return f"{self._count} images, for ever"


Policy = Controlled | HalveAndForget | NineTenths
POLICIES: list[Callable[[SimulatedDevice], Policy]] = [Controlled, HalveAndForget, NineTenths]


def _fits(device: SimulatedDevice, part: Sequence[Work]) -> bool:
    try:
        device(part)
    except RuntimeError:
        return False
    return True


@dataclass(frozen=True)
class Row:
    """What one policy came to."""

    policy: str
    oom_calls: int
    device_calls: int
    requests_done: int
    done_in_last_hour: int
    end: str


def simulate(make: Callable[[SimulatedDevice], Policy], hours: int = 3) -> Row:
    """Run one policy for some virtual hours."""
    device, queue = SimulatedDevice(), Queue()
    policy = make(device)
    done = last = 0
    while device.clock.now < hours * HOUR:
        answered = policy.step(queue)
        done += answered
        last += answered if device.clock.now >= (hours - 1) * HOUR else 0
    return Row(policy.name, device.ooms, device.calls, done, last, policy.end())


def table() -> str:
    """The result file as a Markdown table between its markers."""
    rows = [Row(**row) for row in json.loads(RESULT.read_text())["rows"]]
    lines = [
        "| rule | OOM calls | device calls | requests done | in the last hour | at the end |",
        "|---|--:|--:|--:|--:|---|",
    ]
    lines += [
        f"| {row.policy} | {row.oom_calls:,} | {row.device_calls:,} | {row.requests_done:,} "
        f"| {row.done_in_last_hour:,} | {row.end} |"
        for row in rows
    ]
    return "\n".join([BEGIN, *lines, END])


def page_with_table(page: str) -> str:
    """The page with the table of the result file in place of its own.

    Raises:
        ValueError: The page lacks the markers.
    """
    start, stop = page.index(BEGIN), page.index(END) + len(END)
    return page[:start] + table() + page[stop:]


def main() -> int:
    """Simulate, update the page or check it; the exit status."""
    parser = argparse.ArgumentParser(description="Simulates three rules for shortage of memory.")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--update", action="store_true", help="put the table into the page")
    group.add_argument("--check", action="store_true", help="fail where the page differs")
    arguments = parser.parse_args()
    if arguments.check:
        page = PAGE.read_text()
        return 0 if page == page_with_table(page) else 1
    if arguments.update:
        PAGE.write_text(page_with_table(PAGE.read_text()))
        return 0
    rows = [asdict(simulate(make)) for make in POLICIES]
    RESULT.write_text(json.dumps({"hours": 3, "rows": rows}, indent=2, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
