"""Writes into docs what follows from the code and from results; `--check` only compares.

A block stands between `<!-- begin: NAME -->` and `<!-- end: NAME -->` in any file of docs/.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

from environment import example, settings_table

from deployments.job_settings import JobSettings
from deployments.mail.settings import MailSettings
from serve_app.settings import Settings

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
EXAMPLE = ROOT / ".env.green.example"


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


BLOCKS: dict[str, Callable[[], str]] = {
    "settings": lambda: settings_table(Settings),
    "job settings": lambda: settings_table(JobSettings),
    "mail settings": lambda: settings_table(MailSettings),
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
    """Write or check docs/*.md and .env.green.example."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check: bool = parser.parse_args().check
    files = {
        path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))
    }
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
