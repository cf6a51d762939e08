"""A Ray cluster of pods on this machine, and what the operator does with it."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.jobs.postgres_server import postgres_server
from tests.k8s.rendered import ray_groups, ray_service, serve_config, worker
from tests.nodes.kuberay import DASHBOARD_PORT
from tests.nodes.network import Network
from tests.nodes.pod import Pod, Shared
from tests.nodes.site import render_site

_DEPLOY_S = 300
_HEAD, _FIRST_WORKER = 2, 3


@dataclass(frozen=True)
class Replica:
    """A running replica as Serve's status names it.

    Attributes:
        name: Its id.
        node: Address of its node.
        pid: Its process id there.
    """

    name: str
    node: str
    pid: int


class Nodes:
    """A head and its workers.

    Attributes:
        config: The rendered Serve configuration.
        key: An API key of the service.
        weights: Folder that every worker has at ``/weights``.
        head: The head.
        workers: The workers, dead ones included.
    """

    def __init__(self, shared: Shared, key: str) -> None:
        self.config: dict[str, Any] = serve_config(shared.manifests)
        self.key = key
        self.weights = shared.folder / "weights"
        self.head = Pod(shared, ray_groups(shared.manifests)["head"], "head", _HEAD)
        self.workers: list[Pod] = []
        self._shared = shared
        token = shared.token
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._credentials = {"HOME": str(shared.folder)}
        if token is not None:
            self._credentials |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
        self._dashboard = f"http://{self.head.address}:{DASHBOARD_PORT}"

    def start_worker(self) -> Pod:
        """Start one more worker."""
        number = len(self.workers)
        group = worker(self._shared.manifests)
        self.workers.append(
            Pod(self._shared, group, f"worker-{number + 1}", _FIRST_WORKER + number)
        )
        self.workers[-1].start()
        return self.workers[-1]

    def kill(self) -> None:
        """Kill every pod that lives."""
        for pod in (*self.workers, self.head):
            pod.kill()

    def deploy(self, config: dict[str, Any]) -> None:
        """Hand a configuration to Serve; returns before the applications run."""
        path = self._shared.folder / "serve.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        serve = Path(sys.executable).parent / "serve"
        subprocess.run(
            [str(serve), "deploy", str(path), "--address", self._dashboard],
            env=self._credentials,
            check=True,
            capture_output=True,
            timeout=60,
        )

    def status(self) -> dict[str, Any]:
        """What Serve says of its applications, by their name."""
        return self._ask()["applications"]  # type: ignore[no-any-return]

    def proxies(self) -> dict[str, str]:
        """State of the proxy of every node that has one, by the node's address."""
        return {proxy["node_ip"]: proxy["status"] for proxy in self._ask()["proxies"].values()}

    def _ask(self) -> dict[str, Any]:
        url = f"{self._dashboard}/api/serve/applications/"
        answer = httpx.get(url, headers=self._headers, timeout=60)
        answer.raise_for_status()
        described: dict[str, Any] = answer.json()
        return described

    def replicas(self, deployment: str, application: str = "inference") -> list[Replica]:
        """The running replicas of a deployment."""
        entry = self.status()[application]["deployments"][deployment]
        return [
            Replica(replica["replica_id"], replica["node_ip"], replica["pid"])
            for replica in entry["replicas"]
            if replica["state"] == "RUNNING"
        ]

    def wait_until_running(self, seconds: float = _DEPLOY_S) -> float:
        """Wait until every application runs; return the seconds that took.

        Raises:
            TimeoutError: One does not; with what Serve says of it.
        """
        return self.wait_until("RUNNING", seconds)

    def wait_until(self, status: str, seconds: float = _DEPLOY_S) -> float:
        """Wait until Serve says that of every application; return the seconds that took.

        Raises:
            TimeoutError: It does not; with what Serve says instead.
        """
        names = {application["name"] for application in self.config["applications"]}
        return self.wait_for(
            lambda states: all(states.get(name, {}).get("status") == status for name in names),
            seconds,
        )

    def wait_for(
        self, condition: Callable[[dict[str, Any]], bool], seconds: float = _DEPLOY_S
    ) -> float:
        """Wait until Serve's status fulfils a condition; return the seconds that took.

        Raises:
            TimeoutError: It does not; with what Serve says instead.
        """
        started = time.monotonic()
        while not condition(states := self.status()):
            if time.monotonic() - started > seconds:
                raise TimeoutError(str(messages(states)))
            time.sleep(0.2)
        return time.monotonic() - started


def messages(states: dict[str, Any]) -> dict[str, str]:
    """Status and message of every application and deployment."""
    found = {}
    for name, state in states.items():
        found[name] = f"{state['status']} {state['message']}"
        for deployment, entry in state.get("deployments", {}).items():
            found[f"{name}/{deployment}"] = f"{entry['status']} {entry['message']}"
    return found


@contextmanager
def running_nodes(folder: Path, workers: int = 2, open_to_all: bool = False) -> Iterator[Nodes]:
    """Start a head and workers from the Pods of the rendered RayService; deploy nothing.

    Args:
        folder: An empty folder.
        workers: How many workers; each is ready to take replicas on return.
        open_to_all: Whether Ray asks for no token.
    """
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server())
        url = server.create_database("nodes")
        manifests, key = render_site(folder, url, url.partition("host=")[2])
        network = stack.enter_context(Network())
        service = f"{ray_service(manifests)['metadata']['name']}-head-svc"
        name = f"{service}.spheroserve-nodes.svc.cluster.local"
        head = network.address(_HEAD)
        token = None if open_to_all else secrets.token_hex(32)
        nodes = Nodes(Shared(manifests, network, folder, token, name, head), key)
        stack.callback(nodes.kill)
        nodes.head.start()
        for _ in range(workers):
            nodes.start_worker()
        for pod in (nodes.head, *nodes.workers):
            pod.wait_until("livenessProbe")
        nodes.head.wait_until("readinessProbe")
        yield nodes
