"""Certificates made on the spot, settings free of the environment, a fixed time."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import trustme

from deployments.mail.message import build_message
from deployments.mail.notifications import JobFailed
from deployments.mail.settings import MailSettings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)

MakeSettings = Callable[..., MailSettings]


@dataclass(frozen=True)
class Certificates:
    """An authority and the TLS context of a server at 127.0.0.1 that it vouches for."""

    ca_file: Path
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    authority = trustme.CA()
    ca_file = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    return Certificates(ca_file, server)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MailSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def make_settings() -> MakeSettings:
    """Settings for a server at 127.0.0.1 without TLS, unless told otherwise."""

    def make(**values: Any) -> MailSettings:
        defaults: dict[str, Any] = {
            "smtp_host": "127.0.0.1",
            "smtp_port": 2525,
            "smtp_ignore_tls": "smtp_require_tls" not in values and "smtp_secure" not in values,
            "from_email": "spheroserve@example.org",
        }
        return MailSettings(**(defaults | values))

    return make


def plain_message(settings: MailSettings, recipient: str = "reader@example.org") -> EmailMessage:
    return build_message(
        JobFailed(job_id="job-1", images=3, reason="no image could be read"),
        settings,
        recipient=recipient,
        locale="en",
        message_key="ab" * 32,
        created_at=NOW,
    )
