"""The ceiling finds the capacity of a device, and finds it again when memory comes back.

Batches are always as full as the ceiling allows. Images are fine or coarse against the
capacity: from a hundredth of it to all of it.
"""

from dataclasses import dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.virtual_device import VirtualClock
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.state import MemoryKey

KEY = MemoryKey("hrnet", "1", "float32", 64, "virtual")
MAX_COST = 64_000
MINUTE, HOUR = 60, 3600

EXAMPLES = [
    pytest.param(60, id="quick"),
    pytest.param(2000, id="long", marks=pytest.mark.long),
]
CAPACITIES = st.integers(1000, 80_000)
SHARES = st.floats(0.01, 1.0)  # of the capacity that one image takes


@dataclass
class Load:
    """A queue that is never empty, in front of a device of exact capacity."""

    capacity: int
    item: int
    seconds_per_call: float

    def __post_init__(self) -> None:
        self.clock = VirtualClock()
        self.controller = MemoryController(KEY, MAX_COST, clock=self.clock)
        self.ooms: list[float] = []

    @property
    def fitting(self) -> int:
        """Images that really fit in one call."""
        return min(self.capacity, MAX_COST) // self.item

    def call(self) -> int:
        """One batch; halved until it fits. Returns the number of images of the call that fits."""
        count = self.controller.ceiling_items(self.item)
        self.clock.now += self.seconds_per_call
        while count * self.item > self.capacity:
            self.ooms.append(self.clock.now)
            self.controller.record_oom(count * self.item)
            if count == 1:
                return 0
            count = min(count // 2, self.controller.ceiling_items(self.item))
        self.controller.record_success(count * self.item, next_cost=self.item)
        return count

    def until(self, moment: float) -> list[int]:
        """Sizes of all calls up to a moment."""
        sizes = []
        while self.clock.now < moment:
            sizes.append(self.call())
        return sizes


@pytest.mark.parametrize("examples", EXAMPLES)
def test_it_converges_to_nine_tenths_of_the_capacity(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(CAPACITIES, SHARES)
    @example(40_000, 0.3)  # regression: coarse images never counted as full calls
    @example(40_000, 0.475)
    @example(30_000, 1 / 3)
    @example(10_000, 0.3)
    @example(64_000, 0.248)
    @example(1_270, 0.226)
    @example(37_700, 0.01)
    def check(capacity: int, share: float) -> None:
        load = Load(capacity, max(1, int(capacity * share)), seconds_per_call=10)
        load.until(HOUR)
        sizes = load.until(6 * HOUR)
        # A call that runs out of memory is made again in halves: a few in a thousand are smaller.
        assert sum(sizes) / len(sizes) >= 0.9 * load.fitting - max(0.01, 0.001 * load.fitting)
        assert sum(moment > 2 * HOUR for moment in load.ooms) <= 4  # one an hour, once settled

    check()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_it_recovers_within_half_an_hour_of_a_squeeze(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(CAPACITIES, SHARES, st.floats(0.05, 0.5), st.integers(1, 20))
    @example(9_670, 0.0258, 0.1, 10)  # regression: the growth stall of coarse images
    @example(60_000, 0.01, 0.1, 10)
    @example(60_000, 1.0, 0.1, 10)
    @example(1_000, 0.5, 0.5, 2)
    def check(capacity: int, share: float, squeeze: float, minutes: int) -> None:
        load = Load(capacity, max(1, int(capacity * share)), seconds_per_call=2)
        load.until(30 * MINUTE)
        load.capacity = int(capacity * squeeze)
        load.until((30 + minutes) * MINUTE)
        admitted = load.controller.ceiling_items(load.item)
        assert admitted * load.item <= max(load.capacity, load.item)
        load.capacity = capacity
        load.until((60 + minutes) * MINUTE)
        assert load.controller.ceiling_items(load.item) >= int(0.8 * load.fitting)

    check()
