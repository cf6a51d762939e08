"""The HTTP endpoints, one file per group, put together by ``create_app``."""

from serve_app.routes.application import create_app

__all__ = ["create_app"]
