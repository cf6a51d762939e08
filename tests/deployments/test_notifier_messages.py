"""Mails written from a real store, with real child processes for what they carry."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import numpy as np
import orjson
import pytest

from deployments.errors import NotFound
from deployments.inference.images.limits import ImageLimits
from deployments.inference.sandbox import Sandbox, SandboxLimits
from deployments.jobs.records import Job, NewImage, NewJob
from deployments.jobs.store import JobStore
from deployments.mail.notifications import ModelDegraded
from deployments.mail.settings import MailSettings
from deployments.notifier_attachments import AttachmentMaker
from deployments.notifier_messages import MessageWriter
from tests.jobs.helpers import LEASE, FakeClock
from tests.scenes import encoded

CORNERS = [(10, 10), (50, 10), (50, 30), (10, 30)]
RESULT = orjson.dumps(
    {
        "image_size": {"width": 64, "height": 48},
        "polygons": [
            {
                "id": "polygon_1",
                "type": "external",
                "points": [{"x": x, "y": y} for x, y in CORNERS],
            }
        ],
    }
)
UPLOAD = encoded(np.full((48, 64, 3), 120, np.uint8))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    sandbox = Sandbox(1, SandboxLimits(memory_bytes=1 << 30, cpu_seconds=20, wall_seconds=20))
    yield sandbox
    sandbox.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[JobStore]:
    store = await JobStore.open(f"sqlite:///{tmp_path}/jobs.db", str(tmp_path), clock=clock)
    yield store
    await store.close()


@pytest.fixture
def settings() -> MailSettings:
    return MailSettings(smtp_host="127.0.0.1", from_email="spheroserve@example.org")


def writer(
    store: JobStore, sandbox: Sandbox, settings: MailSettings, **options: float
) -> MessageWriter:
    most = settings.email_max_attachment_bytes
    maker = AttachmentMaker(store, sandbox, ImageLimits(), "2026", most, **options)
    return MessageWriter(store, settings, maker)


async def accept(store: JobStore, images: int, **fields: object) -> Job:
    """Accept a job of so many equal images."""
    [ref] = await store.save([UPLOAD])
    values: dict[str, object] = {
        "tenant": "lab",
        "model": "hrnet",
        "threshold": 0.5,
        "detect_holes": True,
        "images": tuple(NewImage(f"well {number}.png", ref) for number in range(images)),
        "outputs": ("json", "metrics"),
        "notify": ("ada@example.org", "bob@example.org"),
        "locale": "en",
    }
    job, _ = await store.jobs.create(NewJob(**(values | fields)))  # type: ignore[arg-type]
    return job


async def finish(store: JobStore, failing: int = 0, cached: int = 0) -> None:
    """Work on all images; the first ones fail, the last ones were known before."""
    [result] = await store.save([RESULT])
    leases = await store.images.claim("worker", 1000, LEASE)
    for number, lease in enumerate(leases):
        if number < failing:
            await store.images.fail(lease.token, f"error {number}")
        else:
            known = number >= len(leases) - cached
            await store.images.complete(lease.token, result, {} if known else {"device_share": 2.0})


async def first_mail(store: JobStore, writer: MessageWriter) -> EmailMessage:
    """The mail to the first recipient, as a reader's program sees it."""
    lease = (await store.outbox.claim("notifier", 1, LEASE))[0]
    message = message_from_bytes((await writer.write(lease.mail)).as_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: EmailMessage) -> str:
    body = message.get_body(["plain"])
    assert body is not None
    return str(body.get_content()).replace("\r\n", "\n")


def files_of(message: EmailMessage) -> dict[str, bytes]:
    return {
        str(part.get_filename()): part.get_payload(decode=True)  # type: ignore[misc]
        for part in message.iter_attachments()
    }


async def test_a_finished_job(
    store: JobStore, sandbox: Sandbox, settings: MailSettings, clock: FakeClock
) -> None:
    job = await accept(store, images=6)
    clock.advance(minutes=3)
    await finish(store, failing=2, cached=1)
    message = await first_mail(store, writer(store, sandbox, settings))
    text = text_of(message)
    assert message["Subject"] == "Segmentation finished: 4 of 6 images"
    assert f"http://localhost:3000/jobs/{job.id}" in text
    assert "Segmented: 4\nFailed: 2\nDuration: 3 min 00 s\nhrnet: 3 images, 6.0 s" in text
    assert "- well 0.png: error 0\n- well 1.png: error 1" in text
    assert "left out" not in text
    files = files_of(message)
    assert list(files) == ["preview.jpg", "metrics.csv"]
    assert files["preview.jpg"].startswith(b"\xff\xd8")
    rows = list(csv.DictReader(io.StringIO(files["metrics.csv"].decode())))
    assert [row["image"] for row in rows] == [f"well {number}.png" for number in range(2, 6)]
    assert float(rows[0]["Area"]) == pytest.approx(800)


async def test_a_failed_job_names_every_reason_and_carries_nothing(
    store: JobStore, sandbox: Sandbox, settings: MailSettings
) -> None:
    await accept(store, images=25)
    await finish(store, failing=25)
    message = await first_mail(store, writer(store, sandbox, settings))
    text = text_of(message)
    assert "none of 25 images could be segmented; the first error: error 0" in text
    assert "and 5 more" in text
    assert files_of(message) == {}


async def test_a_job_without_metrics_gets_no_table(
    store: JobStore, sandbox: Sandbox, settings: MailSettings
) -> None:
    await accept(store, images=1, outputs=("json",))
    await finish(store)
    message = await first_mail(store, writer(store, sandbox, settings))
    assert list(files_of(message)) == ["preview.jpg"]
    assert "left out" not in text_of(message)


async def test_a_table_above_the_limit_is_left_out_and_said_so(
    store: JobStore, sandbox: Sandbox, settings: MailSettings
) -> None:
    await accept(store, images=20)
    await finish(store)
    small = settings.model_copy(update={"email_max_attachment_bytes": 3000})
    message = await first_mail(store, writer(store, sandbox, small))
    assert list(files_of(message)) == ["preview.jpg"]
    assert "left out" in text_of(message)


async def test_no_attachments_at_all(
    store: JobStore, sandbox: Sandbox, settings: MailSettings
) -> None:
    await accept(store, images=1)
    await finish(store)
    none = settings.model_copy(update={"email_max_attachment_bytes": 0})
    message = await first_mail(store, writer(store, sandbox, none))
    assert files_of(message) == {}
    assert "left out" not in text_of(message)


async def test_an_upload_that_kills_the_child_costs_the_picture_and_not_the_mail(
    store: JobStore, settings: MailSettings
) -> None:
    await accept(store, images=1)
    await finish(store)
    cramped = Sandbox(1, SandboxLimits(memory_bytes=1 << 30, cpu_seconds=20, wall_seconds=0.001))
    try:
        message = await first_mail(store, writer(store, cramped, settings))
    finally:
        cramped.close()
    assert files_of(message) == {}
    assert "left out" in text_of(message)


async def test_attachments_that_take_too_long_do_not_hold_up_the_mail(
    store: JobStore, settings: MailSettings
) -> None:
    class Stuck(Sandbox):
        async def run(self, *_args: object, **_more: object) -> None:  # type: ignore[override]
            await asyncio.Event().wait()

    await accept(store, images=1)
    await finish(store)
    stuck = Stuck(1, SandboxLimits(1 << 30, 20, 20))
    async with asyncio.timeout(10):
        message = await first_mail(store, writer(store, stuck, settings, seconds=0.05))
    assert files_of(message) == {}
    assert "left out" in text_of(message)


async def test_both_recipients_share_what_was_made_once(
    store: JobStore, sandbox: Sandbox, settings: MailSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accept(store, images=2)
    await finish(store)
    shared = writer(store, sandbox, settings)
    first = await first_mail(store, shared)
    monkeypatch.setattr(sandbox, "run", None)
    second = await first_mail(store, shared)
    assert files_of(first) == files_of(second) != {}
    assert first["To"] != second["To"]
    assert first["Message-ID"] != second["Message-ID"]


async def test_a_mail_to_the_operator_is_read_from_its_row(
    store: JobStore, sandbox: Sandbox, settings: MailSettings, clock: FakeClock
) -> None:
    event = ModelDegraded(model="hrnet", device="cuda:0", reason="memory", at=clock())
    facts = event.model_dump(mode="json", exclude={"kind"})
    await store.outbox.add("model_degraded", "ops@example.org", "en", facts)
    message = await first_mail(store, writer(store, sandbox, settings))
    assert message["Subject"] == "Model degraded to single images"
    assert "hrnet" in text_of(message)


async def test_the_mail_of_a_deleted_job_cannot_be_written(
    store: JobStore, sandbox: Sandbox, settings: MailSettings, clock: FakeClock
) -> None:
    await accept(store, images=1)
    await finish(store)
    lease = (await store.outbox.claim("notifier", 1, LEASE))[0]
    clock.advance(days=30)
    await store.delete_expired(LEASE)
    with pytest.raises(NotFound):
        await writer(store, sandbox, settings).write(lease.mail)
