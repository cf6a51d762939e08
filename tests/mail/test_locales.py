import string

import pytest
import yaml
from pydantic import TypeAdapter

from deployments.mail.content import MOST_LISTED, write_content
from deployments.mail.notifications import NOTIFICATION, OPERATOR_KINDS
from deployments.mail.phrases import LOCALES_DIR, available_locales, phrases_for

LOCALES = ("en", "cs", "es", "de", "fr", "zh")
AT = "2026-03-01T12:00:00Z"
FAILED = [{"name": f"{n}.png", "error": "too large"} for n in range(MOST_LISTED + 5)]

# One of every kind, with all that it can hold.
EXAMPLES = {
    "job_finished": {
        "job_id": "j",
        "images": 40,
        "succeeded": 15,
        "failed": 25,
        "seconds": 7300,
        "models": [{"model": "hrnet", "images": 15, "seconds": 75}],
        "failed_images": FAILED,
    },
    "job_failed": {"job_id": "j", "images": 25, "reason": "r", "failed_images": FAILED},
    "replica_replaced": {
        "model": "hrnet",
        "replica": "hrnet#1",
        "device": "cuda:0",
        "reason": "device lost",
        "at": AT,
    },
    "model_degraded": {"model": "hrnet", "device": "cuda:0", "reason": "memory", "at": AT},
    "mail_dead_lettered": {
        "mail_id": "m",
        "mail_kind": "job_failed",
        "recipient": "ada@example.org",
        "reason": "550 no",
        "at": AT,
    },
    "digest": {
        "since": AT,
        "until": AT,
        "total": 30,
        "entries": [{"kind": "model_degraded", "summary": "s", "at": AT}],
    },
    "mail_test": {"host": "lab", "at": AT},
}


def _texts(locale: str) -> dict[str, str]:
    raw = yaml.safe_load((LOCALES_DIR / f"{locale}.yaml").read_text(encoding="utf-8"))
    return TypeAdapter(dict[str, str]).validate_python(raw, strict=True)


def _names(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def test_six_languages():
    assert available_locales() == set(LOCALES)


@pytest.mark.parametrize("locale", LOCALES)
def test_every_language_has_every_sentence_with_the_same_values(locale):
    english, texts = _texts("en"), _texts(locale)
    assert texts.keys() == english.keys()
    assert {key: _names(text) for key, text in texts.items()} == {
        key: _names(text) for key, text in english.items()
    }
    assert all(text.strip() == text and text and text.isprintable() for text in texts.values())


@pytest.mark.parametrize("locale", set(LOCALES) - {"en"})
def test_translations_are_not_english(locale):
    english, texts = _texts("en"), _texts(locale)
    sentences = [key for key in english if key.startswith(("subject.", "heading."))]
    assert all(texts[key] != english[key] for key in sentences)


def test_the_examples_are_all_kinds():
    schema = NOTIFICATION.json_schema()
    assert set(EXAMPLES) == set(schema["discriminator"]["mapping"])
    assert set(EXAMPLES) > OPERATOR_KINDS


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("locale", LOCALES)
def test_every_kind_speaks_every_language(kind, locale):
    say = phrases_for(locale)
    notification = NOTIFICATION.validate_python({"kind": kind, **EXAMPLES[kind]})
    content = write_content(notification, say, "https://example.org")
    assert content.subject == say(f"subject.{kind}", **EXAMPLES[kind])
    assert content.heading == say(f"heading.{kind}")
    assert all(label and value for label, value in content.facts)


def test_no_sentence_is_unused():
    class Recorder:
        locale = "en"

        def __init__(self) -> None:
            self.keys = {"open_job", "attachments_omitted", "footer"}

        def __call__(self, key: str, **values: object) -> str:
            self.keys.add(key)
            return phrases_for("en")(key, **values)

    recorder = Recorder()
    for kind, facts in EXAMPLES.items():
        write_content(NOTIFICATION.validate_python({"kind": kind, **facts}), recorder, "https://x")
    assert recorder.keys == set(_texts("en"))


@pytest.mark.parametrize(
    ("tag", "language"),
    [("cs", "cs"), ("cs-CZ", "cs"), ("zh_Hans_CN", "zh"), ("DE", "de"), ("pl", "en"), ("", "en")],
)
def test_unknown_languages_fall_back_to_english(tag, language):
    assert phrases_for(tag).locale == language


def test_a_path_is_no_language():
    assert phrases_for("../../secrets").locale == "en"
