"""Every variable is in the example of the environment and in the documentation."""

import re
from pathlib import Path

import pytest

from deployments.job_settings import JobSettings
from deployments.mail.notifications import NOTIFICATION
from deployments.mail.settings import MailSettings
from serve_app.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / ".env.green.example"

FIELDS = {
    f"{settings.model_config.get('env_prefix', '')}{name}".upper(): field
    for settings in (Settings, JobSettings, MailSettings)
    for name, field in settings.model_fields.items()
}
# Where the default would send mail, or would be no example.
PLACEHOLDERS = {"email_service", "smtp_host", "from_email", "frontend_url", "ops_email"}


def _example() -> tuple[dict[str, str], dict[str, str]]:
    """Values and comments of the example, by variable."""
    values, comments, comment = {}, {}, ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            comment = f"{comment} {line.removeprefix('#').strip()}".strip()
        elif line:
            name, _, value = line.partition("=")
            assert name not in values, f"{name} is given twice"
            values[name], comments[name] = value, comment
        else:
            comment = ""
    return values, comments


def test_the_example_has_every_variable_and_no_other():
    values, _ = _example()
    assert values.keys() == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_the_example_explains_every_variable(name):
    _, comments = _example()
    assert comments[name] == FIELDS[name].description


def test_the_example_works_sends_nothing_and_holds_no_secret(monkeypatch):
    values, _ = _example()
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    mail = MailSettings()
    assert not mail.enabled
    assert mail.smtp_pass is None
    different = {
        name for name, f in MailSettings.model_fields.items() if getattr(mail, name) != f.default
    }
    assert different == PLACEHOLDERS
    # Only names that are reserved for examples (RFC 2606).
    hosts = re.findall(r"[\w-]+(?:\.[\w-]+)*\.(?:org|com|net|cz)", " ".join(values.values()))
    assert hosts
    assert all(host.endswith("example.org") for host in hosts)


def test_the_example_keeps_the_defaults_of_the_http_edge_and_of_jobs(monkeypatch):
    for name, value in _example()[0].items():
        monkeypatch.setenv(name, value)
    assert Settings.from_environment() == Settings.model_construct()
    assert JobSettings.from_environment() == JobSettings.model_construct()


def test_the_documentation_has_every_variable_with_its_default():
    rows = {}
    for name in ("configuration.md", "notifications.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        rows.update(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", text, re.MULTILINE))
    assert rows == {
        name: f"{_shown(field.default)} | {field.description}" for name, field in FIELDS.items()
    }


def test_the_documentation_names_every_kind():
    text = (ROOT / "docs" / "notifications.md").read_text(encoding="utf-8")
    kinds = NOTIFICATION.json_schema()["discriminator"]["mapping"]
    assert [kind for kind in kinds if f"`{kind}`" not in text] == []


def _shown(default: object) -> str:
    match default:
        case None:
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case tuple():
            return ",".join(map(_shown, default))
        case _:
            return str(default)
