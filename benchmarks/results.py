"""Result files: one per device and day, each benchmark a section of it."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine, slug

RESULTS = Path(__file__).parent / "results"
Result = dict[str, Any]


def record(section: str, rows: object, folder: Path = RESULTS) -> Path:
    """Write one section of today's file of this device; other sections stay.

    Args:
        section: ``sweep``, ``serve`` or ``cold_start``.
        rows: JSON-ready values.
        folder: Where result files lie.
    """
    machine = describe_machine()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    path = folder / slug(str(machine["device"])) / f"{today}.json"
    result: Result = json.loads(path.read_text()) if path.exists() else {}
    result.update({"machine": machine, "date": today, section: rows})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return path


def latest(folder: Path = RESULTS) -> Iterator[Result]:
    """The newest file of every device, in the order of their names."""
    for device in sorted(path for path in folder.iterdir() if path.is_dir()):
        newest = max(device.glob("*.json"))
        result: Result = json.loads(newest.read_text())
        yield {"file": f"{device.name}/{newest.name}", **result}
