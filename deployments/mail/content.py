"""What a mail says: a notification in one language, still without any layout."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from deployments.mail.notifications import (
    Digest,
    FailedImage,
    JobFailed,
    JobFinished,
    MailDeadLettered,
    MailTest,
    ModelDegraded,
    Notification,
    OperatorEvent,
    ReplicaReplaced,
)
from deployments.mail.phrases import Phrases

MOST_LISTED = 20
_MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Content:
    """The parts of a mail in the order in which they are read.

    Attributes:
        subject: One line without anything that a user wrote.
        heading: First line of the body.
        facts: Pairs of label and value.
        list_title: Title of ``items``, empty where there are none.
        items: Lines of the list.
        link: URL of the job, or None.
    """

    subject: str
    heading: str
    facts: Sequence[tuple[str, str]]
    list_title: str = ""
    items: Sequence[str] = ()
    link: str | None = None


def clean(text: str) -> str:
    """Return one printable line of bounded length.

    Line breaks, control and direction characters in a file name could forge lines of the mail.
    """
    line = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return line if len(line) <= _MOST_CHARACTERS else line[: _MOST_CHARACTERS - 1] + "…"


def write_content(notification: Notification, say: Phrases, frontend_url: str) -> Content:
    """Put a notification into words.

    Args:
        notification: What happened.
        say: Sentences of the reader's language.
        frontend_url: Base of links.
    """
    match notification:
        case JobFinished():
            return _job_finished(notification, say, frontend_url)
        case JobFailed():
            return _job_failed(notification, say, frontend_url)
        case Digest():
            return _digest(notification, say)
        case MailTest():
            return _mail_test(notification, say)
        case _:
            return _operator_event(notification, say)


def _job_finished(job: JobFinished, say: Phrases, frontend_url: str) -> Content:
    facts = [
        (say("label.job"), clean(job.job_id)),
        (say("label.images"), str(job.images)),
        (say("label.succeeded"), str(job.succeeded)),
        (say("label.failed"), str(job.failed)),
        (say("label.duration"), _duration(job.seconds)),
    ]
    facts += [
        (clean(used.model), say("model_time", images=used.images, time=_duration(used.seconds)))
        for used in job.models
    ]
    return Content(
        subject=say("subject.job_finished", succeeded=job.succeeded, images=job.images),
        heading=say("heading.job_finished"),
        facts=facts,
        list_title=say("list.failed_images") if job.failed else "",
        items=_failed_lines(job.failed_images, job.failed, say),
        link=_job_link(frontend_url, job.job_id),
    )


def _job_failed(job: JobFailed, say: Phrases, frontend_url: str) -> Content:
    return Content(
        subject=say("subject.job_failed", images=job.images),
        heading=say("heading.job_failed"),
        facts=[
            (say("label.job"), clean(job.job_id)),
            (say("label.images"), str(job.images)),
            (say("label.reason"), clean(job.reason)),
        ],
        list_title=say("list.failed_images") if job.failed_images else "",
        items=_failed_lines(job.failed_images, len(job.failed_images), say),
        link=_job_link(frontend_url, job.job_id),
    )


def _operator_event(event: OperatorEvent, say: Phrases) -> Content:
    match event:
        case ReplicaReplaced():
            named = [("label.model", event.model), ("label.replica", event.replica)]
            named.append(("label.device", event.device))
        case ModelDegraded():
            named = [("label.model", event.model), ("label.device", event.device)]
        case MailDeadLettered():
            named = [("label.mail", event.mail_id), ("label.kind", event.mail_kind)]
            named.append(("label.recipient", event.recipient))
    named.append(("label.reason", event.reason))
    named.append(("label.time", _time(event.at)))
    return Content(
        subject=say(f"subject.{event.kind}"),
        heading=say(f"heading.{event.kind}"),
        facts=[(say(label), clean(value)) for label, value in named],
    )


def _digest(digest: Digest, say: Phrases) -> Content:
    lines = [
        clean(f"{_time(entry.at)} {entry.kind} {entry.summary}")
        for entry in digest.entries[:MOST_LISTED]
    ]
    return Content(
        subject=say("subject.digest", total=digest.total),
        heading=say("heading.digest"),
        facts=[(say("label.from"), _time(digest.since)), (say("label.until"), _time(digest.until))],
        list_title=say("list.events"),
        items=_with_rest(lines, digest.total, say),
    )


def _mail_test(test: MailTest, say: Phrases) -> Content:
    return Content(
        subject=say("subject.mail_test"),
        heading=say("heading.mail_test"),
        facts=[(say("label.host"), clean(test.host)), (say("label.time"), _time(test.at))],
    )


def _failed_lines(failed: Sequence[FailedImage], total: int, say: Phrases) -> list[str]:
    lines = [f"{clean(image.name)}: {clean(image.error)}" for image in failed[:MOST_LISTED]]
    return _with_rest(lines, total, say)


def _with_rest(lines: list[str], total: int, say: Callable[..., str]) -> list[str]:
    rest = total - len(lines)
    return [*lines, say("list.more", count=rest)] if rest > 0 else lines


def _job_link(frontend_url: str, job_id: str) -> str:
    return f"{frontend_url.rstrip('/')}/jobs/{quote(job_id, safe='')}"


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
