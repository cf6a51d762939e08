"""An SMTP server that misbehaves on purpose, in the ways that mail servers do."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes
from enum import Enum, auto
from types import TracebackType
from typing import Self

SLOW_REPLY_SECONDS = 0.2


class Fault(Enum):
    """What goes wrong on one connection."""

    NONE = auto()
    SLOW_REPLIES = auto()
    SILENT_BANNER = auto()
    CLOSING_421 = auto()
    REFUSED_554 = auto()
    GREYLISTED_451 = auto()
    UNKNOWN_USER_550 = auto()
    CUT_INSIDE_CONTENT = auto()
    CUT_AFTER_DOT = auto()
    SILENT_AFTER_DOT = auto()
    REFUSED_AFTER_DOT_451 = auto()
    REFUSED_AFTER_DOT_552 = auto()
    GARBAGE_AFTER_DOT = auto()
    INJECTED_BEFORE_TLS = auto()
    LOGIN_ECHOED_535 = auto()


@dataclass(frozen=True, slots=True)
class Stored:
    """A mail that the server has taken."""

    recipient: str
    content: bytes

    @property
    def message_id(self) -> str:
        """The Message-ID header."""
        return str(message_from_bytes(self.content)["Message-ID"]).strip()


class _Cut(Exception):
    """The server drops the connection here."""


class HostileSmtpServer:
    """Listens on a free port of 127.0.0.1 while its ``async with`` lasts.

    Attributes:
        stored: Mails taken, in order.
        first_stored: Set with the first of them.
        lost_acknowledgements: Mails taken whose final reply was never sent.
        connections: Connections accepted so far.
        commands: Every command line received.

    Args:
        next_fault: Asked once per connection.
        tls: Context for STARTTLS; offered where it is given.
    """

    def __init__(self, next_fault: Callable[[], Fault], tls: ssl.SSLContext | None = None) -> None:
        self._next_fault = next_fault
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.port = 0
        self.stored: list[Stored] = []
        self.first_stored = asyncio.Event()
        self.lost_acknowledgements = 0
        self.connections = 0
        self.commands: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await self.idle()

    async def idle(self) -> None:
        """Wait until no connection is open."""
        if self._open:
            await asyncio.wait(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        self.connections += 1
        try:
            with contextlib.suppress(_Cut, ConnectionError, asyncio.IncompleteReadError):
                await _Session(self, self._next_fault(), reader, writer, self._tls).serve()
        finally:
            del self._open[task]
            writer.close()


class _Session:
    def __init__(
        self,
        server: HostileSmtpServer,
        fault: Fault,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._server = server
        self._fault = fault
        self._reader = reader
        self._writer = writer
        self._tls = tls
        self._encrypted = False
        self._recipient = ""

    async def serve(self) -> None:
        """Hold the dialogue until either side ends it."""
        await self._greet()
        while line := await self._reader.readline():
            command = line.decode("ascii").strip()
            self._server.commands.append(command)
            verb = command.split(" ")[0].upper()
            if verb == "QUIT":
                await self._say("221 bye")
                return
            await self._answer(verb, command)

    async def _answer(self, verb: str, command: str) -> None:
        match verb:
            case "EHLO":
                await self._say(self._capabilities())
            case "STARTTLS":
                await self._start_tls()
            case "AUTH":
                await self._say(f"535 no login with {command}")
            case "RCPT":
                await self._receive_recipient(command)
            case "DATA":
                await self._receive_content()
            case _:
                await self._say("250 ok")

    async def _greet(self) -> None:
        match self._fault:
            case Fault.SILENT_BANNER:
                await self._stay_silent()
            case Fault.CLOSING_421:
                await self._say("421 too busy")
                raise _Cut
            case Fault.REFUSED_554:
                await self._say("554 no service for you")
                raise _Cut
        await self._say("220 hostile")

    def _capabilities(self) -> str:
        names = ["hostile"]
        if self._tls is not None and not self._encrypted:
            names.append("STARTTLS")
        if self._fault is Fault.LOGIN_ECHOED_535:
            names.append("AUTH PLAIN")
        lines = [f"250-{name}" for name in names]
        lines[-1] = lines[-1].replace("250-", "250 ")
        return "\r\n".join(lines)

    async def _start_tls(self) -> None:
        reply = "220 go ahead"
        if self._fault is Fault.INJECTED_BEFORE_TLS:
            # In one packet with the reply, as someone in the middle would do it.
            reply += "\r\n250-injected\r\n250 AUTH PLAIN LOGIN"
        await self._say(reply)
        assert self._tls is not None, "STARTTLS is offered only with a context"
        await self._writer.start_tls(self._tls)
        self._encrypted = True

    async def _receive_recipient(self, command: str) -> None:
        match self._fault:
            case Fault.GREYLISTED_451:
                await self._say("451 come back later")
            case Fault.UNKNOWN_USER_550:
                await self._say("550 no such user")
            case _:
                self._recipient = command.partition("<")[2].rstrip(">")
                await self._say("250 ok")

    async def _receive_content(self) -> None:
        await self._say("354 go ahead")
        if self._fault is Fault.CUT_INSIDE_CONTENT:
            await self._reader.readline()
            raise _Cut
        content = await self._reader.readuntil(b"\r\n.\r\n")
        match self._fault:
            case Fault.REFUSED_AFTER_DOT_451:
                await self._say("451 disk full, later")
                return
            case Fault.REFUSED_AFTER_DOT_552:
                await self._say("552 too large")
                return
        self._server.stored.append(Stored(self._recipient, content))
        self._server.first_stored.set()
        match self._fault:
            case Fault.CUT_AFTER_DOT:
                self._server.lost_acknowledgements += 1
                raise _Cut
            case Fault.SILENT_AFTER_DOT:
                self._server.lost_acknowledgements += 1
                await self._stay_silent()
            case Fault.GARBAGE_AFTER_DOT:
                self._server.lost_acknowledgements += 1
                await self._say("what was the question?")
                raise _Cut
        await self._say("250 stored")

    async def _stay_silent(self) -> None:
        """Read until the other side gives up."""
        while await self._reader.read(4096):
            pass
        raise _Cut

    async def _say(self, line: str) -> None:
        if self._fault is Fault.SLOW_REPLIES:
            await asyncio.sleep(SLOW_REPLY_SECONDS)
        self._writer.write(line.encode() + b"\r\n")
        await self._writer.drain()
