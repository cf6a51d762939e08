"""A thousand notifications through a server that misbehaves, with the time made to fly.

    python -m benchmarks.mail_hostile

Each notification must end delivered or dead, under one Message-ID, and no more copies may
arrive than acknowledgements were lost. Writes ``benchmarks/results/mail-hostile.json``.
"""

import asyncio
import json
import logging
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

from benchmarks.hostile_smtp import Fault, HostileSmtpServer
from benchmarks.memory_outbox import MemoryOutbox
from deployments.jobs.records import Mail
from deployments.jobs.states import MailState
from deployments.mail.delivery import Delivery
from deployments.mail.message import build_message
from deployments.mail.notifications import NOTIFICATION, MailDeadLettered
from deployments.mail.sender import SmtpSender
from deployments.mail.settings import MailSettings

RESULT = Path(__file__).parent / "results" / "mail-hostile.json"

# Connections in a hundred that meet each fault; the rest is served well.
FAULTS = {
    Fault.SILENT_BANNER: 2,
    Fault.CLOSING_421: 8,
    Fault.REFUSED_554: 2,
    Fault.GREYLISTED_451: 15,
    Fault.UNKNOWN_USER_550: 2,
    Fault.CUT_INSIDE_CONTENT: 8,
    Fault.CUT_AFTER_DOT: 8,
    Fault.SILENT_AFTER_DOT: 2,
    Fault.REFUSED_AFTER_DOT_451: 4,
    Fault.REFUSED_AFTER_DOT_552: 1,
    Fault.GARBAGE_AFTER_DOT: 2,
}


async def run(notifications: int, seed: int) -> dict[str, object]:
    """Deliver through the hostile server until nothing waits; return what was counted.

    Args:
        notifications: How many mails are owed at the start.
        seed: Of the faults and of the retry delays.
    """
    source = random.Random(seed)
    kinds, weights = [*FAULTS, Fault.NONE], [*FAULTS.values(), 100 - sum(FAULTS.values())]
    met: Counter[str] = Counter()
    now = datetime(2026, 1, 1, tzinfo=UTC)
    dead_letters: list[MailDeadLettered] = []

    def next_fault() -> Fault:
        fault = source.choices(kinds, weights)[0]
        met[fault.name] += 1
        return fault

    async def note_dead(event: MailDeadLettered) -> None:
        dead_letters.append(event)

    outbox = MemoryOutbox(lambda: now)
    owed = [
        outbox.add(f"job-{number}", f"user{number}@example.org", "job_failed", _facts(number))
        for number in range(notifications)
    ]
    async with HostileSmtpServer(next_fault) as server:
        settings = MailSettings(
            smtp_host="127.0.0.1",
            smtp_port=server.port,
            smtp_ignore_tls=True,
            email_timeout=300,
            from_email="spheroserve@example.org",
        )

        async def compose(mail: Mail) -> EmailMessage:
            return build_message(
                NOTIFICATION.validate_python({"kind": mail.kind, **mail.data}),
                settings,
                recipient=mail.recipient,
                locale=mail.locale,
                message_key=mail.message_key,
                created_at=mail.created_at,
            )

        delivery = Delivery(
            outbox,
            SmtpSender(settings),
            compose,
            settings,
            clock=lambda: now,
            owner="benchmark",
            on_dead=note_dead,
            random_source=source,
        )
        while (due := outbox.next_due()) is not None:
            # At least a breaker's rest ahead, so that an open breaker never stops the time.
            now = max(due, now + timedelta(seconds=settings.email_breaker_seconds))
            await delivery.deliver_due()

        copies: defaultdict[str, list[str]] = defaultdict(list)
        for stored in server.stored:
            copies[stored.recipient].append(stored.message_id)
        states = Counter(mail.state for mail in outbox.mails.values())
        return {
            "notifications": len(owed),
            "seed": seed,
            "sent": states[MailState.SENT],
            "dead": states[MailState.DEAD],
            "unfinished": len(owed) - states[MailState.SENT] - states[MailState.DEAD],
            "dead_letters_told": len(dead_letters),
            "recipients_reached": len(copies),
            "sent_but_not_stored": sum(
                mail.state is MailState.SENT and mail.recipient not in copies
                for mail in outbox.mails.values()
            ),
            "most_message_ids_of_one_notification": max(len(set(ids)) for ids in copies.values()),
            "distinct_message_ids": len({stored.message_id for stored in server.stored}),
            "extra_copies": len(server.stored) - len(copies),
            "lost_acknowledgements": server.lost_acknowledgements,
            "connections": server.connections,
            "faults_met": dict(sorted(met.items())),
            "simulated_hours": round((now - owed[0].created_at).total_seconds() / 3600, 1),
        }


def _facts(number: int) -> dict[str, object]:
    return {"job_id": f"job-{number}", "images": 3, "reason": "no image could be read"}


def main() -> None:
    """Run it and write the result."""
    # Every single loss is logged otherwise.
    logging.getLogger("deployments.mail").setLevel(logging.CRITICAL)
    result = asyncio.run(run(notifications=1000, seed=20260101))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
