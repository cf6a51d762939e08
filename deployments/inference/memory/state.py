"""The words and numbers of memory control: key, policy, states, evidence, snapshot.

Cost is counted in padded pixels: the pixels of all images of one device call, at the size at
which the network sees them.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class MemoryKey:
    """What memory evidence is about; evidence for one key says nothing about another.

    Attributes:
        model: Name of the model.
        weights_version: Version of its weights.
        dtype: Precision of the device call.
        input_size: Side of the network's square input in pixels.
        device: Kind of device, the same words for devices that are alike.
    """

    model: str
    weights_version: str
    dtype: str
    input_size: int
    device: str


class State(StrEnum):
    """Where the controller stands."""

    PROBING = "probing"
    """No failure is remembered: at the configured maximum, or growing towards it."""
    COOLING = "cooling"
    """Memory ran out moments ago: nothing grows."""
    CAUTIOUS = "cautious"
    """A failure is remembered: the limit creeps towards a margin below it."""
    DOWN = "down"
    """The device is lost: nothing is admitted until the process is replaced."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The constants of the controller; docs/out-of-memory.md shows how they act together.

    Attributes:
        decrease: Share of the cost that failed to which the limit falls.
        margin: While a failure is remembered, no ceiling is above this share of it.
        step_of_max: A growth step is at most this share of the configured maximum ...
        step_of_limit: ... and at most this share of the present limit.
        creep: While a failure is remembered, a growth step closes this share of the gap
            between the limit and the margin below that failure.
        grow_after: Full calls without a failure that one growth step needs.
        full_share: A call is full when it costs at least this share of the ceiling (or when
            the next waiting image would not have fitted below the ceiling).
        cool_down_s: Seconds after an incident in which nothing grows.
        memory_s: Seconds after which a failure is forgotten and its size tried again ...
        memory_factor: ... multiplied by this whenever such a trial fails again ...
        memory_max_s: ... up to this. A trial that succeeds brings it back to ``memory_s``.
    """

    decrease: float = 0.5
    margin: float = 0.9
    step_of_max: float = 1 / 16
    step_of_limit: float = 0.25
    creep: float = 0.25
    grow_after: int = 8
    full_share: float = 0.8
    cool_down_s: float = 30.0
    memory_s: float = 20 * 60.0
    memory_factor: float = 2.0
    memory_max_s: float = 4 * 3600.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one replica has learnt, in a form that another process can use.

    Times are seconds from now, since clocks of two processes do not agree.

    Attributes:
        key: What the evidence is about.
        memory_limit_mb: Memory limit under which it was found, None where there is none.
        limit: Cost admitted in one device call.
        max_cost: Configured maximum; a limit equal to it was never lowered.
        smallest_failure: Smallest remembered cost that did not fit, None where there is none.
        last_wall: The failure last met, kept after it is forgotten; 0 where there is none.
        cooling_s: Seconds until the cool-down ends.
        remembered_s: Seconds until ``smallest_failure`` is forgotten.
        memory_s: Present length of the memory for failures.
    """

    key: MemoryKey
    memory_limit_mb: int | None
    limit: int
    max_cost: int
    smallest_failure: int | None
    last_wall: int
    cooling_s: float
    remembered_s: float
    memory_s: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The controller at one moment, for operators.

    Attributes:
        state: Where the controller stands.
        max_cost: Configured maximum of one device call, in padded pixels.
        ceiling: Cost that the next device call may have.
        largest_success: Largest cost that has fitted since the evidence was last cleared.
        smallest_failure: Smallest remembered cost that did not fit.
        ooms: Device calls that ran out of memory, since start.
        shrinks: Incidents that lowered the limit, since start.
        last_oom_at: Time of the last such call, seconds since the epoch.
        last_oom_cost: Its cost.
        memory_limit_mb: Memory limit in force, None where there is none.
        down_reason: Why the device is lost, None where it is not.
    """

    state: State
    max_cost: int
    ceiling: int
    largest_success: int
    smallest_failure: int | None
    ooms: int
    shrinks: int
    last_oom_at: float | None
    last_oom_cost: int | None
    memory_limit_mb: int | None
    down_reason: str | None

    def as_dict(self) -> dict[str, object]:
        """The snapshot as plain values for JSON."""
        return asdict(self)
