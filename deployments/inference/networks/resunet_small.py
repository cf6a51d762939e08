"""ResUNet Small: a U-Net of residual blocks with squeeze-and-excitation and spatial attention."""

from itertools import pairwise
from typing import Annotated, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from deployments.inference.networks.blocks import (
    GateMask,
    conv,
    initialise,
    mean_and_max,
    norm,
    upconv,
)
from deployments.inference.networks.widths import Channels, Shapes, Widths

DROPOUT = 0.15
BOTTLENECK_DROPOUT = 1.2 * DROPOUT
MINIMUM_HIDDEN = 8


class ResUNetSmallWidths(Widths):
    """Widths of ResUNet Small.

    Attributes:
        features: Channels of the encoder levels, finest first. Each level halves the sides;
            the bottleneck has twice the channels of the last one.
    """

    signature: ClassVar[str] = "downs.0.conv1.weight"
    size_multiple: ClassVar[int] = 1

    features: tuple[Annotated[Channels, Field(ge=2)], ...] = Field(
        default=(48, 96, 192, 384, 512), min_length=1
    )

    @property
    def minimum_size(self) -> int:
        """Two pixels in the bottleneck, so 2 × 2^levels."""
        return int(2 ** (len(self.features) + 1))

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> Self:
        """Read the widths off the shapes of a state dict."""
        levels = sum(key.startswith("downs.") and key.endswith(".conv1.weight") for key in shapes)
        return cls(features=tuple(shapes[f"downs.{i}.conv1.weight"][0] for i in range(levels)))


class SqueezeExcitation(nn.Module):
    """Scale every channel by a gate computed from all channel means (Hu et al. 2018)."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        hidden = max(channels // 16, MINIMUM_HIDDEN)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (N, C, H, W)."""
        gate: Tensor = self.fc(x.mean((2, 3)))
        return x * gate[:, :, None, None]


class SpatialAttention(nn.Module):
    """Scale every pixel by a gate from mean and maximum over channels (Woo et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(2, 1, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (N, C, H, W)."""
        return x * torch.sigmoid(self.conv(mean_and_max(x)))


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut; both attentions scale their sum."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float = DROPOUT) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 3)
        self.norm1 = norm(out_channels)
        self.dropout1 = nn.Dropout2d(dropout / 2)
        self.conv2 = conv(out_channels, out_channels, 3)
        self.norm2 = norm(out_channels)
        self.dropout2 = nn.Dropout2d(dropout)
        self.adjust_channels = (
            nn.Identity() if in_channels == out_channels else conv(in_channels, out_channels, 1)
        )
        self.se = SqueezeExcitation(out_channels, dropout / 2)
        self.spatial_attention = SpatialAttention()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        y = self.dropout1(torch.relu_(self.norm1(self.conv1(x))))
        y = self.dropout2(self.norm2(self.conv2(y)))
        y = torch.relu_(y + self.adjust_channels(x))
        attended: Tensor = self.spatial_attention(self.se(y))
        return attended


class AttentionGate(GateMask):
    """Gate a skip connection, then attend to it spatially."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, max(channels // 2, MINIMUM_HIDDEN), psi_bias=False)
        self.spatial_attention = SpatialAttention()

    def forward(self, gating: Tensor, skip: Tensor) -> Tensor:
        """Map two (N, C, H, W) to the gated skip (N, C, H, W)."""
        gated: Tensor = self.spatial_attention(skip * self.mask(gating, skip))
        return gated


class ResUNetSmall(nn.Module):
    """ResUNet Small with one output plane.

    Args:
        widths: Channel counts.
    """

    def __init__(self, widths: ResUNetSmallWidths) -> None:
        super().__init__()
        features = widths.features
        first, last = features[0], features[-1]
        self.init_conv = nn.Sequential(
            conv(3, first, 7), norm(first), nn.ReLU(inplace=True), nn.Dropout2d(DROPOUT / 2)
        )
        self.downs = nn.ModuleList(ResidualBlock(a, b) for a, b in pairwise((first, *features)))
        self.bottleneck = nn.Sequential(
            ResidualBlock(last, 2 * last, BOTTLENECK_DROPOUT),
            ResidualBlock(2 * last, 2 * last, BOTTLENECK_DROPOUT),
        )
        # One flat list, transposed convolution and block in turn, as the saved keys have it.
        self.ups = nn.ModuleList()
        for deeper, level in pairwise((2 * last, *reversed(features))):
            self.ups.extend([upconv(deeper, level), ResidualBlock(2 * level, level)])
        self.attentions = nn.ModuleList(AttentionGate(level) for level in reversed(features))
        self.final_conv = nn.Sequential(
            conv(first, first // 2, 3),
            norm(first // 2),
            nn.ReLU(inplace=True),
            nn.Dropout2d(DROPOUT / 2),
            nn.Conv2d(first // 2, 1, 1),
        )
        initialise(self)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, 3, H, W) to logits (N, 1, H, W)."""
        x = self.init_conv(x)
        skips: list[Tensor] = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.bottleneck(x)
        for up, gate, block in zip(self.ups[::2], self.attentions, self.ups[1::2], strict=True):
            skip = skips.pop()
            x = up(x)
            if x.shape[-2:] != skip.shape[-2:]:
                x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
            x = block(torch.cat((gate(x, skip), x), dim=1))
        logits: Tensor = self.final_conv(x)
        return logits
