"""The event streams of one server: HTTP/2 on the server's port, over TLS, or without it for clients
that know that the server has HTTP/2 (RFC 9113 §3.3).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench.wire.addresses import HostPort
from rtbench_simulator.services.nova_sonic.behaviour import (
    MISSING_FAULTS,
    MISSING_PLACES,
    NovaBehaviour,
)
from rtbench_simulator.services.nova_sonic.wire import MEDIA_TYPE
from rtbench_simulator.serving.service import (
    AcceptedUpgrade,
    Receiver,
    ServerAddress,
    ServerState,
    SimulatedService,
    UpgradeRequest,
    lacks_of,
)
from rtbench_simulator.serving.stream import ServerStream

if TYPE_CHECKING:
    from rtbench_simulator.services.nova_sonic.connection import Http2Connection

MODEL = "amazon.nova-2-sonic-v1%3A0"
END = "invoke-with-bidirectional-stream"
_PATH = re.compile(rf"/model/([^/]+)/{END}")
PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
MISSING = b"install rtbench[aws], and restart the simulator"


class NovaLine:
    """The connections with HTTP/2 of one server."""

    def __init__(self, shared: ServerState, address: tuple[str, int], workers: int) -> None:
        self._shared = shared
        self._connections: set[Http2Connection] = set()
        if shared.config.tls is not None:
            # HTTP/1 first: a client that has both asks for another service
            shared.config.tls.set_alpn_protocols(["http/1.1", "h2"])

    @property
    def has_calls(self) -> bool:
        return any(connection.has_sessions for connection in self._connections)

    @property
    def dropped_packets(self) -> int:
        return 0

    def connect(self, first: bytes, caller: HostPort, stream: ServerStream) -> Receiver | None:
        """Return a new connection. Return None if `first` does not begin HTTP/2."""
        if not first.startswith(PREFACE):
            return None
        try:
            from rtbench_simulator.services.nova_sonic.connection import Http2Connection
        except ImportError:
            stream.write(_goodbye())
            return _Refused()
        connection = Http2Connection(self._shared, stream, self._connections.discard)
        self._connections.add(connection)
        return connection

    def close(self) -> None:
        for connection in list(self._connections):
            connection.close()


class _Refused:
    """A connection that the server cannot serve."""

    has_received = False

    def received(self, data: bytes, at_ns: int) -> bool:
        return False

    def ended(self) -> None:
        """Do nothing."""


def _goodbye() -> bytes:
    """Return empty SETTINGS and a GOAWAY frame that says what is missing (RFC 9113 §6.5, §6.8)."""
    payload = struct.pack(">II", 0, 2) + MISSING
    goaway = len(payload).to_bytes(3, "big") + b"\x07\0\0\0\0\0" + payload
    return b"\0\0\0\x04\0\0\0\0\0" + goaway


def _accept(request: UpgradeRequest) -> AcceptedUpgrade | None:
    found = _PATH.fullmatch(request.path)
    if found is None or request.headers.get("content-type") != MEDIA_TYPE:
        return None
    return AcceptedUpgrade(lambda model, parts: NovaBehaviour(parts), found[1])


def _urls(address: ServerAddress) -> Mapping[str, str]:
    scheme = "https" if address.has_tls else "http"
    return {"nova_sonic": f"{scheme}://{address.authority}/model/{MODEL}/{END}"}


SERVICE = SimulatedService(
    _accept,
    _urls,
    listen=NovaLine,
    lacks=lacks_of("Nova Sonic", MISSING_PLACES, MISSING_FAULTS),
    titles={"nova_sonic": "Amazon Nova Sonic"},
)
