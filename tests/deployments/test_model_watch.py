from datetime import UTC, datetime

import pytest

from deployments.mail.notifications import ModelDegraded, ReplicaReplaced
from deployments.model_watch import ModelWatch

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def replica(
    pid: int = 1, effective: int = 12, configured: int = 12, state: str = "probing", ooms: int = 0
) -> dict[str, object]:
    """What a replica says of itself, as far as an operator cares."""
    return {
        "pid": pid,
        "device": "cuda:0",
        "device_name": "NVIDIA H100",
        "effective_batch_size": effective,
        "configured_batch_size": configured,
        "memory": {
            "state": state,
            "ooms": ooms,
            "down_reason": "illegal memory access" if state == "down" else None,
        },
    }


@pytest.fixture
def watch() -> ModelWatch:
    return ModelWatch("hrnet")


def test_a_lost_device_is_told_once_with_its_reason(watch: ModelWatch) -> None:
    assert watch.observe([replica()], NOW) == []
    events = watch.observe([replica(state="down")], NOW)
    assert events == [
        ReplicaReplaced(
            model="hrnet",
            replica="pid 1",
            device="cuda:0 (NVIDIA H100)",
            reason="illegal memory access",
            at=NOW,
        )
    ]
    assert watch.observe([replica(state="down")], NOW) == []


def test_the_replacement_may_lose_its_device_too(watch: ModelWatch) -> None:
    watch.observe([replica(pid=1, state="down")], NOW)
    assert watch.observe([], NOW) == []
    assert watch.observe([replica(pid=2)], NOW) == []
    (event,) = watch.observe([replica(pid=2, state="down"), replica(pid=3)], NOW)
    assert isinstance(event, ReplicaReplaced)
    assert event.replica == "pid 2"


def test_single_images_are_told_once_until_batches_work_again(watch: ModelWatch) -> None:
    single = replica(effective=1, ooms=4)
    (event,) = watch.observe([replica(pid=2), single], NOW)
    assert isinstance(event, ModelDegraded)
    assert (event.model, event.device) == ("hrnet", "cuda:0 (NVIDIA H100)")
    assert "batches of 12" in event.reason
    assert "4 device calls" in event.reason
    assert watch.observe([single], NOW) == []
    assert watch.observe([], NOW) == []
    assert watch.observe([single], NOW) == [], "a restart alone is no news"
    assert watch.observe([replica()], NOW) == []
    assert len(watch.observe([single], NOW)) == 1


@pytest.mark.parametrize(
    "ordinary",
    [replica(), replica(effective=1, configured=1), replica(effective=2), replica(effective=6)],
)
def test_smaller_batches_and_models_of_single_images_are_no_news(
    watch: ModelWatch, ordinary: dict[str, object]
) -> None:
    assert watch.observe([ordinary], NOW) == []


def test_a_lost_device_is_not_also_told_as_single_images(watch: ModelWatch) -> None:
    (event,) = watch.observe([replica(effective=1, state="down")], NOW)
    assert isinstance(event, ReplicaReplaced)
