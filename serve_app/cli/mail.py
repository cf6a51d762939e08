"""``spheroserve mail``: try the mail server, look into the outbox, send something again."""

import asyncio
import secrets
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from deployments.errors import ConfigurationError
from deployments.job_settings import JobSettings
from deployments.jobs.records import Mail
from deployments.jobs.states import MailState
from deployments.jobs.store import JobStore
from deployments.mail.message import build_message
from deployments.mail.notifications import MailTest
from deployments.mail.outcome import Outcome, Sent
from deployments.mail.sender import create_sender
from deployments.mail.settings import MailSettings
from serve_app.cli.options import env_file_option, read_env_file


@click.group()
def mail() -> None:
    """Mail: try the server, look into the outbox."""


@mail.command()
@click.argument("address")
@env_file_option
def test(address: str, env_file: Path | None) -> None:
    """Send one mail to ADDRESS now and show the conversation, without the login.

    Exit code 1 unless the server took it.
    """
    read_env_file(env_file)
    outcome = asyncio.run(_send_test(MailSettings(), address))
    if not isinstance(outcome, Sent):
        click.echo(f"not sent: {outcome.reason}", err=True)
        sys.exit(1)
    click.echo(f"sent: {outcome.reply}")


@mail.command()
@click.option("--state", type=click.Choice([state.value for state in MailState]))
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--after", metavar="ID", help="Last mail of the page before.")
@env_file_option
def outbox(state: str | None, limit: int, after: str | None, env_file: Path | None) -> None:
    """Count the mails in each state and list them, the newest first."""
    read_env_file(env_file)
    chosen = None if state is None else MailState(state)
    counts, mails = asyncio.run(_read_outbox(chosen, limit, after))
    click.echo(", ".join(f"{number} {name}" for name, number in counts.items()))
    if mails:
        _print(mails)


@mail.command()
@click.argument("mail_id", metavar="ID")
@env_file_option
def retry(mail_id: str, env_file: Path | None) -> None:
    """Let the dead or deferred mail ID start anew; the notifier sends it within seconds."""
    read_env_file(env_file)
    again = asyncio.run(_retry(mail_id))
    click.echo(f"{again.id} to {again.recipient}: queued again")


async def _send_test(settings: MailSettings, address: str) -> Outcome:
    now = datetime.now(UTC)
    message = build_message(
        MailTest(host=socket.gethostname(), at=now),
        settings,
        recipient=address,
        locale=settings.ops_locale,
        message_key=secrets.token_hex(32),
        created_at=now,
    )
    return await create_sender(settings, click.echo).send(message, address)


async def _read_outbox(
    state: MailState | None, limit: int, after: str | None
) -> tuple[dict[MailState, int], list[Mail]]:
    async with _store() as store:
        return await store.outbox.counts(), list(await store.outbox.list(limit, state, after))


async def _retry(mail_id: str) -> Mail:
    async with _store() as store:
        return await store.outbox.retry(mail_id)


@asynccontextmanager
async def _store() -> AsyncIterator[JobStore]:
    """Open the store of a service that has run.

    Raises:
        ConfigurationError: There is none where the settings say.
    """
    settings = JobSettings.from_environment()
    expiry = timedelta(hours=MailSettings().email_expiry_hours)
    file = settings.url.removeprefix("sqlite:///")
    # Opening it would make an empty one, whose empty outbox says nothing.
    if file != settings.url and not Path(file).is_file():
        raise ConfigurationError(f"there is no job store {file}; is SPHEROSERVE_DATA_DIR right?")
    store = await JobStore.open(settings.url, settings.files, mail_expiry=expiry)
    try:
        yield store
    finally:
        await store.close()


def _print(mails: list[Mail]) -> None:
    table = Table("id", "state", "kind", "recipient", "tries", "created", "last reply", box=None)
    for each in mails:
        table.add_row(
            each.id,
            each.state,
            each.kind,
            each.recipient,
            str(each.attempts),
            f"{each.created_at:%Y-%m-%d %H:%M:%S}",
            each.last_reply or "",
        )
    # Ids are copied from here, so nothing is cut off, whatever the width of the terminal.
    Console(width=250, soft_wrap=True, highlight=False, markup=False).print(table)
