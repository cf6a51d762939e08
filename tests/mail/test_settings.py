import logging
import pickle
import traceback

import pytest

from deployments.errors import ConfigurationError
from deployments.mail.settings import MailSettings
from deployments.mail.tls import Tls

PASSWORD = "correct-horse-battery"


def test_no_server_means_no_mail():
    assert not MailSettings().enabled
    assert MailSettings(smtp_host="mail.example.org").enabled
    assert not MailSettings(smtp_host="mail.example.org", email_service="none").enabled


def test_values_come_from_the_variables_of_the_original(monkeypatch):
    monkeypatch.setenv("SMTP_HOST", "mail.example.org")
    monkeypatch.setenv("SMTP_PORT", "465")
    monkeypatch.setenv("SMTP_USER", "robot")
    monkeypatch.setenv("SMTP_PASS", PASSWORD)
    monkeypatch.setenv("EMAIL_TIMEOUT", "1500")
    monkeypatch.setenv("EMAIL_ALLOWED_DOMAINS", "example.org, example.net")
    monkeypatch.setenv("EMAIL_RETRY_MINUTES", "2,4.5")
    monkeypatch.setenv("FROM_NAME", "")
    settings = MailSettings()
    assert settings.enabled
    assert settings.tls is Tls.IMPLICIT
    assert settings.credentials is not None
    assert settings.credentials[1].get_secret_value() == PASSWORD
    assert settings.timeout_seconds == 1.5
    assert settings.email_allowed_domains == ("example.org", "example.net")
    assert settings.email_retry_minutes == (2, 4.5)
    assert settings.from_name == "SpheroServe", "an empty value counts as unset"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, Tls.STARTTLS),
        ({"smtp_port": 465}, Tls.IMPLICIT),
        ({"smtp_port": 2465, "smtp_secure": True}, Tls.IMPLICIT),
        ({"smtp_port": 465, "smtp_require_tls": False}, Tls.IMPLICIT),
        ({"smtp_ignore_tls": True}, Tls.NONE),
        ({"smtp_ignore_tls": True, "smtp_require_tls": False}, Tls.NONE),
    ],
)
def test_tls_follows_from_the_port_unless_told(values, expected):
    assert MailSettings(smtp_host="mail.example.org", **values).tls is expected


@pytest.mark.parametrize("value", ["True", "TRUE", "1", "yes", "on", "false"])
def test_only_true_turns_the_dialogue_on(monkeypatch, value):
    monkeypatch.setenv("EMAIL_DEBUG", value)
    assert not MailSettings().email_debug
    monkeypatch.setenv("EMAIL_DEBUG", "true")
    assert MailSettings().email_debug


REFUSED = {
    "EMAIL_SERVICE is smtp, but SMTP_HOST": {"email_service": "smtp"},
    "EMAIL_SERVICE cannot be used": {"email_service": "sendgrid"},
    "SMTP_HOST must be a host name": {"smtp_host": "smtp://mail.example.org"},
    "SMTP_CA_FILE is": {"smtp_ca_file": "/nowhere/ca.pem"},
    "SMTP_SECURE is true, but servers on port 587": {"smtp_secure": True},
    "SMTP_SECURE is true, but servers on port 25 ": {"smtp_secure": True, "smtp_port": 25},
    "SMTP_SECURE is false, but servers on port 465": {"smtp_secure": False, "smtp_port": 465},
    "SMTP_IGNORE_TLS is true, but port 465": {"smtp_ignore_tls": True, "smtp_port": 465},
    "SMTP_IGNORE_TLS and SMTP_REQUIRE_TLS": {"smtp_ignore_tls": True, "smtp_require_tls": True},
    "SMTP_REQUIRE_TLS is false": {"smtp_require_tls": False},
    "SMTP_USER is set, but SMTP_PASS": {"smtp_user": "robot"},
    "SMTP_PASS is set, but SMTP_USER": {"smtp_pass": PASSWORD},
    "SMTP_AUTH is true, but": {"smtp_auth": True, "smtp_host": "mail.example.org"},
    "contains a line break": {"smtp_user": "robot", "smtp_pass": PASSWORD + "\n"},
    "would travel unencrypted": {
        "smtp_ignore_tls": True,
        "smtp_user": "robot",
        "smtp_pass": PASSWORD,
    },
    "FROM_EMAIL holds": {"from_email": "nobody"},
    "OPS_EMAIL holds": {"ops_email": "ops@example.org, @"},
    "EMAIL_ALLOWED_ADDRESSES holds": {"email_allowed_addresses": "x"},
    "EMAIL_ALLOWED_DOMAINS holds": {"email_allowed_domains": "@example.org"},
    "FROM_NAME must be one line": {"from_name": "SpheroServe\r\nBcc: all@example.org"},
    "FRONTEND_URL must start": {"frontend_url": "javascript:alert(1)"},
    "EMAIL_RETRY_MINUTES must be": {"email_retry_minutes": "5,0"},
    "EMAIL_TIMEOUT cannot be used": {"email_timeout": "soon"},
    "SMTP_PORT cannot be used": {"smtp_port": 0},
}


@pytest.mark.parametrize(("sentence", "values"), REFUSED.items(), ids=REFUSED)
def test_what_cannot_work_is_refused_in_one_sentence(sentence, values):
    with pytest.raises(ConfigurationError) as raised:
        MailSettings(**values)
    text = str(raised.value)
    assert sentence in text
    assert text.endswith(".")
    assert "\n" not in text
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))


def test_a_password_over_plain_text_can_be_accepted():
    settings = MailSettings(
        smtp_host="relay",
        smtp_ignore_tls=True,
        smtp_user="robot",
        smtp_pass=PASSWORD,
        email_allow_insecure=True,
    )
    assert settings.credentials is not None


def test_smtp_auth_false_never_logs_in():
    settings = MailSettings(smtp_host="relay", smtp_auth=False, smtp_user="u", smtp_pass="p")
    assert settings.credentials is None


def test_the_password_is_never_printed(caplog):
    settings = MailSettings(smtp_host="relay", smtp_user="robot", smtp_pass=PASSWORD)
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").info("%s %r %s", settings, settings, settings.credentials)
    printed = [caplog.text, str(settings), repr(settings), settings.model_dump_json()]
    assert all(PASSWORD not in text for text in printed)
    # Not emptied: the value itself is there for the one who asks.
    assert pickle.loads(pickle.dumps(settings)).smtp_pass.get_secret_value() == PASSWORD


def test_an_unreadable_value_is_not_repeated_in_the_error(monkeypatch):
    monkeypatch.setenv("SMTP_PASS", PASSWORD)
    monkeypatch.setenv("SMTP_PORT", PASSWORD)
    with pytest.raises(ConfigurationError) as raised:
        MailSettings()
    assert PASSWORD not in "".join(traceback.format_exception(raised.value))
