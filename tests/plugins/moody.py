"""A model that hangs on a black image, raises on a white one and works on all others."""

import threading
from collections.abc import Mapping

import torch
from torch import nn

from deployments.inference.models import HRNet


class Moody(nn.Module):
    """Finds dark pixels, when it is in the mood."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, S, S) in [0, 1] to logits (N, 1, S, S)."""
        brightness = images.mean(dim=(1, 2, 3))
        if (brightness == 0).any():
            threading.Event().wait()
        if (brightness == 1).any():
            raise ValueError("white is no colour")
        return 40 * (0.5 - images.mean(dim=1, keepdim=True))


class MoodyModel(HRNet):
    """Like HRNet before and after the network."""

    def build(self, widths: Mapping[str, object], input_size: int) -> nn.Module:
        """Return the network."""
        return Moody()
