"""The ceiling falls, remembers and grows back."""

import threading
from dataclasses import replace

import pytest

from benchmarks.virtual_device import VirtualClock
from deployments.errors import ConfigurationError
from deployments.inference.memory.controller import MemoryController
from deployments.inference.memory.state import MemoryKey, Policy, State

KEY = MemoryKey("hrnet", "1", "float32", 1024, "cpu")
POLICY = Policy()


def make(max_cost: int = 1600, clock: VirtualClock | None = None) -> MemoryController:
    return MemoryController(
        KEY, max_cost, clock=clock or VirtualClock(), wall_clock=lambda: 1_800_000_000.0
    )


def full_calls(controller: MemoryController, count: int = POLICY.grow_after) -> None:
    for _ in range(count):
        controller.record_success(controller.ceiling())


def test_it_starts_at_the_configured_maximum() -> None:
    controller = make(1600)
    assert (controller.ceiling(), controller.state) == (1600, State.PROBING)
    assert controller.ceiling_items(100) == 16


@pytest.mark.parametrize("max_cost", [0, -1])
def test_a_maximum_below_one_is_refused(max_cost: int) -> None:
    with pytest.raises(ConfigurationError):
        make(max_cost)
    with pytest.raises(ConfigurationError):
        make().configure(max_cost, None)


def test_success_never_lifts_the_ceiling_above_the_maximum() -> None:
    controller = make(1600)
    full_calls(controller, 100)
    controller.record_success(5000)
    assert controller.ceiling() == 1600


def test_out_of_memory_halves_what_failed() -> None:
    controller = make(1600)
    controller.record_oom(1000)
    assert (controller.ceiling(), controller.state) == (500, State.COOLING)


def test_what_has_fitted_is_not_given_up() -> None:
    controller = make(1600)
    controller.record_success(800)
    controller.record_oom(1000)
    assert controller.ceiling() == 800


def test_a_success_that_is_contradicted_is_given_up() -> None:
    controller = make(1600)
    controller.record_success(1600)
    controller.record_oom(800)
    assert controller.ceiling() == 400


def test_no_ceiling_is_above_the_margin_below_the_smallest_failure() -> None:
    controller = make(1600)
    controller.record_success(980)
    controller.record_oom(1000)
    assert controller.ceiling() == 900


def test_at_least_one_image_is_always_admitted() -> None:
    controller = make(1600)
    controller.record_oom(1)
    assert controller.ceiling() == 1
    assert controller.ceiling_items(100) == 1


def test_nothing_grows_while_cooling() -> None:
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1600)
    clock.now = POLICY.cool_down_s - 1
    full_calls(controller, 50)
    assert controller.ceiling() == 800


def test_full_calls_creep_towards_the_margin() -> None:
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1600)
    clock.now = POLICY.cool_down_s
    assert controller.state is State.CAUTIOUS
    full_calls(controller, POLICY.grow_after - 1)
    assert controller.ceiling() == 800
    full_calls(controller, 1)
    assert controller.ceiling() == 800 + (1440 - 800) // 4
    full_calls(controller, 1000)
    assert controller.ceiling() == 1440


def test_a_call_that_is_not_full_is_no_evidence() -> None:
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1600)
    clock.now = POLICY.cool_down_s
    for _ in range(100):
        controller.record_success(500)
        controller.record_success(500, next_cost=300)
    assert controller.ceiling() == 800


def test_a_call_that_the_ceiling_cut_is_full() -> None:
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1600)
    clock.now = POLICY.cool_down_s
    for _ in range(POLICY.grow_after):
        controller.record_success(500, next_cost=301)
    assert controller.ceiling() > 800


def test_a_failure_is_forgotten_and_its_size_tried_again() -> None:
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1600)
    clock.now = POLICY.memory_s
    assert controller.state is State.PROBING
    full_calls(controller, POLICY.grow_after * 20)
    assert controller.ceiling() == 1600


def test_a_wall_that_still_stands_is_remembered_longer() -> None:
    clock = VirtualClock()
    controller = make(1600, clock)
    lengths = []
    for _ in range(6):
        controller.record_oom(1000)
        lengths.append(controller.export_evidence().remembered_s)
        clock.now += lengths[-1]
        full_calls(controller, 8)
    assert lengths == [1200, 2400, 4800, 9600, 14400, 14400]


def test_one_cascade_lengthens_the_memory_once() -> None:
    """Regression: the first prototype doubled it at every failure of a cascade."""
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1000)
    clock.now += POLICY.memory_s
    for cost in (1200, 600, 300, 150):
        controller.record_oom(cost)
    assert controller.export_evidence().memory_s == 2 * POLICY.memory_s


def test_memory_that_shrank_does_not_lengthen_the_memory() -> None:
    """Regression: the second prototype doubled it when a proven size failed."""
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1600)
    clock.now += POLICY.memory_s
    controller.record_success(1400)
    controller.record_oom(1300)
    assert controller.export_evidence().memory_s == POLICY.memory_s


def test_a_trial_beyond_the_old_wall_that_holds_ends_the_long_memory() -> None:
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1000)
    clock.now += POLICY.memory_s
    controller.record_oom(1000)
    clock.now += 2 * POLICY.memory_s
    controller.record_success(1001)
    controller.record_oom(1500)
    assert controller.export_evidence().memory_s == POLICY.memory_s


def test_a_success_at_the_failure_refutes_it() -> None:
    controller = make(1600)
    controller.record_oom(1000)
    controller.record_success(1000)
    assert controller.snapshot().smallest_failure is None


def test_a_changed_memory_limit_clears_all_evidence() -> None:
    controller = make(1600)
    controller.record_success(1600)
    controller.record_oom(1600)
    controller.configure(1600, None)
    assert controller.ceiling() == 800
    controller.configure(1600, 2000)
    assert (controller.ceiling(), controller.has_fitted(1)) == (1600, False)
    assert controller.state is State.PROBING


def test_a_raised_maximum_is_taken_only_where_the_limit_was_never_lowered() -> None:
    controller = make(800)
    controller.configure(1600, None)
    assert controller.ceiling() == 1600
    controller.record_oom(1600)
    controller.configure(3200, None)
    assert controller.ceiling() == 800
    controller.configure(400, None)
    assert controller.ceiling() == 400


def test_a_limit_does_not_creep_above_a_lowered_maximum() -> None:
    """Regression: below a remembered failure only its margin bounded the growth."""
    clock = VirtualClock()
    controller = make(1600, clock)
    controller.record_oom(1600)
    controller.configure(400, None)
    clock.now = POLICY.cool_down_s
    full_calls(controller, 100)
    assert controller.ceiling() == 400


def test_a_reset_forgets_what_was_learnt_but_not_a_lost_device() -> None:
    controller = make(1600)
    controller.record_oom(1600)
    controller.record_fatal("CUDA error: misaligned address")
    controller.reset()
    assert controller.ceiling() == 1600
    assert controller.state is State.DOWN
    assert controller.snapshot().down_reason == "CUDA error: misaligned address"


def test_a_second_library_failure_is_fatal_only_at_a_size_that_has_fitted() -> None:
    controller = make(1600)
    controller.record_success(800)
    assert not controller.suspect_is_fatal(800)
    assert not controller.suspect_is_fatal(801)
    assert controller.suspect_is_fatal(800)
    controller.record_success(1)
    assert not controller.suspect_is_fatal(800)


def test_a_new_replica_starts_from_what_its_peer_has_learnt() -> None:
    clock, later = VirtualClock(100.0), VirtualClock(7_000.0)
    peer, newcomer = make(1600, clock), make(1600, later)
    peer.record_oom(1600)
    clock.now += 60
    assert newcomer.adopt(peer.export_evidence())
    assert newcomer.ceiling() == 800
    later.now += POLICY.memory_s - 61
    assert newcomer.snapshot().state is State.CAUTIOUS
    later.now += 1
    assert newcomer.snapshot().state is State.PROBING
    assert not newcomer.has_fitted(800)


def test_of_several_peers_the_most_cautious_counts() -> None:
    first, second, newcomer = make(), make(), make()
    first.record_oom(1600)
    second.record_oom(1000)
    for peer in (second, first):
        newcomer.adopt(peer.export_evidence())
    assert newcomer.ceiling() == 500
    assert newcomer.snapshot().smallest_failure == 1000


def test_a_peer_with_a_smaller_maximum_teaches_nothing() -> None:
    newcomer = make(1600)
    assert newcomer.adopt(make(400).export_evidence())
    assert newcomer.ceiling() == 1600


def test_evidence_about_something_else_is_refused() -> None:
    peer, newcomer = make(), make()
    peer.record_oom(1600)
    evidence = peer.export_evidence()
    other = replace(KEY, weights_version="2")
    assert not newcomer.adopt(replace(evidence, key=other))
    assert not newcomer.adopt(replace(evidence, memory_limit_mb=100))
    assert newcomer.ceiling() == 1600


def test_the_snapshot_is_complete_and_plain() -> None:
    controller = make(1600)
    controller.record_success(400)
    for cost in (1600, 1000):
        controller.record_oom(cost)
    assert controller.snapshot().as_dict() == {
        "state": "cooling",
        "max_cost": 1600,
        "ceiling": 500,
        "largest_success": 400,
        "smallest_failure": 1000,
        "ooms": 2,
        "shrinks": 2,
        "last_oom_at": 1_800_000_000.0,
        "last_oom_cost": 1000,
        "memory_limit_mb": None,
        "down_reason": None,
    }


def test_reading_from_another_thread_during_calls_never_sees_half_a_change() -> None:
    controller = make(1600)
    seen: set[int] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            snapshot = controller.snapshot()
            failure = snapshot.smallest_failure
            if failure is not None and snapshot.ceiling > max(1, int(0.9 * failure)):
                seen.add(snapshot.ceiling)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(300):
        controller.record_success(1600)
        controller.record_oom(1600)
        controller.reset()
    stop.set()
    reader.join()
    assert not seen
