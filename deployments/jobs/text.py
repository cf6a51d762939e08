"""Text from clients and servers, made fit for a database."""


def storable_text(text: str) -> str:
    """Replace what PostgreSQL cannot store: NUL, and surrogates that make no character."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
