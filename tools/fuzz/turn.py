"""The fuzzing of TURN: messages of the server, of which many are damaged, its stream, and the
servers of a service.

The client does not raise, keeps a bounded state, sends few messages, and none of them has the
password.
"""

from __future__ import annotations

import json
from random import Random

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.ice.stun import StunAttribute, StunKind, StunMethod, build_message
from bench.protocols.turn.allocation import MAX_PERMISSIONS, Allocation
from bench.protocols.turn.framing import MessageStream, build_channel_data
from bench.protocols.turn.servers import MAX_SERVERS, servers_in_json, servers_in_links
from bench.wire.addresses import HostPort
from tests.transport.webrtc.turn.turn_server import LOGIN, FakeTurnServer
from tools.fuzz.damage import damaged_bytes

STEPS = 40
PEERS = tuple(HostPort(f"192.0.2.{number}", 5_000) for number in range(8))
MAX_SENT = 64
"""The maximum number of messages that one step causes."""
CODES = (300, 400, 401, 403, 420, 437, 438, 441, 442, 486, 500, 508)
PIECES = (
    b"\x21\x12\xa4\x42",
    b"\x00\x09\x00\x08\x00\x00\x04\x01",
    b"\x00\x15\x00\x04once",
    b"\x00\x14\x00\x00",
    b"\x40\x00\x00\x04",
    b"\x80\x28\x00\x04",
    b"\x00\x08\x00\x14",
    b"\xff" * 12,
    b"\x00\x0d\x00\x04\x00\x00\x00\x00",
)
DOCUMENT = json.dumps(
    {
        "iceConfig": {
            "iceServers": [
                {
                    "urls": ["turn:a.example", "turns:b.example:443"],
                    "username": "u",
                    "credential": "c",
                }
            ]
        }
    }
).encode()
LINKS = (
    b'<turn:a.example?transport=udp>; rel="ice-server"; username="u"; credential="c", <stun:b>;'
    b' rel="ice-server"'
)
TEXTS = (
    b"turn:",
    b"turns:[::1]:1",
    b'"urls":',
    b"iceServers",
    b'; rel="ice-server"',
    b"<",
    b">",
    b'"',
    b",",
    b"[]",
)


def turn_call(random: Random) -> None:
    """Check that damaged messages of a server end an allocation at most, and that it keeps
    little.
    """
    _named_servers(random)
    is_stream, share, now_ns = random.random() < 0.5, random.choice((0.02, 0.3, 1.0)), 0
    server = FakeTurnServer(is_stream=is_stream, lifetime_ns=random.choice((0, 1, 600)) * NS_PER_S)
    allocation, stream = (
        Allocation(LOGIN, random.randbytes, 0, is_stream=is_stream),
        MessageStream(),
    )
    for _ in range(STEPS):
        sent = allocation.pop_messages()
        assert len(sent) <= MAX_SENT, "one step causes too many messages"
        for message in sent:
            assert LOGIN.password.encode() not in message, "a message has the password"
            allocation.note_sent(message, now_ns)
            for data in _answers(random, server, message, now_ns, share):
                for each in stream.feed(data) if is_stream else [data]:
                    allocation.received(each, now_ns)
        if random.random() < 0.3:
            allocation.permit(random.sample([peer.host for peer in PEERS], 3), now_ns)
        if random.random() < 0.2:
            allocation.bind(random.choice(PEERS), now_ns)
        if random.random() < share:
            allocation.received(_noise(random), now_ns)
        assert allocation.wrapped(b"data", random.choice(PEERS))
        assert len(allocation._hosts) <= MAX_PERMISSIONS
        assert len(allocation._requests) <= MAX_SENT * 4
        assert allocation.next_ns > 0
        if random.random() < 0.05:
            server.nonce = random.randbytes(8)
        now_ns += random.choice((10, 500, 5_000, 240_000)) * NS_PER_MS
        if allocation.next_ns <= now_ns:
            allocation.expire(now_ns)
    allocation.close()
    assert allocation.next_ns == NEVER_NS


def _answers(
    random: Random, server: FakeTurnServer, message: bytes, now_ns: int, share: float
) -> list[bytes]:
    """Return what the client receives after its message: the answer, perhaps damaged, or another
    one before it.
    """
    answers: list[bytes] = []
    if random.random() < share:
        answers.append(_noise(random, message))
    if (answer := server.received(message, now_ns)) is not None:
        answers.append(damaged_bytes(random, answer, PIECES) if random.random() < share else answer)
    return answers


def _noise(random: Random, message: bytes = b"") -> bytes:
    """Return a message with any attributes, which may be an answer to `message`; or data of a
    channel; or bytes.
    """
    draw = random.random()
    if draw < 0.2:
        return random.randbytes(random.randrange(60))
    if draw < 0.4:
        return build_channel_data(
            random.choice((0x4000, 0x4FFF)), random.randbytes(9), is_stream=random.random() < 0.5
        )
    method = random.choice(tuple(StunMethod))
    transaction = message[8:20] if len(message) >= 20 else bytes(12)
    if message and random.random() < 0.8:
        method = next(
            (each for each in StunMethod if each == int.from_bytes(message[:2]) & 0xF), method
        )
    code = random.choice(CODES)
    values = (
        b"",
        bytes(4),
        b"\xff" * 8,
        random.randbytes(random.randrange(40)),
        bytes((0, 0, code // 100, code % 100)),
    )
    attributes: dict[int, bytes] = {
        random.choice(tuple(StunAttribute)): random.choice(values)
        for _ in range(random.randrange(6))
    }
    if random.random() < 0.5:
        attributes |= {
            StunAttribute.ERROR_CODE: values[-1],
            StunAttribute.NONCE: random.randbytes(5),
        }
    return build_message(random.choice(tuple(StunKind)), transaction, attributes, "", method)


def _named_servers(random: Random) -> None:
    """Check that damaged documents and headers of a service name few servers."""
    try:
        document = json.loads(damaged_bytes(random, DOCUMENT, TEXTS))
    except (ValueError, RecursionError):
        document = None
    assert len(servers_in_json(document)) <= MAX_SERVERS
    assert (
        len(servers_in_links(damaged_bytes(random, LINKS, TEXTS).decode("latin-1"))) <= MAX_SERVERS
    )
