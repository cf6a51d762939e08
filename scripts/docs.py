"""Writes what docs say about settings from the settings themselves; `--check` only compares."""

import argparse
import re
import sys
from pathlib import Path

from pydantic_core import PydanticUndefined

from serve_app.settings import ENV_PREFIX, Settings

DOCS = Path(__file__).parent.parent / "docs"


def settings_table() -> str:
    """A Markdown table of every variable of the HTTP edge."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default if field.default is not PydanticUndefined else ""
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else f"{default}"
        rows.append(f"| `{ENV_PREFIX}{name.upper()}` | {shown} | {field.description} |")
    return "\n".join(rows)


def replace_block(text: str, name: str, content: str) -> str:
    """Put content between the markers of a block."""
    pattern = rf"(<!-- begin: {name} -->\n).*?(<!-- end: {name} -->)"
    return re.sub(pattern, lambda m: f"{m[1]}{content}\n{m[2]}", text, flags=re.DOTALL)


def main() -> None:
    """Write or check docs/configuration.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check: bool = parser.parse_args().check
    path = DOCS / "configuration.md"
    before = path.read_text(encoding="utf-8")
    after = replace_block(before, "settings", settings_table())
    if check and after != before:
        sys.exit(f"{path} differs from the settings; run python scripts/docs.py")
    path.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
