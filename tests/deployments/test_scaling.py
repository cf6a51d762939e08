from typing import Any

import pytest
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from deployments.scaling import IDLE_SECONDS, Idleness, replicas_wanted

MODEL = DeploymentID("hrnet", "inference")
LOOK_BACK_S = 30.0


def context(requests: float, *idle: list[float], running: int | None = None) -> AutoscalingContext:
    """What Serve hands to a policy.

    Args:
        requests: Mean number of requests under way.
        idle: What each replica said of its idleness, oldest first.
        running: Number of running replicas, if not all of them have reported.
    """
    replicas = [ReplicaID(str(n), MODEL) for n in range(len(idle) if running is None else running)]
    reports: dict[str, dict[Any, Any]] = {}
    for replica, values in zip(replicas, idle, strict=False):
        said = [TimeStampedValue(float(n), value) for n, value in enumerate(values)]
        reports.setdefault(IDLE_SECONDS, {})[replica] = said
    return AutoscalingContext(
        deployment_id=MODEL,
        deployment_name=MODEL.name,
        app_name=MODEL.app_name,
        current_num_replicas=len(replicas),
        target_num_replicas=1,
        running_replicas=replicas,
        total_num_requests=requests,
        total_queued_requests=0.0,
        aggregated_metrics=None,
        raw_metrics=lambda: reports,
        capacity_adjusted_min_replicas=0,
        capacity_adjusted_max_replicas=2,
        policy_state={},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=None,
        config=AutoscalingConfig(
            min_replicas=0,
            max_replicas=2,
            target_ongoing_requests=18,
            look_back_period_s=LOOK_BACK_S,
        ),
    )


def wanted(ctx: AutoscalingContext) -> float:
    return replicas_wanted(ctx)[0]


def test_questions_of_the_watchers_keep_no_model() -> None:
    assert wanted(context(0.01, [25.0, 31.0])) == 0


@pytest.mark.parametrize(
    "ctx",
    [
        context(0.01, [40.0, 2.0]),
        context(0.01, [40.0], [2.0]),
        context(0.01, [40.0], running=2),
        context(0.01, running=1),
    ],
    ids=["image since", "image on the other replica", "one has not reported", "none has"],
)
def test_a_model_that_is_used_stays(ctx: AutoscalingContext) -> None:
    assert 0 < wanted(ctx) < 1


def test_load_is_for_serves_own_policy() -> None:
    assert wanted(context(27, [0.0])) == pytest.approx(1.5)


def test_the_first_request_brings_a_replica() -> None:
    assert wanted(context(1, running=0)) == 1
    assert wanted(context(0, running=0)) == 1, "the one that starts is not given up"


def test_an_image_at_work_is_no_idleness(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("deployments.scaling.time.monotonic", lambda: now)
    idleness = Idleness()
    now = 5.0
    assert idleness.seconds == 5
    with idleness.image():
        now = 100.0
        assert idleness.seconds == 0
    assert idleness.seconds == 0
    now = 101.0
    assert idleness.seconds == 1
