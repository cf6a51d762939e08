"""What ``benchmarks/results/autoscale.json`` says, for docs/autoscaling.md."""

import json
import statistics
from typing import Any

from benchmarks.plot import Panel, time_plot
from benchmarks.results import RESULTS
from benchmarks.tables import NAMES, table

DOCUMENT = "docs/autoscaling.md"
IMAGE = "docs/images/autoscale.svg"
Result = dict[str, Any]


def load() -> Result:
    """Read the result file."""
    result: Result = json.loads((RESULTS / "autoscale.json").read_text(encoding="utf-8"))
    return result


def plot(result: Result) -> str:
    """Clients, replicas and latency over time."""
    samples, latency = result["samples"], result["latency"]
    models = list(result["replicas"])
    # Lines that would cover one another lie a little apart.
    counts = {
        NAMES[model]: [(sample[0], sample[2 + index] + 0.03 * index) for sample in samples]
        for index, model in enumerate(models)
    }
    return time_plot(
        f"Load on {NAMES[result['model']]} alone",
        [
            Panel("clients", {"clients": [(sample[0], sample[1]) for sample in samples]}),
            Panel("replicas that take requests", counts),
            Panel(
                "seconds to the answer, by time of sending",
                {
                    "median": [(at, middle) for at, middle, _ in latency],
                    "longest": [(at, longest) for at, _, longest in latency],
                },
            ),
        ],
    )


def blocks(result: Result) -> dict[str, str]:
    """The generated parts of the document, by name."""
    return {"autoscale": _followed(result), "scale-to-zero": _zero(result)}


def _followed(result: Result) -> str:
    machine, delays = result["machine"], result["delays"]
    numbers = "; ".join(
        f"{NAMES[model]} {' → '.join(map(str, counts))}"
        for model, counts in result["replicas"].items()
    )
    return "\n\n".join(
        [
            f"{machine['device']}, {machine['cpus']} CPUs of which Ray is told "
            f"{result['logical_cpus']} logical ones; Ray {machine['versions']['ray']}, "
            f"{result['date']}, file `benchmarks/results/autoscale.json`. Delays of the "
            f"demonstration: look-back {delays['look_back_period_s']:g} s, up "
            f"{delays['upscale_delay_s']:g} s, down {delays['downscale_delay_s']:g} s, handles "
            f"report every {delays['metrics_interval_s']:g} s.",
            f"Replicas: {numbers}. {_counted(result)}",
            f"![Load, replicas and latency over time]({IMAGE.removeprefix('docs/')})",
            _phases(result),
            "Decisions of Serve's controller, from its log:",
            decision_table(result),
        ]
    )


def _counted(part: Result) -> str:
    failed = ", ".join(f"{number} × {name}" for name, number in part["errors"].items())
    return (
        f"{part['sent']} requests sent, {part['answered']} answered with 200, "
        f"{failed or 'none lost'}."
    )


def _phases(result: Result) -> str:
    rows = [
        (
            f"{phase['began']:g}",
            phase["clients"],
            f"{phase['images_per_second']:.1f}",
            f"{phase['p50_ms'] / 1000:.2f}",
            f"{phase['p95_ms'] / 1000:.2f}",
        )
        for phase in result["phases"]
    ]
    return table(("from second", "clients", "images/s", "p50 s", "p95 s"), rows)


def decision_table(result: Result) -> str:
    """Each decision, and how long after a change of the load it came."""
    began = [phase["began"] for phase in result["phases"]]
    rows = []
    for each in result["decisions"]:
        since = each["at"] - max(start for start in began if start <= each["at"])
        rows.append(
            (
                f"{each['at']:.1f}",
                NAMES[each["model"]],
                f"{each['old']} → {each['new']}",
                f"{each['requests']:.1f}",
                f"{since:.1f} s",
            )
        )
    head = ("second", "model", "replicas wanted", "requests, averaged", "after the load changed")
    return table(head, rows)


def _zero(result: Result) -> str:
    zero = result["zero"]
    first = statistics.median(zero["first_request_s"])
    every = ", ".join(f"{seconds:.2f}" for seconds in zero["first_request_s"])
    emptied = ", ".join(f"{seconds:.0f}" for seconds in zero["seconds_to_zero"])
    kept = "restarted no replica" if zero["change_restarted_nothing"] else "restarted replicas"
    return (
        f"{NAMES[zero['model']]} with `min_replicas: 0`, same machine and delays: the first "
        f"request after the model had been at zero took {first:.2f} s (median of {every}), later "
        f"ones {zero['warm_s']:.3f} s (median of {zero['sent'] - len(zero['first_request_s'])}). "
        f"Without requests it was at zero in {emptied} s. The change to these limits {kept}. "
        f"{_counted(zero)}"
    )
