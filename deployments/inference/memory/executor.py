"""Runs batches so that every item is answered exactly once, whatever the device does.

A batch is cut by cost to what the controller admits. A part that runs out of memory is freed,
the ceiling lowered and the part halved; a part that raises for another reason is halved until
the item that raises is alone; a lost device is never called again.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from deployments.errors import ImageExceedsMemory, InferenceFailed, RetryElsewhere, ServiceError
from deployments.inference.memory.classify import Kind, Problem, classify
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.outcomes import Decision, Event, Failure, Item, Result

T = TypeVar("T")
R = TypeVar("R")

Call = Callable[[Sequence[T]], Sequence[R]]
Outcome = Result[R] | Failure


class BatchExecutor(Generic[T, R]):
    """Feeds one device, from one thread at a time.

    Args:
        call: One device call: payloads to results, one for each, in order.
        controller: Says what a call may cost, and learns what happened.
        release: Gives cached memory back; called after memory ran out, when nothing refers to
            the failed call any more.
        fallback: A call on another device, for an image that does not fit alone.
        on_decision: Told of every decision, on the calling thread. Must not raise.
        needed_bytes: Estimates the memory that a call of a given cost needs, None where nothing
            is known.
    """

    def __init__(
        self,
        call: Call[T, R],
        controller: MemoryController,
        release: Callable[[], None],
        fallback: Call[T, R] | None = None,
        on_decision: Callable[[Decision], None] | None = None,
        needed_bytes: Callable[[int], int | None] | None = None,
    ) -> None:
        self._call = call
        self._controller = controller
        self._release = release
        self._fallback = fallback
        self._on_decision = on_decision
        self._needed_bytes = needed_bytes
        self._last_ceiling = controller.ceiling()
        self.fallbacks = 0
        """Images that the fallback engine answered, since start."""

    def run(self, items: Sequence[Item[T]], waiting_cost: int | None = None) -> list[Outcome[R]]:
        """Answer every item, in order.

        Args:
            items: The images of one batch.
            waiting_cost: Cost of the image that waits behind this batch, None where none waits.
                A batcher that cuts batches to the ceiling itself passes it, so that the
                controller knows that the ceiling was the reason.

        Returns:
            One outcome for each item. ``RetryElsewhere`` means that the device is lost, or that
            an image that has fitted before does not fit at the moment.
        """
        return _Run(self, items, waiting_cost).answer()


class _Run(Generic[T, R]):
    """One batch on its way. Parts are index ranges, so that order cannot be lost."""

    def __init__(
        self, executor: BatchExecutor[T, R], items: Sequence[Item[T]], waiting_cost: int | None
    ) -> None:
        self._executor = executor
        self._controller = executor._controller
        self._items = items
        self._waiting_cost = waiting_cost
        self._outcomes: dict[int, Outcome[R]] = {}
        self._work: deque[tuple[int, int]] = deque([(0, len(items))] if items else [])
        self._met_oom = False
        self._hopeless: tuple[int, Problem] | None = None

    def answer(self) -> list[Outcome[R]]:
        while self._work:
            start, stop = self._work.popleft()
            part = self._items[start:stop]
            if self._controller.down:
                lost = Failure(RetryElsewhere("The device of this replica is lost"))
                self._outcomes.update(dict.fromkeys(range(start, stop), lost))
                continue
            ceiling = self._read_ceiling(part)  # again before each call: it may have moved
            if len(part) > 1 and _cost(part) > ceiling:
                self._cut(start, stop, _longest_prefix(part, ceiling))
                self._decide(Event.SPLIT, part, "above the ceiling")
            elif len(part) == 1 and self._hopeless and part[0].cost >= self._hopeless[0]:
                self._does_not_fit(start, self._hopeless[1])
            else:
                self._device_call(start, stop)
        return [self._outcomes[index] for index in range(len(self._items))]

    def _device_call(self, start: int, stop: int) -> None:
        part = self._items[start:stop]
        cost = _cost(part)
        values = _attempt(self._executor._call, part)
        # The except block is left: the failed call's frames and tensors are gone.
        if not isinstance(values, Problem):
            next_cost = self._items[stop].cost if stop < len(self._items) else self._waiting_cost
            self._controller.record_success(cost, next_cost)
            for index, value in enumerate(values, start):
                self._outcomes[index] = Result(value, len(part))
            return
        problem = values
        kind = problem.kind
        if kind is Kind.SUSPECT_OOM and self._controller.suspect_is_fatal(cost):
            kind = Kind.FATAL
        if kind is Kind.FATAL:
            self._lose(start, stop, problem)
        elif kind is Kind.ITEM:
            self._isolate(start, stop, problem)
        else:
            self._shrink(start, stop, problem)

    def _lose(self, start: int, stop: int, problem: Problem) -> None:
        self._controller.record_fatal(str(problem))
        self._decide(Event.FATAL, self._items[start:stop], str(problem))
        self._work.appendleft((start, stop))  # answered as lost, like all that waits behind it

    def _isolate(self, start: int, stop: int, problem: Problem) -> None:
        part = self._items[start:stop]
        if len(part) > 1:
            self._cut(start, stop, _middle(part))
            self._decide(Event.SPLIT, part, str(problem))
        else:
            self._decide(Event.ITEM_FAILED, part, str(problem))
            self._outcomes[start] = Failure(_inference_failed(problem))

    def _shrink(self, start: int, stop: int, problem: Problem) -> None:
        part = self._items[start:stop]
        cost = _cost(part)
        first, self._met_oom = not self._met_oom, True
        proven = self._controller.has_fitted(cost)
        self._controller.record_oom(cost)
        self._executor._last_ceiling = self._controller.ceiling()
        self._decide(Event.SHRINK, part, str(problem))
        released = _attempt_release(self._executor._release)
        if released is not None:
            self._lose(start, stop, released)
        elif len(part) > 1:
            self._cut(start, stop, _middle(part))
        elif proven and first:
            self._work.appendleft((start, stop))  # it has fitted before: once more, after release
        else:
            self._hopeless = (cost, problem)
            self._does_not_fit(start, problem)

    def _does_not_fit(self, index: int, problem: Problem) -> None:
        item = self._items[index]
        if self._executor._fallback is None:
            self._decide(Event.TOO_LARGE, [item], str(problem))
            self._outcomes[index] = Failure(self._memory_error(item, problem))
            return
        self._executor.fallbacks += 1
        self._decide(Event.FALLBACK, [item], str(problem))
        values = _attempt(self._executor._fallback, [item])
        if not isinstance(values, Problem):
            self._outcomes[index] = Result(values[0], 1, fallback=True)
        elif values.kind is Kind.FATAL:
            self._lose(index, index + 1, values)
        elif values.kind is Kind.ITEM:
            self._decide(Event.ITEM_FAILED, [item], str(values))
            self._outcomes[index] = Failure(_inference_failed(values))
        else:
            self._decide(Event.TOO_LARGE, [item], str(values))
            self._outcomes[index] = Failure(self._memory_error(item, values))

    def _memory_error(self, item: Item[T], problem: Problem) -> ServiceError:
        if self._controller.has_fitted(item.cost):
            return RetryElsewhere("An image that has fitted before does not fit at the moment")
        needed = self._executor._needed_bytes
        estimate = needed(item.cost) if needed is not None else None
        if estimate is not None:
            need = f"it needs about {estimate / 2**20:.0f} MiB"
        elif problem.requested_bytes is not None:
            need = f"it needs more than {problem.requested_bytes / 2**20:.0f} MiB"
        else:
            need = "how much it needs is not known"
        return ImageExceedsMemory(
            f"An image of {item.cost} pixels does not fit the memory of the device: {need}"
        )

    def _decide(self, event: Event, items: Sequence[Item[T]], reason: str) -> None:
        on_decision = self._executor._on_decision
        if on_decision is not None:
            on_decision(
                Decision(
                    event=event,
                    cost=_cost(items),
                    ceiling=self._controller.ceiling(),
                    request_ids=tuple(item.request_id for item in items),
                    reason=reason,
                )
            )

    def _read_ceiling(self, part: Sequence[Item[T]]) -> int:
        ceiling = self._controller.ceiling()
        before, self._executor._last_ceiling = self._executor._last_ceiling, ceiling
        if ceiling > before:
            self._decide(Event.REGROW, part, f"the ceiling rose from {before}")
        return ceiling

    def _cut(self, start: int, stop: int, count: int) -> None:
        self._work.extendleft([(start + count, stop), (start, start + count)])


def _attempt(call: Call[T, R], part: Sequence[Item[T]]) -> Sequence[R] | Problem:
    """Make a call. When this returns, nothing refers to the exception or its frames."""
    try:
        values = call([item.payload for item in part])
    except Exception as error:  # noqa: BLE001 - any error of any engine; classify decides
        return classify(error)
    if len(values) != len(part):
        return Problem(
            Kind.ITEM, "InferenceFailed", f"{len(values)} results for {len(part)} images"
        )
    return values


def _attempt_release(release: Callable[[], None]) -> Problem | None:
    try:
        release()
    except Exception as error:  # noqa: BLE001 - a device that cannot free memory is lost
        return classify(error)
    return None


def _inference_failed(problem: Problem) -> InferenceFailed:
    return InferenceFailed(f"The network could not process the image ({problem.error_type})")


def _cost(part: Sequence[Item[T]]) -> int:
    return sum(item.cost for item in part)


def _longest_prefix(part: Sequence[Item[T]], ceiling: int) -> int:
    """Number of leading items that fit together, at least one."""
    fitting = sum(total <= ceiling for total in accumulate(item.cost for item in part))
    return max(1, fitting)


def _middle(part: Sequence[Item[T]]) -> int:
    """Number of leading items that make up half of the cost; both sides get at least one."""
    half = _cost(part) / 2
    before = sum(total <= half for total in accumulate(item.cost for item in part))
    return min(max(1, before), len(part) - 1)
