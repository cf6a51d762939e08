"""One pod: the processes of a container, with a file system and an address of their own."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.k8s.rendered import ROOT, Manifest
from tests.nodes import kuberay
from tests.nodes.network import Network

_CONTAINER = Path(__file__).parent / "container.sh"
_START_S = 120


@dataclass(frozen=True)
class Shared:
    """What the pods of one cluster share.

    Attributes:
        manifests: The rendered overlay.
        network: Their network.
        folder: Where their files go, a folder for each.
        token: Ray's token; None for a cluster that is open.
        head_service: Name under which the head is found.
        head_address: Address of the head.
    """

    manifests: list[Manifest]
    network: Network
    folder: Path
    token: str | None
    head_service: str
    head_address: str


class Pod:
    """A pod of a group of the RayService.

    Args:
        cluster: What it shares with the others.
        group: The head group or a worker group.
        name: Its name, at most 12 characters.
        host: Last number of its address.
    """

    def __init__(self, cluster: Shared, group: Manifest, name: str, host: int) -> None:
        self.name = name
        self.address = cluster.network.address(host)
        (self._container,) = group["template"]["spec"]["containers"]
        head = None if self.address == cluster.head_address else cluster.head_service
        self._command = kuberay.start_command(group, head)
        self._environment = kuberay.environment(cluster.manifests, group, head, cluster.token)
        self._network = cluster.network
        self._folder = cluster.folder / name
        self._write(cluster, group)
        self._process: subprocess.Popen[str] | None = None
        self._init = 0

    def _write(self, cluster: Shared, group: Manifest) -> None:
        (self._folder / "root").mkdir(parents=True)
        mounts = kuberay.volumes(cluster.manifests, group, self._folder / "volume")
        # The pod's own /tmp hides a checkout or an interpreter below the machine's.
        for path in {ROOT, Path(sys.base_prefix), Path(sys.prefix)}:
            if path.is_relative_to("/tmp"):
                mounts.append((str(path), str(path), "ro"))
        lines = "".join(f"{path} {source} {mode}\n" for path, source, mode in mounts)
        (self._folder / "volumes").write_text(lines)
        (self._folder / "hosts").write_text(
            f"127.0.0.1 localhost\n{cluster.head_address} {cluster.head_service}\n"
            f"{self.address} {self.name}\n"
        )

    @property
    def log(self) -> str:
        """What its container has printed."""
        return (self._folder / "log").read_text(errors="replace")

    def start(self) -> None:
        """Start it; returns before Ray runs.

        Call from the main thread: the kernel ends the pod with the thread that started it.
        """
        separate = ("--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child")
        place = (str(self._folder), self.address, self._network.gateway)
        arguments = (str(_CONTAINER), *place, *self._command)
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                # Nothing of it outlives the tests, however they end.
                ["setpriv", "--pdeathsig", "KILL", "unshare", *separate, "bash", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "started\n", self.log
        (init,) = psutil.Process(self._process.pid).children()
        self._init = init.pid
        self._network.attach(init.pid, f"v{os.getpid() % 10**6}{self.name[-8:]}"[:15])
        self._process.stdin.write("go\n")
        self._process.stdin.close()

    def execute(self, command: list[str], seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as ``kubectl exec`` would."""
        inside = ("--net", "--mount", "--pid", "--uts", "--ipc", "--root", "--wd")
        return subprocess.run(
            ["nsenter", "--target", str(self._init), *inside, *command],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=seconds,
        )

    def probe(self, kind: str) -> bool:
        """Ask one probe of the container, as the kubelet would.

        Args:
            kind: ``readinessProbe`` or ``livenessProbe``.
        """
        probe = self._container[kind]
        try:
            done = self.execute(probe["exec"]["command"], seconds=probe["timeoutSeconds"])
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    def wait_until(self, kind: str, seconds: float = _START_S) -> float:
        """Ask a probe once a second until it succeeds; return the seconds that took.

        Raises:
            TimeoutError: It did not; with what the container has printed.
        """
        started = time.monotonic()
        while not self.probe(kind):
            if not self.alive or time.monotonic() - started > seconds:
                raise TimeoutError(f"{self.name}: {kind} fails\n{self.log[-3000:]}")
            time.sleep(1)
        return time.monotonic() - started

    @property
    def alive(self) -> bool:
        """Whether its first process runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL every process of it at once, as the loss of the machine does."""
        if self._process is None or not self.alive:
            return
        os.kill(self._init, signal.SIGKILL)
        self._process.wait()
