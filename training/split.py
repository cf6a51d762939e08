"""Fixes which real images are held back, and never moves one afterwards.

``python -m training.split --data DIR`` writes ``training/split.json``.
"""

import argparse
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

SPLIT_FILE = Path(__file__).with_name("split.json")

RULE = (
    "bucket = int(sha256('<folder>/<file name>'), 16) % 12; "
    "held_back: bucket in (0, 3, 6, 9); validation: bucket in (4, 7); training: the others"
)


@dataclass(frozen=True, slots=True)
class Split:
    """Names of images, "<folder>/<file name>", sorted.

    Attributes:
        held_back: Judged once, at the end; no choice may rest on them.
        validation: The best state of a training run is chosen on these.
        training: The rest.
    """

    held_back: list[str]
    validation: list[str]
    training: list[str]


def part_of(name: str) -> str:
    """Return the part that an image belongs to by ``RULE``.

    Args:
        name: "<folder>/<file name>".
    """
    bucket = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 12
    if bucket % 3 == 0:
        return "held_back"
    return "validation" if bucket in (4, 7) else "training"


def read_split() -> Split:
    """Return the split that the repository keeps."""
    stored = json.loads(SPLIT_FILE.read_text())
    return Split(stored["held_back"], stored["validation"], stored["training"])


def image_names(data: Path) -> list[str]:
    """Return the names of all images under ``data/<folder>/images``, sorted."""
    return sorted(f"{path.parent.parent.name}/{path.name}" for path in data.glob("*/images/*.png"))


def main() -> None:
    """Write ``split.json``."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True)
    names = image_names(parser.parse_args().data)
    parts = {
        part: [name for name in names if part_of(name) == part]
        for part in ("held_back", "validation", "training")
    }
    SPLIT_FILE.write_text(json.dumps({"rule": RULE, **parts}, indent=2) + "\n")


if __name__ == "__main__":
    main()
