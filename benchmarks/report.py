"""Writes documentation and profiles from the result files, and from nothing else."""

import re
from collections.abc import Callable
from pathlib import Path

from benchmarks import autoscale_report, nodes_report, tables
from benchmarks.plot import line_plot
from benchmarks.profiles import profile
from benchmarks.results import Result, latest
from benchmarks.subjects import PLAIN
from benchmarks.targets import targets_table
from deployments.device_profiles import slug

ROOT = Path(__file__).parent.parent
_VARIANTS = ("compact", "full")
_PROFILES = "configs/profiles"
_IMAGES = "docs/images"


def write(check: bool) -> list[str]:
    """Write every file that depends on results.

    Args:
        check: Write nothing.

    Returns:
        The files that differ from what the results say, as paths in the repository.
    """
    stale = []
    wanted_files = generated()
    # Above all a safe batch that nobody measured must not be served.
    present = [*ROOT.glob(f"{_PROFILES}/*.json"), *ROOT.glob(f"{_IMAGES}/speed-*.svg")]
    for orphan in present:
        if (path := str(orphan.relative_to(ROOT))) not in wanted_files:
            stale.append(path)
            if not check:
                orphan.unlink()
    for path, wanted in wanted_files.items():
        target = ROOT / path
        if not target.exists() or target.read_text(encoding="utf-8") != wanted:
            stale.append(path)
            if not check:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(wanted, encoding="utf-8")
    return stale


def generated() -> dict[str, str]:
    """Contents of every file, by its path in the repository."""
    results = list(latest())
    files: dict[str, str] = {}
    for result in results:
        if "sweep" not in result:
            continue
        device = slug(result["machine"]["device"])
        if (limits := profile(result)) is not None:
            files[f"{_PROFILES}/{device}.json"] = limits
        for variant in _VARIANTS:
            if any(row["variant"] == variant for row in result["sweep"]):
                files[f"{_IMAGES}/speed-{device}-{variant}.svg"] = _plot(result, variant)
    files |= _document(
        "docs/batch-optimization-results.md",
        {
            "reference": tables.reference_table(),
            "speed": _for_each(results, "sweep", tables.speed_table),
            "targets": _for_each(results, "sweep", targets_table),
            "batches": _for_each(results, "sweep", _batches),
        },
    )
    files |= _document(
        "docs/GPU-CONFIGURATION.md",
        {
            "reference": tables.reference_table(),
            "serve": _for_each(results, "serve", tables.serve_tables),
            "cold-start": _for_each(results, "cold_start", tables.cold_start_table),
        },
    )
    scaled = autoscale_report.load()
    files[autoscale_report.IMAGE] = autoscale_report.plot(scaled)
    files |= _document(autoscale_report.DOCUMENT, autoscale_report.blocks(scaled))
    files |= _document(nodes_report.DOCUMENT, {"several nodes": nodes_report.table()})
    files |= _document("README.md", {"speed": _for_each(results, "sweep", tables.speed_table)})
    return files


def _for_each(results: list[Result], section: str, text: Callable[[Result], str]) -> str:
    return "\n\n".join(
        f"{tables.machine_line(result, section)}\n\n{text(result)}"
        for result in results
        if section in result
    )


def _batches(result: Result) -> str:
    device = slug(result["machine"]["device"])
    images = [
        f"![{variant} networks, images per second by batch size]"
        f"(images/speed-{device}-{variant}.svg)"
        for variant in _VARIANTS
        if any(row["variant"] == variant for row in result["sweep"])
    ]
    return "\n\n".join([*images, tables.batch_table(result)])


def _plot(result: Result, variant: str) -> str:
    series = {
        f"{tables.NAMES[row['model']]} {row['engine']} {row['precision']}": [
            (figure["batch"], figure["images_per_second"]) for figure in row["batches"]
        ]
        for row in result["sweep"]
        if row["variant"] == variant and row["engine"] not in PLAIN and row["batches"]
    }
    side = next(row["side"] for row in result["sweep"] if row["variant"] == variant)
    device = result["machine"]["device"]
    return line_plot(f"{device}: {variant} networks at {side}²", "images per second", series)


def _document(path: str, blocks: dict[str, str]) -> dict[str, str]:
    """The document with its blocks replaced.

    Raises:
        ValueError: A block is missing.
    """
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, content in blocks.items():
        pattern = rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)"
        found = re.search(pattern, text, re.DOTALL)
        if found is None:
            raise ValueError(f"{path} has no block '{name}'")
        text = f"{text[: found.start()]}{found[1]}{content}\n{found[2]}{text[found.end() :]}"
    return {path: text}
