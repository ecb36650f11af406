"""An identity endpoint like that of Azure's App Service, over plain HTTP. The library
azure-identity gets its tokens here.

GET /msi/token?api-version=2019-08-01&resource=RESOURCE        X-IDENTITY-HEADER: the secret of this
endpoint

Faults with the place `identity` (`faults/kinds.py`) are injected into the requests to this
endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import parse_qs

import numpy as np

from bench.base.clock import utc_ns
from bench.base.units import NS_PER_S
from bench.wire.dialect import SIMULATOR_HEADER
from rtbench_simulator.faults.kinds import IDENTITY, Fault
from rtbench_simulator.profile import is_drawn
from rtbench_simulator.serving.credentials import TokenIssuer

PATH = "/msi/token"
API_VERSION = "2019-08-01"
REQUEST_LIMIT_S = 10.0
_ENDS = (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, asyncio.CancelledError)
"""The errors that may end a request early. CancelledError is raised at the end of the loop. If it
were not caught, asyncio of Python 3.11 would print a traceback."""


class TokenAnswer(NamedTuple):
    """An HTTP response, and the delay after which it is sent."""

    status: int
    body: str
    delay_s: float = 0.0


# The library asks it as it asks the endpoint of a managed identity, by IDENTITY_ENDPOINT and
# IDENTITY_HEADER, so a client needs no change of its code to get tokens that expire after seconds.
class IdentityEndpoint:
    """The responses of the identity endpoint to token requests. Pure: the caller passes the time
    in seconds.
    """

    def __init__(
        self, tokens: TokenIssuer, secret: str, faults: Sequence[Fault] = (), seed: int = 1
    ) -> None:
        self._tokens = tokens
        self.secret = secret
        self._seed = seed
        self._faults = [fault for fault in faults if fault.at == IDENTITY]
        self._requests = 0

    def answer(
        self, method: str, target: str, headers: Mapping[str, str], now_s: float
    ) -> TokenAnswer:
        """Return the response to a request. `target`: path and query; `headers`: names in lower
        case.
        """
        self._requests += 1
        path, _, query_text = target.partition("?")
        query = {name: values[0] for name, values in parse_qs(query_text).items()}
        if method != "GET" or path != PATH:
            return _error_answer(404, "unknown method or path")
        if not hmac.compare_digest(
            headers.get("x-identity-header", "").encode(), self.secret.encode()
        ):
            return _error_answer(401, "X-IDENTITY-HEADER is missing or wrong")
        if query.get("api-version") != API_VERSION or "resource" not in query:
            return _error_answer(400, f"api-version={API_VERSION} and resource=… are required")
        faults = {
            fault.kind: fault
            for index, fault in enumerate(self._faults)
            if self._selects(index, fault)
        }
        if "identity_500" in faults:
            return _error_answer(500, "out of order")
        if "identity_garbage" in faults:
            return TokenAnswer(200, "<html>not what was asked for</html>")
        slow = faults.get("identity_slow")
        delay_s = slow.duration_s or 0.0 if slow else 0.0
        issued = self._tokens.issue(query["resource"], now_s + delay_s)
        fields = {
            "access_token": issued.token,
            "expires_on": str(issued.expires_s),
            "resource": query["resource"],
            "token_type": "Bearer",
        }
        return TokenAnswer(200, json.dumps(fields), delay_s)

    def _selects(self, index: int, fault: Fault) -> bool:
        rng = np.random.default_rng([self._seed, index, self._requests])
        return fault.requests.holds(self._requests) and is_drawn(fault.share, rng)


def _error_answer(status: int, message: str) -> TokenAnswer:
    return TokenAnswer(status, json.dumps({"statusCode": status, "message": message}))


@contextlib.asynccontextmanager
async def serving(
    identity: IdentityEndpoint | None, family: socket.AddressFamily
) -> AsyncIterator[str | None]:
    """Listen on a free loopback port within the `async with` block. Yield the URL; None if
    `identity` is None.

    Each connection has one request.
    """
    if identity is None:
        yield None
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(*_ENDS), contextlib.closing(writer):
            async with asyncio.timeout(REQUEST_LIMIT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            response = identity.answer(*_request(head), utc_ns() / NS_PER_S)
            await asyncio.sleep(response.delay_s)
            writer.write(_response(response))
            await writer.drain()

    host, url_host = ("::1", "[::1]") if family is socket.AF_INET6 else ("127.0.0.1", "127.0.0.1")
    server = await asyncio.start_server(answer, host, 0)
    try:
        yield f"http://{url_host}:{server.sockets[0].getsockname()[1]}{PATH}"
    finally:
        server.close()


def _request(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return the method, the target, and the headers by lower-case name. A part that is missing
    in `head` is empty.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    method, _, remainder = first.partition(" ")
    pairs = (line.partition(":") for line in lines if ":" in line)
    return (
        method,
        remainder.partition(" ")[0],
        {name.strip().lower(): value.strip() for name, _, value in pairs},
    )


def _response(response: TokenAnswer) -> bytes:
    body = response.body.encode()
    head = (
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}\r\nContent-Type:"
        f" application/json\r\nContent-Length: {len(body)}\r\n{SIMULATOR_HEADER}: 1\r\nConnection:"
        " close\r\n\r\n"
    )
    return head.encode() + body
