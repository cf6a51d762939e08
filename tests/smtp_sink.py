"""A real SMTP server in a thread, for tests whose client runs in another process or loop."""

import asyncio
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

LATER = "451 come back later"
UNKNOWN = "550 no such user"
STORED = "250 stored"


class SmtpSink:
    """Takes mails, or refuses them for now; use it as a context manager.

    Attributes:
        port: Where it listens on 127.0.0.1.
        refusing: Whether every recipient is answered 451.
        refused: How many recipients were.
        losing: Whether mails are taken and the connection cut instead of saying so.
        silent: Whether mails are taken and nothing is said.
        unknown: Addresses that are answered 550.

    Args:
        tls: Context for STARTTLS, which is then required.
        login: User and password, which are then required.
    """

    def __init__(
        self, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None
    ) -> None:
        self.port = _free_port()
        self.refusing = False
        self.refused = 0
        self.losing = False
        self.silent = False
        self.unknown: set[str] = set()
        self._messages: list[EmailMessage] = []
        self._changed = threading.Condition()
        options: dict[str, Any] = {}
        if tls is not None:
            options |= {"tls_context": tls, "require_starttls": True}
        if login is not None:
            options |= {"authenticator": _authenticator(*login), "auth_required": True}
        with warnings.catch_warnings():
            # It warns that a login over plain text is asked for.
            warnings.simplefilter("ignore", UserWarning)
            self._controller = Controller(self, "127.0.0.1", self.port, **options)

    def __enter__(self) -> "SmtpSink":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def messages(self) -> list[EmailMessage]:
        """What was taken so far, as a reader's program sees it."""
        with self._changed:
            return list(self._messages)

    def wait(self, happened: Callable[["SmtpSink"], bool], seconds: float = 60) -> None:
        """Wait until something is true of the sink.

        Raises:
            TimeoutError: It was not in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: happened(self), seconds):
                raise TimeoutError(f"{len(self._messages)} mails, {self.refused} refused")

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Called by aiosmtpd."""
        with self._changed:
            if self.refusing:
                self.refused += 1
                self._changed.notify_all()
                return LATER
            if address in self.unknown:
                return UNKNOWN
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Called by aiosmtpd."""
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=default)
        assert isinstance(message, EmailMessage)
        with self._changed:
            self._messages.append(message)
            self._changed.notify_all()
            if self.losing:
                server.transport.abort()
            silent = self.silent
        if silent:
            # Until the client goes: aiosmtpd then cancels this.
            await asyncio.Event().wait()
        return STORED


def text_of(message: EmailMessage) -> str:
    """The plain text of a mail, with LF at the end of lines."""
    body = message.get_body(["plain"])
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _authenticator(user: str, password: str) -> Callable[..., AuthResult]:
    def authenticate(_server: Any, _session: Any, _envelope: Any, _how: str, data: Any) -> Any:
        given = (data.login, data.password) if isinstance(data, LoginPassword) else None
        return AuthResult(success=given == (user.encode(), password.encode()), handled=False)

    return authenticate
