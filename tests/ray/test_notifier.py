"""Mails of the running service, at a real SMTP server."""

import asyncio
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import httpx
import pytest
from ray import serve

from deployments.mail.notifications import ReplicaReplaced
from tests.ray.processes import replica_pids
from tests.scenes import encoded, spheroid
from tests.smtp_sink import SmtpSink

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True)
def friendly_again(sink: SmtpSink) -> Iterator[None]:
    yield
    sink.refusing = sink.losing = False


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


def text_of(message: EmailMessage) -> str:
    body = message.get_body(["plain"])
    assert body is not None
    return str(body.get_content())


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
    await asyncio.to_thread(
        sink.wait,
        lambda sink: any(message["To"] == "operator@example.org" for message in sink.messages),
    )
    (message,) = [each for each in sink.messages if each["To"] == "operator@example.org"]
    assert message["Subject"] == "Replica replaced after a device error"
    assert "an illegal memory access" in text_of(message)


async def test_a_recipient_that_is_no_address_is_refused_before_anything_starts(
    client: httpx.AsyncClient,
) -> None:
    image = ("a.png", encoded(spheroid()[0]))
    data = {"model": "hrnet", "notify": "ada@example.org\r\nBcc: eve@example.org"}
    response = await client.post("/api/v1/jobs", data=data, files={"files": image})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "notify"]
