"""Which combinations of mail settings cannot work, each refused in one sentence.

A wrong pair of port and TLS does not fail, it hangs: one side waits for a handshake, the other
for a banner. So the pairs that are known to be wrong are refused before the first connection.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployments.errors import ConfigurationError, InvalidRequest
from deployments.mail.address import normalise_address
from deployments.mail.tls import IMPLICIT_TLS_PORT, Tls

if TYPE_CHECKING:
    from deployments.mail.settings import MailSettings

_HOST = re.compile(r"[A-Za-z0-9._:-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORTS_WITHOUT_IMPLICIT_TLS = (25, 587)


def check_combination(settings: "MailSettings") -> None:
    """Refuse settings that contradict each other.

    Raises:
        ConfigurationError: The sentence names the variables and says what to change.
    """
    _check_server(settings)
    _check_tls(settings)
    _check_login(settings)
    _check_addresses(settings)
    _check_delays(settings)


def _check_server(settings: "MailSettings") -> None:
    if settings.email_service == "smtp" and settings.smtp_host is None:
        raise ConfigurationError("EMAIL_SERVICE is smtp, but SMTP_HOST is not set.")
    if settings.smtp_host is not None and not _HOST.fullmatch(settings.smtp_host):
        raise ConfigurationError(
            "SMTP_HOST must be a host name or an address, without scheme, port or spaces."
        )
    if settings.smtp_ca_file is not None and not settings.smtp_ca_file.is_file():
        raise ConfigurationError(f"SMTP_CA_FILE is {settings.smtp_ca_file}, which is no file.")


def _check_tls(settings: "MailSettings") -> None:
    said = settings.model_fields_set
    port = settings.smtp_port
    if settings.smtp_secure is True and port in _PORTS_WITHOUT_IMPLICIT_TLS:
        raise ConfigurationError(
            f"SMTP_SECURE is true, but servers on port {port} start without TLS: use port 465 or "
            "SMTP_SECURE=false."
        )
    if settings.smtp_secure is False and port == IMPLICIT_TLS_PORT:
        raise ConfigurationError(
            "SMTP_SECURE is false, but servers on port 465 start with TLS: use port 587 or "
            "SMTP_SECURE=true."
        )
    implicit = settings.tls is Tls.IMPLICIT
    if settings.smtp_ignore_tls and implicit:
        raise ConfigurationError(
            f"SMTP_IGNORE_TLS is true, but port {port} with SMTP_SECURE means TLS from the first "
            "byte."
        )
    if settings.smtp_ignore_tls and "smtp_require_tls" in said and settings.smtp_require_tls:
        raise ConfigurationError(
            "SMTP_IGNORE_TLS and SMTP_REQUIRE_TLS are both true: set one of them to false."
        )
    if not settings.smtp_require_tls and not settings.smtp_ignore_tls and not implicit:
        raise ConfigurationError(
            "SMTP_REQUIRE_TLS is false, but TLS only when the server offers it protects from "
            "nobody: set SMTP_IGNORE_TLS=true for plain text."
        )


def _check_login(settings: "MailSettings") -> None:
    if not settings.smtp_auth:
        return
    if settings.smtp_user is not None and settings.smtp_pass is None:
        raise ConfigurationError("SMTP_USER is set, but SMTP_PASS is not.")
    if settings.smtp_pass is not None and settings.smtp_user is None:
        raise ConfigurationError("SMTP_PASS is set, but SMTP_USER is not.")
    if settings.smtp_user is None or settings.smtp_pass is None:
        if "smtp_auth" in settings.model_fields_set and settings.enabled:
            raise ConfigurationError("SMTP_AUTH is true, but SMTP_USER and SMTP_PASS are not set.")
        return
    if _CONTROL.search(settings.smtp_user) or _CONTROL.search(
        settings.smtp_pass.get_secret_value()
    ):
        raise ConfigurationError(
            "SMTP_USER or SMTP_PASS contains a line break or another control character."
        )
    if settings.smtp_ignore_tls and not settings.email_allow_insecure:
        raise ConfigurationError(
            "SMTP_IGNORE_TLS is true, so SMTP_PASS would travel unencrypted: use TLS, or set "
            "EMAIL_ALLOW_INSECURE=true to accept it."
        )


def _check_addresses(settings: "MailSettings") -> None:
    named = [("FROM_EMAIL", settings.from_email)]
    named += [("OPS_EMAIL", address) for address in settings.ops_email]
    named += [("EMAIL_ALLOWED_ADDRESSES", address) for address in settings.email_allowed_addresses]
    for name, address in named:
        try:
            normalise_address(address, any_domain=True)
        except InvalidRequest as error:
            raise ConfigurationError(f"{name} holds {address!r}: {error}") from error
    for domain in settings.email_allowed_domains:
        if not _HOST.fullmatch(domain):
            raise ConfigurationError(f"EMAIL_ALLOWED_DOMAINS holds {domain!r}, which is no domain.")
    if _CONTROL.search(settings.from_name) or len(settings.from_name) > 100:
        raise ConfigurationError(
            "FROM_NAME must be one line of at most 100 characters without control characters."
        )
    url = urlsplit(settings.frontend_url)
    if url.scheme not in ("http", "https") or not url.netloc or _CONTROL.search(url.geturl()):
        raise ConfigurationError("FRONTEND_URL must start with http:// or https:// and a host.")


def _check_delays(settings: "MailSettings") -> None:
    delays = settings.email_retry_minutes
    if not delays or any(not 0 < minutes <= 1440 for minutes in delays):
        raise ConfigurationError(
            "EMAIL_RETRY_MINUTES must be numbers of minutes above 0 and up to 1440."
        )
