"""Looks for passwords and keys in the files that git tracks; exit code 1 with a list of them.

What looks like one and is none (passwords of test servers, digests) is in ``.secrets.baseline``
by its hash. ``--update`` writes that file anew: read its difference before you commit it.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

from detect_secrets import SecretsCollection
from detect_secrets.settings import default_settings

BASELINE = ".secrets.baseline"
_HEAD_BYTES = 8192
# detect-secrets knows "password" and "db_pass", but not the name of our own variable.
_OUR_PASSWORD = re.compile(r"""\bSMTP_PASS\s*=\s*["']?([^\s"'$({<]+)""")


def tracked_texts(root: Path) -> list[str]:
    """Paths of the text files that git tracks, relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True
    )
    names = [name for name in listed.stdout.split("\0") if name and name != BASELINE]
    return [name for name in names if (root / name).is_file() and not _is_binary(root / name)]


def find_secrets(root: Path) -> dict[tuple[str, str], tuple[str, int]]:
    """Kind and line of everything that looks like a secret, by file and hash."""
    # Not its command line: that one refuses a baseline as soon as a line has moved.
    collection = SecretsCollection(root=str(root))
    names = tracked_texts(root)
    with default_settings():
        collection.scan_files(*names)
    found = {
        (name, secret.secret_hash): (secret.type, secret.line_number) for name, secret in collection
    }
    for name in names:
        text = (root / name).read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), start=1):
            if match := _OUR_PASSWORD.search(line):
                digest = hashlib.sha256(match[1].encode()).hexdigest()
                found[name, digest] = ("SMTP_PASS", number)
    return found


def read_baseline(root: Path) -> set[tuple[str, str]]:
    """File and hash of everything that is known to be no secret."""
    path = root / BASELINE
    if not path.exists():
        return set()
    known: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return {(name, digest) for name, digests in known.items() for digest in digests}


def write_baseline(root: Path, secrets: set[tuple[str, str]]) -> None:
    """Declare that all of these are no secrets."""
    known: dict[str, list[str]] = {}
    for name, digest in sorted(secrets):
        known.setdefault(name, []).append(digest)
    (root / BASELINE).write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Look, or update the baseline."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--update", action="store_true")
    arguments = parser.parse_args()
    root: Path = arguments.root
    found = find_secrets(root)
    if arguments.update:
        write_baseline(root, set(found))
        return
    unknown = found.keys() - read_baseline(root)
    for name, digest in sorted(unknown):
        kind, line = found[name, digest]
        print(f"{name}:{line}: {kind}", file=sys.stderr)
    if unknown:
        sys.exit(f"{len(unknown)} possible secrets in tracked files")


def _is_binary(path: Path) -> bool:
    with path.open("rb") as file:
        return b"\0" in file.read(_HEAD_BYTES)


if __name__ == "__main__":
    main()
