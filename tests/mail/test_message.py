from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser

import pytest

from deployments.errors import InvalidRequest
from deployments.mail.message import Attachment, build_message
from deployments.mail.notifications import FailedImage, JobFailed, JobFinished, ModelTime
from tests.mail.conftest import NOW

KEY = "0123456789abcdef" * 4
FINISHED = JobFinished(
    job_id="3f2a9c",
    images=200,
    succeeded=198,
    failed=2,
    seconds=412.3,
    models=(ModelTime(model="hrnet", images=198, seconds=301),),
    failed_images=(
        FailedImage(name="well A1.tif", error="no such format"),
        FailedImage(name="well B2.tif", error="too many pixels"),
    ),
)


def _build(settings, notification=FINISHED, **values):
    defaults = {
        "recipient": "ada@example.org",
        "locale": "en",
        "message_key": KEY,
        "created_at": NOW,
    }
    return build_message(notification, settings, **(defaults | values))


def _received(message: EmailMessage) -> EmailMessage:
    """The message as a reader's program sees it."""
    received = message_from_bytes(message.as_bytes(), policy=default)
    assert isinstance(received, EmailMessage)
    return received


def _texts(message: EmailMessage) -> tuple[str, str]:
    received = _received(message)
    plain, html = received.get_body(["plain"]), received.get_body(["html"])
    assert plain is not None
    assert html is not None
    return plain.get_content(), html.get_content()


def test_headers(make_settings):
    message = _received(_build(make_settings(from_name="Sféry, s.r.o.")))
    assert message["From"].addresses[0].display_name == "Sféry, s.r.o."
    assert message["From"].addresses[0].addr_spec == "spheroserve@example.org"
    assert message["To"] == "ada@example.org"
    assert message["Subject"] == "Segmentation finished: 198 of 200 images"
    assert message["Message-ID"] == f"<{KEY}@example.org>"
    assert message["Date"].datetime == NOW
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Content-Language"] == "en"


def test_a_second_attempt_has_the_same_headers(make_settings):
    settings = make_settings()
    first, second = _build(settings), _build(settings)
    assert first.items()[:-1] == second.items()[:-1]


def test_both_parts_tell_counts_times_failures_and_the_link(make_settings):
    settings = make_settings(frontend_url="https://spheroids.example.org/app/")
    for text in _texts(_build(settings)):
        for expected in (
            "3f2a9c",
            "200",
            "198",
            "6 min 52 s",
            "hrnet",
            "198 images, 5 min 01 s",
            "well A1.tif: no such format",
            "well B2.tif: too many pixels",
            "https://spheroids.example.org/app/jobs/3f2a9c",
        ):
            assert expected in text


@pytest.mark.parametrize("locale", ["cs", "zh"])
def test_old_servers_get_seven_bits_and_short_lines(make_settings, locale):
    content = _build(make_settings(), locale=locale).as_bytes()
    assert content.isascii()
    lines = content.split(b"\r\n")
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    # The hash of the Message-ID cannot be folded.
    assert all(len(line) <= 78 for line in lines if KEY.encode() not in line)


def test_the_html_is_small_and_free_of_style(make_settings):
    _, html = _texts(_build(make_settings()))
    assert len(html) < 1200
    assert "style" not in html
    assert "<img" not in html


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name == "href"]


def test_what_a_user_wrote_is_never_markup(make_settings):
    name = '"><script>alert(1)</script>{{ 7 * 7 }}<a href="https://evil.example">'
    notification = JobFailed(
        job_id='x" onclick="alert(1)/../{images}',
        images=1,
        reason="<b>bold</b>",
        failed_images=(FailedImage(name=name, error="{job_id}"),),
    )
    _, html = _texts(_build(make_settings(), notification))
    parser = _Tags()
    parser.feed(html)
    assert not {"script", "b"} & set(parser.tags[parser.tags.index("table") :])
    assert parser.links == [
        "http://localhost:3000/jobs/x%22%20onclick%3D%22alert%281%29%2F..%2F%7Bimages%7D"
    ]
    assert "49" not in html
    assert "{job_id}" in html


def test_a_file_name_cannot_forge_lines_or_headers(make_settings):
    evil = "a.png\r\nBcc: all@example.org\r\n\r\nYou have won\u202egnp.\u2028x"
    notification = JobFailed(
        job_id=evil,
        images=1,
        reason=evil,
        failed_images=(FailedImage(name=evil, error=evil),),
    )
    message = _build(make_settings(), notification)
    received = _received(message)
    assert received["Bcc"] is None
    assert "a.png" not in received["Subject"]
    for text in _texts(message):
        assert not any(line.strip().startswith("Bcc:") for line in text.splitlines())
        assert "\u202e" not in text


@pytest.mark.parametrize(
    "values",
    [
        {"recipient": "ada@example.org\r\nBcc: all@example.org"},
        {"recipient": "ada@example.org\nBcc: all@example.org"},
        {"message_key": KEY + "\r\nBcc: all@example.org"},
        {"message_key": "short"},
    ],
)
def test_header_injection_is_refused(make_settings, values):
    with pytest.raises(InvalidRequest):
        _build(make_settings(), **values)


def test_long_names_and_many_failures_are_cut(make_settings):
    failed = tuple(FailedImage(name=f"{n:03d}" + "x" * 500, error="e") for n in range(300))
    notification = FINISHED.model_copy(update={"failed": 300, "failed_images": failed})
    plain, html = _texts(_build(make_settings(), notification))
    assert "019x" in plain
    assert "020x" not in plain
    assert "and 280 more" in plain
    assert max(map(len, plain.splitlines())) < 300
    assert html.count("<li>") == 21


PREVIEW = Attachment("preview.jpg", "image/jpeg", b"\xff\xd8" + bytes(300))
METRICS = Attachment("metrics.csv", "text/csv", b"image,area\r\n" + b"a,1\r\n" * 20)


def test_attachments(make_settings):
    message = _build(make_settings(), attachments=[PREVIEW, METRICS])
    found = list(_received(message).iter_attachments())
    assert [part.get_filename() for part in found] == ["preview.jpg", "metrics.csv"]
    assert [part.get_content_type() for part in found] == ["image/jpeg", "text/csv"]
    assert [part.get_payload(decode=True) for part in found] == [PREVIEW.content, METRICS.content]
    assert "left out" not in _texts(message)[0]


def test_attachments_over_the_limit_are_left_out_and_the_mail_says_so(make_settings):
    settings = make_settings(email_max_attachment_bytes=len(METRICS.content))
    message = _build(settings, attachments=[PREVIEW, METRICS])
    assert [part.get_filename() for part in _received(message).iter_attachments()] == [
        "metrics.csv"
    ]
    assert all("left out" in text for text in _texts(message))
