"""Properties of the executor over many devices, batches and moments."""

from collections.abc import Sequence
from math import ceil, log2

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from benchmarks.virtual_device import VirtualClock, VirtualDevice, Work
from deployments.errors import ImageExceedsMemory, InferenceFailed, RetryElsewhere
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.executor import BatchExecutor
from deployments.inference.memory.outcomes import Failure, Result
from deployments.inference.memory.state import MemoryKey, State

KEY = MemoryKey("hrnet", "1", "float32", 64, "virtual")
MAX_COST = 64_000

COSTS = st.integers(1, 40_000) | st.sampled_from([250, 1000, 16_000, MAX_COST])
BATCHES = st.lists(st.tuples(COSTS, st.sampled_from([False] * 9 + [True])), max_size=64)
CAPACITIES = st.integers(1, 80_000)

EXAMPLES = [
    pytest.param(100, id="quick"),
    pytest.param(5000, id="long", marks=pytest.mark.long),
]


class Watched:
    """An executor whose device checks, at each call, what the ceiling of the moment is."""

    def __init__(self, capacity: int, max_cost: int = MAX_COST, fatal_at: int | None = None):
        self.clock = VirtualClock()
        self.device = VirtualDevice(capacity, fatal_at)
        self.controller = MemoryController(KEY, max_cost, clock=self.clock)
        self.executor = BatchExecutor(self.call, self.controller, lambda: None)

    def call(self, batch: Sequence[Work]) -> list[int]:
        cost = sum(work.cost for work in batch)
        assert len(batch) == 1 or cost <= self.controller.ceiling()
        return self.device(batch)

    def run(self, works: Sequence[Work]) -> list[Result[int] | Failure]:
        """Run a batch and check every answer against what the device can do."""
        proven = self.controller.snapshot().largest_success
        outcomes = self.executor.run([work.item() for work in works])
        assert len(outcomes) == len(works)
        for work, outcome in zip(works, outcomes, strict=True):
            self.check(work, outcome, proven)
        return outcomes

    def check(self, work: Work, outcome: Result[int] | Failure, proven: int) -> None:
        fits = work.cost <= self.device.capacity
        if isinstance(outcome, Result):
            assert outcome.value == work.name
            assert fits
            assert not work.raises
        elif isinstance(outcome.error, InferenceFailed):
            assert work.raises
        elif isinstance(outcome.error, ImageExceedsMemory):
            assert not fits
        else:
            assert isinstance(outcome.error, RetryElsewhere)
            assert self.controller.down or (not fits and work.cost <= proven)


def works_of(batch: Sequence[tuple[int, bool]]) -> list[Work]:
    return [Work(name, cost, raises) for name, (cost, raises) in enumerate(batch)]


@pytest.mark.parametrize("examples", EXAMPLES)
def test_each_item_is_answered_once_with_its_own_result(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(BATCHES, CAPACITIES, st.none() | st.integers(1, 40))
    @example([(1000, False)] * 8, 500, None)  # no image fits
    @example([(1000, True)] * 8, 80_000, None)  # every image raises
    @example([(1000, False), (40_000, False), (1000, True)], 2000, 3)
    def check(batch: list[tuple[int, bool]], capacity: int, fatal_at: int | None) -> None:
        watched = Watched(capacity, fatal_at=fatal_at)
        watched.run(works_of(batch))
        watched.run(works_of(batch))  # once more, with what was learnt
        assert watched.controller.down == watched.device.lost

    check()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_equal_items_cost_few_failures_and_calls(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(st.integers(1, 64), st.integers(1, 2000), CAPACITIES)
    @example(8, 1000, 4000)
    @example(64, 1000, 999)
    @example(33, 1000, 1000)
    def check(count: int, cost: int, capacity: int) -> None:
        watched = Watched(capacity, max_cost=count * cost)
        watched.run([Work(name, cost) for name in range(count)])
        assert len(watched.device.ooms) <= ceil(log2(count)) + 1
        assert len(watched.device.calls) <= max(1, 2 * count - 1)

    check()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_a_squeeze_after_warm_up_costs_few_failures(examples: int) -> None:
    """A lone image of a proven size is tried twice, which only a batch of one can notice."""

    @settings(max_examples=examples, deadline=None)
    @given(st.integers(1, 64), st.integers(1, 2000), CAPACITIES)
    @example(1, 1000, 500)
    @example(64, 1000, 999)
    def check(count: int, cost: int, capacity: int) -> None:
        watched = Watched(count * cost, max_cost=count * cost)
        works = [Work(name, cost) for name in range(count)]
        watched.run(works)
        watched.device.capacity = capacity
        watched.run(works)
        assert len(watched.device.ooms) <= max(2, ceil(log2(count)) + 1)

    check()


def test_half_of_a_batch_that_fits_costs_one_failure() -> None:
    for count in (2, 8, 32, 64):
        watched = Watched(count * 500, max_cost=count * 1000)
        watched.run([Work(name, 1000) for name in range(count)])
        assert len(watched.device.ooms) == 1


class Service(RuleBasedStateMachine):
    """A device whose memory comes and goes, time that passes, operators that intervene."""

    @initialize(capacity=CAPACITIES, fatal_at=st.none() | st.integers(20, 60))
    def start(self, capacity: int, fatal_at: int | None) -> None:
        self.watched = Watched(capacity, fatal_at=fatal_at)
        self.max_cost = MAX_COST

    @rule(batch=BATCHES)
    def run(self, batch: list[tuple[int, bool]]) -> None:
        self.watched.run(works_of(batch))

    @rule(cost=st.integers(100, 20_000), batches=st.integers(1, 12))
    def run_full_batches(self, cost: int, batches: int) -> None:
        for _ in range(batches):
            count = self.watched.controller.ceiling_items(cost)
            assert count == 1 or count * cost <= self.max_cost
            self.watched.run([Work(name, cost) for name in range(count)])

    @rule(capacity=CAPACITIES)
    def memory_changes(self, capacity: int) -> None:
        self.watched.device.capacity = capacity

    @rule(seconds=st.sampled_from([1, 31, 1201, 20_000]))
    def time_passes(self, seconds: int) -> None:
        self.watched.clock.now += seconds

    @rule()
    def operator_resets(self) -> None:
        self.watched.controller.reset()
        if not self.watched.controller.down:
            assert self.watched.controller.snapshot().state is State.PROBING

    @rule(max_cost=st.integers(1, MAX_COST), limit=st.none() | st.integers(1, 3))
    def operator_reconfigures(self, max_cost: int, limit: int | None) -> None:
        self.watched.controller.configure(max_cost, limit)
        self.max_cost = max_cost

    @rule(other=st.integers(1, MAX_COST))
    def a_peer_teaches(self, other: int) -> None:
        peer = MemoryController(KEY, MAX_COST, clock=self.watched.clock)
        peer.record_oom(other)
        self.watched.controller.adopt(peer.export_evidence())

    @invariant()
    def the_ceiling_keeps_its_bounds(self) -> None:
        if not hasattr(self, "watched"):
            return
        snapshot = self.watched.controller.snapshot()
        assert 1 <= snapshot.ceiling <= self.max_cost
        if snapshot.smallest_failure is not None:
            assert snapshot.ceiling <= max(1, 0.9 * snapshot.smallest_failure)
        assert (snapshot.state is State.DOWN) == self.watched.device.lost


@pytest.mark.parametrize(
    "examples",
    [pytest.param(25, id="quick"), pytest.param(1500, id="long", marks=pytest.mark.long)],
)
def test_the_service_keeps_its_promises_whatever_happens(examples: int) -> None:
    run_state_machine_as_test(
        Service, settings=settings(max_examples=examples, stateful_step_count=20, deadline=None)
    )
