"""Takes the files of a new job while they arrive: few in memory, all durable at the end."""

from deployments.errors import InvalidFields, InvalidRequest, PayloadTooLarge
from deployments.inference.images.limits import ImageLimits
from deployments.jobs.records import NewImage
from serve_app.archives import ArchiveEntry, ArchiveLimits
from serve_app.authentication import counts_pixels
from serve_app.jobs_service import JobsService
from serve_app.multipart import Upload
from serve_app.settings import Settings

FIELD = "files"

# Files are stored in groups of about this many bytes, one transaction and one call for each.
_GROUP_BYTES = 4 * 1024 * 1024
_GROUP_FILES = 64


class JobUpload:
    """The images of one new job: single files, or all files of one ZIP file.

    Attributes:
        pixels: What the images of this job declare, where the pixels of its key are counted.

    Args:
        jobs: Where the files go.
        settings: Limits.
    """

    def __init__(self, jobs: JobsService, settings: Settings) -> None:
        self._jobs = jobs
        self._limits = ArchiveLimits(
            max_entries=settings.max_job_images,
            max_entry_bytes=settings.max_file_bytes,
            max_bytes=settings.max_job_bytes,
        )
        self._image_limits = ImageLimits(max_pixels=settings.max_image_pixels)
        self.pixels = 0
        self._images: list[NewImage] = []
        self._group: list[tuple[str, bytes]] = []
        self._group_bytes = 0
        self._has_archive = False

    async def add(self, field: str, upload: Upload) -> None:
        """Take a file, or all files of an archive.

        Raises:
            InvalidFields: The field is not ``files``.
            InvalidRequest: A ZIP file is damaged, or not alone.
            PayloadTooLarge: There are too many images, or a ZIP file holds too many bytes.
            InsufficientStorage: The disk is full.
        """
        if field != FIELD:
            raise InvalidFields(
                [{"type": "extra_forbidden", "loc": ["body", field], "msg": "Unexpected file"}]
            )
        if self._has_archive or (upload.archive and self._count):
            raise InvalidRequest("files: a ZIP file must be the only file of a job.")
        if upload.archive is None:
            await self._add(upload.filename, upload.data)
            return
        self._has_archive = True
        entries = await self._jobs.list_archive(upload.archive, self._limits)
        for group in _groups(entries):
            contents = await self._jobs.read_archive(upload.archive, group)
            for entry, data in zip(group, contents, strict=True):
                await self._add(entry.name, data)

    async def finish(self) -> tuple[NewImage, ...]:
        """Return the images, all of them stored.

        Raises:
            InvalidFields: There is none.
            InsufficientStorage: The disk is full.
        """
        await self._store_group()
        if not self._images:
            raise InvalidFields(
                [{"type": "missing", "loc": ["body", FIELD], "msg": "Field required"}]
            )
        return tuple(self._images)

    @property
    def _count(self) -> int:
        return len(self._images) + len(self._group)

    async def _add(self, name: str, data: bytes) -> None:
        if self._count >= self._limits.max_entries:
            raise PayloadTooLarge(f"files: more than {self._limits.max_entries} images.")
        self._group.append((name or f"image {self._count}", data))
        self._group_bytes += len(data)
        if self._group_bytes >= _GROUP_BYTES or len(self._group) >= _GROUP_FILES:
            await self._store_group()

    async def _store_group(self) -> None:
        if self._group:
            contents = [data for _, data in self._group]
            if counts_pixels():
                self.pixels += await self._jobs.count_pixels(contents, self._image_limits)
            refs = await self._jobs.save(contents)
            self._images += [
                NewImage(name, ref) for (name, _), ref in zip(self._group, refs, strict=True)
            ]
            self._group.clear()
            self._group_bytes = 0


def _groups(entries: list[ArchiveEntry]) -> list[list[ArchiveEntry]]:
    """Split entries so that a group fits into memory; a large one is alone."""
    groups: list[list[ArchiveEntry]] = []
    size = 0
    for entry in entries:
        full = size + entry.size > _GROUP_BYTES or not groups or len(groups[-1]) >= _GROUP_FILES
        if full:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += entry.size
    return groups
