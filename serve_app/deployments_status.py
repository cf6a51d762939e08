"""What Ray Serve's controller says of every deployment."""

import asyncio

from ray import serve
from ray.exceptions import RayError
from ray.serve.schema import DeploymentStatusOverview, ReplicaState, ServeStatus

from deployments.threads import in_thread, one_thread
from serve_app.service import DeploymentState


class DeploymentsStatus:
    """Asks the controller, one question at a time, in a thread of its own.

    A controller that is gone keeps the thread waiting, for as long as Ray looks for it: whoever
    asks meanwhile waits for the same answer.
    """

    def __init__(self) -> None:
        self._thread = one_thread("deployments status")
        self._question: asyncio.Future[ServeStatus] | None = None

    async def states(self) -> list[DeploymentState] | None:
        """Every deployment of every application, by name within it; None without a controller."""
        if self._question is None or self._question.done():
            self._question = asyncio.ensure_future(in_thread(self._thread, serve.status))
        try:
            status = await asyncio.shield(self._question)
        except RayError:
            return None
        # Serve answers with nothing where it finds no controller; whoever asks is deployed.
        return _states(status) or None


def _states(status: ServeStatus) -> list[DeploymentState]:
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
