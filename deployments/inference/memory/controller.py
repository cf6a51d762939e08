"""How much one device call may cost: a ceiling that falls, remembers and grows back.

One controller belongs to one key (model, weights version, dtype, input size, device). It
starts at the configured maximum. A call that runs out of memory lowers the limit to half of
what failed; for a while nothing is admitted above a margin below that failure; full calls
without failure let the limit creep back; a failure that is old enough is tried again.
"""

import threading
import time
from collections.abc import Callable

from deployments.errors import ConfigurationError
from deployments.inference.memory.state import Evidence, MemoryKey, Policy, Snapshot, State


class MemoryController:
    """Learns the largest cost of one device call, in padded pixels.

    Every method may be called from any thread.
    """

    def __init__(
        self,
        key: MemoryKey,
        max_cost: int,
        *,
        policy: Policy | None = None,
        memory_limit_mb: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """Start at the configured maximum, without evidence.

        Args:
            key: What the evidence is about.
            max_cost: Cost of a batch of the configured size; never exceeded by a batch.
            policy: The constants.
            memory_limit_mb: Memory limit in force, None where there is none.
            clock: Seconds that never go back.
            wall_clock: Seconds since the epoch, for what operators read.

        Raises:
            ConfigurationError: ``max_cost`` is below 1.
        """
        self.key = key
        self.policy = policy or Policy()
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.RLock()
        self._memory_limit_mb = memory_limit_mb
        self._max_cost = _valid_maximum(max_cost)
        self._down_reason: str | None = None
        self._ooms = 0
        self._shrinks = 0
        self._last_oom_at: float | None = None
        self._last_oom_cost: int | None = None
        self._forget_everything()

    def _forget_everything(self) -> None:
        self._limit = self._max_cost
        self._fitting = 0  # largest success not contradicted by a later failure
        self._largest_success = 0
        self._failure: int | None = None
        self._last_wall = 0
        self._cooling_until = float("-inf")
        self._remembered_until = float("-inf")
        self._memory_s = self.policy.memory_s
        self._full_calls = 0
        self._suspects = 0

    # What may be admitted

    def ceiling(self) -> int:
        """Most padded pixels for the next device call; an image alone may exceed it."""
        with self._lock:
            if self._failure is not None and self._clock() >= self._remembered_until:
                self._failure = None
                self._full_calls = 0
            if self._failure is None:
                return self._limit
            return max(1, min(self._limit, self._below(self._failure)))

    def ceiling_items(self, item_cost: int) -> int:
        """Most images of one cost for the next batch: 1 up to the configured maximum."""
        return max(1, self.ceiling() // item_cost)

    def has_fitted(self, cost: int) -> bool:
        """Whether a call of at least this cost succeeded since evidence was last cleared."""
        with self._lock:
            return cost <= self._largest_success

    @property
    def down(self) -> bool:
        """Whether the device is lost."""
        return self._down_reason is not None

    @property
    def state(self) -> State:
        """Where the controller stands now."""
        with self._lock:
            if self.down:
                return State.DOWN
            self.ceiling()
            if self._clock() < self._cooling_until:
                return State.COOLING
            return State.PROBING if self._failure is None else State.CAUTIOUS

    # What happened

    def record_success(self, cost: int, next_cost: int | None = None) -> None:
        """Learn from a device call that succeeded.

        Args:
            cost: Its cost.
            next_cost: Cost of the image that waits next, None where none waits. With images
                that are coarse against the ceiling no call reaches ``full_share`` of it; a
                call is full too when the next image would not have fitted.
        """
        with self._lock:
            ceiling = self.ceiling()
            self._suspects = 0
            self._fitting = max(self._fitting, cost)
            self._largest_success = max(self._largest_success, cost)
            if self._failure is not None and cost >= self._failure:
                self._failure = None  # refuted
            if cost > self._last_wall > 0:  # a trial past the old wall held
                self._last_wall = 0
                self._memory_s = self.policy.memory_s
            full = cost >= self.policy.full_share * ceiling or (
                next_cost is not None and cost + next_cost > ceiling
            )
            if not full or self._clock() < self._cooling_until:
                return
            self._full_calls += 1
            if self._full_calls >= self.policy.grow_after:
                self._full_calls = 0
                self._grow()

    def _grow(self) -> None:
        policy = self.policy
        if self._failure is None:
            step = min(self._max_cost * policy.step_of_max, self._limit * policy.step_of_limit)
            self._limit = min(self._max_cost, self._limit + max(1, int(step)))
        else:
            gap = min(self._max_cost, self._below(self._failure)) - self._limit
            if gap > 0:
                self._limit += max(1, int(gap * policy.creep))

    def record_oom(self, cost: int) -> None:
        """Learn from a device call that ran out of memory."""
        with self._lock:
            policy, now = self.policy, self._clock()
            before = self.ceiling()
            if self._fitting >= cost:  # memory shrank: old walls say nothing
                self._fitting = 0
                self._memory_s = policy.memory_s
            elif self._last_wall and self._failure is None:  # the forgotten wall still stands
                longer = self._memory_s * policy.memory_factor
                self._memory_s = min(policy.memory_max_s, longer)
            self._failure = cost if self._failure is None else min(self._failure, cost)
            self._last_wall = self._failure
            self._limit = min(self._limit, max(1, self._fitting, int(cost * policy.decrease)))
            self._cooling_until = now + policy.cool_down_s
            self._remembered_until = now + self._memory_s
            self._full_calls = 0
            self._ooms += 1
            self._shrinks += self.ceiling() < before
            self._last_oom_at = self._wall_clock()
            self._last_oom_cost = cost

    def suspect_is_fatal(self, cost: int) -> bool:
        """Judge a cuBLAS or cuDNN failure that looks like a shortage of memory.

        The first is believed. A second one without a success in between, at a size that has
        fitted before, means that the device is broken.
        """
        with self._lock:
            self._suspects += 1
            return self._suspects > 1 and self.has_fitted(cost)

    def record_fatal(self, reason: str) -> None:
        """The device is lost. Nothing brings it back in this process."""
        with self._lock:
            if self._down_reason is None:
                self._down_reason = reason

    # What operators and peers do

    def reset(self) -> None:
        """Forget all evidence and start again at the configured maximum."""
        with self._lock:
            self._forget_everything()

    def configure(self, max_cost: int, memory_limit_mb: int | None) -> None:
        """Take over a new configuration. A changed memory limit clears all evidence.

        Raises:
            ConfigurationError: ``max_cost`` is below 1.
        """
        with self._lock:
            untouched = self._limit == self._max_cost
            self._max_cost = _valid_maximum(max_cost)
            self._limit = self._max_cost if untouched else min(self._limit, self._max_cost)
            if memory_limit_mb != self._memory_limit_mb:
                self._memory_limit_mb = memory_limit_mb
                self._forget_everything()

    def export_evidence(self) -> Evidence:
        """What a new replica of the same key should know."""
        with self._lock:
            self.ceiling()  # forgets what has expired
            now = self._clock()
            return Evidence(
                key=self.key,
                memory_limit_mb=self._memory_limit_mb,
                limit=self._limit,
                max_cost=self._max_cost,
                smallest_failure=self._failure,
                last_wall=self._last_wall,
                cooling_s=max(0.0, self._cooling_until - now),
                remembered_s=max(0.0, self._remembered_until - now),
                memory_s=self._memory_s,
            )

    def adopt(self, evidence: Evidence) -> bool:
        """Take over a peer's evidence where it is more cautious than one's own.

        Successes are not adopted: that a size fits has to be seen on one's own device.

        Returns:
            Whether it is about the same key under the same memory limit.
        """
        with self._lock:
            if (evidence.key, evidence.memory_limit_mb) != (self.key, self._memory_limit_mb):
                return False
            now = self._clock()
            if evidence.limit < evidence.max_cost:
                self._limit = max(1, min(self._limit, evidence.limit))
            if evidence.smallest_failure is not None:
                known = self._failure or evidence.smallest_failure
                self._failure = min(known, evidence.smallest_failure)
                self._last_wall = self._failure
                self._remembered_until = max(self._remembered_until, now + evidence.remembered_s)
                self._memory_s = max(self._memory_s, evidence.memory_s)
            elif self._last_wall == 0:
                self._last_wall = evidence.last_wall
                self._memory_s = evidence.memory_s
            self._cooling_until = max(self._cooling_until, now + evidence.cooling_s)
            return True

    def snapshot(self) -> Snapshot:
        """The state at this moment, for operators."""
        with self._lock:
            return Snapshot(
                state=self.state,
                max_cost=self._max_cost,
                ceiling=self.ceiling(),
                largest_success=self._largest_success,
                smallest_failure=self._failure,
                ooms=self._ooms,
                shrinks=self._shrinks,
                last_oom_at=self._last_oom_at,
                last_oom_cost=self._last_oom_cost,
                memory_limit_mb=self._memory_limit_mb,
                down_reason=self._down_reason,
            )

    def _below(self, failure: int) -> int:
        return int(failure * self.policy.margin)


def _valid_maximum(max_cost: int) -> int:
    if max_cost < 1:
        raise ConfigurationError(f"The most pixels of a device call must be above 0: {max_cost}")
    return max_cost
