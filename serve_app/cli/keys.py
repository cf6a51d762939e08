"""``spheroserve keys``: API keys."""

import json

import click


@click.group()
def keys() -> None:
    """API keys."""


@keys.command()
@click.argument("name")
@click.option("--scope", type=click.Choice(["user", "operator"]), default="user", show_default=True)
@click.option("--requests-per-minute", type=float)
@click.option("--megapixels-per-minute", type=float)
def new(
    name: str, scope: str, requests_per_minute: float | None, megapixels_per_minute: float | None
) -> None:
    """Make a key for NAME: show it once, and the entry for SPHEROSERVE_API_KEYS_FILE."""
    from serve_app.api_keys import ApiKey, digest_of, new_key

    key = new_key()
    entry = ApiKey.model_validate(
        {
            "name": name,
            "sha256": digest_of(key),
            "scope": scope,
            "requests_per_minute": requests_per_minute,
            "megapixels_per_minute": megapixels_per_minute,
        }
    )
    click.echo(f"key, shown only now: {key}", err=True)
    click.echo(json.dumps(entry.model_dump(mode="json", exclude_none=True)))
