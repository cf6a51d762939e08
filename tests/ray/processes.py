"""Finds the processes of replicas."""

import psutil


def replica_pids(deployment: str, application: str = "inference") -> set[int]:
    """Process ids of the replicas of a deployment, by the title that Ray gives them."""
    title = f"ray::ServeReplica:{application}:{deployment}"
    pids = set()
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or [""]
        # While it runs a method Ray appends that: "ray::ServeReplica:inference:hrnet.handle...".
        if command[0] == title or command[0].startswith(f"{title}."):
            pids.add(process.pid)
    return pids
