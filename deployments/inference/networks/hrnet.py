"""HRNetV2 (Wang et al. 2019, arXiv:1908.07919) with instance normalisation.

Up to four branches run side by side at 1/4, 1/8, 1/16 and 1/32 of the input's sides and
exchange their maps after every module. Attributes named ``bn`` hold instance norms: the names
are those of the saved weights.
"""

from collections.abc import Sequence
from functools import reduce
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deployments.inference.networks.blocks import conv, norm
from deployments.inference.networks.widths import Channels, Shapes, Widths

EXPANSION = 4
BLOCKS_PER_BRANCH = 4


class HRNetWidths(Widths):
    """Widths of HRNet.

    Attributes:
        base: Channels of the finest branch; each coarser branch has twice as many.
        stem: Channels of the two convolutions of the stem.
        planes: Inner channels of the bottlenecks of stage 1.
    """

    signature: ClassVar[str] = "stage2.0.branches.0.0.conv1.weight"
    size_multiple: ClassVar[int] = 4

    base: Channels = 48
    stem: Channels = 64
    planes: Channels = 64

    @property
    def minimum_size(self) -> int:
        """36: the coarsest branch of a 32-pixel input is one pixel."""
        return 36

    @classmethod
    def from_shapes(cls, shapes: Shapes) -> Self:
        """Read the widths off the shapes of a state dict."""
        return cls(
            base=shapes[cls.signature][0],
            stem=shapes["conv1.weight"][0],
            planes=shapes["layer1.0.conv1.weight"][0],
        )


def resize(features: Tensor, size: Sequence[int]) -> Tensor:
    """Interpolate bilinearly to (H, W); HRNet aligns corners everywhere."""
    return F.interpolate(features, size=list(size), mode="bilinear", align_corners=True)


def conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return convolution and norm."""
    return nn.Sequential(conv(in_channels, out_channels, kernel, stride), norm(out_channels))


def conv_norm_relu(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    """Return 3 × 3 convolution, norm and ReLU."""
    return nn.Sequential(
        conv(in_channels, out_channels, 3, stride), norm(out_channels), nn.ReLU(inplace=True)
    )


class Bottleneck(nn.Module):
    """Residual block 1 × 1, 3 × 3, 1 × 1 with 4 × ``planes`` channels out."""

    def __init__(self, in_channels: int, planes: int) -> None:
        super().__init__()
        out_channels = planes * EXPANSION
        self.conv1 = conv(in_channels, planes, 1)
        self.bn1 = norm(planes)
        self.conv2 = conv(planes, planes, 3)
        self.bn2 = norm(planes)
        self.conv3 = conv(planes, out_channels, 1)
        self.bn3 = norm(out_channels)
        self.downsample = (
            nn.Identity()
            if in_channels == out_channels
            else conv_norm(in_channels, out_channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, 4 × planes, H, W)."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        y = torch.relu_(self.bn2(self.conv2(y)))
        return torch.relu_(self.bn3(self.conv3(y)) + self.downsample(x))


class BasicBlock(nn.Module):
    """Residual block of two 3 × 3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels, 3)
        self.bn1 = norm(channels)
        self.conv2 = conv(channels, channels, 3)
        self.bn2 = norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape (N, C, H, W)."""
        y = torch.relu_(self.bn1(self.conv1(x)))
        return torch.relu_(self.bn2(self.conv2(y)) + x)


def fuse_layer(source: int, target: int, channels: Sequence[int]) -> nn.Module:
    """Return what brings branch ``source`` to the channels of branch ``target``.

    Towards a coarser branch it also halves the sides step by step. Towards a finer branch the
    caller resizes afterwards, because the exact size is that of the target's map.
    """
    if source == target:
        return nn.Identity()
    if source > target:
        return conv_norm(channels[source], channels[target], 1)
    steps = [
        conv_norm_relu(channels[source], channels[source], stride=2)
        for _ in range(target - source - 1)
    ]
    return nn.Sequential(*steps, conv_norm(channels[source], channels[target], 3, stride=2))


class MultiResolutionModule(nn.Module):
    """Four basic blocks per branch, then every branch receives the sum of all branches."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        branches = range(len(channels))
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(c) for _ in range(BLOCKS_PER_BRANCH))) for c in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(fuse_layer(source, target, channels) for source in branches)
            for target in branches
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Map one tensor per branch, finest first, to tensors of the same shapes."""
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        return [self._fuse(target, maps) for target in range(len(maps))]

    def _fuse(self, target: int, maps: list[Tensor]) -> Tensor:
        layers = self.fuse_layers[target]
        assert isinstance(layers, nn.ModuleList)
        size = maps[target].shape[-2:]

        def term(source: int) -> Tensor:
            y: Tensor = layers[source](maps[source])
            return resize(y, size) if source > target else y

        # Terms are made one at a time: at most two full-size maps live beside the inputs.
        return torch.relu_(reduce(torch.add, map(term, range(len(maps)))))


class HRNet(nn.Module):
    """HRNetV2 with one output plane.

    Args:
        widths: Channel counts.
    """

    def __init__(self, widths: HRNetWidths) -> None:
        super().__init__()
        c0, c1, c2, c3 = channels = [widths.base * 2**branch for branch in range(4)]
        stage1 = widths.planes * EXPANSION
        total = sum(channels)

        self.conv1 = conv(3, widths.stem, 3, stride=2)
        self.bn1 = norm(widths.stem)
        self.conv2 = conv(widths.stem, widths.stem, 3, stride=2)
        self.bn2 = norm(widths.stem)
        self.layer1 = nn.Sequential(
            Bottleneck(widths.stem, widths.planes),
            *(Bottleneck(stage1, widths.planes) for _ in range(3)),
        )
        # Pass-through entries keep the indices of the saved keys.
        self.transition1 = nn.ModuleList(
            [
                nn.Identity() if stage1 == c0 else conv_norm_relu(stage1, c0, stride=1),
                nn.Sequential(conv_norm_relu(stage1, c1, stride=2)),
            ]
        )
        self.stage2 = nn.Sequential(MultiResolutionModule(channels[:2]))
        self.transition2 = nn.ModuleList(
            [nn.Identity(), nn.Identity(), nn.Sequential(conv_norm_relu(c1, c2, stride=2))]
        )
        self.stage3 = nn.Sequential(*(MultiResolutionModule(channels[:3]) for _ in range(4)))
        self.transition3 = nn.ModuleList(
            [*(nn.Identity() for _ in range(3)), nn.Sequential(conv_norm_relu(c2, c3, stride=2))]
        )
        self.stage4 = nn.Sequential(*(MultiResolutionModule(channels) for _ in range(3)))
        self.last_layer = nn.Sequential(
            nn.Conv2d(total, total, 1), norm(total), nn.ReLU(inplace=True), nn.Conv2d(total, 1, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map float (N, 3, H, W) to logits (N, 1, H, W), H and W multiples of 4.

        Other sides are answered too, with an output rounded up to the next multiple of 4.
        """
        x = torch.relu_(self.bn1(self.conv1(x)))
        x = torch.relu_(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        maps: list[Tensor] = self.stage2([transition(x) for transition in self.transition1])
        maps = self.stage3([*maps, self.transition2[-1](maps[-1])])
        maps = self.stage4([*maps, self.transition3[-1](maps[-1])])

        size = maps[0].shape[-2:]
        features = torch.cat([maps[0], *(resize(coarse, size) for coarse in maps[1:])], dim=1)
        logits: Tensor = self.last_layer(features)
        return F.interpolate(logits, scale_factor=4.0, mode="bilinear", align_corners=True)
