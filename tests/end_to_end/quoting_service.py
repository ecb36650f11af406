"""A service that repeats the key or token it was given wherever it can: in a process of its own, it prints its port."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVICE = """
import json
from websockets.datastructures import Headers
from websockets.http11 import Response
from websockets.sync.server import serve


def given(request):
    return request.headers.get("api-key") or request.headers["authorization"].removeprefix("Bearer ")


def refuse(connection, request):
    key = given(request)
    if "refuse" in request.path:
        said = f"no such key: {key}".encode()
        headers = Headers({"x-echo": key, "Content-Length": str(len(said))})
        headers["x-ms-region"] = "\\xe5"
        return Response(401, "Unauthorized", headers, said)


def answer(connection):
    key = given(connection.request)
    if "nonsense" in connection.request.path:
        connection.send(f"no such key: {key}")
    error = {"type": "invalid_request_error", "code": "invalid_api_key", "message": f"no such key: {key}"}
    session = {"id": f"sess_{key}", "instructions": f"You are {key}.", "client_secret": {"value": key}}
    for event in ({"type": "session.created", "session": session}, {"type": "error", "error": error}):
        connection.send(json.dumps(event | {"event_id": f"event_{key}"}))
    connection.close(1008, f"no such key: {key}")


with serve(answer, "127.0.0.1", 0, process_request=refuse) as server:
    print(server.socket.getsockname()[1], flush=True)
    server.serve_forever()
"""


@contextmanager
def quoting_service() -> Iterator[dict[str, str]]:
    """Its URLs: at `handshake` it refuses the key as it connects, at `event` later, at `nonsense` in no JSON."""
    command = [sys.executable, "-c", SERVICE]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        place = f"ws://127.0.0.1:{int(process.stdout.readline())}/openai/v1/realtime?model="
        yield {"handshake": f"{place}refuse", "event": f"{place}x", "nonsense": f"{place}nonsense"}
    finally:
        process.kill()
        process.communicate()


def holders(folder: Path, secret: str) -> list[Path]:
    """The files of a folder that hold a secret, in whatever spelling of JSON."""
    return [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
