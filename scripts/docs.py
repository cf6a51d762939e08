"""Writes into docs what follows from the code and from results; `--check` only compares.

A block stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->` in any file of docs/ and in
the model card.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from environment import example, settings_table
from serving import serving_table

from deployments.job_settings import JobSettings
from deployments.mail.settings import MailSettings
from serve_app.settings import Settings

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
EXAMPLE = ROOT / ".env.green.example"
MODEL_CARD = ROOT / "deployments" / "inference" / "weights" / "MODEL_CARD.md"


def email_timeout_table() -> str:
    """How long a send lasted for each EMAIL_TIMEOUT."""
    result = json.loads((RESULTS / "email-timeout.json").read_text(encoding="utf-8"))
    rows = [
        "| the server is silent | EMAIL_TIMEOUT | one send lasted | verdict |",
        "|---|---|---|---|",
    ]
    for run in result["runs"]:
        lasted = f"{run['shortest_ms']:.0f} to {run['longest_ms']:.0f} ms"
        rows.append(
            f"| {run['silent']} | {run['email_timeout_ms']} ms | {lasted} | {run['verdict']} |"
        )
    return "\n".join(rows)


def mail_hostile_sentence() -> str:
    """What came of the notifications through the hostile server."""
    result = json.loads((RESULTS / "mail-hostile.json").read_text(encoding="utf-8"))
    return (
        f"{result['notifications']:,} notifications, {result['connections']:,} connections: "
        f"{result['sent']} sent, {result['dead']} given up and told to the operator, "
        f"{result['unfinished']} unfinished; at most "
        f"{result['most_message_ids_of_one_notification']} Message-ID per notification; "
        f"{result['extra_copies']} extra copies for {result['lost_acknowledgements']} lost replies."
    )


def agreement_table() -> str:
    """Mean agreement of the packaged weights with the silver masks."""
    result = json.loads((RESULTS / "weights" / "agreement.json").read_text(encoding="utf-8"))
    sources = list(result["mean"])
    rows = [f"| | {' | '.join(sources)} |", "|---|" + "---|" * len(sources)]
    for method in ("otsu", "hrnet", "resunet_small", "resunet_advanced"):
        figures = (f"{result['mean'][source][method]:.3f}" for source in sources)
        rows.append(f"| {method} | {' | '.join(figures)} |")
    counts = [name.split("/")[0] for name in result["images"]]
    numbers = (str(len(counts) if s == "all" else counts.count(s)) for s in sources)
    rows.append(f"| images | {' | '.join(numbers)} |")
    return "\n".join(rows)


def health_sentence() -> str:
    """How soon /health answers while the models are saturated."""
    result = json.loads((RESULTS / "health.json").read_text(encoding="utf-8"))
    idle, busy, machine = result["idle"], result["saturated"], result["machine"]
    return (
        f"With {result['clients_per_model']} clients on each of the three models of profile "
        f"{machine['profile']} ({machine['cores']} cores), `/health` answered within "
        f"{busy['p50_ms']:.0f} ms (p50) and {busy['p95_ms']:.0f} ms (p95) over "
        f"{result['questions']} questions; idle {idle['p50_ms']:.0f} and {idle['p95_ms']:.0f} ms."
    )


def interactive_sentence() -> str:
    """How long a person waits while a large job runs."""
    result = json.loads((RESULTS / "interactive-under-job.json").read_text(encoding="utf-8"))
    met = "within" if result["within_bound"] else "above"
    return (
        f"{result['requests']} requests to {result['model']} beside a job of "
        f"{result['job_images']} images: p95 {result['under_job_p95_s']:.2f} s, {met} the bound "
        f"of {result['bound_s']:.2f} s (twice the idle p95 of {result['idle_p95_s']:.2f} s and one "
        f"batch of {result['batch_s']:.2f} s)."
    )


def memory_sentence() -> str:
    """What the processes of the local profile hold while all models are saturated."""
    sizes = json.loads((RESULTS / "health.json").read_text(encoding="utf-8"))["resident_mb"]
    parts = ", ".join(f"{kind} {size}" for kind, size in sizes.items())
    return f"Resident memory (PSS) of profile local, MB: {parts}; together {sum(sizes.values())}."


def transfer_table() -> str:
    """Pixels or bytes to the model replica, p50 and CPU time in ms."""
    rows = [
        "| upload, network input | at a time | pixels, object store | pixels, message | bytes |",
        "|---|---|---|---|---|",
    ]
    result = json.loads((RESULTS / "transfer.json").read_text(encoding="utf-8"))
    for case in result["cases"]:
        for callers in sorted({int(k.split()[1]) for k in case if k.startswith("pixels")}):
            ways = (case[f"{way}, {callers} callers"] for way in ("pixels", "message", "bytes"))
            figures = (f"{way['p50_ms']:.0f} / {way['cpu_ms_per_image']:.0f}" for way in ways)
            name = f"{case['upload']}, {case['side']}²"
            rows.append(f"| {name} | {callers} | {' | '.join(figures)} |")
    return "\n".join(
        [*rows, "", f"{result['machine']['cpu']}, {result['machine']['cores']} cores."]
    )


def widened_sentence() -> str:
    """How equal the widened networks are."""
    result = json.loads((RESULTS / "widened.json").read_text(encoding="utf-8"))
    parts = ", ".join(
        f"{each['largest_difference']:.1g} of {each['largest_logit']:.0f} ({network})"
        for network, each in result.items()
    )
    return f"Largest difference of a logit, and the largest logit, in float32: {parts}."


BLOCKS: dict[str, Callable[[], str]] = {
    "serving settings": serving_table,
    "settings": lambda: settings_table(Settings),
    "job settings": lambda: settings_table(JobSettings),
    "mail settings": lambda: settings_table(MailSettings),
    "agreement": agreement_table,
    "health": health_sentence,
    "memory": memory_sentence,
    "transfer": transfer_table,
    "widened": widened_sentence,
    "interactive": interactive_sentence,
    "email timeout": email_timeout_table,
    "mail hostile": mail_hostile_sentence,
}


def replace_blocks(text: str) -> str:
    """Write the content of every block that is known here."""

    def write(match: re.Match[str]) -> str:
        name = match["name"]
        content = f"{BLOCKS[name]()}\n" if name in BLOCKS else match["content"]
        return f"<!-- begin: {name} -->\n{content}<!-- end: {name} -->"

    block = r"<!-- begin: (?P<name>[^\n]+?) -->\n(?P<content>.*?)<!-- end: (?P=name) -->"
    return re.sub(block, write, text, flags=re.DOTALL)


def main() -> None:
    """Write or check docs/*.md, the model card and .env.green.example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check: bool = parser.parse_args().check
    paths = [*sorted((ROOT / "docs").glob("*.md")), MODEL_CARD]
    files = {path: path.read_text(encoding="utf-8") for path in paths}
    written = {path: replace_blocks(text) for path, text in files.items()}
    written[EXAMPLE] = example()
    different = [path for path, text in written.items() if path.read_text(encoding="utf-8") != text]
    if check and different:
        names = ", ".join(str(path.relative_to(ROOT)) for path in different)
        sys.exit(f"{names}: not what the code says; run python scripts/docs.py")
    for path in different:
        path.write_text(written[path], encoding="utf-8")


if __name__ == "__main__":
    main()
