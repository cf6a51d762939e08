"""The states of jobs, images and mails.

job    queued ─▶ running ─▶ succeeded | partial | failed | cancelled
image  queued ◀─▶ leased ─▶ succeeded | failed | cancelled | dead
mail   queued ─▶ sending ─▶ sent | dead
                  ▲  ▼
                 deferred
"""

from enum import StrEnum


class JobState(StrEnum):
    """State of a job. ``partial``: some images succeeded, others did not."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the job never changes again."""
        return self not in (JobState.QUEUED, JobState.RUNNING)


class ImageState(StrEnum):
    """State of one image. ``failed``: refused for good; ``dead``: given up after retries."""

    QUEUED = "queued"
    LEASED = "leased"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DEAD = "dead"


class MailState(StrEnum):
    """State of one mail to one recipient."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DEFERRED = "deferred"
    DEAD = "dead"
