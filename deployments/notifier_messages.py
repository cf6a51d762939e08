"""From a row of the outbox to the mail: looks up in the store what the mail tells."""

from collections.abc import Sequence
from email.message import EmailMessage

from deployments.errors import Conflict
from deployments.jobs.lifecycle import JOB_FAILED, JOB_FINISHED
from deployments.jobs.records import Image, Job, Mail
from deployments.jobs.states import ImageState
from deployments.jobs.store import JobStore
from deployments.mail.message import build_message
from deployments.mail.notifications import (
    NOTIFICATION,
    FailedImage,
    JobFailed,
    JobFinished,
    ModelTime,
    Notification,
)
from deployments.mail.settings import MailSettings
from deployments.notifier_attachments import AttachmentMaker, Attachments

_PAGE = 500
_NOTHING = Attachments((), complete=True)


class MessageWriter:
    """Writes the mails of jobs, and those to the operator.

    Args:
        store: The job store.
        settings: Sender, links, limits.
        attachments: Makes what the mail of a finished job carries.
    """

    def __init__(
        self, store: JobStore, settings: MailSettings, attachments: AttachmentMaker
    ) -> None:
        self._store = store
        self._settings = settings
        self._attachments = attachments

    async def write(self, mail: Mail) -> EmailMessage:
        """Write one mail.

        Raises:
            ClientError: It can never be written: the job is gone.
            StoreUnavailable: The database does not answer.
        """
        notification, attachments = await self._gather(mail)
        return build_message(
            notification,
            self._settings,
            recipient=mail.recipient,
            locale=mail.locale,
            message_key=mail.message_key,
            created_at=mail.created_at,
            attachments=attachments.files,
            complete=attachments.complete,
        )

    async def _gather(self, mail: Mail) -> tuple[Notification, Attachments]:
        if mail.job_id is None:
            facts = {"kind": mail.kind, **mail.data}
            return NOTIFICATION.validate_python(facts), _NOTHING
        job = await self._store.jobs.get(mail.job_id, tenant=None)
        images = await self._images(job)
        if mail.kind == JOB_FINISHED:
            return _job_finished(job, images), await self._attachments.make(job, images)
        if mail.kind == JOB_FAILED:
            return _job_failed(job, images), _NOTHING
        raise Conflict(f"there is no mail of the kind {mail.kind} about a job")

    async def _images(self, job: Job) -> list[Image]:
        images: list[Image] = []
        while page := await self._store.jobs.images(job.id, None, _PAGE, after=len(images) - 1):
            images += page
        return images


def _job_finished(job: Job, images: Sequence[Image]) -> JobFinished:
    if job.finished_at is None:
        raise Conflict("the job has not ended")
    # A result that was known before took no device, and has no timings.
    shares = (image.timings.get("device_share") for image in images)
    seconds = [share for share in shares if share is not None]
    used = (ModelTime(model=job.model, images=len(seconds), seconds=sum(seconds)),)
    return JobFinished(
        job_id=job.id,
        images=job.counts.total,
        succeeded=job.counts.succeeded,
        failed=job.counts.failed + job.counts.dead,
        seconds=(job.finished_at - job.created_at).total_seconds(),
        models=used if seconds else (),
        failed_images=_failed(images),
    )


def _job_failed(job: Job, images: Sequence[Image]) -> JobFailed:
    return JobFailed(
        job_id=job.id,
        images=job.counts.total,
        reason=job.error or "the job has no result",
        failed_images=_failed(images),
    )


def _failed(images: Sequence[Image]) -> tuple[FailedImage, ...]:
    failed = (image for image in images if image.state in (ImageState.FAILED, ImageState.DEAD))
    return tuple(FailedImage(name=image.name, error=image.error or "") for image in failed)
