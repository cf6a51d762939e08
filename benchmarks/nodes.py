"""A head and two workers on this machine: what deploying, rolling and losing a worker cost.

``python -m benchmarks.nodes`` needs the right to make namespaces, and writes
``benchmarks/results/nodes.json``. The steps are those of ``tests/nodes``.
"""

import asyncio
import datetime
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe_machine
from tests.nodes import phases
from tests.nodes.cluster import running_nodes
from tests.nodes.network import missing

RESULT = Path(__file__).parent / "results" / "nodes.json"
BATCH_SIZE = 5


def measure(folder: Path) -> dict[str, object]:
    """Take every step once, on one cluster."""
    with running_nodes(folder) as nodes:
        return {
            "workers": len(nodes.workers),
            "clients": phases.CLIENTS_PER_WORKER * len(nodes.workers),
            "deploy": asyncio.run(phases.deploy(nodes)),
            "batch_size": asyncio.run(phases.change_batch_size(nodes, BATCH_SIZE)),
            "roll": asyncio.run(phases.roll_weights(nodes)),
            "roll_back": asyncio.run(phases.roll_back(nodes)),
            "kill": asyncio.run(phases.kill_worker(nodes)),
        }


def main() -> None:
    """Measure, and write the result."""
    reason = missing()
    if reason is not None:
        sys.exit(f"pods need network and mount namespaces: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        steps = measure(Path(folder))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    result = {"machine": describe_machine(), "date": today, **steps}
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULT.read_text())


if __name__ == "__main__":
    main()
