"""Result files: one per device and day, each benchmark a section of it."""

import datetime
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine
from benchmarks.subjects import CLASSES
from deployments.device_profiles import slug

RESULTS = Path(__file__).parent / "results"
Result = dict[str, Any]
Row = Mapping[str, object]


def record(section: str, rows: Sequence[Row], folder: Path = RESULTS, device: str = "cpu") -> Path:
    """Write rows into today's file of this device.

    The file begins as its newest one. Other sections stay, and so do rows of this section about
    networks that are not in ``rows``. Each row tells its day, and how busy the machine was.

    Args:
        section: ``sweep``, ``serve`` or ``cold_start``.
        rows: JSON-ready values, each with its ``variant`` and ``model``.
        folder: Where result files lie.
        device: ``cpu`` or ``cuda:N``.
    """
    machine = describe_machine(device)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = folder / slug(str(machine["device"])) / f"{today}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    newest = max(path.parent.glob("*.json"), default=None)
    result: Result = json.loads(newest.read_text()) if newest else {}
    stamp = {"date": today, "load_average": machine.pop("load_average")}
    measured = {_network(row) for row in rows}
    kept = [row for row in result.get(section, []) if _network(row) not in measured]
    merged = sorted([*kept, *({**row, **stamp} for row in rows)], key=_network)
    result.update({"machine": machine, section: merged})
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def _network(row: Row) -> tuple[str, int]:
    return str(row["variant"]), list(CLASSES).index(str(row["model"]))


def on_gpu(result: Result) -> bool:
    """Whether a file is about a GPU."""
    return "cuda" in result["machine"]


def latest(folder: Path = RESULTS) -> Iterator[Result]:
    """The newest file of every device, in the order of their names."""
    for device in sorted(path for path in folder.iterdir() if path.is_dir()):
        newest = max(device.glob("*.json"))
        result: Result = json.loads(newest.read_text())
        yield {"file": f"{device.name}/{newest.name}", **result}
