"""The values that go into the job store and come out of it. Times are UTC."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime

from deployments.jobs.states import ImageState, JobState, MailState


@dataclass(frozen=True, slots=True)
class NewImage:
    """One input of a new job.

    Attributes:
        name: The file's name as uploaded; shown, never used as a path.
        content: SHA-256 (hex) of the bytes, which the file store already holds.
    """

    name: str
    content: str


@dataclass(frozen=True, slots=True)
class NewJob:
    """What a client asks for.

    Attributes:
        tenant: Who asks; jobs of one tenant are invisible to the others.
        outputs: Kinds of result files wanted.
        notify: Recipients of the mail at the end.
        idempotency_key: Repeating a request under one key returns the first job.
    """

    tenant: str
    model: str
    threshold: float
    detect_holes: bool
    images: tuple[NewImage, ...]
    outputs: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    locale: str = "en"
    idempotency_key: str | None = None

    @property
    def request_hash(self) -> str:
        """SHA-256 (hex) of all that makes two requests the same, the images included."""
        request = [
            self.model,
            self.threshold,
            self.detect_holes,
            self.outputs,
            self.notify,
            self.locale,
            [[image.name, image.content] for image in self.images],
        ]
        return hashlib.sha256(json.dumps(request).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Counts:
    """Number of images of a job in each state."""

    queued: int = 0
    leased: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    dead: int = 0

    @property
    def total(self) -> int:
        """Number of images of the job."""
        return self.pending + self.succeeded + self.failed + self.cancelled + self.dead

    @property
    def pending(self) -> int:
        """Number of images that are not finished."""
        return self.queued + self.leased


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored.

    Attributes:
        error: Why the job failed, as one sentence; None unless ``failed``.
        cancel_requested_at: Set once no further image may start.
    """

    id: str
    tenant: str
    model: str
    threshold: float
    detect_holes: bool
    outputs: tuple[str, ...]
    notify: tuple[str, ...]
    locale: str
    state: JobState
    counts: Counts
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a job.

    Attributes:
        position: Place in the job, from 0.
        content: SHA-256 (hex) of the input file.
        attempts: How often the image was claimed.
        timings: Seconds by name, as the worker reported them.
        result: SHA-256 (hex) of the result file; None unless ``succeeded``.
    """

    position: int
    name: str
    content: str
    state: ImageState
    attempts: int
    error: str | None
    timings: dict[str, float]
    result: str | None


@dataclass(frozen=True, slots=True)
class ImageToken:
    """Proof of one claim of one image; outdated by the next claim of that image."""

    job_id: str
    position: int
    fence: int


@dataclass(frozen=True, slots=True)
class ImageLease:
    """An image to be worked on until ``lease_until``, and how."""

    token: ImageToken
    name: str
    content: str
    attempt: int
    lease_until: datetime
    model: str
    threshold: float
    detect_holes: bool
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a job. Ids count from 1 in each job, without gaps."""

    id: int
    kind: str
    data: dict[str, object]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Reaped:
    """What became of the images whose leases had expired.

    Attributes:
        returned: Back in the queue, or cancelled with their job.
        dead: Given up.
    """

    returned: int
    dead: int


@dataclass(frozen=True, slots=True)
class MailToken:
    """Proof of one claim of one mail; outdated by the next claim of that mail."""

    id: str
    fence: int


@dataclass(frozen=True, slots=True)
class Mail:
    """One notification to one recipient.

    Attributes:
        job_id: The job it tells of; None for mails to the operator.
        data: What the message says beyond the job itself.
        message_key: Left part of the Message-ID: SHA-256 (hex) of job, kind and recipient,
            so every try of one notification carries the same one.
        attempts: How often the mail was claimed.
        next_attempt_at: Not claimed before.
        expires_at: When the sender gives up.
        last_reply: The last answer of the mail server or the reason of the last failure.
    """

    id: str
    job_id: str | None
    kind: str
    recipient: str
    locale: str
    data: dict[str, object]
    message_key: str
    state: MailState
    attempts: int
    next_attempt_at: datetime
    expires_at: datetime
    last_reply: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class MailLease:
    """A mail to be sent until ``lease_until``."""

    token: MailToken
    mail: Mail
    lease_until: datetime
