"""What the processes of a running service use, by what they are."""

from collections.abc import Callable

import psutil

_KINDS = (
    ("ServeReplica:inference:ingress", "ingress replica"),
    ("ServeReplica:inference:", "model replicas"),
    ("sandbox", "decoding processes"),
    ("forkserver", "decoding processes"),
    ("ServeReplica", "jobs and notifier"),
    ("ProxyActor", "proxy"),
    ("haproxy", "proxy"),
    ("HAProxy", "proxy"),
    ("ServeController", "controller"),
    ("serve_app", "spheroserve up"),
)
CLIENTS = "clients"
"""This process, where the clients of a benchmark run."""


def cpu_seconds() -> dict[str, float]:
    """CPU time so far of this process and its descendants, user and system, in seconds."""
    return _total(lambda process: sum(process.cpu_times()[:2]))


def resident_mb() -> dict[str, float]:
    """Proportional resident memory (PSS) of this process and its descendants, in MB."""
    return _total(lambda process: process.memory_full_info().pss / 2**20)


def _total(read: Callable[[psutil.Process], float]) -> dict[str, float]:
    own = psutil.Process()
    found = {CLIENTS: read(own)}
    for process in own.children(recursive=True):
        try:
            command = " ".join(process.cmdline()) or process.name()
            amount = read(process)
        except psutil.NoSuchProcess:
            continue
        kind = next((kind for text, kind in _KINDS if text in command), "Ray")
        found[kind] = found.get(kind, 0) + amount
    return found
