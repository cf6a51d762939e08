"""Which places of the store are accepted."""

from pathlib import Path

import pytest

from deployments.errors import ConfigurationError
from deployments.jobs.location import check_store, file_system

SQLITE = "sqlite:////data/jobs.db"
POSTGRES = "postgresql://user:secret@host/jobs"


def local(_: Path) -> str:
    return "ext4"


def network(_: Path) -> str:
    return "nfs4"


@pytest.mark.parametrize("data_dir", ["/data/files", "file:///data/files", "s3://bucket/files"])
@pytest.mark.parametrize("url", [SQLITE, POSTGRES, "sqlite:///jobs.db"])
def test_one_node_takes_either_database(url: str, data_dir: str) -> None:
    check_store(url, data_dir, nodes=1, ha=False, file_system=local)


@pytest.mark.parametrize(("nodes", "ha"), [(2, False), (1, True), (5, True)])
def test_more_nodes_take_postgresql_with_a_bucket_or_a_shared_folder(nodes: int, ha: bool) -> None:
    check_store(POSTGRES, "s3://bucket/files", nodes, ha, file_system=local)
    check_store(POSTGRES, "/mnt/files", nodes, ha, file_system=network)


@pytest.mark.parametrize(("nodes", "ha"), [(2, False), (1, True)])
@pytest.mark.parametrize(
    ("url", "data_dir"),
    [
        (SQLITE, "/data/files"),
        (SQLITE, "s3://bucket/files"),
        (POSTGRES, "/data/files"),
        (POSTGRES, "file:///data/files"),
    ],
)
def test_more_nodes_refuse_what_one_of_them_would_not_find(
    nodes: int, ha: bool, url: str, data_dir: str
) -> None:
    with pytest.raises(ConfigurationError, match="PostgreSQL") as caught:
        check_store(url, data_dir, nodes, ha, file_system=local)
    sentence = str(caught.value)
    assert ("SPHEROSERVE_HA" in sentence) == ha
    assert "\n" not in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_memory_is_no_store(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory"):
        check_store(url, "/data/files", 1, False, file_system=local)
    with pytest.raises(ConfigurationError, match="memory"):
        check_store(SQLITE, "memory://files", 1, False, file_system=local)


def test_sqlite_on_a_network_file_system_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nfs4"):
        check_store(SQLITE, "/data/files", 1, False, file_system=network)


@pytest.mark.parametrize("url", ["mysql://user:secret@host/jobs", "user:secret@nonsense"])
def test_other_urls_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_store(url, "/data/files", 1, False, file_system=local)
    assert "secret" not in str(caught.value)


def test_the_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    assert file_system(Path("/proc/self")) == "proc"
    assert file_system(tmp_path / "not" / "yet" / "there") == file_system(tmp_path)
