"""An SMTP client that tells its dialogue, without the login and without the content."""

from collections.abc import Callable
from typing import Any

from aiosmtplib import SMTP, SMTPResponse

from deployments.mail.outcome import reply_line

Listener = Callable[[str], None]


class TellingSMTP(SMTP):
    """Reports every command and reply to a listener, ``C:`` the client's, ``S:`` the server's.

    Of a login only the fact and the code of the final reply are told: the lines in between
    carry the password. Of the content only the size is told.

    Args:
        listener: Called with one line at a time.
        options: As for :class:`aiosmtplib.SMTP`.
    """

    def __init__(self, listener: Listener, **options: Any) -> None:
        super().__init__(**options)
        self._listener = listener
        self._secret = False

    async def connect(self, **options: Any) -> SMTPResponse:
        """Connect, encrypt and log in as the options say."""
        self._listener(f"C: (connecting to {self.hostname} port {self.port})")
        return await super().connect(**options)

    async def execute_command(self, *args: bytes, **options: Any) -> SMTPResponse:
        """Send one command and return the reply."""
        if self._secret:
            return await super().execute_command(*args, **options)
        self._listener("C: " + b" ".join(args).decode("ascii", "replace"))
        response = await super().execute_command(*args, **options)
        self._tell(response)
        return response

    async def starttls(self, **options: Any) -> SMTPResponse:
        """Encrypt the connection."""
        self._listener("C: STARTTLS")
        response = await super().starttls(**options)
        self._tell(response)
        self._listener("C: (TLS handshake done)")
        return response

    async def login(self, *credentials: Any, **options: Any) -> SMTPResponse:
        """Log in with the best method that both sides know."""
        if self.is_ehlo_or_helo_needed:
            await self.ehlo()
        self._listener("C: (login, not shown)")
        self._secret = True
        try:
            response = await super().login(*credentials, **options)
        finally:
            self._secret = False
        self._listener(f"S: {response.code}")
        return response

    async def data(self, message: str | bytes, /, **options: Any) -> SMTPResponse:
        """Send the content of the mail."""
        self._listener(f"C: DATA ({len(message)} bytes, not shown)")
        response = await super().data(message, **options)
        self._tell(response)
        return response

    def _tell(self, response: SMTPResponse) -> None:
        for line in response.message.splitlines() or [""]:
            # Not even the list of login methods, so that "no AUTH line" is easy to check.
            if not line.upper().startswith("AUTH"):
                self._listener("S: " + reply_line(response.code, line))
