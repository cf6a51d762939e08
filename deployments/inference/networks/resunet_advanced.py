"""Advanced ResUNet: a residual U-Net with triplet attention and a self-attention bottleneck."""

from typing import Annotated, ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
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

HEADS = 8
DROPOUT = 0.1
SIMAM_EPSILON = 1e-4


def _divides_into_heads(channels: int) -> int:
    if 2 * channels % HEADS:
        raise ValueError(f"{channels} is not a multiple of {HEADS // 2}")
    return channels


Feature = Annotated[Channels, Field(ge=2)]
DeepestFeature = Annotated[Feature, AfterValidator(_divides_into_heads)]


class ResUNetAdvancedWidths(Widths):
    """Widths of Advanced ResUNet.

    Attributes:
        features: Channels of the four encoder levels, finest first. The bottleneck has twice
            the channels of the last one, which the eight attention heads share.
    """

    signature: ClassVar[str] = "encoder1.0.conv1.weight"
    size_multiple: ClassVar[int] = 16

    features: tuple[Feature, Feature, Feature, DeepestFeature] = (64, 128, 256, 512)

    @property
    def minimum_size(self) -> int:
        """32: the bottleneck of a 16-pixel input is one pixel."""
        return 32

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> Self:
        """Read the widths off the shapes of a state dict."""
        f0, f1, f2, f3 = (shapes[f"encoder{i}.0.conv1.weight"][0] for i in range(1, 5))
        return cls(features=(f0, f1, f2, f3))


class TripletAttention(nn.Module):
    """Three gates: one per row, one per column, one per pixel.

    The row and column kernels lie across maps of width or height 1, so only their centre taps
    have an effect. The orientation belongs to the saved weights and stays.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv_ch = nn.Conv2d(2, 1, (1, 7), padding=(0, 3), bias=False)
        self.conv_cw = nn.Conv2d(2, 1, (7, 1), padding=(3, 0), bias=False)
        self.conv_hw = conv(2, 1, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (N, C, H, W)."""
        rows = torch.sigmoid(self.conv_ch(mean_and_max(x.mean(3, keepdim=True))))
        columns = torch.sigmoid(self.conv_cw(mean_and_max(x.mean(2, keepdim=True))))
        pixels = torch.sigmoid(self.conv_hw(mean_and_max(x)))
        # The gates are single planes: multiplied first, they cost one pass over x, not three.
        return x * (rows * columns * pixels)


class MultiStageAttention(nn.Module):
    """Damping, triplet attention and a 1 × 1 fusion around a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stage2 = TripletAttention()
        self.fusion = nn.Sequential(conv(channels, channels, 1), norm(channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (N, C, H, W)."""
        # The saved weights expect the negative sign: values above the channel's mean are
        # damped. It is not SimAM (Yang et al. 2021), after which the module was modelled.
        standardised = F.instance_norm(x, eps=SIMAM_EPSILON)
        damped = x * torch.sigmoid(-standardised)
        fused: Tensor = self.fusion(self.stage2(damped))
        return fused + x


class ResidualBlock(nn.Module):
    """Two convolutions and attention beside a shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = conv(in_channels, out_channels, 3)
        self.norm1 = norm(out_channels)
        self.dropout = nn.Dropout2d(DROPOUT)
        self.conv2 = conv(out_channels, out_channels, 3)
        self.norm2 = norm(out_channels)
        self.attention = MultiStageAttention(out_channels)
        self.skip = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Sequential(conv(in_channels, out_channels, 1), norm(out_channels))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        y = self.dropout(torch.relu_(self.norm1(self.conv1(x))))
        y = self.attention(self.norm2(self.conv2(y)))
        return torch.relu_(y + self.skip(x))


class SelfAttention(nn.Module):
    """Global attention of eight heads over all positions, without a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        # Not read by the forward pass; saved weights have it.
        self.relative_position_bias_table = nn.Parameter(torch.zeros(169, HEADS))
        self.qkv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            conv(channels, 3 * channels, 1),
        )
        self.proj = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (N, C, H, W)."""
        n, c, h, w = x.shape
        qkv = self.qkv(x).reshape(n, 3, HEADS, c // HEADS, h * w)
        # Contiguous (3, N, heads, tokens, channels): fused kernels need the last axis dense;
        # otherwise the whole matrix of tokens × tokens is made.
        query, key, value = qkv.permute(1, 0, 2, 4, 3).contiguous()
        attended = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(attended.transpose(2, 3).reshape(n, c, h, w))
        return projected


class AttentionGate(GateMask):
    """Gate a skip connection, then refine it by triplet attention."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels // 2, psi_bias=True)
        self.refine = TripletAttention()

    def forward(self, gating: Tensor, skip: Tensor) -> Tensor:
        """Map two (N, C, H, W) to the gated skip (N, C, H, W)."""
        gated: Tensor = self.refine(skip * self.mask(gating, skip))
        return gated


def blocks(in_channels: int, out_channels: int, count: int) -> nn.Sequential:
    """Return residual blocks of which the first changes the number of channels."""
    return nn.Sequential(
        ResidualBlock(in_channels, out_channels),
        *(ResidualBlock(out_channels, out_channels) for _ in range(count - 1)),
    )


class ResUNetAdvanced(nn.Module):
    """Advanced ResUNet with one output plane.

    Args:
        widths: Channel counts.
    """

    def __init__(self, widths: ResUNetAdvancedWidths) -> None:
        super().__init__()
        f0, f1, f2, f3 = widths.features
        deepest = 2 * f3
        self.init_conv = nn.Sequential(conv(3, f0, 7), norm(f0), nn.ReLU(inplace=True))
        self.encoder1 = blocks(f0, f0, 2)
        self.encoder2 = blocks(f0, f1, 2)
        self.encoder3 = blocks(f1, f2, 3)
        self.encoder4 = blocks(f2, f3, 3)
        self.bottleneck = nn.Sequential(
            ResidualBlock(f3, deepest), SelfAttention(deepest), ResidualBlock(deepest, deepest)
        )
        self.upconv4, self.att4, self.decoder4 = self._decoder(deepest, f3)
        self.upconv3, self.att3, self.decoder3 = self._decoder(f3, f2)
        self.upconv2, self.att2, self.decoder2 = self._decoder(f2, f1)
        self.upconv1, self.att1, self.decoder1 = self._decoder(f1, f0)
        self.final_conv = nn.Sequential(
            conv(f0, f0 // 2, 3),
            norm(f0 // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(f0 // 2, 1, 1),
        )
        initialise(self)

    @staticmethod
    def _decoder(deeper: int, level: int) -> tuple[nn.Module, AttentionGate, nn.Module]:
        return upconv(deeper, level), AttentionGate(level), blocks(2 * level, level, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, 3, H, W) to logits (N, 1, H, W), H and W multiples of 16."""
        e1 = self.encoder1(self.init_conv(x))
        e2 = self.encoder2(F.max_pool2d(e1, 2))
        e3 = self.encoder3(F.max_pool2d(e2, 2))
        e4 = self.encoder4(F.max_pool2d(e3, 2))
        x = self.bottleneck(F.max_pool2d(e4, 2))
        for up, gate, decoder, skip in (
            (self.upconv4, self.att4, self.decoder4, e4),
            (self.upconv3, self.att3, self.decoder3, e3),
            (self.upconv2, self.att2, self.decoder2, e2),
            (self.upconv1, self.att1, self.decoder1, e1),
        ):
            x = up(x)
            x = decoder(torch.cat((gate(x, skip), x), dim=1))
        logits: Tensor = self.final_conv(x)
        return logits
