"""How many replicas a model wants: Serve's policy, and none where nobody asks for the model.

Serve scales on the requests under way, averaged over the look-back period, and lets the
last replica go when there were none at all. There always are some: the ingress, the jobs and the
notifier ask every replica each second how it is, and Serve counts that like an image. Each such
question that is seen under way starts the wait for zero anew, so that a model that nobody uses
may stay for hours. So the replica itself says how long no image came.

Serve pickles this module by value: it imports nothing of ours.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from ray.serve.autoscaling_policy import replica_queue_length_autoscaling_policy
from ray.serve.config import AutoscalingContext

IDLE_SECONDS = "idle_seconds"
"""Name of the metric: seconds for which a replica has had no image."""


class Idleness:
    """How long no image came to a replica."""

    def __init__(self) -> None:
        self._at_work = 0
        self._since = time.monotonic()

    @contextlib.contextmanager
    def image(self) -> Iterator[None]:
        """Count the block as one image at work."""
        self._at_work += 1
        try:
            yield
        finally:
            self._at_work -= 1
            self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the last image was answered; 0 while there is one."""
        return 0.0 if self._at_work else time.monotonic() - self._since


def replicas_wanted(ctx: AutoscalingContext) -> tuple[float, dict[str, Any]]:
    """Serve's own policy, except that no replica is wanted where no image came.

    Serve itself applies the limits, ``min_replicas`` for one, and the delays to it.

    Returns:
        Number of replicas wanted, and a state that is not used.
    """
    if _is_idle(ctx):
        return 0, {}
    wanted: tuple[float, dict[str, Any]] = replica_queue_length_autoscaling_policy(ctx)
    return wanted


def _is_idle(ctx: AutoscalingContext) -> bool:
    """Whether every running replica said last that no image came in the look-back period."""
    reports = (ctx.raw_metrics or {}).get(IDLE_SECONDS, {})
    if not ctx.running_replicas or any(not reports.get(each) for each in ctx.running_replicas):
        return False
    idle = min(reports[each][-1].value for each in ctx.running_replicas)
    return bool(idle >= ctx.config.look_back_period_s)
