"""A service over WebRTC that misbehaves as a test says: answer, STUN, DTLS, data channel, and
media.
"""

from __future__ import annotations

import re
import secrets
import select
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from functools import cache

from bench.base.clock import monotonic_ns
from bench.protocols.ice.ice import IceLogin, LiteAgent
from bench.protocols.rtp.rtp import CODECS, RtpSender, StreamNumbers, codec_of_call
from bench.protocols.rtp.srtp import PacketEncryption
from bench.protocols.sctp.data_channel import DataChannel
from bench.protocols.sctp.sctp import Association
from bench.protocols.webrtc.description import LocalPeer, answer_to
from bench.protocols.webrtc.dtls import DtlsIdentity, DtlsRole, DtlsSession, own_identity
from bench.protocols.webrtc.peer import WebRtcPeer
from bench.transport.datagrams import udp_socket
from bench.wire.addresses import HostPort
from tests.attack.cases import HostileHost, serving

LOOPBACK = "127.0.0.1"
MAX_MESSAGE_BYTES = 1 << 20
FRAME_S = 0.01
"""The interval between two frames of the peer. Their media times differ by 20 ms, so no frame is
late."""
SILENCE = {"PCMU": b"\xff" * 160, "OPUS": bytes.fromhex("f8fffe")}
"""The payloads of frames without sound."""
CANDIDATE = re.compile(rb"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ")
LOGIN = IceLogin("hostile", "h" * 24)


@cache
def loud(codec: str) -> bytes:
    """Return the payload of the frames with which the peer shows that the call works."""
    encode = codec_of_call(codec).encode
    return b"\x2a\xaa" * 80 if encode is None else encode(b"\x00\x20" * 240 + b"\x00\xe0" * 240)


Answer = Callable[["HostilePeer", bytes], bytes]


@dataclass(frozen=True)
class Behaviour:
    """What a service does.

    `answer` changes the description, and `respond` makes the HTTP response of it. `hear` returns
    True if a datagram is handled and the service must ignore it. `act` is called once when the data
    channel is open.
    """

    answer: Answer = lambda peer, answer: answer
    respond: Callable[[bytes], bytes] = lambda body: (
        b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    )
    hear: Callable[[HostilePeer, bytes], bool] = lambda peer, data: False
    act: Callable[[HostilePeer], object] = lambda peer: None
    codec: str = "PCMU"
    role: DtlsRole | None = None
    """The role in DTLS; None for that of the description."""
    identity: DtlsIdentity = field(default_factory=own_identity)
    dtls: Callable[[DtlsSession], object] = lambda session: None
    """The change of the DTLS before it starts."""
    is_silent: bool = False
    """Whether the service sends no loud frames at the end. Then the call only stays open, or ends."""
    has_two_ports: bool = False
    """Whether it sends authentic messages from a port that it does not name, to which the caller
    may then send."""


class HostilePeer(HostileHost):
    """The service of one call. `url` is its address."""

    ignored = (OSError,)

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__()
        self._behaviour = behaviour
        self.has_acted = False
        """Whether the call was connected."""
        self._listener = socket.create_server((LOOPBACK, 0))
        self.sock, self.stranger = udp_socket(LOOPBACK), udp_socket(LOOPBACK)
        self.port: int = self.sock.getsockname()[1]
        self.url = f"ws://{LOOPBACK}:{self._listener.getsockname()[1]}/v1/realtime?model=any"
        self.caller = HostPort(LOOPBACK, 0)
        self.given = set[tuple[str, int]]()
        """The addresses that the answer names."""
        self.heard = 0
        """The number of datagrams of the caller."""
        self.start(self._serve)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self._answer_on(connection)
        self._talk()

    def _answer_on(self, connection: socket.socket) -> None:
        data = b""
        while not is_complete(data):
            if not (more := connection.recv(65_536)):
                raise ConnectionAbortedError
            data += more
        offer, behaviour = data.partition(b"\r\n\r\n")[2], self._behaviour
        address = HostPort(LOOPBACK, self.port)
        fingerprint = behaviour.identity.fingerprint
        local = LocalPeer(
            LOGIN, fingerprint, (address,), 7, "hostile", 7, (behaviour.codec,), is_lite=True
        )
        answer, self.remote = answer_to(local, offer)
        self.caller = self.remote.candidates[0].address
        self.dtls = DtlsSession(
            behaviour.identity, behaviour.role or self.remote.own_role, self.remote.fingerprints
        )
        behaviour.dtls(self.dtls)
        assert self.remote.channel is not None
        self.association = Association(
            secrets.token_bytes, MAX_MESSAGE_BYTES, self.remote.channel.port
        )
        self.channel = DataChannel(self.association, None)
        self.peer = WebRtcPeer(LiteAgent(LOGIN, monotonic_ns()), self.dtls, self.channel)
        self.sender = RtpSender(
            CODECS[behaviour.codec], self.remote.codec.payload_type, StreamNumbers(7, 1_000, 0)
        )
        self._encryption: PacketEncryption | None = None
        changed = behaviour.answer(self, answer)
        self.given = {(host.decode(), int(port)) for host, port in CANDIDATE.findall(changed)}
        if behaviour.has_two_ports:
            self.given.add(self.stranger.getsockname())
        connection.sendall(behaviour.respond(changed))
        connection.shutdown(socket.SHUT_WR)

    def _talk(self) -> None:
        while not self.ends.is_set() and self.peer.ending is None:
            if select.select([self.sock], [], [], FRAME_S)[0]:
                self._read()
            self.peer.expire(monotonic_ns())
            self.flush()
            if not self.channel.is_open:
                continue
            if not self.has_acted:
                self.has_acted = True
                self.frame(SILENCE[self._behaviour.codec])
                self._behaviour.act(self)
            elif not self._behaviour.is_silent:
                self.frame(loud(self._behaviour.codec))

    def _read(self) -> None:
        while select.select([self.sock], [], [], 0)[0]:
            data, source = self.sock.recvfrom(65_536)
            self.heard += 1
            if not self._behaviour.hear(self, data):
                self.peer.received(data, HostPort(*source), monotonic_ns(), monotonic_ns())

    # What behaviours do

    def send(self, data: bytes, *, stranger: bool = False) -> None:
        (self.stranger if stranger else self.sock).sendto(data, self.caller)

    def flush(self) -> None:
        for data, destination in self.peer.pop_packets():
            self.sock.sendto(data, destination)

    @property
    def encryption(self) -> PacketEncryption:
        """The encryption of the stream that the peer sends in the order of its numbers."""
        assert self.peer.keys is not None
        self._encryption = self._encryption or PacketEncryption(*self.peer.keys)
        return self._encryption

    def protected(self, packet: bytes) -> bytes:
        """Return a packet as if it were the first of its source."""
        assert self.peer.keys is not None
        return PacketEncryption(*self.peer.keys).protect(packet)

    def report(self, data: bytes) -> None:
        self.send(self.encryption.protect_report(data))

    def frame(self, payload: bytes) -> None:
        """Send the next frame of the stream."""
        self.send(self.encryption.protect(self.sender.audio(payload)))

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends a wait for a connection
        super().close()
        for sock in (self._listener, self.sock, self.stranger):
            sock.close()


def is_complete(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= int(
        head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
    )


def hostile_peer(behaviour: Behaviour) -> AbstractContextManager[HostilePeer]:
    return serving(HostilePeer(behaviour))
