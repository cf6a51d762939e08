"""The outbox: who may send which mail when, and what is known of it afterwards."""

import asyncio
from datetime import timedelta

import pytest

from deployments.errors import Conflict, NotFound
from deployments.jobs.database import Database
from deployments.jobs.records import MailLease
from deployments.jobs.states import MailState
from deployments.jobs.store import MAIL_EXPIRY, JobStore
from tests.jobs.helpers import LEASE, FakeClock, accept, finish


async def owe(store: JobStore, *recipients: str) -> None:
    """End a job that owes a mail to each recipient."""
    await finish(store, await accept(store, notify=recipients))


async def claim(store: JobStore, limit: int = 10, owner: str = "notifier") -> list[MailLease]:
    return await store.outbox.claim(owner, limit, LEASE)


async def test_a_sent_mail_is_never_claimed_again(store: JobStore, clock: FakeClock) -> None:
    await owe(store, "a@x.cz")
    [lease] = await claim(store)
    assert (lease.mail.state, lease.mail.attempts) == (MailState.SENDING, 1)
    assert lease.lease_until == clock.now + LEASE
    assert await claim(store) == []
    clock.advance(10)
    assert await store.outbox.mark_sent(lease.token, "250 queued")
    clock.advance(hours=1)
    assert await claim(store) == []
    [mail] = await store.outbox.list(10)
    assert (mail.state, mail.last_reply) == (MailState.SENT, "250 queued")
    assert mail.finished_at == clock.now - timedelta(hours=1)


async def test_a_deferred_mail_waits_and_keeps_its_message_key(
    store: JobStore, clock: FakeClock
) -> None:
    await owe(store, "a@x.cz")
    [first] = await claim(store)
    later = clock.now + timedelta(minutes=5)
    assert await store.outbox.mark_deferred(first.token, later, "451 later")
    clock.advance(minutes=4)
    assert await claim(store) == []
    clock.advance(minutes=1)
    [second] = await claim(store)
    assert second.mail.message_key == first.mail.message_key
    assert (second.mail.attempts, second.mail.last_reply) == (2, "451 later")
    assert second.token != first.token


async def test_a_mail_whose_sender_died_is_claimed_again_and_the_sender_is_fenced_off(
    store: JobStore, other_store: JobStore, clock: FakeClock
) -> None:
    await owe(store, "a@x.cz")
    [old] = await claim(store)
    clock.advance(59)
    assert await claim(other_store, owner="second") == []
    clock.advance(1)
    [new] = await claim(other_store, owner="second")
    assert new.mail.message_key == old.mail.message_key
    assert not await store.outbox.mark_sent(old.token, "250")
    assert not await store.outbox.mark_deferred(old.token, clock.now, "451")
    assert not await store.outbox.mark_dead(old.token, "550")
    assert (await store.outbox.counts())[MailState.SENDING] == 1
    assert await other_store.outbox.mark_sent(new.token, "250")
    assert not await other_store.outbox.mark_dead(new.token, "550")


async def test_the_lease_of_a_claim_that_had_to_wait_begins_when_it_is_served(
    store: JobStore, clock: FakeClock, database_url: str
) -> None:
    await owe(store, "a@x.cz")
    other = Database(database_url)
    async with other.write():
        # On SQLite it waits for this writer, on PostgreSQL for its own connection.
        waiting = asyncio.create_task(claim(store))
        await asyncio.sleep(0)
        clock.advance(50)
    await other.close()
    [lease] = await waiting
    assert lease.lease_until == clock.now + LEASE
    clock.advance(59)
    assert await claim(store) == []


async def test_two_notifiers_share_the_mails(store: JobStore, other_store: JobStore) -> None:
    await owe(store, *(f"{number}@x.cz" for number in range(20)))
    batches = await asyncio.gather(
        *(claim(each, 3) for each in (store, other_store) * 4), return_exceptions=False
    )
    claimed = [lease.mail.recipient for batch in batches for lease in batch]
    claimed += [lease.mail.recipient for lease in await claim(store, 100)]
    assert len(claimed) == len(set(claimed)) == 20


async def test_the_longest_due_goes_first(store: JobStore, clock: FakeClock) -> None:
    for recipient in ("a@x.cz", "b@x.cz", "c@x.cz"):
        await store.outbox.add("digest", recipient, "en", {})
        clock.advance(1)
    assert [lease.mail.recipient for lease in await claim(store, 2)] == ["a@x.cz", "b@x.cz"]
    assert [lease.mail.recipient for lease in await claim(store, 2)] == ["c@x.cz"]


async def test_a_mail_past_its_expiry_is_left_to_the_sender(
    store: JobStore, clock: FakeClock
) -> None:
    await owe(store, "a@x.cz")
    clock.now += MAIL_EXPIRY
    [lease] = await claim(store)
    assert lease.mail.expires_at == clock.now


async def test_replies_of_hostile_servers_can_be_stored(store: JobStore) -> None:
    await owe(store, "a@x.cz")
    [lease] = await claim(store)
    assert await store.outbox.mark_dead(lease.token, "550 \0 \udcff end")
    [mail] = await store.outbox.list(10)
    assert mail.last_reply == "550 \ufffd ? end"


async def test_a_dead_mail_starts_anew_when_told(store: JobStore, clock: FakeClock) -> None:
    await owe(store, "a@x.cz")
    [lease] = await claim(store)
    assert await store.outbox.mark_dead(lease.token, "550 no such user")
    clock.advance(days=2)
    retried = await store.outbox.retry(lease.mail.id)
    assert (retried.state, retried.finished_at) == (MailState.QUEUED, None)
    [again] = await claim(store)
    assert again.mail.message_key == lease.mail.message_key
    assert again.mail.expires_at == clock.now + MAIL_EXPIRY


async def test_only_what_is_not_under_way_can_start_anew(store: JobStore) -> None:
    await owe(store, "a@x.cz")
    [lease] = await claim(store)
    with pytest.raises(Conflict):
        await store.outbox.retry(lease.mail.id)
    await store.outbox.mark_sent(lease.token, "250")
    with pytest.raises(Conflict):
        await store.outbox.retry(lease.mail.id)
    with pytest.raises(NotFound):
        await store.outbox.retry("no-such-id")


async def test_mails_to_the_operator_need_no_job(store: JobStore) -> None:
    for _ in range(2):
        await store.outbox.add("replica_replaced", "ops@x.cz", "en", {"model": "hrnet"})
    first, second = await claim(store)
    assert (first.mail.job_id, first.mail.data) == (None, {"model": "hrnet"})
    assert first.mail.message_key != second.mail.message_key


async def test_message_keys_are_of_job_kind_and_recipient(store: JobStore) -> None:
    await owe(store, "a@x.cz", "b@x.cz")
    await owe(store, "a@x.cz", "b@x.cz")
    keys = [mail.message_key for mail in await store.outbox.list(10)]
    assert len(set(keys)) == 4
    assert all(len(key) == 64 for key in keys)


async def test_counts_and_the_oldest_age(store: JobStore, clock: FakeClock) -> None:
    assert await store.outbox.counts() == dict.fromkeys(MailState, 0)
    assert await store.outbox.oldest_unsent_age() == timedelta()
    await owe(store, "old@x.cz")
    clock.advance(30)
    await owe(store, "new@x.cz")
    clock.advance(10)
    assert await store.outbox.oldest_unsent_age() == timedelta(seconds=40)
    [oldest] = await claim(store, 1)
    await store.outbox.mark_sent(oldest.token, "250")
    assert await store.outbox.oldest_unsent_age() == timedelta(seconds=10)
    counts = await store.outbox.counts()
    assert (counts[MailState.SENT], counts[MailState.QUEUED]) == (1, 1)


async def test_mails_are_listed_newest_first_by_state_in_pages(
    store: JobStore, clock: FakeClock
) -> None:
    for number in range(5):
        await store.outbox.add("digest", f"{number}@x.cz", "en", {})
        clock.advance(1)
    [oldest] = await claim(store, 1)
    await store.outbox.mark_sent(oldest.token, "250")
    first = await store.outbox.list(2, MailState.QUEUED)
    second = await store.outbox.list(10, MailState.QUEUED, after=first[-1].id)
    recipients = [mail.recipient for mail in (*first, *second)]
    assert recipients == ["4@x.cz", "3@x.cz", "2@x.cz", "1@x.cz"]
