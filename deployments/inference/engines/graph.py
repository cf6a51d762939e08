"""The whole device call as one module, so that every engine runs the same arithmetic."""

import torch
from torch import Tensor, nn

from deployments.inference.images.transforms import Preset


class SegmentationGraph(nn.Module):
    """Normalisation, network, sigmoid and rounding: uint8 in, uint8 out.

    Args:
        network: Maps normalised float32 (N, 3, S, S) to logits (N, 1, S, S). It is set to
            evaluation and its parameters stop asking for gradients.
        preset: Its normalisation.
    """

    offset: Tensor
    scale: Tensor

    def __init__(self, network: nn.Module, preset: Preset) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        # Buffers, so that they move with the network; not parameters of anybody.
        std = torch.tensor(preset.std, device="cpu")
        self.register_buffer("scale", (1.0 / (255.0 * std)).reshape(1, 3, 1, 1))
        mean = torch.tensor(preset.mean, device="cpu")
        self.register_buffer("offset", (255.0 * mean).reshape(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Map uint8 (N, S, S, 3) RGB to uint8 (N, S, S), 255 = probability 1."""
        # Contiguous, because oneDNN is slower on channels-last float32.
        images = (pixels.permute(0, 3, 1, 2).contiguous().float() - self.offset) * self.scale
        side = pixels.shape[1]
        # HRNet answers larger than it was asked where a side is no multiple of 4.
        logits = self.network(images)[:, 0, :side, :side].float()
        return torch.sigmoid(logits).mul(255.0).round().to(torch.uint8)
