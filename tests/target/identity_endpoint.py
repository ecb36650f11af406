"""The identity endpoint of an Azure App Service, in its own process. Its tokens expire after
seconds.

`set_state` sets the state of the endpoint. `life` is the validity of a token in seconds. `fault` is
one of none, 500, 400, slow, drops, garbage, newline, ended and quoting. The reply to `/state`
contains this state, and the number of token requests as `asked`.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

HEADER = "an-identity-header-nobody-may-see"
TOKEN = "a-token-nobody-may-see"
"""The beginning of each token."""

SERVICE = """
import base64, json, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

header, beginning = sys.argv[1:]
state = {"life": "3", "fault": "none", "asked": "0"}


def claims(number):
    public = {"aud": "https://cognitiveservices.azure.com", "tid": "a-tenant", "oid": f"object-{number}"}
    return base64.urlsafe_b64encode(json.dumps(public).encode()).decode().rstrip("=")


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        parts = urlsplit(self.path)
        if parts.path == "/state":
            state.update(parse_qsl(parts.query))
            return self.answer(200, json.dumps(state))
        if self.headers["X-IDENTITY-HEADER"] != header:
            return self.answer(401, json.dumps({"error": "no identity header"}))
        state["asked"] = str(int(state["asked"]) + 1)
        fault, number = state["fault"], state["asked"]
        token = f"{beginning}-{number}.{claims(number)}.unsigned"
        if fault in ("500", "400"):
            return self.answer(int(fault), json.dumps({"error": "out_of_order", "error_description": "on demand"}))
        if fault == "slow":
            time.sleep(60)
        if fault == "drops":
            return self.drip()
        if fault == "garbage":
            return self.answer(200, "<html>no JSON</html>")
        if fault == "quoting":
            return self.answer(200, json.dumps({"token": token, "header": header}))
        life = -5 if fault == "ended" else float(state["life"])
        token += "\\n" if fault == "newline" else ""
        token_fields = {"access_token": token, "expires_on": str(int(time.time() + life)), "resource": "x"}
        return self.answer(200, json.dumps(token_fields | {"token_type": "Bearer"}))

    def drip(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        for _ in range(6_000):
            self.wfile.write(b" ")
            time.sleep(0.01)

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


with Server(("127.0.0.1", 0), Endpoint) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
"""


@dataclass(frozen=True)
class IdentityEndpoint:
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """The environment of this process with further variables. With them, azure-identity uses
        only this endpoint.
        """
        return os.environ | {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.port}/msi/token",
            "IDENTITY_HEADER": HEADER,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "PORT": str(self.port),
        }

    def set_state(self, query: str) -> None:
        """Change the state of the endpoint. `query` is, for example, `fault=500&life=2`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("GET", f"/state?{query}")
        assert connection.getresponse().status == 200
        connection.close()


@contextmanager
def identity_endpoint(query: str = "life=3") -> Iterator[IdentityEndpoint]:
    command = [sys.executable, "-c", SERVICE, HEADER, TOKEN]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        endpoint = IdentityEndpoint(int(process.stdout.readline()))
        endpoint.set_state(query)
        yield endpoint
    finally:
        process.kill()
        process.communicate()
