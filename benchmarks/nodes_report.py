"""What several nodes did, from the result file of ``python -m benchmarks.nodes``."""

import json
from pathlib import Path
from typing import Any

DOCUMENT = "docs/deploy-kuberay.md"
_RESULT = Path(__file__).parent / "results" / "nodes.json"


def table() -> str:
    """What deploying, rolling and losing a worker cost on a head and two workers."""
    result: dict[str, Any] = json.loads(_RESULT.read_text(encoding="utf-8"))
    kill, roll, back = result["kill"], result["roll"], result["roll_back"]
    batch, machine = result["batch_size"], result["machine"]
    rows = [
        ("`serve deploy` of the rendered configuration", _deploy(result["deploy"])),
        (
            "another batch size",
            f"in effect after {batch['seconds']} s, {_same(batch)}, largest batch "
            f"{batch['largest_batch']}",
        ),
        (
            "other weights under load",
            f"in effect after {roll['seconds']} s, {_same(roll)}; {roll['lost']} of "
            f"{roll['requests']} requests lost; slowest answer {roll['roll_max_s']} s, "
            f"{roll['roll_max_by_steady_max']} times the slowest of the steady state "
            f"({roll['steady_max_s']} s), where 2 is the aim",
        ),
        (
            "damaged weights under load, and back",
            f"refused, {back['served_meanwhile']} went on serving, {_same(back)}; "
            f"{back['lost']} of {back['requests']} requests lost",
        ),
        (
            f"SIGKILL of every process of the worker with {', '.join(kill['hosted'])}",
            f"{kill['lost_in_flight_on_it']} of {kill['requests']} requests lost, those that its "
            f"ingress was answering; {len(kill['lost_otherwise'])} others; all running again after "
            f"{kill['seconds_to_running']} s, the longest wait through the other worker "
            f"{kill['longest_wait_s']} s; the job that ran: {kill['job']['state']}, "
            f"{kill['job']['done']} images",
        ),
    ]
    lines = [f"| {what} | {came} |" for what, came in rows]
    where = (
        f"{machine['device']}, {machine['cpus']} CPUs for all nodes together, load average "
        f"{machine['load_average']}; {result['clients']} clients; {result['date']}, "
        "`benchmarks/results/nodes.json`."
    )
    return f"{where}\n\n" + "\n".join(["| step | what happened |", "|---|---|", *lines])


def _deploy(deploy: dict[str, Any]) -> str:
    answers = deploy["answers"].values()
    good = sum(status == 200 for status, _, _ in answers)
    return (
        f"running after {deploy['seconds_to_running']} s; an image through the proxy of each of "
        f"{len(answers)} workers: {good} answered; ingress replicas by worker: "
        f"{' and '.join(map(str, deploy['ingresses']))}"
    )


def _same(step: dict[str, Any]) -> str:
    return "same processes" if step["same_replicas"] else "**other processes**"
