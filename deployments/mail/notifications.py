"""What the service tells by mail: one class per kind, storable as JSON.

A notification holds facts. How they read in a language is decided in ``content.py``.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FailedImage(_Facts):
    """An image that could not be segmented: its name as uploaded, and why."""

    name: str
    error: str


class ModelTime(_Facts):
    """How long one model worked on a job: images it ran on and seconds of its device."""

    model: str
    images: int
    seconds: float


class JobFinished(_Facts):
    """A job ended with at least one result.

    ``failed_images`` may name fewer images than ``failed`` counts.
    """

    kind: Literal["job_finished"] = "job_finished"
    job_id: str
    images: int
    succeeded: int
    failed: int
    seconds: float
    models: tuple[ModelTime, ...] = ()
    failed_images: tuple[FailedImage, ...] = ()


class JobFailed(_Facts):
    """A job ended without any result."""

    kind: Literal["job_failed"] = "job_failed"
    job_id: str
    images: int
    reason: str
    failed_images: tuple[FailedImage, ...] = ()


class ReplicaReplaced(_Facts):
    """A replica was replaced after a fatal error of its device."""

    kind: Literal["replica_replaced"] = "replica_replaced"
    model: str
    replica: str
    device: str
    reason: str
    at: datetime

    @property
    def summary(self) -> str:
        """One line for the digest."""
        return f"{self.model} {self.replica} ({self.device}): {self.reason}"


class ModelDegraded(_Facts):
    """A model has fallen back to single images for want of memory."""

    kind: Literal["model_degraded"] = "model_degraded"
    model: str
    device: str
    reason: str
    at: datetime

    @property
    def summary(self) -> str:
        """One line for the digest."""
        return f"{self.model} ({self.device}): {self.reason}"


class MailDeadLettered(_Facts):
    """A mail will not be tried again."""

    kind: Literal["mail_dead_lettered"] = "mail_dead_lettered"
    mail_id: str
    mail_kind: str
    recipient: str
    reason: str
    at: datetime

    @property
    def summary(self) -> str:
        """One line for the digest."""
        return f"{self.mail_kind} {self.mail_id} to {self.recipient}: {self.reason}"


OperatorEvent = ReplicaReplaced | ModelDegraded | MailDeadLettered


class DigestEntry(_Facts):
    """One event inside a digest."""

    kind: str
    summary: str
    at: datetime


class Digest(_Facts):
    """Events that the rate limit held back. ``total`` may exceed the number of entries."""

    kind: Literal["digest"] = "digest"
    since: datetime
    until: datetime
    total: int
    entries: tuple[DigestEntry, ...]


class MailTest(_Facts):
    """``spheroserve mail test`` was run on the machine ``host``."""

    kind: Literal["mail_test"] = "mail_test"
    host: str
    at: datetime


Notification = Annotated[
    JobFinished
    | JobFailed
    | ReplicaReplaced
    | ModelDegraded
    | MailDeadLettered
    | Digest
    | MailTest,
    Field(discriminator="kind"),
]

NOTIFICATION: TypeAdapter[Notification] = TypeAdapter(Notification)
OPERATOR_EVENT: TypeAdapter[OperatorEvent] = TypeAdapter(
    Annotated[OperatorEvent, Field(discriminator="kind")]
)

OPERATOR_KINDS = frozenset({"replica_replaced", "model_degraded", "mail_dead_lettered", "digest"})
