"""A service on this machine whose configuration a benchmark writes itself."""

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from serve_app.local_cluster import LocalCluster

Configuration = dict[str, Any]


@contextmanager
def local_service(
    configure: Callable[[int], Configuration], cpus: float
) -> Iterator[tuple[LocalCluster, int]]:
    """Start Ray and Serve with an empty job store; yield the cluster and its port.

    Args:
        configure: Returns Serve's configuration for a port.
        cpus: Logical CPUs that Ray is told of; the machine may have fewer.
    """
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SPHEROSERVE_DATA_DIR"] = folder
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port: int = probe.getsockname()[1]
        with LocalCluster(configure(port), cpus) as cluster:
            cluster.wait_until_running()
            yield cluster, port
