"""One mail, one connection, one verdict, within EMAIL_TIMEOUT."""

import asyncio
import logging
import socket
from email.message import EmailMessage
from typing import Any, Protocol

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from deployments.errors import ConfigurationError, InvalidRequest
from deployments.mail.address import RecipientPolicy
from deployments.mail.dialogue import Listener, TellingSMTP
from deployments.mail.outcome import (
    Dead,
    Outcome,
    Sent,
    Stage,
    judge_failure,
    reply_line,
)
from deployments.mail.settings import MailSettings
from deployments.mail.tls import Tls, create_context

logger = logging.getLogger(__name__)

_QUIT_SECONDS = 2.0


class Sender(Protocol):
    """Sends one mail."""

    async def send(self, message: EmailMessage, recipient: str) -> Outcome:
        """Return the verdict of one attempt. Never raises for what a server does."""
        ...


class SmtpSender:
    """Sends each mail over a connection of its own.

    Args:
        settings: Server, login and time limit.
        listener: Told the dialogue; None where EMAIL_DEBUG decides about the log.

    Raises:
        ConfigurationError: No server is configured, or its authority file cannot be read.
    """

    def __init__(self, settings: MailSettings, listener: Listener | None = None) -> None:
        if not settings.enabled or settings.smtp_host is None:
            raise ConfigurationError("EMAIL_SERVICE is none, so no mail can be sent.")
        self._settings = settings
        self._recipients = RecipientPolicy.from_settings(settings)
        self._listener = listener or (logger.info if settings.email_debug else None)
        try:
            self._tls = create_context(settings.smtp_ca_file, not settings.email_allow_insecure)
        except OSError as error:
            raise ConfigurationError(
                f"SMTP_CA_FILE {settings.smtp_ca_file} holds no usable certificate."
            ) from error

    async def send(self, message: EmailMessage, recipient: str) -> Outcome:
        """Send a mail to one recipient.

        The time limit runs from the connection to the final reply. The recipient is checked
        again, because the allowed ones may have changed since the mail was stored.
        """
        try:
            recipient = self._recipients.check(recipient)
        except InvalidRequest as error:
            return Dead(str(error))
        content = message.as_bytes()
        client = self._client()
        stage = Stage.SESSION
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                await client.connect()
                stage = Stage.ENVELOPE
                await client.mail(self._settings.from_email)
                await client.rcpt(recipient)
                stage = Stage.CONTENT
                response = await client.data(content)
            await _say_goodbye(client)
            return Sent(reply_line(response.code, response.message))
        except SMTPResponseException as error:
            await _say_goodbye(client)
            return judge_failure(error, stage)
        except (SMTPException, OSError) as error:
            return judge_failure(error, stage)
        finally:
            client.close()

    def _client(self) -> SMTP:
        settings = self._settings
        user, password = None, None
        if settings.credentials is not None:
            user, password = settings.credentials[0], settings.credentials[1].get_secret_value()
        options: dict[str, Any] = {
            "hostname": settings.smtp_host,
            "port": settings.smtp_port,
            "username": user,
            "password": password,
            "local_hostname": _client_name(settings),
            "timeout": None,
            "use_tls": settings.tls is Tls.IMPLICIT,
            "start_tls": settings.tls is Tls.STARTTLS,
            "tls_context": None if settings.tls is Tls.NONE else self._tls,
        }
        if self._listener is None:
            return SMTP(**options)
        return TellingSMTP(self._listener, **options)


class SkippingSender:
    """Sends nothing and reports success: SKIP_EMAIL_SEND."""

    async def send(self, message: EmailMessage, recipient: str) -> Outcome:
        """Log that the mail was skipped."""
        logger.warning("SKIP_EMAIL_SEND is set: mail %s was not sent.", message["Message-ID"])
        return Sent("not sent: SKIP_EMAIL_SEND is set")


def create_sender(settings: MailSettings, listener: Listener | None = None) -> Sender:
    """Return the sender that the settings ask for.

    Raises:
        ConfigurationError: EMAIL_SERVICE is none.
    """
    return SkippingSender() if settings.skip_email_send else SmtpSender(settings, listener)


async def _say_goodbye(client: SMTP) -> None:
    """Send QUIT to a server that has answered so far. The verdict does not depend on it."""
    if not client.is_connected:
        return
    try:
        async with asyncio.timeout(_QUIT_SECONDS):
            await client.quit()
    except (SMTPException, OSError) as error:
        logger.debug("The SMTP server did not answer QUIT: %s", error)


def _client_name(settings: MailSettings) -> str:
    """Return the name for EHLO: the host's if it has a domain, which many servers ask for."""
    host = socket.gethostname()
    return host if "." in host and host.isascii() else settings.from_domain
