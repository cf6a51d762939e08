"""A device of exact capacity, for the simulation and for the properties of memory control."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from deployments.inference.memory.outcomes import Item

OOM_TEXT = "CUDA out of memory. Tried to allocate 1.00 GiB."
FATAL_TEXT = "CUDA error: an illegal memory access was encountered"


@dataclass(frozen=True, slots=True)
class Work:
    """One image.

    Attributes:
        name: What the device answers for it.
        cost: Its padded pixels.
        raises: Whether the network raises when it is in the batch.
    """

    name: int
    cost: int
    raises: bool = False

    def item(self) -> Item["Work"]:
        """The image as the executor takes it."""
        return Item(payload=self, cost=self.cost, request_id=f"request-{self.name}")


@dataclass
class VirtualDevice:
    """Runs out of memory exactly where the summed cost is above its capacity.

    Attributes:
        capacity: Largest cost of one call. May be changed at any time.
        fatal_at: Number of the call, from 1, in which the device is lost.
        calls: Cost of every call, in order.
        ooms: Cost of every call that ran out of memory, in order.
    """

    capacity: int
    fatal_at: int | None = None
    calls: list[int] = field(default_factory=list)
    ooms: list[int] = field(default_factory=list)
    lost: bool = False

    def __call__(self, batch: Sequence[Work]) -> list[int]:
        """Answer each image with its name.

        Raises:
            RuntimeError: Out of memory, or the device is lost in this call.
            ValueError: An image in the batch makes the network raise.
            AssertionError: A lost device is called again.
        """
        assert not self.lost, "a lost device was called again"
        cost = sum(work.cost for work in batch)
        self.calls.append(cost)
        if len(self.calls) == self.fatal_at:
            self.lost = True
            raise RuntimeError(FATAL_TEXT)
        if cost > self.capacity:
            self.ooms.append(cost)
            raise RuntimeError(OOM_TEXT)
        if any(work.raises for work in batch):
            raise ValueError("the network raised")
        return [work.name for work in batch]


@dataclass
class VirtualClock:
    """Seconds that pass when told to."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now
