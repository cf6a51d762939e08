"""Markdown tables of the result files."""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks import reference
from benchmarks.gpu_limits import least_seconds
from benchmarks.results import Result, on_gpu
from benchmarks.subjects import PLAIN

NAMES = {
    "hrnet": "HRNet",
    "resunet_small": "ResUNet Small",
    "resunet_advanced": "ResUNet Advanced",
}


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def reference_table() -> str:
    """The user's figures."""
    head = ("model", "CPU time", "GPU time", "actual speed-up", "optimal batch")
    return table(
        head,
        [
            (row.model, f"{row.cpu_s:g} s", f"{row.gpu_s:g} s", f"{row.speed_up:g} ×", row.batch)
            for row in reference.ROWS
        ],
    )


def machine_line(result: Result, section: str) -> str:
    """What the figures of a section were measured on, and when."""
    machine = result["machine"]
    dates = " and ".join(sorted({row["date"] for row in result[section]}))
    loads = sorted({row["load_average"] for row in result[section]})
    load = f"{loads[0]:g}" if len(loads) == 1 else f"{loads[0]:g} to {loads[-1]:g}"
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    instructions = ", ".join(machine["instructions"]) or "no vector instructions named"
    return (
        f"{machine['device']} ({instructions}), {machine['cpus']} CPUs, "
        f"{machine['memory_gb']:g} GiB, load average {load} at the end; "
        f"Python {machine['python']}, {versions}; "
        f"{dates}, file `benchmarks/results/{result['file']}`."
    )


def baseline(result: Result, row: dict[str, Any]) -> dict[str, Any] | None:
    """The original's way: torch, float32, one image at a time."""
    for other in result["sweep"]:
        same = (other["model"], other["variant"]) == (row["model"], row["variant"])
        if same and other["engine"] == "torch" and other["batches"]:
            figure: dict[str, Any] = other["batches"][0]
            return figure
    return None


def seconds(figure: dict[str, Any]) -> float:
    """Median seconds of an image."""
    return float(figure["p50_ms"]) / 1000 / int(figure["batch"])


def best(row: dict[str, Any]) -> dict[str, Any]:
    """The batch with the most images per second."""
    figures: list[dict[str, Any]] = row["batches"]
    return min(figures, key=seconds)


def speed_table(result: Result) -> str:
    """In the user's form: seconds per image as the original ran, as we run, and the ratio."""
    head = (
        "model",
        "widths, input",
        "engine",
        "original's way, s",
        "here, s",
        "actual speed-up",
        "of the arithmetic limit" if on_gpu(result) else "in CPU time",
        "fastest batch",
        "masks agree",
    )
    rows = []
    for row in result["sweep"]:
        before = baseline(result, row)
        if row["engine"] in PLAIN or before is None or not row["batches"]:
            continue
        fastest = best(row)
        was, now = seconds(before), seconds(fastest)
        work = before["cpu_s_per_image"] / fastest["cpu_s_per_image"]
        limit = limit_ratio(result, row)
        rows.append(
            (
                NAMES[row["model"]],
                f"{row['variant']}, {row['side']}²",
                f"{row['engine']} {row['precision']}",
                f"{was:.3g}",
                f"{now:.3g}",
                _times(was / now),
                _times(limit) if on_gpu(result) else _times(work),
                fastest["batch"],
                f"IoU {row['mask_iou']:.4f}" if "mask_iou" in row else "float32",
            )
        )
    return table(head, rows)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f} ×"


def limit_ratio(result: Result, row: dict[str, Any]) -> float | None:
    """Seconds of an image over those of its arithmetic alone, at full width in half precision.

    None for other rows, and for a device whose speed is not listed.
    """
    if row["variant"] != "full" or row["precision"] == "float32":
        return None
    least = least_seconds(result["machine"]["device"], row["model"])
    return seconds(best(row)) / least if least else None


def batch_table(result: Result) -> str:
    """Every batch size that was measured."""
    head = (
        "model",
        "widths",
        "engine",
        "batch",
        "images/s",
        "p50 ms",
        "p95 ms",
        "CPU s/image",
        "peak MB",
    )
    rows = []
    for row in result["sweep"]:
        engine = f"{row['engine']} {row['precision']}"
        for figure in row["batches"]:
            rows.append(
                (
                    NAMES[row["model"]],
                    row["variant"],
                    engine,
                    figure["batch"],
                    f"{figure['images_per_second']:.2f}",
                    f"{figure['p50_ms']:.0f}",
                    f"{figure['p95_ms']:.0f}",
                    f"{figure['cpu_s_per_image']:.3g}",
                    figure["peak_mb"],
                )
            )
    return table(head, rows)


def serve_tables(result: Result) -> str:
    """The service under load, beside the bare engine."""
    parts = []
    for run in result["serve"]:
        bare = max(figure["images_per_second"] for figure in run["bare"])
        rows = [
            (
                loop["clients"],
                f"{loop['images_per_second']:.2f}",
                f"{loop['images_per_second'] / bare:.2f}",
                f"{loop['p50_ms']:.0f}",
                f"{loop['p95_ms']:.0f}",
                loop["mean_batch"],
                sum(loop["errors"].values()),
            )
            for loop in run["closed_loop"]
        ]
        arrivals = run["open_loop"]
        request = ", ".join(f"{name} {ms:g}" for name, ms in run["one_request_ms"].items())
        memory = ", ".join(f"{kind} {size}" for kind, size in run["resident_mb"].items())
        busiest = max(run["closed_loop"], key=lambda loop: loop["images_per_second"])
        spent: dict[str, float] = busiest["cpu_ms_per_image"]
        work = ", ".join(f"{kind} {ms:g}" for kind, ms in spent.items() if ms >= 0.1)
        together = sum(spent.values())
        alone = 1000 * min(figure["cpu_s_per_image"] for figure in run["bare"])
        arithmetic = f"{run['engine']} {run['precision']}"
        network = f"{NAMES[run['model']]} {run['variant']}, {run['side']}², {arithmetic}"
        title = f"{network}, {run['proxy']} proxy"
        head = ("clients", "images/s", "served/bare", "p50 ms", "p95 ms", "mean batch", "errors")
        parts.append(
            f"### {title}\n\nBare engine: {bare:.2f} images/s. Request: {run['image']}.\n\n"
            f"{table(head, rows)}\n\n"
            f"Poisson arrivals at {arrivals['rate']:g}/s: p50 {arrivals['p50_ms']:.0f} ms, "
            f"p95 {arrivals['p95_ms']:.0f} ms, {sum(arrivals['errors'].values())} errors.\n\n"
            f"One request, one client, ms: {request.replace('_', ' ')}.\n\n"
            f"CPU time of an image at {busiest['clients']} clients, ms: {work}; "
            f"together {together:.0f}, of which the clients share these cores. "
            f"The bare engine spends {alone:.0f}, {alone / together:.2f} of that.\n\n"
            f"Resident memory (PSS), MB: {memory}."
        )
    return "\n\n".join(parts)


def cold_start_table(result: Result) -> str:
    """Seconds from the start of a process to the first answer."""
    rows = [
        (NAMES[row["model"]], row["variant"], row["cold_s"], row["warm_s"], row["image_s"])
        for row in result["cold_start"]
    ]
    head = ("model", "widths", "first start ever, s", "later starts, s", "of which the image, s")
    return table(head, rows)
