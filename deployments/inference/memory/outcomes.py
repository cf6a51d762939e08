"""What goes into the batch executor and what comes out of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from deployments.errors import ServiceError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """One image that waits for a device call.

    Attributes:
        payload: What the device call takes.
        cost: Its padded pixels.
        request_id: The request it belongs to, for the log.
    """

    payload: T
    cost: int
    request_id: str


@dataclass(frozen=True, slots=True)
class Result(Generic[R]):
    """An item's own result.

    Attributes:
        value: What the device call returned for it.
        batch_size: Number of images in that call.
        fallback: Whether the fallback engine made it.
    """

    value: R
    batch_size: int
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an item has no result.

    Attributes:
        error: ``ImageExceedsMemory``, ``InferenceFailed``, or ``RetryElsewhere`` where another
            replica may answer.
    """

    error: ServiceError


class Event(StrEnum):
    """A decision worth a line in the log."""

    SHRINK = "shrink"
    """A device call ran out of memory."""
    SPLIT = "split"
    """Images were cut into smaller calls: above the ceiling, or around an item that raises."""
    REGROW = "regrow"
    """The ceiling has risen."""
    FALLBACK = "fallback"
    """An image that does not fit alone goes to the fallback engine."""
    TOO_LARGE = "too_large"
    """An image that does not fit alone is refused."""
    ITEM_FAILED = "item_failed"
    """An image made the network raise, alone."""
    FATAL = "fatal"
    """The device is lost."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of the executor.

    Attributes:
        event: What was decided.
        cost: Padded pixels of the images it is about.
        ceiling: Ceiling after the decision, in padded pixels.
        request_ids: The requests of these images, in order.
        reason: The error or rule behind it.
    """

    event: Event
    cost: int
    ceiling: int
    request_ids: tuple[str, ...]
    reason: str
