"""A network of this machine alone, on which every pod has an address, as on a cluster's."""

import os
import subprocess
from types import TracebackType


class Network:
    """A bridge with the addresses 10.89.N.1 (this machine) to 10.89.N.254.

    Use as a context manager; needs the right to administer the network.
    """

    def __init__(self) -> None:
        # Two test runs at once must not meet.
        number = os.getpid() % 250
        self._bridge = f"nodes{number}"
        self._prefix = f"10.89.{number}"

    @property
    def gateway(self) -> str:
        """Address of this machine."""
        return self.address(1)

    def address(self, host: int) -> str:
        """The address with that last number."""
        return f"{self._prefix}.{host}"

    def __enter__(self) -> "Network":
        run("ip", "link", "add", self._bridge, "type", "bridge")
        run("ip", "address", "add", f"{self.gateway}/24", "dev", self._bridge)
        run("ip", "link", "set", self._bridge, "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        run("ip", "link", "delete", self._bridge)

    def attach(self, pid: int, name: str) -> None:
        """Give the network namespace of a process the device ``eth0``.

        The device goes with the namespace, which goes with its last process.

        Args:
            pid: Process id.
            name: Name of the other end, at most 15 characters.
        """
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(pid))
        run("ip", "link", "add", name, *peer)
        run("ip", "link", "set", name, "master", self._bridge, "up")


def missing() -> str | None:
    """Why pods cannot be started on this machine, or None if they can."""
    try:
        with Network():
            pass
        run("unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "true")
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    except subprocess.CalledProcessError as error:
        return f"no right to make namespaces: {error.stderr.strip()}"
    return None


def run(*command: str) -> None:
    """Run a program that must succeed.

    Raises:
        subprocess.CalledProcessError: It did not; ``stderr`` says why.
    """
    subprocess.run(command, check=True, capture_output=True, text=True)
