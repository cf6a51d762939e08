"""What Ray Serve's controller says of every deployment."""

import asyncio

from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import DeploymentStatusOverview, ReplicaState

from serve_app.service import DeploymentState


async def deployment_states() -> list[DeploymentState] | None:
    """Every deployment of every application, by name within it.

    Waits for the controller; None where it is gone.
    """
    try:
        status = await asyncio.to_thread(serve.status)
    except RayError:
        return None
    return [
        DeploymentState(
            application=application,
            name=name,
            status=deployment.status.value,
            replicas=_counts(deployment),
            message=deployment.message,
        )
        for application, overview in sorted(status.applications.items())
        for name, deployment in sorted(overview.deployments.items())
    ]


def _counts(deployment: DeploymentStatusOverview) -> dict[str, int]:
    return {ReplicaState(state).value: n for state, n in deployment.replica_states.items()}
