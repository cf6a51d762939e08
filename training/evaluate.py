"""Measures how the shipped weights agree with the silver masks of the held-back images.

``python -m training.evaluate --data DIR`` writes ``benchmarks/results/weights/agreement.json``.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

import deployments.inference
from deployments.inference import checkpoints
from deployments.inference.images.transforms import get_preset
from deployments.inference.networks.registry import NETWORKS, get_network
from training.dataset import read_pair
from training.scores import dice
from training.split import read_split
from training.synthetic import UInt8Array

WEIGHTS = Path(deployments.inference.__file__).with_name("weights")
RESULT = Path(__file__).parents[1] / "benchmarks" / "results" / "weights" / "agreement.json"

OTSU_RULE = (
    "Otsu's threshold on the grey image at its original size; foreground is the side that "
    "covers less of the outermost row and column of pixels"
)


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A network with the weights of a file and the preprocessing that belongs to them."""

    network: nn.Module
    metadata: checkpoints.WeightsMetadata

    @classmethod
    def open(cls, path: Path) -> "ShippedModel":
        """Load a weight file as the service does: strictly, on a network without memory.

        Raises:
            WeightsError: The file does not fit its network.
        """
        metadata = checkpoints.read_metadata(path)
        with torch.device("meta"):
            network = get_network(metadata.network).build(metadata.widths)
        checkpoints.load(path, network)
        return cls(network.eval(), metadata)

    @torch.inference_mode()
    def segment(self, image: UInt8Array, threshold: float = 0.5) -> npt.NDArray[np.bool_]:
        """Return where the probability of spheroid is above the threshold.

        Args:
            image: uint8 (H, W, 3) RGB.
            threshold: Between 0 and 1.

        Returns:
            bool (H, W), at the size of the image.
        """
        preset = get_preset(self.metadata.preset)
        pixels = preset.resize(image, self.metadata.input_size).copy()
        scaled = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
        mean = torch.tensor(preset.mean).view(1, 3, 1, 1)
        std = torch.tensor(preset.std).view(1, 3, 1, 1)
        probability = torch.sigmoid(self.network((scaled - mean) / std))[0, 0].numpy()
        height, width = image.shape[:2]
        return np.asarray(cv2.resize(probability, (width, height)) > threshold)


def otsu(grey: UInt8Array) -> npt.NDArray[np.bool_]:
    """Return the foreground by ``OTSU_RULE``, bool (H, W), of a uint8 (H, W) image."""
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    bright = grey > threshold
    border = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    return np.asarray(bright if border.mean() < 0.5 else ~bright)


def agreement(data: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """Return the Dice of every shipped network and of Otsu's threshold on each image.

    Args:
        data: Folder of the real images.
        names: Which of them.

    Returns:
        Name of the image to method to Dice at the image's original size.
    """
    models = {name: ShippedModel.open(WEIGHTS / f"{name}_compact.safetensors") for name in NETWORKS}
    table = {}
    for name in names:
        image, mask = read_pair(data, name)
        truth = mask.astype(bool)
        row = {"otsu": dice(otsu(np.asarray(image.convert("L"))), truth)}
        for network, model in models.items():
            row[network] = dice(model.segment(np.asarray(image)), truth)
        table[name] = row
    return table


def main() -> None:
    """Write the agreement on the held-back images."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    table = agreement(parser.parse_args().data, read_split().held_back)
    methods = ["otsu", *NETWORKS]
    folders = sorted({name.split("/")[0] for name in table})
    mean = {
        folder: {
            method: round(
                float(np.mean([r[method] for n, r in table.items() if n.startswith(folder)])), 4
            )
            for method in methods
        }
        for folder in ["", *folders]
    }
    report = {
        "measure": "Dice against silver masks, threshold 0.5, at the image's original size",
        "otsu": OTSU_RULE,
        "weights": {
            name: checkpoints.read_metadata(WEIGHTS / f"{name}_compact.safetensors").sha256
            for name in NETWORKS
        },
        "mean": {folder or "all": scores for folder, scores in mean.items()},
        "images": {n: {m: round(v, 4) for m, v in row.items()} for n, row in table.items()},
    }
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report["mean"], indent=2))


if __name__ == "__main__":
    main()
