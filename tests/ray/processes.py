"""Finds the processes of replicas."""

import psutil


def replica_pids(deployment: str, application: str = "inference") -> set[int]:
    """Process ids of the replicas of a deployment of ours, by the title that Ray gives them."""
    title = f"ray::ServeReplica:{application}:{deployment}"
    pids = set()
    # Only below this process: the machine may run the clusters of others.
    for process in psutil.Process().children(recursive=True):
        try:
            command = process.cmdline() or [""]
        except psutil.NoSuchProcess:
            continue
        # While it runs a method Ray appends that: "ray::ServeReplica:inference:hrnet.handle...".
        if command[0] == title or command[0].startswith(f"{title}."):
            pids.add(process.pid)
    return pids
