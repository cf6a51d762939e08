"""The loop step against an outbox in memory and a sender that says what the test wants."""

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest

from benchmarks.memory_outbox import MemoryOutbox
from deployments.errors import NotFound, StoreUnavailable
from deployments.jobs.records import Mail
from deployments.jobs.states import MailState
from deployments.mail.delivery import Delivery
from deployments.mail.notifications import MailDeadLettered
from deployments.mail.outcome import Cause, Dead, Deferred, Outcome, Sent
from tests.mail.conftest import NOW, MakeSettings

LATER = Deferred("451 later", Cause.MAIL)
LOST = Deferred("No reply after the content", Cause.UNKNOWN)
DOWN = Deferred("421 too busy", Cause.SERVER)
GONE = Dead("550 no such user")


class World:
    """An outbox, a clock to turn, and a sender with a list of verdicts (then it sends)."""

    def __init__(self, make_settings: MakeSettings, **settings: Any) -> None:
        self.now = NOW
        self.outbox = MemoryOutbox(lambda: self.now)
        self.verdicts: list[Outcome] = []
        self.message_ids: list[str] = []
        self.dead: list[MailDeadLettered] = []
        self.during_send: Callable[[], None] = lambda: None
        self.compose_error: Exception | None = None
        defaults = {"email_retry_jitter": 0, "email_concurrency": 1}
        self.delivery = Delivery(
            self.outbox,
            self,
            self._compose,
            make_settings(**(defaults | settings)),
            clock=lambda: self.now,
            owner="test",
            on_dead=self._note_dead,
            random_source=random.Random(1),
        )

    async def send(self, message: EmailMessage, recipient: str) -> Outcome:
        self.message_ids.append(message["Message-ID"])
        self.during_send()
        await asyncio.sleep(0)
        return self.verdicts.pop(0) if self.verdicts else Sent("250 ok")

    async def _compose(self, mail: Mail) -> EmailMessage:
        if self.compose_error is not None:
            raise self.compose_error
        message = EmailMessage()
        message["Message-ID"] = mail.message_key
        return message

    async def _note_dead(self, event: MailDeadLettered) -> None:
        self.dead.append(event)

    def owe(self, number: int = 0, kind: str = "job_failed") -> str:
        return self.outbox.add(f"job-{number}", "ada@example.org", kind, {}).id

    def mail(self, mail_id: str) -> Mail:
        return self.outbox.mails[mail_id]

    async def run_until_idle(self) -> None:
        while (due := self.outbox.next_due()) is not None:
            self.now = max(self.now, due)
            await self.delivery.deliver_due()


@pytest.fixture
def world(make_settings) -> World:
    return World(make_settings)


async def test_due_mails_are_sent_once(world):
    ids = [world.owe(number) for number in range(5)]
    counts = await world.delivery.deliver_due()
    assert counts.sent == 5
    assert all(world.mail(mail_id).state is MailState.SENT for mail_id in ids)
    assert world.mail(ids[0]).last_reply == "250 ok"
    assert len(set(world.message_ids)) == 5
    await world.delivery.deliver_due()
    assert len(world.message_ids) == 5


async def test_a_deferred_mail_waits_and_keeps_its_message_id(world):
    mail_id = world.owe()
    world.verdicts = [LATER, LATER]
    waits = []
    for _ in range(3):
        before = world.now
        await world.delivery.deliver_due()
        waits.append(world.mail(mail_id).next_attempt_at - before)
        world.now = world.mail(mail_id).next_attempt_at
    assert waits[:2] == [timedelta(minutes=1), timedelta(minutes=5)]
    assert world.mail(mail_id).state is MailState.SENT
    assert world.mail(mail_id).attempts == 3
    assert len(set(world.message_ids)) == 1


async def test_a_mail_is_not_tried_before_it_is_due(world):
    world.owe()
    world.verdicts = [LATER]
    await world.delivery.deliver_due()
    world.now += timedelta(seconds=59)
    await world.delivery.deliver_due()
    assert len(world.message_ids) == 1


async def test_a_refused_mail_is_dead_at_once_and_the_operator_is_told(world):
    mail_id = world.owe()
    world.verdicts = [GONE]
    counts = await world.delivery.deliver_due()
    assert counts.dead == 1
    assert world.mail(mail_id).state is MailState.DEAD
    assert [event.reason for event in world.dead] == ["550 no such user"]
    assert world.dead[0].mail_id == mail_id


async def test_a_dead_mail_to_the_operator_makes_no_further_mail(world):
    world.owe(kind="mail_dead_lettered")
    world.verdicts = [GONE]
    await world.delivery.deliver_due()
    assert world.dead == []


async def test_a_mail_is_given_up_after_its_expiry(world):
    mail_id = world.owe()
    world.verdicts = [LATER] * 100
    await world.run_until_idle()
    mail = world.mail(mail_id)
    assert mail.state is MailState.DEAD
    # At minutes 0, 1, 6, 21, 51, then every hour until minute 1431 of 1440.
    assert mail.attempts == len(world.message_ids) == 28
    assert mail.last_reply is not None
    assert "451 later" in mail.last_reply
    assert len(world.dead) == 1


async def test_a_first_attempt_is_made_however_late(world):
    world.owe()
    world.now += timedelta(days=3)
    counts = await world.delivery.deliver_due()
    assert counts.sent == 1


async def test_an_expired_retry_is_not_sent(world):
    mail_id = world.owe()
    world.verdicts = [LATER]
    await world.delivery.deliver_due()
    world.now += timedelta(days=3)
    await world.delivery.deliver_due()
    assert world.mail(mail_id).state is MailState.DEAD
    assert len(world.message_ids) == 1
    assert len(world.dead) == 1


async def test_a_lost_acknowledgement_is_retried_once(world):
    mail_id = world.owe()
    # A different failure in between does not make the loss forgotten.
    world.verdicts = [LOST, LATER, LOST]
    await world.run_until_idle()
    assert world.mail(mail_id).state is MailState.DEAD
    assert len(world.message_ids) == 3
    assert len(set(world.message_ids)) == 1
    assert "may be there" in world.dead[0].reason


async def test_a_lost_acknowledgement_can_be_held(make_settings):
    world = World(make_settings, email_hold_unknown=True)
    mail_id = world.owe()
    world.verdicts = [LOST]
    await world.run_until_idle()
    assert world.mail(mail_id).state is MailState.DEAD
    assert len(world.message_ids) == 1


async def test_a_server_that_is_down_is_left_alone_and_costs_no_attempts(world):
    ids = [world.owe(number) for number in range(10)]
    world.verdicts = [DOWN] * 4
    await world.delivery.deliver_due()
    assert len(world.message_ids) == 3
    untouched = [mail_id for mail_id in ids if world.mail(mail_id).attempts == 0]
    assert len(untouched) == 7
    await world.delivery.deliver_due()
    assert len(world.message_ids) == 3, "the breaker is open"
    world.now += timedelta(minutes=5)
    await world.delivery.deliver_due()
    assert len(world.message_ids) == 4, "half open: one attempt, which fails"
    world.now += timedelta(minutes=5)
    await world.delivery.deliver_due()
    await world.run_until_idle()
    assert all(world.mail(mail_id).state is MailState.SENT for mail_id in ids)


async def test_refused_mails_do_not_open_the_breaker(world):
    for number in range(10):
        world.owe(number)
    world.verdicts = [GONE, LATER] * 5
    await world.delivery.deliver_due()
    assert len(world.message_ids) == 10


async def test_a_mail_that_cannot_be_written_is_dead_and_stops_nobody(world):
    mail_id = world.owe()
    world.compose_error = NotFound("There is no such job.")
    await world.delivery.deliver_due()
    assert world.mail(mail_id).state is MailState.DEAD
    assert world.message_ids == []
    assert "no such job" in world.dead[0].reason


async def test_a_store_that_is_down_kills_no_mail(world):
    mail_id = world.owe()
    world.compose_error = StoreUnavailable("The database does not answer.")
    with pytest.raises(StoreUnavailable):
        await world.delivery.deliver_due()
    assert world.mail(mail_id).state is MailState.SENDING, "its lease expires and it comes back"


async def test_a_lost_lease_changes_nothing(world, caplog):
    mail_id = world.owe()
    world.during_send = lambda: world.outbox.take_over(mail_id)
    world.verdicts = [GONE]
    await world.delivery.deliver_due()
    assert world.mail(mail_id).state is MailState.SENDING
    assert world.dead == []
    assert "taken over" in caplog.text


async def test_connections_are_limited(make_settings):
    world = World(make_settings, email_concurrency=3)
    for number in range(10):
        world.owe(number)
    at_once: list[int] = []

    def count_sending() -> None:
        mails = world.outbox.mails.values()
        at_once.append(sum(mail.state is MailState.SENDING for mail in mails))

    world.during_send = count_sending
    await world.delivery.deliver_due()
    assert max(at_once) == 3
    assert len(at_once) == 10


async def test_after_stop_the_mail_under_way_is_finished_and_no_other_begun(world):
    first, second = world.owe(1), world.owe(2)
    world.during_send = world.delivery.stop
    await world.delivery.deliver_due()
    assert world.mail(first).state is MailState.SENT
    assert (world.mail(second).state, world.mail(second).attempts) == (MailState.QUEUED, 0)
