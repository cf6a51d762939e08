"""``spheroserve mail`` against a real SMTP server and a real store."""

import asyncio
import base64
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner, Result

from deployments.errors import ConfigurationError, Conflict, NotFound
from deployments.jobs.records import Mail
from deployments.jobs.states import MailState
from deployments.jobs.store import JobStore
from deployments.mail.settings import MailSettings
from serve_app.cli import cli
from tests.smtp_sink import SmtpSink

PASSWORD = "correct-horse-battery"
LEASE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in MailSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SPHEROSERVE_DATA_DIR", str(tmp_path))
    monkeypatch.delenv("SPHEROSERVE_DATABASE_URL", raising=False)
    monkeypatch.setenv("FROM_EMAIL", "spheroserve@example.org")


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch) -> Iterator[SmtpSink]:
    """A server without TLS and login, and the settings for it."""
    with SmtpSink() as sink:
        monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("SMTP_PORT", str(sink.port))
        monkeypatch.setenv("SMTP_IGNORE_TLS", "true")
        yield sink


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["mail", *arguments])


def test_a_test_mail_arrives_and_the_conversation_is_shown(sink: SmtpSink) -> None:
    result = run("test", "ada@example.org")
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == "sent: 250 stored"
    assert "C: RCPT TO:<ada@example.org>" in result.output
    (message,) = sink.messages
    assert message["Subject"] == "Test mail from SpheroServe"
    assert message["To"] == "ada@example.org"


def test_the_conversation_shows_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with SmtpSink(tls, ("robot", PASSWORD)) as sink:
        values = {
            "SMTP_HOST": "127.0.0.1",
            "SMTP_PORT": str(sink.port),
            "SMTP_CA_FILE": str(tmp_path / "ca.pem"),
            "SMTP_USER": "robot",
            "SMTP_PASS": PASSWORD,
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        result = run("test", "ada@example.org")
        assert result.exit_code == 0, result.output
        assert len(sink.messages) == 1
    assert "C: STARTTLS" in result.output
    assert "login, not shown" in result.output
    plain = base64.b64encode(f"\0robot\0{PASSWORD}".encode()).decode()
    for secret in (PASSWORD, plain, base64.b64encode(PASSWORD.encode()).decode()):
        assert secret not in result.output


def test_a_refusal_is_exit_code_1_and_the_words_of_the_server(sink: SmtpSink) -> None:
    sink.refusing = True
    result = run("test", "ada@example.org")
    assert result.exit_code == 1
    assert result.stderr == "not sent: 451 come back later\n"


def test_an_address_that_is_not_allowed_is_not_even_tried(
    sink: SmtpSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMAIL_ALLOWED_DOMAINS", "example.com")
    result = run("test", "ada@example.org")
    assert result.exit_code == 1
    assert "not allowed" in result.stderr
    assert sink.messages == []


def test_without_a_server_it_says_so() -> None:
    result = run("test", "ada@example.org")
    assert isinstance(result.exception, ConfigurationError)
    assert "EMAIL_SERVICE is none" in str(result.exception)


def test_an_env_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The command writes into os.environ; what is set here is taken back after the test.
    monkeypatch.setenv("SMTP_PORT", "")
    monkeypatch.delenv("SMTP_PORT")
    file = tmp_path / ".env.green"
    file.write_text("SMTP_PORT=none\n")
    result = run("test", "ada@example.org", "--env-file", str(file))
    assert "SMTP_PORT" in str(result.exception)


async def owe(folder: Path) -> dict[MailState, Mail]:
    """Leave one dead, one sent and one queued mail in a store."""
    store = await JobStore.open(f"sqlite:///{folder}/jobs.db", str(folder))
    for number in range(3):
        await store.outbox.add("digest", f"ops{number}@example.org", "en", {})
    first, second = await store.outbox.claim("notifier", 2, LEASE)
    await store.outbox.mark_dead(first.token, "550 no such user")
    await store.outbox.mark_sent(second.token, "250 ok")
    mails = await store.outbox.list(10)
    await store.close()
    return {mail.state: mail for mail in mails}


@pytest.fixture
def mails(tmp_path: Path) -> dict[MailState, Mail]:
    return asyncio.run(owe(tmp_path))


def test_the_outbox_is_counted_and_listed(mails: dict[MailState, Mail]) -> None:
    result = run("outbox")
    assert result.exit_code == 0, result.output
    counts, _head, *lines = result.output.splitlines()
    assert counts == "1 queued, 0 sending, 1 sent, 0 deferred, 1 dead"
    assert {line.split()[0] for line in lines} == {mail.id for mail in mails.values()}
    dead = mails[MailState.DEAD]
    (line,) = [line for line in lines if dead.id in line]
    assert dead.recipient in line
    assert "550 no such user" in line


def test_the_outbox_by_state_and_page(mails: dict[MailState, Mail]) -> None:
    only = run("outbox", "--state", "dead").output.splitlines()[2:]
    assert [line.split()[0] for line in only] == [mails[MailState.DEAD].id]
    first = run("outbox", "--limit", "2").output.splitlines()[2:]
    assert len(first) == 2
    rest = run("outbox", "--after", first[-1].split()[0]).output.splitlines()[2:]
    seen = [line.split()[0] for line in first + rest]
    assert sorted(seen) == sorted(mail.id for mail in mails.values())


def test_a_dead_mail_starts_anew(mails: dict[MailState, Mail]) -> None:
    dead = mails[MailState.DEAD]
    result = run("retry", dead.id)
    assert result.exit_code == 0, result.output
    assert result.output == f"{dead.id} to {dead.recipient}: queued again\n"
    counts = run("outbox").output.splitlines()[0]
    assert counts == "2 queued, 0 sending, 1 sent, 0 deferred, 0 dead"


def test_a_sent_mail_is_not_sent_again(mails: dict[MailState, Mail]) -> None:
    assert isinstance(run("retry", mails[MailState.SENT].id).exception, Conflict)
    assert isinstance(run("retry", "no-such-mail").exception, NotFound)


def test_a_wrong_folder_is_told_and_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPHEROSERVE_DATA_DIR", str(tmp_path / "elsewhere"))
    result = run("outbox")
    assert isinstance(result.exception, ConfigurationError)
    assert "SPHEROSERVE_DATA_DIR" in str(result.exception)
    assert not (tmp_path / "elsewhere").exists()
