"""What Serve's controller has decided about replicas, and how many run."""

import datetime
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import ray
from ray import serve

_LOOK_S = 0.2
_DECISION = re.compile(
    r"^INFO (?P<time>\S+ \S+) .*(?:Up|Down)scaling Deployment\(name='(?P<model>\w+)', .*?\) "
    r"from (?P<old>\d+) to (?P<new>\d+) replicas\. Current ongoing requests: (?P<requests>[\d.]+)"
)


@dataclass(frozen=True)
class Decision:
    """One decision of the controller.

    Attributes:
        at: Unix time.
        model: Name of the deployment.
        old: Replicas wanted before.
        new: Replicas wanted from then on.
        requests: Requests under way, averaged over the look-back period.
    """

    at: float
    model: str
    old: int
    new: int
    requests: float


def running(application: str) -> dict[str, int]:
    """Number of replicas that take requests, by deployment."""
    deployments = serve.status().applications[application].deployments
    return {
        name: int(deployment.replica_states.get("RUNNING", 0))
        for name, deployment in deployments.items()
    }


def wait_until_none(application: str, deployment: str, seconds: float) -> None:
    """Wait until no replica of a deployment takes requests.

    Raises:
        TimeoutError: One still does.
    """
    end = time.monotonic() + seconds
    while running(application)[deployment]:
        if time.monotonic() > end:
            raise TimeoutError(f"{deployment} has replicas after {seconds:g} s")
        time.sleep(_LOOK_S)


def logged_decisions() -> list[Decision]:
    """The decisions of the cluster that this process has started, oldest first."""
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    logs = sorted((session / "logs" / "serve").glob("controller_*.log"))
    lines = (line for log in logs for line in log.read_text(encoding="utf-8").splitlines())
    return sorted(parse(lines), key=lambda decision: decision.at)


def parse(lines: Iterable[str]) -> Iterator[Decision]:
    """Read the decisions out of the controller's log."""
    for line in lines:
        if (found := _DECISION.match(line)) is not None:
            # The log is in local time.
            at = datetime.datetime.strptime(found["time"], "%Y-%m-%d %H:%M:%S,%f").astimezone()
            yield Decision(
                at=at.timestamp(),
                model=found["model"],
                old=int(found["old"]),
                new=int(found["new"]),
                requests=float(found["requests"]),
            )
