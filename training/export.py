"""Puts trained states into the package, in half precision and with their metadata.

``python -m training.export --runs training/runs``
"""

import argparse
import json
from pathlib import Path

import torch

from deployments.inference import checkpoints
from deployments.inference.networks.registry import NETWORKS
from training.dataset import FIELD
from training.evaluate import WEIGHTS

PRESET = "spheroseg-2025-08"

NOTES = (
    "Compact variant, trained by training/ on generated images and on images of "
    "cparent3/spheroid_morpho_ML (MIT) and "
    "claudidagostino/Brightfield-3D-models-image-analysis (BSD-3-Clause). See MODEL_CARD.md."
)


def export(runs: Path, network: str) -> Path:
    """Write the weight file of one trained network and return its path.

    Args:
        runs: Folder that ``training.train`` wrote to.
        network: Name of the network.

    Raises:
        WeightsError: A value does not fit half precision.
    """
    record = json.loads((runs / f"{network}.json").read_text())
    state = torch.load(runs / f"{network}.pt", weights_only=True)
    target = WEIGHTS / f"{network}_compact.safetensors"
    metadata = checkpoints.WeightsMetadata(
        network=network, widths=record["widths"], preset=PRESET, input_size=FIELD, notes=NOTES
    )
    checkpoints.save(target, state, metadata, torch.float16)
    return target


def main() -> None:
    """Export every network that the folder holds a state of."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=Path, default=Path("training/runs"))
    runs = parser.parse_args().runs
    for network in NETWORKS:
        if (runs / f"{network}.pt").exists():
            path = export(runs, network)
            print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
