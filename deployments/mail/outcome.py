"""The verdict on one attempt, taken from the reply code and from how far the dialogue came.

    2xx after the content      Sent
    5xx about this mail        Dead       the same mail will be refused again
    4xx about this mail        Deferred   MAIL
    421, or no session at all  Deferred   SERVER: every other mail would meet the same
    silence after DATA         Deferred   UNKNOWN: the server may have taken the mail

A 5xx that refuses the session (banner, HELO, STARTTLS, login) says nothing about the mail. It
defers, so that a password changed too late costs a delay and not the mails of a day.
"""

from dataclasses import dataclass
from enum import Enum

from aiosmtplib import (
    SMTPAuthenticationError,
    SMTPConnectError,
    SMTPException,
    SMTPHeloError,
    SMTPResponseException,
)

_SERVICE_CLOSING = 421
_MOST_CHARACTERS = 300


class Stage(Enum):
    """How far the dialogue came."""

    SESSION = "session"
    ENVELOPE = "envelope"
    CONTENT = "content"


class Cause(Enum):
    """What a deferral was about."""

    MAIL = "mail"
    SERVER = "server"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Sent:
    """The server has taken the mail; ``reply`` are its words."""

    reply: str


@dataclass(frozen=True, slots=True)
class Deferred:
    """The mail is to be tried again."""

    reason: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class Dead:
    """The mail will never be taken."""

    reason: str


Outcome = Sent | Deferred | Dead


def reply_line(code: int, text: str) -> str:
    """Return a reply as one printable line; a server's words could forge lines of a log."""
    # aiosmtplib gives -1 to a reply without a code.
    return _one_line(f"{code} {text}" if code > 0 else text)


def judge_failure(error: Exception, stage: Stage) -> Deferred | Dead:
    """Return the verdict on an attempt that raised.

    Args:
        error: Raised by aiosmtplib, the socket, TLS or the time limit.
        stage: Where the dialogue was.
    """
    if isinstance(error, SMTPAuthenticationError):
        # Some servers repeat the line that they refuse, and that line is the password.
        return Deferred(f"The server refused the login with {error.code}", Cause.SERVER)
    if isinstance(error, SMTPResponseException):
        return _judge_reply(error, stage)
    if stage is Stage.CONTENT:
        return Deferred(f"No reply after the content: {_name(error)}", Cause.UNKNOWN)
    cause = Cause.SERVER if stage is Stage.SESSION else Cause.MAIL
    return Deferred(_name(error), cause)


def _judge_reply(error: SMTPResponseException, stage: Stage) -> Deferred | Dead:
    reply = reply_line(error.code, error.message)
    about_session = stage is Stage.SESSION or isinstance(error, SMTPHeloError | SMTPConnectError)
    if about_session or error.code == _SERVICE_CLOSING:
        return Deferred(reply, Cause.SERVER)
    if 500 <= error.code <= 599:
        return Dead(reply)
    if 400 <= error.code <= 499:
        return Deferred(reply, Cause.MAIL)
    # A reply that is none, after the content: the server may have taken the mail.
    return Deferred(reply, Cause.UNKNOWN if stage is Stage.CONTENT else Cause.MAIL)


def _name(error: Exception) -> str:
    text = error.message if isinstance(error, SMTPException) else str(error)
    name = type(error).__name__
    return _one_line(f"{name}: {text}" if text else name)


def _one_line(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_MOST_CHARACTERS]
