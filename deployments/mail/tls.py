"""How a connection to the SMTP server is encrypted."""

import ssl
from enum import Enum
from pathlib import Path

IMPLICIT_TLS_PORT = 465


class Tls(Enum):
    """There is no opportunistic mode: TLS that a stranger can switch off protects nobody."""

    IMPLICIT = "implicit"
    STARTTLS = "starttls"
    NONE = "none"


def choose_tls(port: int, secure: bool | None, ignore: bool) -> Tls:
    """Return the mode of a connection.

    Args:
        port: Port of the server; 465 means implicit TLS where ``secure`` is None.
        secure: SMTP_SECURE, None where unset.
        ignore: SMTP_IGNORE_TLS.
    """
    if secure or (secure is None and port == IMPLICIT_TLS_PORT):
        return Tls.IMPLICIT
    return Tls.NONE if ignore else Tls.STARTTLS


def create_context(ca_file: Path | None, verify: bool) -> ssl.SSLContext:
    """Return a client context of TLS 1.2 or newer.

    Args:
        ca_file: PEM file with the authority of the server, or None for the system's.
        verify: False accepts any certificate under any name.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
