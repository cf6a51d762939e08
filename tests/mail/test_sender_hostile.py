"""Sending to a server that misbehaves: the verdict, the time it takes, what leaks."""

import asyncio
import logging

import pytest

from benchmarks.hostile_smtp import Fault, HostileSmtpServer
from deployments.mail.outcome import Cause, Dead, Deferred, Sent
from deployments.mail.sender import SmtpSender
from tests.mail.conftest import plain_message

PASSWORD = "correct-horse-battery"

VERDICTS = {
    Fault.SILENT_BANNER: (Cause.SERVER, "TimeoutError"),
    Fault.CLOSING_421: (Cause.SERVER, "421 too busy"),
    Fault.REFUSED_554: (Cause.SERVER, "554 no service"),
    Fault.GREYLISTED_451: (Cause.MAIL, "451 come back later"),
    Fault.UNKNOWN_USER_550: (None, "550 no such user"),
    Fault.CUT_INSIDE_CONTENT: (Cause.UNKNOWN, "No reply after the content"),
    Fault.CUT_AFTER_DOT: (Cause.UNKNOWN, "No reply after the content"),
    Fault.SILENT_AFTER_DOT: (Cause.UNKNOWN, "No reply after the content"),
    Fault.REFUSED_AFTER_DOT_451: (Cause.MAIL, "451 disk full"),
    Fault.REFUSED_AFTER_DOT_552: (None, "552 too large"),
    Fault.GARBAGE_AFTER_DOT: (Cause.UNKNOWN, "Malformed"),
}
# Milliseconds; long enough to reach the content on a busy machine.
TIMEOUTS = {Fault.SILENT_BANNER: 200, Fault.SILENT_AFTER_DOT: 1500}
STORED = {Fault.CUT_AFTER_DOT, Fault.SILENT_AFTER_DOT, Fault.GARBAGE_AFTER_DOT}


async def _send(settings, listener=None):
    return await SmtpSender(settings, listener).send(plain_message(settings), "ada@example.org")


@pytest.mark.parametrize("fault", VERDICTS, ids=lambda fault: fault.name)
async def test_verdict(make_settings, fault):
    cause, reason = VERDICTS[fault]
    async with HostileSmtpServer(lambda: fault) as server:
        timeout = TIMEOUTS.get(fault, 30_000)
        outcome = await _send(make_settings(smtp_port=server.port, email_timeout=timeout))
    if cause is None:
        assert isinstance(outcome, Dead)
    else:
        assert isinstance(outcome, Deferred)
        assert outcome.cause is cause
    assert reason in outcome.reason
    assert len(server.stored) == (fault in STORED)
    assert server.lost_acknowledgements == (fault in STORED)


@pytest.mark.parametrize("fault", [Fault.SILENT_BANNER, Fault.SILENT_AFTER_DOT])
async def test_a_server_that_never_answers_is_left(make_settings, fault):
    loop = asyncio.get_running_loop()
    async with HostileSmtpServer(lambda: fault) as server:
        settings = make_settings(smtp_port=server.port, email_timeout=400)
        started = loop.time()
        async with asyncio.timeout(30):
            outcome = await _send(settings)
        taken = loop.time() - started
    assert isinstance(outcome, Deferred)
    assert taken >= 0.39, "not before the time is over"


async def test_the_timeout_bounds_the_whole_send_and_not_each_step(make_settings):
    async with HostileSmtpServer(lambda: Fault.SLOW_REPLIES) as server:
        # Every reply takes 0.2 s and there are six, so each step alone is within the limit.
        outcome = await _send(make_settings(smtp_port=server.port, email_timeout=600))
        assert isinstance(outcome, Deferred)
        assert server.stored == []
        outcome = await _send(make_settings(smtp_port=server.port, email_timeout=30_000))
        assert outcome == Sent("250 stored")


async def test_text_injected_before_starttls_is_discarded(make_settings, certificates):
    lines: list[str] = []
    async with HostileSmtpServer(lambda: Fault.INJECTED_BEFORE_TLS, certificates.server) as server:
        settings = make_settings(
            smtp_port=server.port, smtp_require_tls=True, smtp_ca_file=certificates.ca_file
        )
        outcome = await _send(settings, lines.append)
    assert outcome == Sent("250 stored")
    assert not any("injected" in line for line in lines)
    verbs = [command.split(" ")[0] for command in server.commands]
    # EHLO again inside TLS: nothing learnt before the handshake is believed.
    assert verbs == ["EHLO", "STARTTLS", "EHLO", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_a_stripped_starttls_sends_nothing(make_settings):
    async with HostileSmtpServer(lambda: Fault.NONE, tls=None) as server:
        outcome = await _send(make_settings(smtp_port=server.port, smtp_require_tls=True))
    assert isinstance(outcome, Deferred)
    assert [command.split(" ")[0] for command in server.commands] == ["EHLO"]


async def test_a_password_that_the_server_repeats_is_not_shown(make_settings, certificates, caplog):
    async with HostileSmtpServer(lambda: Fault.LOGIN_ECHOED_535, certificates.server) as server:
        settings = make_settings(
            smtp_port=server.port,
            smtp_require_tls=True,
            smtp_ca_file=certificates.ca_file,
            smtp_user="robot",
            smtp_pass=PASSWORD,
            email_debug=True,
        )
        with caplog.at_level(logging.DEBUG):
            outcome = await _send(settings)
    secret = next(c for c in server.commands if c.startswith("AUTH PLAIN ")).split(" ")[2]
    assert isinstance(outcome, Deferred)
    shown = caplog.text + outcome.reason
    assert "C: EHLO" in shown, "the dialogue is logged"
    assert secret not in shown
    assert PASSWORD not in shown
    assert "AUTH" not in shown


async def test_the_dialogue_is_logged_only_on_demand(make_settings, caplog):
    async with HostileSmtpServer(lambda: Fault.NONE) as server:
        with caplog.at_level(logging.INFO):
            await _send(make_settings(smtp_port=server.port))
            assert "EHLO" not in caplog.text
            await _send(make_settings(smtp_port=server.port, email_debug=True))
    assert "C: RCPT TO:<ada@example.org>" in caplog.text
    assert "S: 250 stored" in caplog.text
    assert "no image could be read" not in caplog.text, "the content stays private"


async def test_cancelling_a_send_closes_the_connection(make_settings):
    async with HostileSmtpServer(lambda: Fault.SILENT_AFTER_DOT) as server:
        task = asyncio.create_task(_send(make_settings(smtp_port=server.port)))
        await server.first_stored.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        # The server's session ends only when the client's socket is closed.
        await asyncio.wait_for(server.idle(), 10)
