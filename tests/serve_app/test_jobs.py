"""The HTTP endpoints of jobs on a real store; the images are worked on by the test."""

import errno
import io
import os
import zipfile
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from deployments.inference.polygons import extract_polygons
from deployments.inference.types import PreparedImage, ProbabilityMap
from deployments.job_results import encode_result
from deployments.jobs.store import JobStore
from serve_app.routes import create_app
from serve_app.settings import Settings
from tests.scenes import painted, spheroid
from tests.serve_app.fakes import FakeService
from tests.serve_app.local_jobs import LocalJobs

JOBS = "/api/v1/jobs"
LEASE = timedelta(seconds=60)


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[LocalJobs]:
    store = await JobStore.open(f"sqlite:///{tmp_path}/jobs.db", str(tmp_path / "files"))
    yield LocalJobs(store)
    await store.close()


def client_of(jobs: LocalJobs, **settings: Any) -> httpx.AsyncClient:
    app = create_app(FakeService(), jobs, Settings(**settings))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")


@pytest.fixture
def client(jobs: LocalJobs) -> httpx.AsyncClient:
    return client_of(jobs)


def images(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("files", (f"{n}.png", data)) for n, data in enumerate(contents)]


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return data.getvalue()


async def send(client: httpx.AsyncClient, *contents: bytes, **fields: Any) -> dict[str, Any]:
    headers = fields.pop("headers", {})
    response = await client.post(
        JOBS, files=images(*(contents or (b"a", b"b"))), data=fields, headers=headers
    )
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def result_file() -> tuple[bytes, Any]:
    """A result as the worker writes it, and the mask that it describes."""
    _, mask = spheroid()
    height, width = mask.shape
    polygons = extract_polygons(mask * 255, width, height, 0.5, True)
    prepared = PreparedImage(mask, width, height)
    answer = ProbabilityMap(mask, 4, "cpu", "f" * 64, 0.5, 0.1, 0.0)
    data = encode_result("hrnet", 0.5, True, prepared, answer, polygons, {"inference": 0.5})
    return data, mask


async def work(jobs: LocalJobs, failing: tuple[int, ...] = ()) -> bytes:
    """Finish all images that wait."""
    data, _ = result_file()
    [ref] = await jobs.store.save([data])
    for lease in await jobs.store.images.claim("worker", 1000, LEASE):
        if lease.token.position in failing:
            await jobs.store.images.fail(lease.token, "no image")
        else:
            await jobs.store.images.complete(lease.token, ref, {"inference": 0.5})
    return data


async def test_a_job_is_stored_before_it_is_answered(
    client: httpx.AsyncClient, jobs: LocalJobs
) -> None:
    response = await client.post(
        JOBS,
        files=images(b"first", b"second"),
        data={"model": "resunet_small", "threshold": "0.3", "detect_holes": "false"},
    )
    answer = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == f"{JOBS}/{answer['id']}"
    job = await jobs.store.jobs.get(answer["id"], "default")
    assert (job.model, job.threshold, job.detect_holes) == ("resunet_small", 0.3, False)
    stored = await jobs.store.jobs.images(job.id, "default", 10)
    assert [image.name for image in stored] == ["0.png", "1.png"]
    assert [await jobs.store.read(image.content) for image in stored] == [b"first", b"second"]
    assert answer["state"] == "queued"
    assert answer["progress"] == {"done": 0, "total": 2}
    assert answer["outputs"] == ["json", "masks", "metrics"]


async def test_a_full_disk_is_507_and_what_was_accepted_stays(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await send(client)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        refused = await client.post(JOBS, files=images(b"c", b"d"))
    assert refused.status_code == 507
    assert isinstance(refused.json()["detail"], str)
    listed = (await client.get(JOBS)).json()["jobs"]
    assert [job["id"] for job in listed] == [accepted["id"]]
    await send(client, b"c", b"d")


async def test_many_files_are_stored_in_few_calls(
    client: httpx.AsyncClient, jobs: LocalJobs
) -> None:
    await send(client, *(b"%d" % number for number in range(150)))
    assert jobs.saved == [64, 64, 22]


async def test_the_same_key_is_the_same_job(client: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "folder 7"}
    first = await send(client, b"x", headers=headers)
    assert (await send(client, b"x", headers=headers))["id"] == first["id"]
    assert (await send(client, b"x"))["id"] != first["id"]
    other = await client.post(JOBS, files=images(b"y"), headers=headers)
    assert other.status_code == 409


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"threshold": "0.95"}, "threshold"),
        ({"outputs": "masks,films"}, "outputs"),
        ({"locale": "../../etc"}, "locale"),
        ({"notify": "somebody@example.org"}, "notify"),
    ],
)
async def test_fields_out_of_range_are_listed(
    client: httpx.AsyncClient, fields: dict[str, str], place: str
) -> None:
    response = await client.post(JOBS, files=images(b"x"), data=fields)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][:2] == ["body", place]


async def test_recipients_are_checked(jobs: LocalJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_HOST", "mail.example.org")
    monkeypatch.setenv("EMAIL_ALLOWED_DOMAINS", "lab.org")
    client = client_of(jobs)
    answer = await send(client, b"x", notify=["a@lab.org", "b@lab.org"], locale="cs")
    job = await jobs.store.jobs.get(answer["id"], "default")
    assert (job.notify, job.locale) == (("a@lab.org", "b@lab.org"), "cs")
    for address in ("a@elsewhere.org", "no address", "a@lab.org\nBcc: b@lab.org"):
        refused = await client.post(JOBS, files=images(b"x"), data={"notify": address})
        assert refused.status_code == 422
        assert refused.json()["detail"][0]["loc"] == ["body", "notify"]


async def test_a_job_needs_files_and_a_model_that_exists(client: httpx.AsyncClient) -> None:
    assert (await client.post(JOBS, data={"model": "hrnet"})).status_code == 422
    response = await client.post(JOBS, files=images(b"x"), data={"model": "unet"})
    assert response.status_code == 400
    misplaced = await client.post(JOBS, files={"file": ("a.png", b"x")})
    assert misplaced.json()["detail"][0]["loc"] == ["body", "file"]


async def test_limits_of_a_job(jobs: LocalJobs) -> None:
    client = client_of(jobs, max_job_images=3, max_file_bytes=1000, max_job_bytes=10_000)
    many = await client.post(JOBS, files=images(*[b"x"] * 4))
    assert many.status_code == 400
    large = await client.post(JOBS, files=images(b"x" * 1001))
    assert large.status_code == 413
    body = await client.post(JOBS, files=images(*[b"x" * 900] * 3), content=None)
    assert body.status_code == 202
    whole = await client_of(jobs, max_job_bytes=2000).post(JOBS, files=images(b"x" * 2001))
    assert whole.status_code == 413
    # The limit of other bodies does not count here.
    wide = client_of(jobs, max_body_bytes=1000, max_file_bytes=1000)
    assert (await wide.post(JOBS, files=images(b"x" * 900, b"y" * 900))).status_code == 202


async def test_a_zip_file_is_its_files(client: httpx.AsyncClient, jobs: LocalJobs) -> None:
    data = archive(
        {
            "plate/": b"",
            "plate/a.tif": b"first",
            "plate/.DS_Store": b"hidden",
            "__MACOSX/plate/._a.tif": b"fork",
            "../../b.tif": b"second",
            "notes.txt": b"no image",
        }
    )
    response = await client.post(JOBS, files={"files": ("plate.zip", data)})
    assert response.status_code == 202, response.text
    stored = await jobs.store.jobs.images(response.json()["id"], "default", 10)
    assert [image.name for image in stored] == ["plate/a.tif", "../../b.tif", "notes.txt"]
    assert await jobs.store.read(stored[0].content) == b"first"


async def test_zip_files_that_are_refused(jobs: LocalJobs) -> None:
    client = client_of(jobs, max_job_images=3, max_file_bytes=10_000, max_job_bytes=20_000)
    good = archive({"a.png": b"x" * 100})
    files = {
        "an entry that unpacks to too much": (archive({"a": b"\0" * 10_001}), 413),
        "all entries together": (archive({f"{n}": b"\0" * 9_000 for n in range(3)}), 413),
        "too many entries": (archive({f"{n}": b"x" for n in range(4)}), 413),
        "nothing in it": (archive({}), 400),
        "only folders": (archive({"a/": b""}), 400),
        "cut off": (good[:-10], 400),
        "a broken entry": (good.replace(good[35:40], b"\xff" * 5, 1), 400),
    }
    for name, (data, status) in files.items():
        response = await client.post(JOBS, files={"files": ("a.zip", data)})
        assert response.status_code == status, (name, response.text)
    mixed = await client.post(JOBS, files=[*images(b"x"), ("files", ("a.zip", good))])
    assert mixed.status_code == 400
    assert await jobs.store.jobs.list("default", 10) == []


async def test_a_job_and_its_images_page_by_page(
    client: httpx.AsyncClient, jobs: LocalJobs
) -> None:
    job = await send(client, b"a", b"b", b"c")
    await work(jobs, failing=(1,))
    first = (await client.get(f"{JOBS}/{job['id']}", params={"limit": 2})).json()
    assert (first["state"], first["progress"]) == ("partial", {"done": 3, "total": 3})
    assert first["counts"]["succeeded"] == 2
    assert [image["state"] for image in first["images"]] == ["succeeded", "failed"]
    assert first["images"][1]["error"] == "no image"
    assert first["images"][0]["timings"] == {"inference": 0.5}
    assert first["timings"]["running_seconds"] >= 0
    second = (await client.get(f"{JOBS}/{job['id']}?limit=2&after={first['next']}")).json()
    assert [image["position"] for image in second["images"]] == [2]
    assert second["next"] is None


async def test_jobs_page_by_page(client: httpx.AsyncClient) -> None:
    ids = [(await send(client, b"%d" % number))["id"] for number in range(3)]
    first = (await client.get(JOBS, params={"limit": 2})).json()
    second = (await client.get(JOBS, params={"limit": 2, "after": first["next"]})).json()
    assert [job["id"] for job in first["jobs"] + second["jobs"]] == ids[::-1]
    assert second["next"] is None
    assert (await client.get(JOBS, params={"limit": 0})).status_code == 422


async def test_cancelling_ends_what_has_not_started(
    client: httpx.AsyncClient, jobs: LocalJobs
) -> None:
    job = await send(client, b"a", b"b")
    [lease] = await jobs.store.images.claim("worker", 1, LEASE)
    cancelled = (await client.delete(f"{JOBS}/{job['id']}")).json()
    assert cancelled["counts"]["cancelled"] == 1
    assert cancelled["state"] == "running"
    await jobs.store.images.fail(lease.token, "no image")
    assert (await client.get(f"{JOBS}/{job['id']}")).json()["state"] == "cancelled"


@pytest.mark.parametrize("path", ["", "/events", "/results", "/results/0"])
async def test_unknown_jobs_are_404(client: httpx.AsyncClient, path: str) -> None:
    response = await client.get(f"{JOBS}/no-such-job{path}")
    assert (response.status_code, response.json()) == (404, {"detail": "there is no such job"})


async def test_one_image_by_position_and_by_name(
    client: httpx.AsyncClient, jobs: LocalJobs
) -> None:
    job = await send(client, b"a", b"b")
    results = f"{JOBS}/{job['id']}/results"
    before = (await client.get(f"{results}/0")).json()
    assert (before["state"], before["result"]) == ("queued", None)
    assert (await client.get(f"{results}/0?format=mask")).status_code == 404
    data = await work(jobs, failing=(1,))
    by_position = (await client.get(f"{results}/0")).json()
    assert by_position["result"] == orjson.loads(data)
    assert (await client.get(f"{results}/0.png")).json() == by_position
    failed = (await client.get(f"{results}/1")).json()
    assert (failed["error"], failed["result"]) == ("no image", None)
    assert (await client.get(f"{results}/2")).status_code == 404
    assert (await client.get(f"{results}/0?format=film")).status_code == 422


async def test_the_task_endpoint_knows_jobs_and_images(
    client: httpx.AsyncClient, jobs: LocalJobs
) -> None:
    job = await send(client, b"a")
    await work(jobs)
    assert (await client.get(f"/api/v1/segment/{job['id']}")).json()["state"] == "succeeded"
    image = (await client.get(f"/api/v1/segment/{job['id']}:0")).json()
    assert image["result"]["model_used"] == "hrnet"
    assert (await client.get(f"/api/v1/segment/{job['id']}:1")).status_code == 404
    assert (await client.get("/api/v1/segment/unknown")).status_code == 404


async def test_the_archive_holds_what_the_job_asked_for(
    client: httpx.AsyncClient, jobs: LocalJobs
) -> None:
    job = await send(client, b"a", b"b", b"c")
    await work(jobs, failing=(1,))
    response = await client.get(f"{JOBS}/{job['id']}/results")
    assert response.headers["content-type"] == "application/zip"
    found = zipfile.ZipFile(io.BytesIO(response.content))
    assert found.testzip() is None
    assert set(found.namelist()) == {
        *("json/0000-0.json", "masks/0000-0.png", "json/0002-2.json", "masks/0002-2.png"),
        *("metrics.csv", "summary.json"),
    }
    one = orjson.loads(found.read("json/0002-2.json"))
    assert one == (await client.get(f"{JOBS}/{job['id']}/results/2")).json()
    mask = (await client.get(f"{JOBS}/{job['id']}/results/0?format=mask")).content
    assert found.read("masks/0000-0.png") == mask
    lines = found.read("metrics.csv").decode().splitlines()
    assert len(lines[0].split(",")) == 3 + 18
    assert [line.split(",")[:3] for line in lines[1:]] == [
        ["0", "0.png", "polygon_1"],
        ["2", "2.png", "polygon_1"],
    ]
    summary = orjson.loads(found.read("summary.json"))
    assert summary["state"] == "partial"
    assert [image["error"] for image in summary["images"]] == [None, "no image", None]


async def test_the_archive_of_other_outputs(client: httpx.AsyncClient, jobs: LocalJobs) -> None:
    job = await send(client, b"a", outputs=["metrics"])
    running = await client.get(f"{JOBS}/{job['id']}/results")
    names = zipfile.ZipFile(io.BytesIO(running.content)).namelist()
    assert names == ["metrics.csv", "summary.json"]
    await work(jobs)
    done = await client.get(f"{JOBS}/{job['id']}/results")
    table = zipfile.ZipFile(io.BytesIO(done.content)).read("metrics.csv")
    assert table.count(b"\r\n") == 2


async def test_events_can_be_resumed(client: httpx.AsyncClient, jobs: LocalJobs) -> None:
    job = await send(client, b"a", b"b")
    await work(jobs)
    events = f"{JOBS}/{job['id']}/events"
    whole = await client.get(events)
    assert whole.headers["content-type"].startswith("text/event-stream")
    parsed = parse_events(whole.text)
    assert [event["id"] for event in parsed] == ["1", "2", "3", "4", "5"]
    assert parsed[0]["data"] == '{"state": "queued"}'
    assert '"succeeded"' in parsed[-1]["data"]
    resumed = await client.get(events, headers={"Last-Event-ID": "3"})
    assert parse_events(resumed.text) == parsed[3:]
    after = await client.get(events, headers={"Last-Event-ID": "5"})
    assert parse_events(after.text) == []
    assert (await client.get(events, headers={"Last-Event-ID": "x"})).status_code == 400


def parse_events(text: str) -> list[dict[str, str]]:
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines())
        for block in text.split("\n\n")
        if block
    ]
    return [block for block in blocks if "data" in block]


def test_the_mask_of_the_fixture_is_exact() -> None:
    data, mask = result_file()
    assert (painted(orjson.loads(data)["polygons"], mask.shape) == mask).mean() > 0.999
