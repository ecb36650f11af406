"""An HTTP server in this process that stores the bodies of PUT requests, like a container of
Azure Blob Storage.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


@dataclass
class Put:
    """A PUT request. `path` includes the query. The names of `headers` are in lower case."""

    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)


@dataclass
class BlobServer:
    """The URL of a server, and the requests that the server accepted, in the order of their
    arrival.

    `answers` contains the statuses of the next responses. If it is empty, each response has the
    status 201.
    """

    url: str
    puts: list[Put] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def save(self, folder: Path) -> None:
        """Write the body of each request to a file, so that `folder` looks like a download of
        the container.
        """
        for put in self.puts:
            path = folder / put.path.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(put.body)


@contextmanager
def blob_server() -> Iterator[BlobServer]:
    kept = BlobServer("")

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = kept.answers.pop(0) if kept.answers else 201
            if status == 201:
                headers = {name.lower(): value for name, value in self.headers.items()}
                kept.puts.append(Put(self.path, headers, body))
            self.send_response(status)
            self.send_header(
                "x-ms-error-code",
                "" if status == 201 else "ServerBusy" if status == 503 else "No::Entry",
            )
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Do not log requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.url = f"http://127.0.0.1:{server.server_address[1]}/container"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
