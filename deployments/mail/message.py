"""The bytes of a mail: headers, a text part, an HTML part, attachments."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from deployments.errors import InvalidRequest
from deployments.mail.content import write_content
from deployments.mail.notifications import Notification
from deployments.mail.phrases import phrases_for

if TYPE_CHECKING:
    from deployments.mail.settings import MailSettings

# 7bit: body parts are encoded so that a server without 8BITMIME takes them.
POLICY = SMTP.clone(cte_type="7bit")

_TEMPLATES = Path(__file__).parent / "templates"
_MESSAGE_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of the mail.

    Attributes:
        filename: Name shown to the reader, one that the service chose.
        media_type: Such as ``image/jpeg``.
        content: The bytes.
    """

    filename: str
    media_type: str
    content: bytes


def build_message(
    notification: Notification,
    settings: "MailSettings",
    *,
    recipient: str,
    locale: str,
    message_key: str,
    created_at: datetime,
    attachments: Sequence[Attachment] = (),
    complete: bool = True,
) -> EmailMessage:
    """Write the mail of a notification.

    Args:
        notification: What happened.
        settings: Sender, link base and the limit on attachments.
        recipient: Address as :class:`RecipientPolicy` returned it.
        locale: Language of the reader; English where there is no translation.
        message_key: SHA-256 (hex) of job, kind and recipient: the left part of the Message-ID, the
            same on every attempt, by which a second copy is recognised.
        created_at: When the notification was made, with a time zone; the Date of the mail.
        attachments: Taken in order while all fit EMAIL_MAX_ATTACHMENT_BYTES; the mail says where
            one was left out.
        complete: False where the caller has left one out already.

    Raises:
        InvalidRequest: A value cannot stand in a header.
    """
    say = phrases_for(locale)
    content = write_content(notification, say, settings.frontend_url)
    fitting = _fitting(attachments, settings.email_max_attachment_bytes)
    omitted = not complete or len(fitting) < len(attachments)
    values = {"content": content, "say": say, "omitted": omitted}

    if not _MESSAGE_KEY.fullmatch(message_key):
        raise InvalidRequest("The key of the Message-ID is no SHA-256 in hexadecimal digits.")
    message = EmailMessage(policy=POLICY)
    try:
        message["From"] = Address(settings.from_name, addr_spec=settings.from_email)
        message["To"] = Address(addr_spec=recipient)
        message["Subject"] = content.subject
    except ValueError as error:
        raise InvalidRequest(f"A header of the mail cannot be written: {error}") from error
    message["Date"] = format_datetime(created_at)
    message["Message-ID"] = f"<{message_key}@{settings.from_domain}>"
    # RFC 3834: no out-of-office reply is wanted.
    message["Auto-Submitted"] = "auto-generated"

    environment = _environment()
    message.set_content(environment.get_template("mail.txt.j2").render(values))
    message.add_alternative(environment.get_template("mail.html.j2").render(values), subtype="html")
    for attachment in fitting:
        maintype, _, subtype = attachment.media_type.partition("/")
        message.add_attachment(
            attachment.content, maintype=maintype, subtype=subtype, filename=attachment.filename
        )
    # Last, because writing the body clears what was said about the content.
    message["Content-Language"] = say.locale
    return message


def _fitting(attachments: Sequence[Attachment], limit: int) -> list[Attachment]:
    fitting: list[Attachment] = []
    for attachment in attachments:
        if len(attachment.content) <= limit:
            fitting.append(attachment)
            limit -= len(attachment.content)
    return fitting


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(enabled_extensions=("html.j2",), default=False),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
