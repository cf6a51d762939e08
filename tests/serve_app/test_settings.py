import pytest

from deployments.errors import ConfigurationError
from serve_app.settings import Settings

MIB = 1024 * 1024


def test_defaults() -> None:
    settings = Settings.from_environment()
    assert settings.max_file_bytes == 64 * MIB
    assert settings.max_body_bytes == 128 * MIB
    assert settings.upload_stall_seconds == 30
    assert settings.request_timeout_seconds == 240
    assert settings.max_image_pixels == 100_000_000
    assert settings.cors_origins == ("*",)


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("text", "origins"),
    [("*", ("*",)), ("", ()), ("https://a, https://b", ("https://a", "https://b"))],
)
def test_origins(monkeypatch: pytest.MonkeyPatch, text: str, origins: tuple[str, ...]) -> None:
    monkeypatch.setenv("SPHEROSERVE_CORS_ORIGINS", text)
    assert Settings.from_environment().cors_origins == origins


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SPHEROSERVE_MAX_BODY_BYTES", "many"),
        ("SPHEROSERVE_MAX_FILE_BYTES", "0"),
        ("SPHEROSERVE_REQUEST_TIMEOUT_SECONDS", "-1"),
        ("SPHEROSERVE_REQUEST_TIMEOUT_SECONDS", "nan"),
        ("SPHEROSERVE_LOG_LEVEL", "LOUD"),
        ("SPHEROSERVE_METRICS_CONVENTION", "2024"),
    ],
)
def test_bad_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=rf"^{variable} is '{value}'") as caught:
        Settings.from_environment()
    assert "\n" not in str(caught.value)


def test_file_limit_above_body_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPHEROSERVE_MAX_FILE_BYTES", "1000")
    monkeypatch.setenv("SPHEROSERVE_MAX_BODY_BYTES", "999")
    with pytest.raises(ConfigurationError, match="SPHEROSERVE_MAX_FILE_BYTES"):
        Settings.from_environment()
