"""Every item is answered exactly once, with its own result or its own error."""

import gc
import weakref
from collections.abc import Sequence

import pytest

from benchmarks.virtual_device import OOM_TEXT, VirtualClock, VirtualDevice, Work
from deployments.errors import ImageExceedsMemory, InferenceFailed, RetryElsewhere
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.executor import BatchExecutor, Call
from deployments.inference.memory.outcomes import Decision, Event, Failure, Result
from deployments.inference.memory.state import MemoryKey

KEY = MemoryKey("hrnet", "1", "float32", 64, "virtual")


class Setup:
    """An executor on a virtual device, with what it decided and released."""

    def __init__(
        self,
        call: Call[Work, int],
        max_cost: int = 8,
        fallback: Call[Work, int] | None = None,
        needed: int | None = None,
    ) -> None:
        self.controller = MemoryController(KEY, max_cost, clock=VirtualClock())
        self.decisions: list[Decision] = []
        self.releases = 0
        self.executor = BatchExecutor(
            call,
            self.controller,
            self.release,
            fallback,
            self.decisions.append,
            lambda cost: needed,
        )

    def release(self) -> None:
        self.releases += 1

    def run(self, *works: Work) -> list[Result[int] | Failure]:
        return self.executor.run([work.item() for work in works])

    def events(self) -> list[Event]:
        return [decision.event for decision in self.decisions]


def images(count: int, cost: int = 1) -> list[Work]:
    return [Work(name, cost) for name in range(count)]


def errors(outcomes: Sequence[Result[int] | Failure]) -> list[type[Exception] | None]:
    return [type(o.error) if isinstance(o, Failure) else None for o in outcomes]


def test_a_batch_that_fits_is_one_call() -> None:
    device = VirtualDevice(capacity=8)
    assert Setup(device).run(*images(8)) == [Result(name, 8) for name in range(8)]
    assert device.calls == [8]


def test_an_empty_batch_makes_no_call() -> None:
    device = VirtualDevice(capacity=8)
    assert Setup(device).run() == []
    assert device.calls == []


def test_out_of_memory_halves_releases_and_is_remembered() -> None:
    device = VirtualDevice(capacity=4)
    setup = Setup(device)
    assert setup.run(*images(8)) == [Result(name, 4) for name in range(8)]
    assert (device.calls, setup.releases) == ([8, 4, 4], 1)
    setup.run(*images(8))
    assert device.calls == [8, 4, 4, 4, 4]
    assert setup.events() == [Event.SHRINK, Event.SPLIT]
    assert setup.decisions[0].request_ids == tuple(f"request-{name}" for name in range(8))
    assert (setup.decisions[0].cost, setup.decisions[0].ceiling) == (8, 4)


def test_the_ceiling_is_read_again_before_every_call() -> None:
    device = VirtualDevice(capacity=8)

    def shrinking(batch: Sequence[Work]) -> list[int]:
        if len(device.calls) == 1:
            device.capacity = 2
        return device(batch)

    setup = Setup(shrinking)
    assert errors(setup.run(*images(16))) == [None] * 16
    assert device.calls == [8, 8, 4, 2, 2, 2, 2]


def test_an_item_that_raises_is_isolated() -> None:
    device = VirtualDevice(capacity=8)
    setup = Setup(device)
    works = images(8)
    works[5] = Work(5, 1, raises=True)
    outcomes = setup.run(*works)
    assert errors(outcomes) == [None] * 5 + [InferenceFailed] + [None] * 2
    assert [o.value for o in outcomes if isinstance(o, Result)] == [0, 1, 2, 3, 4, 6, 7]
    assert setup.decisions[-1].event is Event.ITEM_FAILED
    assert setup.decisions[-1].request_ids == ("request-5",)
    assert setup.releases == 0


def test_a_wrong_number_of_results_is_an_error_of_the_items() -> None:
    def drops_the_tail(batch: Sequence[Work]) -> list[int]:
        return [work.name for work in batch][:2]

    assert Setup(drops_the_tail).run(*images(8)) == [Result(name, 2) for name in range(8)]


def test_an_image_that_never_fitted_is_refused_alone() -> None:
    device = VirtualDevice(capacity=8)
    setup = Setup(device, needed=300 * 2**20)
    outcomes = setup.run(Work(0, 1), Work(1, 20), Work(2, 1))
    assert errors(outcomes) == [None, ImageExceedsMemory, None]
    assert isinstance(outcomes[1], Failure)
    assert "20 pixels" in str(outcomes[1].error)
    assert "about 300 MiB" in str(outcomes[1].error)


def test_the_failed_allocation_is_named_where_no_estimate_exists() -> None:
    outcome = Setup(VirtualDevice(capacity=8)).run(Work(0, 20))[0]
    assert isinstance(outcome, Failure)
    assert "more than 1024 MiB" in str(outcome.error)


def test_the_fallback_answers_an_image_that_does_not_fit() -> None:
    fallback = VirtualDevice(capacity=100)
    setup = Setup(VirtualDevice(capacity=8), fallback=fallback)
    outcomes = setup.run(Work(0, 1), Work(1, 20), Work(2, 1))
    assert outcomes[1] == Result(1, 1, fallback=True)
    assert errors(outcomes) == [None, None, None]
    assert (fallback.calls, setup.executor.fallbacks) == ([20], 1)
    assert Event.FALLBACK in setup.events()


def test_a_fallback_without_memory_refuses_the_image() -> None:
    setup = Setup(VirtualDevice(capacity=8), fallback=VirtualDevice(capacity=8))
    assert errors(setup.run(Work(0, 20), Work(1, 1))) == [ImageExceedsMemory, None]


def test_a_fallback_that_raises_fails_that_image() -> None:
    setup = Setup(VirtualDevice(capacity=8), fallback=VirtualDevice(capacity=100))
    assert errors(setup.run(Work(0, 20, raises=True), Work(1, 1))) == [InferenceFailed, None]


def test_equal_images_do_not_each_repeat_a_hopeless_call() -> None:
    device = VirtualDevice(capacity=0)
    fallback = VirtualDevice(capacity=1)
    assert errors(Setup(device, fallback=fallback).run(*images(8))) == [None] * 8
    assert device.calls == [8, 4, 2, 1]


def test_a_size_that_has_fitted_is_tried_once_more() -> None:
    device = VirtualDevice(capacity=1)
    setup = Setup(device, max_cost=1)
    setup.run(Work(0, 1))
    failures = iter([True, False])

    def once(batch: Sequence[Work]) -> list[int]:
        if next(failures):
            raise MemoryError
        return device(batch)

    setup.executor._call = once
    assert setup.run(Work(1, 1)) == [Result(1, 1)]


def test_a_size_that_has_fitted_but_does_not_now_is_sent_elsewhere() -> None:
    device = VirtualDevice(capacity=1)
    setup = Setup(device, max_cost=1)
    setup.run(Work(0, 1))
    device.capacity = 0
    assert errors(setup.run(Work(1, 1))) == [RetryElsewhere]
    assert not setup.controller.down


def test_a_lost_device_is_never_called_again() -> None:
    device = VirtualDevice(capacity=4, fatal_at=3)
    setup = Setup(device)
    outcomes = setup.run(*images(12))
    assert errors(outcomes) == [None] * 4 + [RetryElsewhere] * 8
    assert setup.controller.down
    assert errors(setup.run(*images(3))) == [RetryElsewhere] * 3
    assert setup.events().count(Event.FATAL) == 1


def test_a_release_that_raises_means_a_lost_device() -> None:
    setup = Setup(VirtualDevice(capacity=4))

    def broken() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    setup.executor._release = broken
    assert errors(setup.run(*images(8))) == [RetryElsewhere] * 8


@pytest.mark.parametrize("text", ["CUDNN_STATUS_INTERNAL_ERROR", "CUBLAS_STATUS_ALLOC_FAILED"])
def test_a_library_failure_is_believed_to_be_a_shortage_once(text: str) -> None:
    device = VirtualDevice(capacity=8)
    setup = Setup(device)
    setup.run(*images(8))
    failures = iter([True, False, False, True, True])

    def call(batch: Sequence[Work]) -> list[int]:
        if next(failures):
            raise RuntimeError(text)
        return device(batch)

    setup.executor._call = call
    assert errors(setup.run(*images(8))) == [None] * 8
    assert errors(setup.run(*images(8))) == [RetryElsewhere] * 8
    assert setup.controller.down


def test_a_ceiling_that_rose_is_reported() -> None:
    setup = Setup(VirtualDevice(capacity=4))
    setup.run(*images(8))
    setup.decisions.clear()
    setup.controller.reset()
    setup.run(*images(4))
    assert [(d.event, d.ceiling) for d in setup.decisions] == [(Event.REGROW, 8)]
    assert setup.decisions[0].reason == "the ceiling rose from 4"


def test_nothing_of_a_failed_call_is_alive_when_it_is_freed_and_retried() -> None:
    class Tensor:
        pass

    alive: list[weakref.ref[Tensor]] = []
    seen: list[int] = []

    def call(batch: Sequence[Work]) -> list[int]:
        seen.append(sum(ref() is not None for ref in alive))
        tensor = Tensor()
        alive.append(weakref.ref(tensor))
        if len(batch) > 1:
            raise RuntimeError(OOM_TEXT)
        return [work.name for work in batch]

    gc.disable()  # what is freed is freed because nothing holds it, not by a lucky collection
    try:
        setup = Setup(call)
        setup.run(*images(4))
    finally:
        gc.enable()
    assert len(seen) == 6
    assert not any(seen)
