"""Settings of the mailer, each an environment variable of the same name in capitals.

The names are SpheroSeg's. An empty value counts as unset, so that
``SMTP_USER=${SMTP_USER:-}`` in a compose file means what it looks like.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from deployments.errors import ConfigurationError
from deployments.mail.checks import check_combination
from deployments.mail.tls import Tls, choose_tls

CommaList = Annotated[tuple[str, ...], NoDecode]


class MailSettings(BaseSettings):
    """Everything the mailer is told from outside.

    Raises:
        ConfigurationError: At construction, for a value that cannot be read or a combination
            that cannot work. The sentence names the variable and never its secret.
    """

    model_config = SettingsConfigDict(
        frozen=True, env_ignore_empty=True, hide_input_in_errors=True, extra="ignore"
    )

    # Server
    email_service: Literal["smtp", "none"] | None = Field(
        default=None, description="smtp or none; none when unset and SMTP_HOST is unset."
    )
    smtp_host: str | None = Field(default=None, description="Name or address of the SMTP server.")
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Port of the SMTP server.")
    smtp_secure: bool | None = Field(
        default=None,
        description="true: TLS from the first byte. Unset: true on port 465, else false.",
    )
    smtp_require_tls: bool = Field(
        default=True, description="Without SMTP_SECURE: STARTTLS, or no mail is sent."
    )
    smtp_ignore_tls: bool = Field(
        default=False, description="true: plain text, for a relay on the same host."
    )
    smtp_ca_file: Path | None = Field(
        default=None, description="PEM file with the certificate authority of the server."
    )
    email_allow_insecure: bool = Field(
        default=False,
        description="true: accept any certificate, and a password without TLS.",
    )
    smtp_auth: bool = Field(default=True, description="false: never log in.")
    smtp_user: str | None = Field(default=None, description="User name of the login.")
    smtp_pass: SecretStr | None = Field(default=None, description="Password of the login.")
    email_timeout: int = Field(
        default=60_000,
        ge=100,
        le=1_800_000,
        description="Milliseconds of one whole send, from the connection to the final reply.",
    )
    email_debug: bool = Field(
        default=False,
        description='Only "true" logs the SMTP dialogue, without the login and the content.',
    )
    skip_email_send: bool = Field(
        default=False, description="true: send nothing, log a warning and report success."
    )

    # Sender and links
    from_email: str = Field(default="noreply@localhost", description="Address of the sender.")
    from_name: str = Field(default="SpheroServe", description="Display name of the sender.")
    frontend_url: str = Field(
        default="http://localhost:3000", description="Base of the links in mails."
    )

    # Recipients
    email_allowed_domains: CommaList = Field(
        default=(), description="Domains that may receive mail, by commas; unset allows all."
    )
    email_allowed_addresses: CommaList = Field(
        default=(), description="Addresses that may receive mail besides those domains."
    )
    email_max_recipients: int = Field(
        default=10, ge=1, le=100, description="Most recipients of one job."
    )
    email_max_attachment_bytes: int = Field(
        default=1_048_576,
        ge=0,
        le=20_971_520,
        description="Most bytes of all attachments of one mail; 0 attaches nothing.",
    )

    # Retries
    email_retry_minutes: Annotated[tuple[float, ...], NoDecode] = Field(
        default=(1, 5, 15, 30, 60),
        description="Minutes before each further attempt, by commas; the last one repeats.",
    )
    email_retry_jitter: float = Field(
        default=0.2, ge=0, le=0.5, description="Share by which a delay is varied up and down."
    )
    email_expiry_hours: float = Field(
        default=24, gt=0, le=240, description="Age after which a mail is given up."
    )
    email_hold_unknown: bool = Field(
        default=False,
        description="true: no further attempt after a lost acknowledgement, so no second copy.",
    )
    email_breaker_failures: int = Field(
        default=3, ge=1, le=100, description="Failures in a row after which the server rests."
    )
    email_breaker_seconds: float = Field(
        default=300, gt=0, le=86_400, description="How long the server then rests."
    )
    email_concurrency: int = Field(
        default=2, ge=1, le=20, description="Connections to the server at the same time."
    )

    # Operator
    ops_email: CommaList = Field(
        default=(), description="Addresses of the operator, by commas; unset sends none."
    )
    ops_locale: str = Field(default="en", description="Language of the mails to the operator.")
    ops_digest_minutes: float = Field(
        default=60,
        gt=0,
        le=10_080,
        description="After a mail of one kind, more of it wait this long for one digest.",
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = str(first["loc"][0]).upper()
            # "from None": the cause would carry the values, the password among them.
            raise ConfigurationError(f"{name} cannot be used: {first['msg']}.") from None

    @field_validator(
        "email_allowed_domains",
        "email_allowed_addresses",
        "ops_email",
        "email_retry_minutes",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("email_debug", mode="before")
    @classmethod
    def _only_true(cls, value: object) -> object:
        return value is True or value == "true"

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_combination(self)
        return self

    @property
    def enabled(self) -> bool:
        """Whether mails are sent at all."""
        if self.email_service is None:
            return self.smtp_host is not None
        return self.email_service == "smtp"

    @property
    def tls(self) -> Tls:
        """How the connection is encrypted."""
        return choose_tls(self.smtp_port, self.smtp_secure, self.smtp_ignore_tls)

    @property
    def credentials(self) -> tuple[str, SecretStr] | None:
        """User and password, or None where the client does not log in."""
        if not self.smtp_auth or self.smtp_user is None or self.smtp_pass is None:
            return None
        return self.smtp_user, self.smtp_pass

    @property
    def timeout_seconds(self) -> float:
        """EMAIL_TIMEOUT in seconds."""
        return self.email_timeout / 1000

    @property
    def from_domain(self) -> str:
        """Domain of FROM_EMAIL, also that of every Message-ID."""
        return self.from_email.rpartition("@")[2]
