"""Trains one compact network.

``python -m training.train --network hrnet --data DIR --out DIR --minutes 60``

Leaves ``<out>/<network>.pt`` (the state dict that scored best on validation) and
``<out>/<network>.json`` (widths and history).
"""

import argparse
import copy
import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from deployments.inference.networks.registry import NETWORKS
from training.dataset import (
    FIELD,
    VALIDATION_SEED,
    Batches,
    Sample,
    generated_sample,
    real_scene,
    to_tensor,
)
from training.scores import dice, segmentation_loss
from training.split import read_split

COMPACT: dict[str, dict[str, object]] = {
    "hrnet": {"base": 8, "stem": 16, "planes": 8},
    "resunet_small": {"features": [8, 16, 32, 64, 96]},
    "resunet_advanced": {"features": [8, 16, 32, 64]},
}
"""Widths of the variants that the package ships."""

STAGES = ((0.45, 192, 4), (0.70, 256, 2), (1.00, FIELD, 1))
"""(end as share of the time, side of the images, images per batch).

Small images first, for many steps; the size that is served last, because instance
normalisation takes its statistics from the whole input.
"""

PEAK_RATE = 2e-3
FLOOR_RATE = 2e-5
WARM_UP_STEPS = 40
VALIDATION_SCENES = 8


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Images, at the size that is served, on which the best state is chosen."""

    real: list[Sample]
    generated: list[Sample]

    @classmethod
    def read(cls, data: Path) -> "ValidationSet":
        """Read the real part and generate the other."""
        scenes = [real_scene(data, name) for name in read_split().validation]
        real = [Sample(np.repeat(s.image[:, :, None], 3, axis=2), s.mask) for s in scenes]
        seeds = range(VALIDATION_SEED, VALIDATION_SEED + VALIDATION_SCENES)
        return cls(real, [generated_sample(seed) for seed in seeds])

    def score(self, network: nn.Module) -> tuple[float, float]:
        """Return the mean Dice on real and on generated images."""
        return _mean_dice(network, self.real), _mean_dice(network, self.generated)


@torch.inference_mode()
def _mean_dice(network: nn.Module, samples: list[Sample]) -> float:
    network.eval()
    scores = []
    for sample in samples:
        inside = network(to_tensor([sample.image]))[0, 0] > 0
        scores.append(dice(inside.numpy(), sample.mask.astype(bool)))
    return float(np.mean(scores))


class Average:
    """Exponential moving average of a network's parameters, which is what is kept."""

    def __init__(self, network: nn.Module, decay: float = 0.99) -> None:
        """Start from the network as it is."""
        self.network = copy.deepcopy(network).requires_grad_(False)
        self._decay = decay
        self._steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move a little towards the network."""
        self._steps += 1
        decay = min(self._decay, self._steps / (self._steps + 9))
        for mean, value in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1 - decay)


def learning_rate(progress: float, step: int) -> float:
    """Return the rate after a share ``progress`` of the time: warm-up, then cosine."""
    cosine = FLOOR_RATE + (PEAK_RATE - FLOOR_RATE) * (1 + math.cos(math.pi * progress)) / 2
    return cosine * min(1.0, (step + 1) / WARM_UP_STEPS)


def train(arguments: argparse.Namespace) -> None:
    """Train until the time is over."""
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    name: str = arguments.network
    network = NETWORKS[name].build(COMPACT[name])
    average = Average(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=1e-3)
    batches = Batches(arguments.data, read_split().training, arguments.scenes, arguments.seed)
    validation = ValidationSet.read(arguments.data)
    arguments.out.mkdir(parents=True, exist_ok=True)
    history: list[dict[str, float]] = []
    best, step, running = 0.0, 0, 1.0
    begin = checked = time.monotonic()
    while True:
        progress = (time.monotonic() - begin) / (60 * arguments.minutes)
        if progress >= 1 or time.monotonic() - checked > 60 * arguments.validate_every:
            real, generated = validation.score(average.network)
            entry = {"step": step, "progress": progress, "loss": running}
            history.append(entry | {"dice_real": real, "dice_generated": generated})
            print(json.dumps(history[-1]), flush=True)
            if (real + generated) / 2 > best:
                best = (real + generated) / 2
                torch.save(average.network.state_dict(), arguments.out / f"{name}.pt")
            record = {"network": name, "widths": COMPACT[name], "best": best, "history": history}
            (arguments.out / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
            checked = time.monotonic()
        if progress >= 1:
            return
        size, count = next((size, count) for end, size, count in STAGES if progress < end)
        images, masks = batches.draw(count, size)
        network.train()
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, step)
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bfloat16):
            logits = network(images)
        loss = segmentation_loss(logits.float(), masks)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update(network)
        running += 0.02 * (loss.item() - running)
        step += 1


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train one compact network.")
    parser.add_argument("--network", choices=sorted(COMPACT), required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of the real images")
    parser.add_argument("--out", type=Path, default=Path("training/runs"))
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--validate-every", type=float, default=4, help="minutes")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scenes", type=int, default=600, help="generated scenes to train on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bfloat16", action="store_true", help="forward pass in bfloat16")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
