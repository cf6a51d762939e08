"""JSON answers, serialised by orjson."""

from collections.abc import Mapping

import orjson
from starlette.responses import Response


def json_response(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Serialise ``content``, in which ``orjson.Fragment`` embeds ready JSON as it is."""
    return Response(orjson.dumps(content), status, headers, media_type="application/json")
