"""A TURN server in memory, with one allocation, by RFC 8656: what the client must get right, it
checks.
"""

from __future__ import annotations

import hashlib
import socket
import struct
from dataclasses import dataclass, field

from bench.base.units import NS_PER_S
from bench.protocols.ice.stun import (
    StunAttribute,
    StunKind,
    StunMessage,
    StunMethod,
    build_message,
    mapped_address,
    parse_turn_message,
    xor_address,
)
from bench.protocols.turn.framing import build_channel_data, parse_channel_data
from bench.protocols.turn.servers import TurnLogin
from bench.wire.addresses import HostPort

LOGIN = TurnLogin("a-user", "a-password")
RELAYED, CLIENT = HostPort("198.51.100.1", 49_152), HostPort("203.0.113.9", 40_000)


@dataclass
class FakeTurnServer:
    """`relayed` has the data that it sent to peers. `forced` are the errors of the next
    requests, by their method. If `has_login` is False, it asks for none, as coturn with `no-auth`.
    """

    login: TurnLogin = LOGIN
    lifetime_ns: int = 600 * NS_PER_S
    nonce: bytes = b"first"
    realm: bytes = b"example.org"
    is_stream: bool = False
    has_login: bool = True
    alternate: HostPort | None = None
    forced: dict[StunMethod, int] = field(default_factory=dict)
    relayed: list[tuple[bytes, HostPort]] = field(default_factory=list)
    permitted: set[str] = field(default_factory=set)
    channels: dict[int, HostPort] = field(default_factory=dict)
    requests: list[StunMethod] = field(default_factory=list)
    expires_ns: int | None = None

    def received(self, data: bytes, now_ns: int) -> bytes | None:
        """Accept a message of the client. Return the response."""
        if (framed := parse_channel_data(data)) is not None:
            self._relay(framed[1], self.channels[framed[0]])
            return None
        message = parse_turn_message(data)
        assert message is not None
        peer = mapped_address(
            message.attributes.get(StunAttribute.XOR_PEER_ADDRESS, b""), message.transaction
        )
        if message.method is StunMethod.SEND:
            assert peer is not None
            self._relay(message.attributes[StunAttribute.DATA], peer)
            return None
        self.requests.append(message.method)
        code = self._problem(message, now_ns)
        if code:
            about: dict[int, bytes] = {
                StunAttribute.ERROR_CODE: bytes((0, 0, code // 100, code % 100)) + b"No"
            }
            if code == 300 and self.alternate is not None:
                host, port = self.alternate
                value = struct.pack("!xBH4s", 1, port, socket.inet_aton(host))
                about[StunAttribute.ALTERNATE_SERVER] = value
            if code in (401, 438):
                about |= {StunAttribute.REALM: self.realm, StunAttribute.NONCE: self.nonce}
            return build_message(StunKind.ERROR, message.transaction, about, "", message.method)
        return self._accepted(message, peer, now_ns)

    def _problem(self, message: StunMessage, now_ns: int) -> int:
        key = hashlib.md5(
            b":".join((self.login.user.encode(), self.realm, self.login.password.encode()))
        ).digest()
        if not self.has_login:
            assert StunAttribute.USERNAME not in message.attributes
        elif not message.is_authentic(key):
            return 401
        elif message.attributes[StunAttribute.NONCE] != self.nonce:
            return 438
        is_allocated = self.expires_ns is not None and now_ns < self.expires_ns
        if message.method is not StunMethod.ALLOCATE and not is_allocated:
            return 437
        return self.forced.pop(message.method, 0)

    def _accepted(self, message: StunMessage, peer: HostPort | None, now_ns: int) -> bytes:
        about: dict[int, bytes] = {}
        match message.method:
            case StunMethod.ALLOCATE | StunMethod.REFRESH:
                wanted_ns = int.from_bytes(message.attributes[StunAttribute.LIFETIME]) * NS_PER_S
                lifetime_ns = min(wanted_ns, self.lifetime_ns)
                self.expires_ns = now_ns + lifetime_ns
                about[StunAttribute.LIFETIME] = (lifetime_ns // NS_PER_S).to_bytes(4)
                about[StunAttribute.XOR_RELAYED_ADDRESS] = xor_address(RELAYED, message.transaction)
                about[StunAttribute.XOR_MAPPED_ADDRESS] = xor_address(CLIENT, message.transaction)
            case StunMethod.CREATE_PERMISSION if peer is not None:
                self.permitted.add(peer.host)
            case StunMethod.CHANNEL_BIND if peer is not None:
                self.permitted.add(peer.host)
                self.channels[
                    int.from_bytes(message.attributes[StunAttribute.CHANNEL_NUMBER][:2])
                ] = peer
        key = (
            hashlib.md5(
                b":".join((self.login.user.encode(), self.realm, self.login.password.encode()))
            ).digest()
            * self.has_login
        )
        return build_message(StunKind.SUCCESS, message.transaction, about, key, message.method)

    def _relay(self, data: bytes, peer: HostPort) -> None:
        if peer.host in self.permitted:
            self.relayed.append((data, peer))

    def from_peer(self, data: bytes, peer: HostPort) -> bytes | None:
        """Return the message for the client with data of a peer; None without a permission."""
        if peer.host not in self.permitted:
            return None
        for number, each in self.channels.items():
            if each == peer:
                return build_channel_data(number, data, is_stream=self.is_stream)
        transaction = bytes(12)
        about: dict[int, bytes] = {
            StunAttribute.XOR_PEER_ADDRESS: xor_address(peer, transaction),
            StunAttribute.DATA: data,
        }
        return build_message(StunKind.INDICATION, transaction, about, "", StunMethod.DATA)
