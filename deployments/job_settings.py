"""Where jobs are stored and for how long, each an environment variable ``SPHEROSERVE_<NAME>``."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deployments.errors import ConfigurationError
from deployments.jobs.files import local_folder
from deployments.jobs.location import check_store

ENV_PREFIX = "SPHEROSERVE_"


class JobSettings(BaseSettings):
    """The job store, as the jobs and the notifier open it.

    Build it with :meth:`from_environment`, which turns a bad value into one sentence.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    data_dir: str = Field(
        default="./spheroserve-data",
        description="Folder of the files of jobs, or a bucket such as s3://bucket/folder.",
    )
    database_url: str | None = Field(
        default=None,
        repr=False,
        description="Database of the jobs, such as postgresql://host/name; when unset a SQLite "
        "file in the data folder.",
    )
    ha: bool = Field(
        default=False,
        description="true: jobs must survive the loss of a machine; needs PostgreSQL and a data "
        "folder that every node reaches.",
    )
    retention_days: float = Field(
        default=14, gt=0, description="Days after their end that jobs and results are kept."
    )
    lease_seconds: float = Field(
        default=15,
        ge=1,
        le=3600,
        description="Time without a sign of life after which another worker takes over an image.",
    )

    @classmethod
    def from_environment(cls) -> "JobSettings":
        """Read the environment.

        Raises:
            ConfigurationError: A value cannot be read or is out of range.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = ENV_PREFIX + str(first["loc"][0]).upper()
            # "from None": the cause would carry the values, which may hold a password.
            raise ConfigurationError(f"{name} cannot be used: {first['msg']}.") from None

    @property
    def url(self) -> str:
        """URL of the database.

        Raises:
            ConfigurationError: The files are in a bucket, where SQLite cannot be.
        """
        if self.database_url is not None:
            return self.database_url
        folder = local_folder(self.data_dir)
        if folder is None:
            raise ConfigurationError(
                f"with {ENV_PREFIX}DATA_DIR in a bucket, {ENV_PREFIX}DATABASE_URL must be set"
            )
        return f"sqlite:///{folder / 'jobs.db'}"

    @property
    def files(self) -> str:
        """The data folder as an absolute path, or the bucket."""
        folder: Path | None = local_folder(self.data_dir)
        return self.data_dir if folder is None else str(folder)

    @property
    def retention(self) -> timedelta:
        """How long jobs are kept after their end."""
        return timedelta(days=self.retention_days)

    @property
    def lease(self) -> timedelta:
        """How long an image belongs to a worker that gives no sign of life."""
        return timedelta(seconds=self.lease_seconds)

    def check(self, nodes: int) -> None:
        """Refuse a store that would lose jobs, or that some node would not find.

        Args:
            nodes: Number of machines on which the service may run.

        Raises:
            ConfigurationError: In one sentence, what is needed.
        """
        check_store(self.url, self.files, nodes, self.ha)
