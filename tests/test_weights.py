"""The packaged weights really segment."""

from pathlib import Path

import numpy as np
import pytest

from deployments.config import PACKAGE_WEIGHTS
from training.dataset import TEST_SEED, generated_sample, read_pair
from training.evaluate import ShippedModel
from training.scores import dice
from training.split import part_of, read_split

NETWORKS = ["hrnet", "resunet_small", "resunet_advanced"]
DATA = Path(__file__).parents[2] / "shared" / "data" / "spheroids"
MOST_BYTES = 8_000_000


def packaged(network: str) -> Path:
    return PACKAGE_WEIGHTS / f"{network}_compact.safetensors"


@pytest.mark.parametrize("network", NETWORKS)
def test_a_file_is_small_and_says_what_it_is(network: str) -> None:
    assert packaged(network).stat().st_size <= MOST_BYTES
    metadata = ShippedModel.open(packaged(network)).metadata
    assert (metadata.network, metadata.input_size) == (network, 512)
    assert metadata.preset == "spheroseg-2025-08"
    assert "BSD-3-Clause" in metadata.notes


@pytest.mark.parametrize("network", NETWORKS)
def test_rendered_spheroids_are_found(network: str) -> None:
    model = ShippedModel.open(packaged(network))
    scores = []
    for seed in range(TEST_SEED, TEST_SEED + 6):
        sample = generated_sample(seed)
        scores.append(dice(model.segment(sample.image), sample.mask.astype(bool)))
    # A few rendered scenes are meant to be all but impossible; the middle one is not.
    assert np.median(scores) >= 0.9, scores


@pytest.mark.skipif(not DATA.is_dir(), reason="the real images are not beside this checkout")
@pytest.mark.parametrize("network", NETWORKS)
def test_real_spheroids_that_were_held_back_are_found(network: str) -> None:
    model = ShippedModel.open(packaged(network))
    scores = []
    for name in read_split().held_back:
        image, mask = read_pair(DATA, name)
        scores.append(dice(model.segment(np.asarray(image)), mask.astype(bool)))
    assert np.mean(scores) >= 0.9, scores


def test_the_split_follows_its_rule_and_does_not_overlap() -> None:
    split = read_split()
    parts = {
        "held_back": split.held_back,
        "validation": split.validation,
        "training": split.training,
    }
    names = [name for part in parts.values() for name in part]
    assert len(names) == len(set(names))
    assert all(part_of(name) == part for part, members in parts.items() for name in members)
    assert len(split.held_back) / len(names) == pytest.approx(1 / 3, abs=0.06)
