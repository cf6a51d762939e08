"""`scripts/check` refuses a tracked file that holds a secret."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "find_secrets.py"
# Put together here, so that this file is not itself found.
KEY = "AKIA" + "Q3JX7RT2LMW5ZP9D"
MAIL_LINE = "SMTP_" + "PASS=" + "'Tr0ub4dor-and-3'"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    track(tmp_path, "harmless.py", "answer = 42\n")
    return tmp_path


def track(repository: Path, name: str, text: str) -> None:
    (repository / name).write_text(text)
    subprocess.run(["git", "add", name], cwd=repository, check=True)


def look(repository: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, repository, *options], capture_output=True, text=True, check=False
    )


def test_harmless_files_pass(repository: Path) -> None:
    (repository / "untracked.py").write_text(f'key = "{KEY}"\n')
    assert look(repository).returncode == 0


@pytest.mark.parametrize(
    ("name", "text"), [("settings.py", f'\nkey = "{KEY}"\n'), (".env", f"\n{MAIL_LINE}\n")]
)
def test_a_secret_is_refused_by_place_and_not_shown(repository: Path, name: str, text: str) -> None:
    track(repository, name, text)
    result = look(repository)
    assert result.returncode == 1
    assert f"{name}:2:" in result.stderr
    assert KEY not in result.stderr
    assert "Tr0ub4dor" not in result.stderr


def test_what_is_declared_harmless_may_move_but_not_to_another_file(repository: Path) -> None:
    line = f'key = "{KEY}"\n'
    track(repository, "known.py", line)
    assert look(repository, "--update").returncode == 0
    track(repository, "known.py", "\n\n\n" + line)
    assert look(repository).returncode == 0
    track(repository, "other.py", line)
    result = look(repository)
    assert result.returncode == 1
    assert "other.py:1:" in result.stderr
    assert "known.py" not in result.stderr


def test_the_check_runs_it() -> None:
    assert "scripts/find_secrets.py" in (ROOT / "scripts" / "check").read_text(encoding="utf-8")
