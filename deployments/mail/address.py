"""Which addresses may receive mail.

Without limits on recipients the service would be an open relay for anyone who can start a job.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from email_validator import EmailNotValidError, validate_email

from deployments.errors import InvalidRequest

if TYPE_CHECKING:
    from deployments.mail.settings import MailSettings

# email-validator refuses reserved names in every mode, so they are checked here, and the local
# part under a domain that it accepts.
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)
_RESERVED = ("local", "test")
_STAND_IN = "example.org"


def normalise_address(address: str, any_domain: bool = False) -> str:
    """Return an address in the form in which it is stored and sent.

    No DNS is asked. The local part must be ASCII, because a server without SMTPUTF8 cannot take
    another one; an international domain is returned in its ASCII form.

    Args:
        address: Address alone, without a display name.
        any_domain: Whether names without a dot and reserved domains (``localhost``, ``.local``)
            pass. For addresses that the operator wrote.

    Raises:
        InvalidRequest: No valid address.
    """
    local, _, domain = address.rpartition("@")
    internal = any_domain and _is_internal(domain)
    try:
        valid = validate_email(
            f"{local}@{_STAND_IN}" if internal else address,
            allow_smtputf8=False,
            strict=True,
            check_deliverability=False,
        )
    except EmailNotValidError as error:
        raise InvalidRequest(f"No valid email address: {error}") from error
    if internal:
        return f"{valid.local_part}@{domain.lower()}"
    # Set for every address with an ASCII local part, the only kind that passes here.
    return valid.ascii_email or valid.normalized


def _is_internal(domain: str) -> bool:
    labels = domain.split(".")
    reserved = len(labels) == 1 or labels[-1].lower() in _RESERVED
    return reserved and all(_LABEL.fullmatch(label) for label in labels)


class RecipientPolicy:
    """Valid addresses, in allowed domains, at most so many per job.

    The addresses of the operator are always allowed.

    Args:
        domains: Allowed domains; with no domain and no address given, all are allowed.
        addresses: Addresses allowed besides those domains.
        most: Most recipients of one job.
        operators: Addresses of the operator.
    """

    def __init__(
        self,
        domains: Iterable[str] = (),
        addresses: Iterable[str] = (),
        most: int = 10,
        operators: Iterable[str] = (),
    ) -> None:
        self._domains = frozenset(domain.lower() for domain in domains)
        self._addresses = frozenset(
            normalise_address(address, any_domain=True).lower() for address in addresses
        )
        self._operators = frozenset(
            normalise_address(address, any_domain=True).lower() for address in operators
        )
        self._most = most

    @classmethod
    def from_settings(cls, settings: "MailSettings") -> Self:
        """Read EMAIL_ALLOWED_DOMAINS, EMAIL_ALLOWED_ADDRESSES, EMAIL_MAX_RECIPIENTS, OPS_EMAIL."""
        return cls(
            settings.email_allowed_domains,
            settings.email_allowed_addresses,
            settings.email_max_recipients,
            settings.ops_email,
        )

    def check(self, address: str) -> str:
        """Return one address in the form in which it is stored and sent.

        Raises:
            InvalidRequest: No valid address, or not an allowed one.
        """
        # Reserved domains such as .local are fine where the operator named them.
        normalised = normalise_address(address, any_domain=True)
        key = normalised.lower()
        if key in self._operators or key in self._addresses:
            return normalised
        if key.rpartition("@")[2] in self._domains:
            return normalised
        if self._domains or self._addresses:
            raise InvalidRequest(f"Mail to {normalised} is not allowed on this server.")
        return normalise_address(address)

    def check_all(self, addresses: Iterable[str]) -> list[str]:
        """Return the recipients of one job, each once, in the order given.

        Raises:
            InvalidRequest: An address is not valid or not allowed, or there are too many.
        """
        unique = {address.lower(): address for address in map(self.check, addresses)}
        if len(unique) > self._most:
            raise InvalidRequest(
                f"{len(unique)} recipients are given; at most {self._most} are allowed per job."
            )
        return list(unique.values())
