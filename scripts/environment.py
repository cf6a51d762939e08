"""What is written about environment variables, taken from the settings classes themselves."""

import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from deployments.job_settings import JobSettings
from deployments.mail.settings import MailSettings
from serve_app.settings import Settings

SETTINGS: tuple[type[BaseSettings], ...] = (Settings, JobSettings, MailSettings)

_EXAMPLE_HEAD = """\
# Every variable of SpheroServe. Copy to .env.green, change what differs, and start with
#   spheroserve up --env-file .env.green
# Keep that file, and every password, out of version control.
"""
# By the first variable of each.
_SECTIONS = {
    "SPHEROSERVE_MAX_FILE_BYTES": "HTTP edge",
    "SPHEROSERVE_DATA_DIR": "Jobs",
    "EMAIL_SERVICE": "Mail: the server\n# An empty value counts as unset.",
    "FROM_EMAIL": "Mail: sender and links",
    "EMAIL_ALLOWED_DOMAINS": "Mail: recipients",
    "EMAIL_RETRY_MINUTES": "Mail: retries",
    "OPS_EMAIL": "Mail: to the operator",
}
# Where the default is no example.
_PLACEHOLDERS = {
    "EMAIL_SERVICE": "none",
    "SMTP_HOST": "smtp.example.org",
    "FROM_EMAIL": "spheroserve@example.org",
    "FRONTEND_URL": "https://spheroids.example.org",
    "OPS_EMAIL": "operator@example.org",
}


def variables(settings: type[BaseSettings]) -> Iterator[tuple[str, FieldInfo]]:
    """Name and field of every variable of a class, in the order of the source."""
    prefix = settings.model_config.get("env_prefix", "")
    for name, field in settings.model_fields.items():
        yield f"{prefix}{name}".upper(), field


def as_text(value: Any) -> str:
    """Write a value the way an environment variable has it; an unset one is empty."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(map(as_text, value))
        case _:
            return str(value)


def settings_table(settings: type[BaseSettings]) -> str:
    """Write a Markdown table of every variable of a class."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in variables(settings):
        rows.append(f"| `{name}` | {as_text(field.default)} | {field.description} |")
    return "\n".join(rows)


def example() -> str:
    """Write the example of an environment file: every variable, none of which does harm."""
    parts = [_EXAMPLE_HEAD]
    for settings in SETTINGS:
        for name, field in variables(settings):
            if name in _SECTIONS:
                title, *note = _SECTIONS[name].split("\n")
                parts.append("\n".join([f"# --- {title} ---", *note, ""]))
            comment = textwrap.fill(
                field.description or "", 96, initial_indent="# ", subsequent_indent="# "
            )
            parts.append(f"{comment}\n{name}={_PLACEHOLDERS.get(name, as_text(field.default))}\n")
    return "\n".join(parts)
