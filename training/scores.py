"""The loss that training minimises and the agreement that it is judged by."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional


def segmentation_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return binary cross-entropy plus soft Dice loss, averaged over the batch.

    Cross-entropy keeps probabilities honest and empty fields empty; Dice weighs a small
    spheroid like a large one (Milletari et al. 2016, V-Net).

    Args:
        logits: float (N, 1, H, W).
        target: float (N, 1, H, W) of 0 and 1.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, target)
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum((1, 2, 3))
    total = (probability.square() + target).sum((1, 2, 3))
    smooth = 1e-3 * target[0].numel()  # An almost empty field must not dominate the batch.
    return entropy + (1 - (2 * overlap + smooth) / (total + smooth)).mean()


def dice(prediction: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Return 2|A∩B| / (|A| + |B|) of two masks; 1 where both are empty."""
    total = int(prediction.sum()) + int(truth.sum())
    return 2 * int((prediction & truth).sum()) / total if total else 1.0
