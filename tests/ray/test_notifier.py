"""Mails of the running service, at a real SMTP server."""

import asyncio
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray import serve
from sqlalchemy import update

from deployments.jobs.clock import utc_now
from deployments.jobs.database import Database
from deployments.jobs.schema import outbox
from deployments.mail.notifications import ReplicaReplaced
from tests.ray.conftest import PASSWORD, Service
from tests.ray.processes import replica_pids
from tests.scenes import encoded, spheroid
from tests.smtp_sink import SmtpSink, text_of

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def friendly_again(sink: SmtpSink) -> Iterator[None]:
    yield
    sink.refusing = sink.losing = sink.silent = False
    sink.unknown.clear()


async def post_job(client: httpx.AsyncClient, *notify: str) -> str:
    """Accept a job of one good and one bad image; return its id."""
    files = [
        ("files", ("well A1.png", encoded(spheroid()[0]))),
        ("files", ("notes.txt", b"no image at all")),
    ]
    data = {"model": "hrnet", "notify": list(notify), "locale": "en"}
    response = await client.post("/api/v1/jobs", data=data, files=files)
    assert response.status_code == 202, response.text
    job_id: str = response.json()["id"]
    return job_id


def about(sink: SmtpSink, job_id: str) -> list[EmailMessage]:
    """The mails about a job."""
    return [message for message in sink.messages if job_id in text_of(message)]


def told_the_operator(sink: SmtpSink, words: str) -> list[EmailMessage]:
    """The mails to the operator whose text has these words."""
    mails = [message for message in sink.messages if message["To"] == "operator@example.org"]
    return [message for message in mails if words in text_of(message)]


async def mails(seconds: float = 90) -> dict[str, Any]:
    """What the notifier says of its outbox, as soon as one answers."""
    handle = serve.get_deployment_handle("notifier", app_name="jobs")
    async with asyncio.timeout(seconds):
        answer: dict[str, Any] = await handle.describe.remote()
    counted: dict[str, Any] = answer["mails"]
    return counted


async def test_everyone_who_asked_gets_one_mail(client: httpx.AsyncClient, sink: SmtpSink) -> None:
    job_id = await post_job(client, "ada@example.org", "bob@example.org")
    await asyncio.to_thread(sink.wait, lambda sink: len(about(sink, job_id)) == 2)
    messages = about(sink, job_id)
    assert {message["To"] for message in messages} == {"ada@example.org", "bob@example.org"}
    assert len({message["Message-ID"] for message in messages}) == 2
    for message in messages:
        assert message["Subject"] == "Segmentation finished: 1 of 2 images"
        assert "- notes.txt: " in text_of(message)
        files = [part.get_filename() for part in message.iter_attachments()]
        assert files == ["preview.jpg", "metrics.csv"]
    async with asyncio.timeout(30):
        while (await mails())["sending"]:
            await asyncio.sleep(0.05)
    left = await mails()
    assert (left["queued"], left["deferred"], left["dead"]) == (0, 0, 0)
    assert len(about(sink, job_id)) == 2


async def test_a_killed_notifier_sends_no_second_message_id(
    client: httpx.AsyncClient, sink: SmtpSink
) -> None:
    # The server takes the mail but its acknowledgement is lost; then it refuses for a while.
    sink.losing = True
    job_id = await post_job(client, "carol@example.org")
    await asyncio.to_thread(sink.wait, lambda sink: len(about(sink, job_id)) == 1)
    sink.losing, sink.refusing = False, True
    async with asyncio.timeout(60):
        while (await mails())["deferred"] == 0:
            await asyncio.sleep(0.05)
    (victim,) = replica_pids("notifier", "jobs")
    os.kill(victim, signal.SIGKILL)
    async with asyncio.timeout(90):
        while replica_pids("notifier", "jobs") in ({victim}, set()):
            await asyncio.sleep(0.05)
    # The one that took over tries, and is refused.
    refused = sink.refused
    await asyncio.to_thread(sink.wait, lambda sink: sink.refused > refused, 120)
    sink.refusing = False
    async with asyncio.timeout(60):
        while (left := await mails())["queued"] or left["sending"] or left["deferred"]:
            await asyncio.sleep(0.05)
    copies = about(sink, job_id)
    assert len(copies) == 2, "the lost one and the acknowledged one"
    assert len({message["Message-ID"] for message in copies}) == 1
    assert left["dead"] == 0
    job = (await client.get(f"/api/v1/jobs/{job_id}")).json()
    assert job["state"] == "partial", "no trouble with mail touches the job"


async def end_leases(service: Service) -> None:
    """Let the leases on mails end, which takes EMAIL_TIMEOUT and a minute by itself."""
    database = Database(f"sqlite:///{service.data_dir}/jobs.db")
    statement = update(outbox).where(outbox.c.state == "sending").values(lease_until=utc_now())
    async with database.write() as connection:
        assert (await connection.execute(statement)).rowcount == 1
    await database.close()


async def test_a_notifier_killed_within_a_send_sends_it_once_more(
    service: Service, client: httpx.AsyncClient, sink: SmtpSink
) -> None:
    sink.silent = True
    job_id = await post_job(client, "dave@example.org")
    # The server has the content; its final reply is still to come.
    await asyncio.to_thread(sink.wait, lambda sink: len(about(sink, job_id)) == 1)
    (victim,) = replica_pids("notifier", "jobs")
    os.kill(victim, signal.SIGKILL)
    sink.silent = False
    async with asyncio.timeout(90):
        while replica_pids("notifier", "jobs") in ({victim}, set()):
            await asyncio.sleep(0.05)
    # The next one leaves it alone: the first one might be alive and still waiting.
    assert (await mails())["sending"] == 1
    assert len(about(sink, job_id)) == 1
    await end_leases(service)
    async with asyncio.timeout(60):
        while (left := await mails())["sending"] or left["queued"] or left["deferred"]:
            await asyncio.sleep(0.05)
    copies = about(sink, job_id)
    assert len(copies) == 2
    assert len({message["Message-ID"] for message in copies}) == 1
    assert left["dead"] == 0


async def test_the_operator_is_told(client: httpx.AsyncClient, sink: SmtpSink) -> None:
    event = ReplicaReplaced(
        model="hrnet",
        replica="pid 1",
        device="cuda:0",
        reason="an illegal memory access",
        at=datetime.now(UTC),
    )
    handle = serve.get_deployment_handle("notifier", app_name="jobs")
    await handle.operator_event.remote(event.model_dump(mode="json"))
    words = "an illegal memory access"
    await asyncio.to_thread(sink.wait, lambda sink: bool(told_the_operator(sink, words)))
    (message,) = told_the_operator(sink, words)
    assert message["Subject"] == "Replica replaced after a device error"


async def test_mails_that_are_given_up_are_one_mail_and_one_digest_to_the_operator(
    client: httpx.AsyncClient, sink: SmtpSink
) -> None:
    sink.unknown = {"gone@example.org", "left@example.org"}
    job_id = await post_job(client, *sink.unknown, "erin@example.org")
    await asyncio.to_thread(
        sink.wait, lambda sink: all(told_the_operator(sink, each) for each in sink.unknown)
    )
    messages = [message for each in sink.unknown for message in told_the_operator(sink, each)]
    assert sorted(message["Subject"] for message in messages) == [
        "1 events since the last mail",
        "A mail could not be delivered",
    ]
    assert all("550 no such user" in text_of(message) for message in messages)
    # The others got theirs.
    assert [message["To"] for message in about(sink, job_id)] == ["erin@example.org"]
    assert (await client.get(f"/api/v1/jobs/{job_id}")).json()["state"] == "partial"


async def test_no_one_is_shown_the_password(service: Service, client: httpx.AsyncClient) -> None:
    pages = ("/metrics", "/api/v1/status", "/api/v1/overview", "/api/v1/models")
    shown = [(await client.get(page)).text for page in pages]
    for name in ("jobs", "notifier"):
        handle = serve.get_deployment_handle(name, app_name="jobs")
        shown.append(str(await handle.describe.remote()))
    # What Serve stores and answers of the applications.
    shown += [str(serve.status()), str(service.config)]
    logs = Path(ray._private.worker._global_node.get_session_dir_path()) / "logs"
    files = [path for path in logs.rglob("*") if path.is_file()]
    assert any("notifier" in path.name for path in files), "the notifier has a log"
    shown += [path.read_text(errors="replace") for path in files]
    assert not [text for text in shown if PASSWORD in text]


async def test_a_recipient_that_is_no_address_is_refused_before_anything_starts(
    client: httpx.AsyncClient,
) -> None:
    image = ("a.png", encoded(spheroid()[0]))
    data = {"model": "hrnet", "notify": "ada@example.org\r\nBcc: eve@example.org"}
    response = await client.post("/api/v1/jobs", data=data, files={"files": image})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "notify"]
