"""The delivery on the real store and a real, misbehaving server."""

import random
from collections import Counter
from datetime import timedelta
from email.message import EmailMessage

from benchmarks.hostile_smtp import Fault, HostileSmtpServer
from deployments.jobs.records import Mail
from deployments.jobs.states import MailState
from deployments.jobs.store import JobStore
from deployments.mail.delivery import Delivery
from deployments.mail.message import build_message
from deployments.mail.notifications import NOTIFICATION, MailDeadLettered
from deployments.mail.sender import SmtpSender
from tests.mail.conftest import NOW

FAULTS = [Fault.UNKNOWN_USER_550, Fault.GREYLISTED_451, Fault.CUT_AFTER_DOT]


async def test_every_mail_of_the_store_is_sent_or_dead(make_settings, tmp_path):
    now = NOW
    met: list[Fault] = []
    dead: list[MailDeadLettered] = []

    def next_fault() -> Fault:
        met.append(FAULTS[len(met)] if len(met) < len(FAULTS) else Fault.NONE)
        return met[-1]

    async def note_dead(event: MailDeadLettered) -> None:
        dead.append(event)

    store = await JobStore.open(
        f"sqlite:///{tmp_path}/jobs.db", str(tmp_path / "files"), clock=lambda: now
    )
    for number in range(5):
        facts = {"job_id": f"job-{number}", "images": 1, "reason": "no image could be read"}
        await store.outbox.add("job_failed", f"user{number}@example.org", "cs", facts)

    async with HostileSmtpServer(next_fault) as server:
        settings = make_settings(smtp_port=server.port, email_concurrency=1)

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
            store.outbox,
            SmtpSender(settings),
            compose,
            settings,
            clock=lambda: now,
            owner="test",
            on_dead=note_dead,
            random_source=random.Random(1),
        )
        await delivery.deliver_due()
        states = await store.outbox.counts()
        assert {state: count for state, count in states.items() if count} == {
            MailState.DEAD: 1,
            MailState.DEFERRED: 2,
            MailState.SENT: 2,
        }
        now += timedelta(minutes=2)
        await delivery.deliver_due()

    states = await store.outbox.counts()
    assert (states[MailState.SENT], states[MailState.DEAD]) == (4, 1)
    assert [event.reason for event in dead] == ["550 no such user"]
    copies = Counter(stored.message_id for stored in server.stored)
    assert sorted(copies.values()) == [1, 1, 1, 2]
    assert server.lost_acknowledgements == 1
    await store.close()
