"""A service that repeats the key or token of its client wherever it can."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

UNHEARD = logging.Logger("quoting service", logging.CRITICAL + 1)


@contextmanager
def quoting_service() -> Iterator[dict[str, str]]:
    """Yield the URLs of the service. At `handshake` it refuses the key during the upgrade, at
    `event` later.

    At `nonsense` it sends text that is not JSON.
    """
    with serve(_answer, "127.0.0.1", 0, process_request=_refuse, logger=UNHEARD) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"ws://127.0.0.1:{server.socket.getsockname()[1]}/openai/v1/realtime?model="
        yield {"handshake": f"{place}refuse", "event": f"{place}x", "nonsense": f"{place}nonsense"}


def _given(request: Request) -> str:
    """Return the key of a request, from the query, a subprotocol or a header."""
    query = parse_qs(urlsplit(request.path).query)
    offered = request.headers.get("sec-websocket-protocol", "").rpartition("key.")[2]
    authorization = request.headers.get("authorization", "").rpartition(" ")[2]
    own = query.get("apiKey", [""])[0] or offered or request.headers.get("x-team-key", "")
    return (
        own
        or request.headers.get("api-key")
        or request.headers.get("x-goog-api-key")
        or authorization
    )


def _refuse(connection: ServerConnection, request: Request) -> Response | None:
    key = _given(request)
    if "refuse" not in request.path:
        return None
    body = f"no such key: {key}".encode()
    headers = Headers({"x-echo": key, "Content-Length": str(len(body))})
    headers["x-ms-region"] = "\xe5"
    return Response(401, "Unauthorized", headers, body)


def _answer(connection: ServerConnection) -> None:
    assert connection.request is not None
    key = _given(connection.request)
    if "nonsense" in connection.request.path:
        connection.send(f"no such key: {key}")
    error = {
        "type": "invalid_request_error",
        "code": "invalid_api_key",
        "message": f"no such key: {key}",
    }
    session = {
        "id": f"sess_{key}",
        "instructions": f"You are {key}.",
        "client_secret": {"value": key},
    }
    for event in (
        {"type": "session.created", "session": session},
        {"type": "error", "error": error},
    ):
        connection.send(json.dumps(event | {"event_id": f"event_{key}"}))
    connection.close(1008, f"no such key: {key}")


def files_with(folder: Path, secret: str) -> list[Path]:
    """Return the files of a folder that contain a secret."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]
