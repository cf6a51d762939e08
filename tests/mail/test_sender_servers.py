"""Sending through aiosmtpd, a real SMTP server, in every mode of encryption."""

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiosmtpd.handlers import Message
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from deployments.errors import ConfigurationError
from deployments.mail.outcome import Cause, Dead, Deferred, Sent
from deployments.mail.sender import SkippingSender, SmtpSender, create_sender
from tests.mail.conftest import plain_message

PASSWORD = "correct-horse-battery"


class Inbox(Message):
    """Keeps what arrives and over which kind of connection."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[Any] = []
        self.encrypted: list[bool] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.encrypted.append(server.transport.get_extra_info("sslcontext") is not None)
        self.received.append(self.prepare_message(session, envelope))
        return "250 stored"

    def handle_message(self, message: Any) -> None:
        raise AssertionError("handle_DATA keeps the messages")


def _authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
    matches = isinstance(data, LoginPassword) and data.password == PASSWORD.encode()
    return AuthResult(success=matches and data.login == b"robot", handled=False)


@contextlib.asynccontextmanager
async def serving(inbox: Inbox, implicit_tls: Any = None, **options: Any) -> AsyncIterator[int]:
    """Serve on a free port of 127.0.0.1 and give the port."""
    loop = asyncio.get_running_loop()

    def build() -> SMTP:
        with warnings.catch_warnings():
            # It warns that a login over implicit TLS is not over STARTTLS.
            warnings.simplefilter("ignore", UserWarning)
            return SMTP(inbox, loop=loop, hostname="mail.example.org", **options)

    server = await loop.create_server(build, "127.0.0.1", 0, ssl=implicit_tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_starttls(make_settings, certificates):
    inbox = Inbox()
    async with serving(inbox, tls_context=certificates.server, require_starttls=True) as port:
        settings = make_settings(
            smtp_port=port, smtp_require_tls=True, smtp_ca_file=certificates.ca_file
        )
        message = plain_message(settings)
        outcome = await SmtpSender(settings).send(message, "reader@example.org")
    assert outcome == Sent("250 stored")
    assert inbox.encrypted == [True]
    received = inbox.received[0]
    assert received["Message-ID"].strip() == message["Message-ID"]
    assert received["X-RcptTo"] == "reader@example.org"
    assert received["X-MailFrom"] == "spheroserve@example.org"


async def test_implicit_tls(make_settings, certificates):
    inbox = Inbox()
    async with serving(inbox, certificates.server) as port:
        settings = make_settings(
            smtp_port=port, smtp_secure=True, smtp_ca_file=certificates.ca_file
        )
        outcome = await SmtpSender(settings).send(plain_message(settings), "reader@example.org")
    assert isinstance(outcome, Sent)
    assert inbox.encrypted == [True]


async def test_plain_text_only_where_asked_for(make_settings):
    inbox = Inbox()
    async with serving(inbox) as port:
        plain = make_settings(smtp_port=port)
        outcome = await SmtpSender(plain).send(plain_message(plain), "reader@example.org")
        required = make_settings(smtp_port=port, smtp_require_tls=True)
        refused = await SmtpSender(required).send(plain_message(plain), "reader@example.org")
    assert isinstance(outcome, Sent)
    assert isinstance(refused, Deferred)
    assert refused.cause is Cause.SERVER
    assert "STARTTLS" in refused.reason
    assert len(inbox.received) == 1


@pytest.mark.parametrize("mode", ["smtp_secure", "smtp_require_tls"])
async def test_an_unknown_authority_is_refused_unless_allowed(make_settings, certificates, mode):
    inbox = Inbox()
    implicit = certificates.server if mode == "smtp_secure" else None
    offered = None if implicit else certificates.server
    async with serving(inbox, implicit, tls_context=offered) as port:
        settings = make_settings(smtp_port=port, **{mode: True})
        refused = await SmtpSender(settings).send(plain_message(settings), "reader@example.org")
        insecure = make_settings(smtp_port=port, email_allow_insecure=True, **{mode: True})
        accepted = await SmtpSender(insecure).send(plain_message(settings), "reader@example.org")
    assert isinstance(refused, Deferred)
    assert "certificate" in refused.reason.lower()
    assert refused.cause is Cause.SERVER
    assert isinstance(accepted, Sent)
    assert len(inbox.received) == 1


async def test_login(make_settings, certificates):
    inbox = Inbox()
    lines: list[str] = []
    options = {"authenticator": _authenticate, "auth_required": True}
    async with serving(inbox, tls_context=certificates.server, **options) as port:
        values = {
            "smtp_port": port,
            "smtp_require_tls": True,
            "smtp_ca_file": certificates.ca_file,
            "smtp_user": "robot",
        }
        right = make_settings(smtp_pass=PASSWORD, **values)
        sent = await SmtpSender(right, lines.append).send(
            plain_message(right), "reader@example.org"
        )
        wrong = make_settings(smtp_pass="wrong-" + PASSWORD, **values)
        refused = await SmtpSender(wrong).send(plain_message(wrong), "reader@example.org")
        nobody = make_settings(smtp_auth=False, **values)
        anonymous = await SmtpSender(nobody).send(plain_message(nobody), "reader@example.org")
    assert isinstance(sent, Sent)
    # A wrong password is about the server, not about this mail: it waits for a better one.
    assert refused == Deferred("The server refused the login with 535", Cause.SERVER)
    assert isinstance(anonymous, Dead)
    assert anonymous.reason.startswith("530")
    dialogue = "\n".join(lines)
    assert "AUTH" not in dialogue
    assert "C: (login, not shown)\nS: 235" in dialogue


async def test_the_recipient_is_checked_again(make_settings):
    inbox = Inbox()
    async with serving(inbox) as port:
        settings = make_settings(smtp_port=port, email_allowed_domains="example.net")
        outcome = await SmtpSender(settings).send(plain_message(settings), "reader@example.org")
    assert isinstance(outcome, Dead)
    assert not inbox.received


async def test_nobody_listens(make_settings):
    async with serving(Inbox()) as port:
        settings = make_settings(smtp_port=port)
    outcome = await SmtpSender(settings).send(plain_message(settings), "reader@example.org")
    assert isinstance(outcome, Deferred)
    assert outcome.cause is Cause.SERVER


async def test_skip_email_send_reports_success_with_a_warning(make_settings, caplog):
    settings = make_settings(skip_email_send=True)
    sender = create_sender(settings)
    assert isinstance(sender, SkippingSender)
    assert isinstance(await sender.send(plain_message(settings), "reader@example.org"), Sent)
    assert "SKIP_EMAIL_SEND" in caplog.text


def test_no_sender_without_a_service(make_settings):
    with pytest.raises(ConfigurationError, match="EMAIL_SERVICE is none"):
        create_sender(make_settings(email_service="none"))


def test_an_authority_file_without_certificate_is_refused(make_settings, tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ConfigurationError, match="SMTP_CA_FILE"):
        SmtpSender(make_settings(smtp_ca_file=tmp_path / "ca.pem", smtp_require_tls=True))
