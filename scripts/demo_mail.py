"""The last part of `make demo`: a job, and the mail that tells of its end."""

import queue
import socket
import time
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import httpx
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session
from rich.console import Console
from rich.panel import Panel

RECIPIENT = "you@example.org"
LIMIT_S = 300


class Mailbox:
    """A mail server on this machine that keeps what it is given. Use it as a context manager."""

    def __init__(self) -> None:
        self._port = free_port()
        self._mails: queue.Queue[EmailMessage] = queue.Queue()
        self._controller = Controller(self, "127.0.0.1", self._port)

    def __enter__(self) -> "Mailbox":
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which the service sends its mail here."""
        return {
            "EMAIL_SERVICE": "smtp",
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(self._port),
            "SMTP_SECURE": "false",
            "SMTP_REQUIRE_TLS": "false",
            "SMTP_IGNORE_TLS": "true",
            "SMTP_AUTH": "false",
            "EMAIL_ALLOWED_DOMAINS": "example.org",
        }

    def next(self) -> EmailMessage:
        """Wait for a mail; ``queue.Empty`` is raised where none comes."""
        return self._mails.get(timeout=LIMIT_S)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Called by aiosmtpd."""
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content, policy=default)
        assert isinstance(message, EmailMessage)
        self._mails.put(message)
        return "250 stored"


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_job(url: str, images: list[Path], mailbox: Mailbox, folder: Path, console: Console) -> None:
    """Send the images as one job, wait for its mail, show it, and keep what it carries."""
    files = [("files", (image.name, image.read_bytes())) for image in images]
    started = time.monotonic()
    response = httpx.post(f"{url}/api/v1/jobs", data={"notify": RECIPIENT}, files=files, timeout=60)
    response.raise_for_status()
    with console.status(f"job {response.json()['id']}: waiting for its mail"):
        mail = mailbox.next()
    body = mail.get_body(["plain"])
    assert body is not None
    headers = [f"{name}: {mail[name]}" for name in ("From", "To", "Subject", "Message-ID")]
    attachments = {str(part.get_filename()): part for part in mail.iter_attachments()}
    for name, part in attachments.items():
        (folder / name).write_bytes(part.get_payload(decode=True))  # type: ignore[arg-type]
    text = "\n".join([*headers, "", str(body.get_content()).strip()]).replace("\r", "")
    seconds = time.monotonic() - started
    title = f"a job of {len(images)} images, and its mail after {seconds:.1f} s"
    console.print(Panel(text, title=title, subtitle=f"attached: {', '.join(attachments)}"))
