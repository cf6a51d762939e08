"""Further applications beside those of the running service, as a second cluster would have."""

import copy
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ray import serve
from ray.serve.schema import ApplicationStatus

from tests.ray.conftest import Service

START_LIMIT_S = 120.0


def renamed(
    application: dict[str, Any], name: str, variables: Mapping[str, dict[str, str]]
) -> dict[str, Any]:
    """A copy of a rendered application under another name.

    Args:
        application: One entry of what ``serve_app.serve_config.render`` returns.
        name: Its new name, and the prefix of its route if it has one.
        variables: Environment of its deployments, by their names.
    """
    copied = copy.deepcopy(application)
    prefix = f"/{name}" if copied["route_prefix"] else None
    copied |= {"name": name, "route_prefix": prefix}
    for deployment in copied["deployments"]:
        environment = {"env_vars": variables.get(deployment["name"], {})}
        deployment["ray_actor_options"]["runtime_env"] = environment
    return copied


@contextmanager
def beside(service: Service, *applications: dict[str, Any]) -> Iterator[None]:
    """Run applications beside those of the service.

    Raises:
        TimeoutError: They did not come up.
    """
    config = {**service.config, "applications": [*service.config["applications"], *applications]}
    service.cluster.deploy(config)
    try:
        _wait_until_running({application["name"] for application in applications})
        yield
    finally:
        service.cluster.deploy(service.config)


def _wait_until_running(names: set[str]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while True:
        found = serve.status().applications
        states = {name: found[name].status for name in names if name in found}
        if states == dict.fromkeys(names, ApplicationStatus.RUNNING):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not running: {states}")
        time.sleep(0.1)
