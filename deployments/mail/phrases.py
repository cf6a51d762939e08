"""The sentences of the mails in six languages, read from ``templates/locales/*.yaml``."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import yaml

LOCALES_DIR = Path(__file__).parent / "templates" / "locales"
FALLBACK = "en"


class Phrases:
    """The sentences of one language.

    Args:
        locale: Two-letter language code, also the ``lang`` of the HTML part.
        texts: Sentence by key, with ``{names}`` for values.
    """

    def __init__(self, locale: str, texts: Mapping[str, str]) -> None:
        self.locale = locale
        self._texts = texts

    def __call__(self, key: str, **values: object) -> str:
        """Return a sentence with its values put in. Braces inside values stay as they are."""
        return self._texts[key].format(**values)


@cache
def available_locales() -> frozenset[str]:
    """Language codes that have a file."""
    return frozenset(path.stem for path in LOCALES_DIR.glob("*.yaml"))


@cache
def _load(locale: str) -> Phrases:
    text = (LOCALES_DIR / f"{locale}.yaml").read_text(encoding="utf-8")
    return Phrases(locale, yaml.safe_load(text))


def phrases_for(locale: str) -> Phrases:
    """Return the sentences of a language.

    Args:
        locale: A tag such as ``cs`` or ``cs-CZ``. English answers for languages without a file.
    """
    language = locale.replace("_", "-").split("-")[0].lower()
    return _load(language if language in available_locales() else FALLBACK)
