from datetime import timedelta
from pathlib import Path

import pytest

from deployments.errors import ConfigurationError
from deployments.job_settings import JobSettings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in JobSettings.model_fields:
        monkeypatch.delenv(f"SPHEROSERVE_{name.upper()}", raising=False)


def test_without_settings_all_is_in_a_folder_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = JobSettings.from_environment()
    assert settings.files == f"{tmp_path}/spheroserve-data"
    assert settings.url == f"sqlite:///{tmp_path}/spheroserve-data/jobs.db"
    assert settings.retention == timedelta(days=14)
    settings.check(nodes=1)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPHEROSERVE_DATA_DIR", "s3://bucket/folder")
    monkeypatch.setenv("SPHEROSERVE_DATABASE_URL", "postgresql://host/jobs")
    monkeypatch.setenv("SPHEROSERVE_RETENTION_DAYS", "0.5")
    monkeypatch.setenv("SPHEROSERVE_HA", "true")
    settings = JobSettings.from_environment()
    assert (settings.files, settings.url) == ("s3://bucket/folder", "postgresql://host/jobs")
    assert (settings.retention, settings.ha) == (timedelta(hours=12), True)
    settings.check(nodes=3)


def test_an_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPHEROSERVE_DATABASE_URL", "")
    assert JobSettings.from_environment().url.startswith("sqlite:///")


@pytest.mark.parametrize(
    ("variable", "value"), [("HA", "perhaps"), ("RETENTION_DAYS", "-1"), ("LEASE_SECONDS", "0.1")]
)
def test_a_bad_value_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"SPHEROSERVE_{variable}", value)
    with pytest.raises(ConfigurationError, match=f"^SPHEROSERVE_{variable} cannot be used: "):
        JobSettings.from_environment()


def test_sqlite_cannot_be_in_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPHEROSERVE_DATA_DIR", "s3://bucket/folder")
    with pytest.raises(ConfigurationError, match="SPHEROSERVE_DATABASE_URL must be set"):
        JobSettings.from_environment().check(nodes=1)


@pytest.mark.parametrize(("nodes", "ha"), [(2, "false"), (1, "true")])
def test_several_machines_need_postgresql(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nodes: int, ha: str
) -> None:
    monkeypatch.setenv("SPHEROSERVE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("SPHEROSERVE_HA", ha)
    with pytest.raises(ConfigurationError, match="PostgreSQL"):
        JobSettings.from_environment().check(nodes)


def test_the_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPHEROSERVE_DATABASE_URL", "postgresql://user:hunter2@host/jobs")
    assert "hunter2" not in repr(JobSettings.from_environment())
    monkeypatch.setenv("SPHEROSERVE_DATABASE_URL", "mysql://user:hunter2@host/jobs")
    with pytest.raises(ConfigurationError) as caught:
        JobSettings.from_environment().check(nodes=1)
    assert "hunter2" not in str(caught.value)
