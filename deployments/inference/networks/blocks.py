"""Layers that more than one network uses.

Attribute names are state-dict names: they match the weights that SpheroSeg has saved.
"""

import torch
from torch import Tensor, nn


def conv(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """Return a square convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)


def norm(channels: int) -> nn.InstanceNorm2d:
    """Return an affine instance norm; it keeps no running statistics, so eval equals train."""
    return nn.InstanceNorm2d(channels, affine=True)


def upconv(in_channels: int, out_channels: int) -> nn.ConvTranspose2d:
    """Return the transposed convolution that doubles the sides."""
    return nn.ConvTranspose2d(in_channels, out_channels, kernel_size=2, stride=2)


def mean_and_max(features: Tensor) -> Tensor:
    """Describe (N, C, H, W) by two planes (N, 2, H, W): mean and maximum over the channels."""
    return torch.cat((features.mean(1, keepdim=True), features.amax(1, keepdim=True)), dim=1)


class GateMask(nn.Module):
    """Additive attention (Oktay et al. 2018): where in a skip connection the decoder looks.

    Subclasses add what follows the mask. The last norm works on a single plane, so the mask
    is standardised per image before scale, shift and sigmoid.

    Args:
        channels: Channels of the gating signal and of the skip.
        hidden: Channels of the common space in which the two are added.
        psi_bias: Whether the projection to one plane has a bias. The norm cancels it; it is
            there because saved weights have it.
    """

    def __init__(self, channels: int, hidden: int, *, psi_bias: bool) -> None:
        super().__init__()
        self.W_g = nn.Sequential(conv(channels, hidden, 1), norm(hidden))
        self.W_x = nn.Sequential(conv(channels, hidden, 1), norm(hidden))
        self.psi = nn.Sequential(nn.Conv2d(hidden, 1, 1, bias=psi_bias), norm(1), nn.Sigmoid())

    def mask(self, gating: Tensor, skip: Tensor) -> Tensor:
        """Return the mask (N, 1, H, W) in (0, 1) for two maps of (N, C, H, W)."""
        mask: Tensor = self.psi(torch.relu_(self.W_g(gating) + self.W_x(skip)))
        return mask


def initialise(network: nn.Module) -> None:
    """Give convolutions Kaiming weights (fan-out, ReLU) and zero biases, in place.

    Norms keep 1 and 0, transposed convolutions PyTorch's default.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
