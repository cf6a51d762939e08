"""What the width parameters of every network have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

import torch
from pydantic import BaseModel, ConfigDict, Field

Channels = Annotated[int, Field(ge=1, strict=True)]

Shapes = Mapping[str, torch.Size]
"""State-dict key to tensor shape."""


class Widths(BaseModel, ABC):
    """Channel counts of one network; the defaults are those of the reference weights.

    Attributes:
        signature: A state-dict key that this network has and no other.
        size_multiple: The sides of the input are multiples of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    signature: ClassVar[str]
    size_multiple: ClassVar[int]

    @property
    @abstractmethod
    def minimum_size(self) -> int:
        """Smallest side of a square input, in pixels.

        Below it the deepest feature map is one pixel, which instance normalisation refuses.
        """

    @classmethod
    @abstractmethod
    def from_shapes(cls, shapes: Shapes) -> Self:
        """Read the widths off the shapes of a state dict.

        Raises:
            KeyError: A key that fixes a width is missing.
            pydantic.ValidationError: The widths make no network.
        """
