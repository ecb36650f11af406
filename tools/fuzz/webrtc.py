"""The fuzzing of calls over WebRTC: descriptions, and the datagrams of both peers, of which many
are damaged.

The peers do not raise, send only to each other, and keep a bounded state. One of them also sends
STUN messages that are authentic, with any attributes, and whole chunks of SCTP with any values.
Media is a subject of its own (`telephones.py`), because SRTP refuses what was damaged.
"""

from __future__ import annotations

from random import Random

from bench.base.units import NS_PER_MS
from bench.protocols.ice.ice import IceLogin
from bench.protocols.ice.stun import StunAttribute, StunKind, build_message
from bench.protocols.sctp.data_channel import Protocol
from bench.protocols.sctp.sctp import PORT, Association
from bench.protocols.sctp.sctp_packets import (
    HEADER_BYTES,
    Acknowledgement,
    ChunkKind,
    Fragment,
    Parameter,
    Parameters,
    build_acknowledgement,
    build_chunk,
    build_fragment,
    build_packet,
    build_parameters,
)
from bench.protocols.sctp.sctp_receiver import MAX_AHEAD, TSN_MASK, WINDOW_BYTES
from bench.protocols.webrtc.description import accepted_answer, answer_to, write_offer
from bench.protocols.webrtc.peer import MAX_EARLY_DATAGRAMS, WebRtcPeer
from bench.wire.addresses import HostPort
from tests.transport.webrtc.channel_pair import ChannelPair
from tests.transport.webrtc.pair import (
    CALLER,
    CALLER_LOGIN,
    SERVICE,
    SERVICE_LOGIN,
    STEP_NS,
    Call,
    described,
    local_peer,
)
from tools.fuzz.damage import damaged_bytes

STEPS = 40
CHANNEL_LIMIT_BYTES = 100_000
STRANGER = HostPort("203.0.113.66", 6_666)
MAX_SENT = 64
"""The maximum number of packets that a peer sends in one step."""
FIRST_BYTES = (0, 1, 20, 22, 23, 63, 128, 200)
PIECES = (
    b"a=candidate:1 1 udp 1 192.0.2.4 9 typ host\r\n",
    b"a=setup:active\r\n",
    b"a=ice-lite\r\n",
    b"a=ice-pwd:",
    b"a=fingerprint:sha-256 ",
    b"m=audio 9 RTP/AVP 0\r\n",
    b"\r\n",
    b"\x00\x08\x00\x14",
    b"\x80\x28\x00\x04",
    b"\x16\xfe\xfd",
    b"\xff" * 12,
)


def webrtc_description(random: Random) -> None:
    """Check that a damaged description is read, or refused with a ValueError."""
    offer = write_offer(local_peer(CALLER))
    answer, _ = answer_to(local_peer(SERVICE, is_lite=True), offer)
    for read, data in ((accepted_answer, answer), (answer_to, offer)):
        try:
            read(local_peer(CALLER), damaged_bytes(random, data, PIECES))
        except ValueError as error:
            assert str(error), "an error has no text"


def webrtc_call(random: Random) -> None:
    """Check that damaged datagrams, and others from anywhere, change neither the host of the
    peer nor its keys.
    """
    webrtc_description(random)
    call = Call(described(), permits=lambda host: host == SERVICE.host)
    damage_share = random.choice((0.05, 0.5, 1.0))
    for _ in range(STEPS):
        for sender, receiver, source, destination in (
            (call.caller, call.service, CALLER, SERVICE),
            (call.service, call.caller, SERVICE, CALLER),
        ):
            _pass(random, sender, receiver, (source, destination), call.now_ns, damage_share)
        call.now_ns += random.choice((STEP_NS, 500 * NS_PER_MS))


def stun_message(random: Random, own: IceLogin, other: IceLogin, sent: bytes) -> bytes:
    """Return a message from a side to the other one. `sent` is a datagram of the other one,
    which it may answer.
    """
    kind, transaction = random.choice(tuple(StunKind)), sent[8:20] if len(sent) >= 20 else bytes(12)
    values = (
        b"",
        bytes(4),
        b"\xff" * 8,
        random.randbytes(random.randrange(40)),
        f"{other.user}:{own.user}".encode(),
    )
    types = (*StunAttribute, *range(8), 0x8022)
    attributes = {random.choice(types): random.choice(values) for _ in range(random.randrange(6))}
    if random.random() < 0.5:
        attributes[StunAttribute.USERNAME] = values[-1]
    passwords = (
        (other.password, own.password)
        if kind is StunKind.REQUEST
        else (own.password, other.password)
    )
    return build_message(kind, transaction, attributes, passwords[random.random() < 0.1])


def _pass(
    random: Random,
    sender: WebRtcPeer,
    receiver: WebRtcPeer,
    path: tuple[HostPort, HostPort],
    now_ns: int,
    share: float,
) -> None:
    source, destination = path
    sender.expire(now_ns)
    packets = sender.pop_packets()
    assert len(packets) <= MAX_SENT, "one step causes too many packets"
    assert len(receiver._early) <= MAX_EARLY_DATAGRAMS
    for data, to in packets:
        assert to.host == destination.host, "a packet goes to a host that no description names"
        if to != destination:  # another port of the peer, from which an authentic message came
            continue
        is_damaged = random.random() < share
        received = damaged_bytes(random, data, PIECES) if is_damaged else data
        receiver.received(received, source, now_ns, now_ns)
    if random.random() < share:
        logins = (
            (CALLER_LOGIN, SERVICE_LOGIN) if source == CALLER else (SERVICE_LOGIN, CALLER_LOGIN)
        )
        noise = (
            bytes([random.choice(FIRST_BYTES)]) + random.randbytes(random.randrange(200))
            if random.random() < 0.5
            else stun_message(random, *logins, next((data for data, _ in packets), b""))
        )
        keys, others = receiver.keys, (HostPort(source.host, random.randrange(1, 65_536)), STRANGER)
        is_of_caller = source == CALLER  # the lite side answers each authentic request
        receiver.received(
            noise, source if is_of_caller else random.choice((source, *others)), now_ns, now_ns
        )
        assert receiver.keys == keys, "noise changes the keys"


def data_channel(random: Random) -> None:
    """Check that damaged packets of SCTP, with a right checksum, only end a channel, and that it
    keeps little.
    """
    pair = ChannelPair(random, limit_bytes=CHANNEL_LIMIT_BYTES)
    if random.random() < 0.7:
        pair.open()
    pair.start()
    share = random.choice((0.05, 0.5, 1.0))
    for _ in range(STEPS):
        if all(end.ending is not None for end in pair.ends):
            break
        for number, end in enumerate(pair.ends):
            if pair.associations[number].is_open and end.is_open and random.random() < 0.5:
                end.send(random.randbytes(random.choice((0, 10, 3_000))), pair.now_ns)
            packets = end.pop_packets()
            assert len(packets) <= MAX_SENT, "one step causes too many packets"
            for packet in packets:
                is_damaged = random.random() < share
                received = (
                    _with_checksum(damaged_bytes(random, packet, PIECES)) if is_damaged else packet
                )
                pair.ends[1 - number].received(received, pair.now_ns)
                pair.ends[1 - number].pop_messages()
            if random.random() < share:
                end.received(sctp_packet(random, pair.associations[number]), pair.now_ns)
                end.pop_messages()
            _check_state(pair.associations[number])
        pair.now_ns += random.choice((STEP_NS, 5_000 * NS_PER_MS))
        for end in pair.ends:
            if end.next_ns <= pair.now_ns:
                end.expire(pair.now_ns)


ENDS = (ChunkKind.ABORT, ChunkKind.SHUTDOWN)
"""The kinds of chunks that end an association at once. Most packets have none of them."""


def sctp_packet(random: Random, receiver: Association) -> bytes:
    """Return a packet with whole chunks, which `receiver` accepts as one of its association in
    most cases.
    """
    tags = (receiver._own.tag,) * 20 + (0, random.getrandbits(32))
    kinds = [kind for kind in ChunkKind if kind not in ENDS or random.random() < 0.02]
    chunks = [
        _chunk(random, random.choice(kinds), receiver)
        for _ in range(random.choice((1, 1, 1, 2, 12)))
    ]
    return build_packet(PORT, PORT, random.choice(tags), chunks)


def _chunk(random: Random, kind: ChunkKind, receiver: Association) -> bytes:
    """Return a chunk. Its numbers are near those that `receiver` expects, or anything."""

    def near(number: int) -> int:
        ahead = random.choice(
            (0, 1, 1, 1, 2, 3, -1, MAX_AHEAD, MAX_AHEAD + 1, 1 << 31, random.getrandbits(32))
        )
        return (number + ahead) & TSN_MASK

    def number(bits: int = 32) -> int:
        return random.choice((0, 1, (1 << bits) - 1, random.getrandbits(bits)))

    received, sent = receiver._receiver._tsn, receiver._sender._tsn
    body = random.randbytes(random.choice((0, 1, 4, 16, 60)))
    match kind:
        case ChunkKind.DATA:
            data = random.choice(
                (
                    b"\x02",
                    b"\x03" + bytes(11),
                    b"x",
                    random.randbytes(random.choice((2, 12, 1_000))),
                )
            )
            protocol, flags = (
                random.choice((*Protocol, number())),
                random.choice((3, 3, 3, number(3))),
            )
            return build_fragment(
                Fragment(
                    near(received),
                    random.choice((0, 1, number(16))),
                    number(16),
                    protocol,
                    flags,
                    data,
                )
            )
        case ChunkKind.SACK:
            gaps = random.choice(
                ([], [(2, 3)], [(2, 2), (4, 4)], [(number(16), number(16)) for _ in range(3)])
            )
            return build_acknowledgement(Acknowledgement(near(sent), number(), gaps))
        case ChunkKind.INIT | ChunkKind.INIT_ACK:
            tag = random.choice((receiver._peer.tag if receiver._peer else 1, number()))
            cookie = random.randbytes(random.choice((0, 16, 1_100)))
            body = build_parameters(Parameters(tag, number(), number(16), number(), cookie))
        case ChunkKind.COOKIE_ECHO:
            body = random.choice((receiver._cookie, body))
        case ChunkKind.FORWARD_TSN:
            body = near(received).to_bytes(4) + body
        case ChunkKind.RECONFIG:
            parameter = random.choice((Parameter.OUTGOING_RESET, number(16)))
            value = number().to_bytes(4) + bytes(4) + near(received).to_bytes(4) + body
            body = b"".join(
                (parameter.to_bytes(2), (len(value) + 4).to_bytes(2), value)
            ) * random.choice((1, 1, 20))
        case _:
            pass
    return build_chunk(kind, body, number(3))


def _check_state(association: Association) -> None:
    """Check that an association keeps no more than its limits permit."""
    receiver = association._receiver
    ahead = receiver._ahead
    assert len(ahead) <= MAX_AHEAD
    assert sum(len(each.data) for each in ahead.values()) == receiver._ahead_bytes <= WINDOW_BYTES
    assert len(receiver._data) <= CHANNEL_LIMIT_BYTES + (1 << 16)
    sender = association._sender
    flying_bytes = sum(
        each.size for each in sender._flying if not (each.is_acknowledged or each.is_due)
    )
    assert 0 <= sender._flying_bytes <= flying_bytes
    assert sender.peer_room_bytes >= 0


def _with_checksum(packet: bytes) -> bytes:
    """Return a packet with the right checksum, unless it is too short for one."""
    if len(packet) < HEADER_BYTES:
        return packet
    source, destination, tag = (
        int.from_bytes(packet[start:end]) for start, end in ((0, 2), (2, 4), (4, 8))
    )
    return build_packet(source, destination, tag, [packet[HEADER_BYTES:]])
