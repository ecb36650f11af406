"""The packets of SCTP (RFC 9260 §3): chunks with their parameters ↔ bytes, and the checksum. Pure.

The readers raise ValueError for what is malformed.
"""

# Every chunk has a kind, flags, and a length without padding; the next one begins at a multiple of
# four bytes (RFC 9260 §3.2). Parameters and causes of errors have the same form with a kind of two
# bytes (§3.2.1). The highest bits of an unknown kind say what to do with it, which `Association`
# does.
#
# The checksum is CRC32c over the whole packet with zeros in its place (§6.8), and is written in the
# order of little-endian machines (appendix A), as the only field of the packet.
#
# A reader checks every length before it slices. It does not check the meaning, such as the order of
# TSN.

from collections.abc import Iterable, Iterator
from enum import IntEnum
from struct import Struct
from typing import NamedTuple

from google_crc32c import value as crc32c

MAX_PACKET_BYTES = 1_160
"""The maximum size of a packet that is sent. With DTLS, which adds up to 37 bytes, it fits
`MAX_DATAGRAM_BYTES`."""
BEGIN = 2
END = 1
"""The flags of DATA: the first and the last fragment of a message (§3.3.1)."""
REFLECTED = 1
"""The flag of ABORT if its tag is that of its sender (§3.3.7)."""
_COMMON = Struct(">HHI")
_CHECKSUM = Struct("<I")
_HEAD = Struct(">BBH")
_DATA = Struct(">IHHI")
_INIT = Struct(">IIHHI")
_SACK = Struct(">IIHH")
_PAIR = Struct(">HH")
_NUMBERS = Struct(">III")
_NUMBER = Struct(">I")
HEADER_BYTES = _COMMON.size + _CHECKSUM.size
DATA_HEADER_BYTES = _HEAD.size + _DATA.size
MAX_FRAGMENT_BYTES = MAX_PACKET_BYTES - HEADER_BYTES - DATA_HEADER_BYTES
"""The maximum number of bytes of a message in a packet that is sent."""
# More gaps would not fit into a packet. The peer learns of the others when the first are filled.
MAX_GAPS = (MAX_PACKET_BYTES - HEADER_BYTES - _HEAD.size - _SACK.size) // _PAIR.size


class ChunkKind(IntEnum):
    """The kinds of chunks that are used."""

    DATA = 0
    INIT = 1
    INIT_ACK = 2
    SACK = 3
    HEARTBEAT = 4
    HEARTBEAT_ACK = 5
    ABORT = 6
    SHUTDOWN = 7
    SHUTDOWN_ACK = 8
    ERROR = 9
    COOKIE_ECHO = 10
    COOKIE_ACK = 11
    SHUTDOWN_COMPLETE = 14
    RECONFIG = 130
    FORWARD_TSN = 192


class Parameter(IntEnum):
    """The parameters of INIT and INIT ACK (§3.3.2, RFC 3758, RFC 5061), and of RE-CONFIG (RFC
    6525 §4).
    """

    COOKIE = 7
    OUTGOING_RESET = 13
    RESET_RESPONSE = 16
    EXTENSIONS = 0x8008
    FORWARD_TSN = 0xC000


class AbortCause(IntEnum):
    """The causes of ABORT that this side sends, or treats in a special way (§3.3.10)."""

    OUT_OF_RESOURCE = 4
    USER = 12
    VIOLATION = 13


class Chunk(NamedTuple):
    """A chunk without its header. `kind` may be unknown."""

    kind: int
    flags: int
    body: bytes


class SctpPacket(NamedTuple):
    """A packet. `tag` is the verification tag."""

    source: int
    destination: int
    tag: int
    chunks: list[Chunk]


def parse_packet(data: bytes) -> SctpPacket:
    if len(data) < HEADER_BYTES + _HEAD.size:
        raise ValueError("the packet is too short")
    source, destination, tag = _COMMON.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _COMMON.size)
    if crc32c(data[: _COMMON.size] + bytes(_CHECKSUM.size) + data[HEADER_BYTES:]) != checksum:
        raise ValueError("the checksum is wrong")
    chunks = list[Chunk]()
    at = HEADER_BYTES
    while at + _HEAD.size <= len(data):
        kind, flags, size = _HEAD.unpack_from(data, at)
        if size < _HEAD.size or at + size > len(data):
            raise ValueError("the length of a chunk is wrong")
        chunks.append(Chunk(kind, flags, data[at + _HEAD.size : at + size]))
        at += size + -size % 4
    return SctpPacket(source, destination, tag, chunks)


def build_packet(source: int, destination: int, tag: int, chunks: Iterable[bytes]) -> bytes:
    common = _COMMON.pack(source, destination, tag)
    body = b"".join(chunks)
    return common + _CHECKSUM.pack(crc32c(common + bytes(_CHECKSUM.size) + body)) + body


def build_chunk(kind: ChunkKind, body: bytes = b"", flags: int = 0) -> bytes:
    size = _HEAD.size + len(body)
    return _HEAD.pack(kind, flags, size) + body + bytes(-size % 4)


class Parameters(NamedTuple):
    """The values of INIT and INIT ACK. `streams` is the number of streams that the sender
    accepts.
    """

    tag: int
    window_bytes: int
    streams: int
    first_tsn: int
    cookie: bytes


def parse_parameters(body: bytes) -> Parameters:
    if len(body) < _INIT.size:
        raise ValueError("INIT is too short")
    tag, window_bytes, outgoing, incoming, first_tsn = _INIT.unpack_from(body)
    if not tag or not outgoing or not incoming:
        raise ValueError("INIT has no tag, or no streams")
    cookie = next(
        (value for kind, value in _parameters(body[_INIT.size :]) if kind == Parameter.COOKIE), b""
    )
    return Parameters(tag, window_bytes, incoming, first_tsn, cookie)


def build_parameters(own: Parameters) -> bytes:
    head = _INIT.pack(own.tag, own.window_bytes, own.streams, own.streams, own.first_tsn)
    # A peer that sees no RE-CONFIG (RFC 5061 §4.2.7) cannot close a channel without the
    # association.
    extensions = bytes((ChunkKind.RECONFIG, ChunkKind.FORWARD_TSN))
    written = _parameter(Parameter.FORWARD_TSN, b"") + _parameter(Parameter.EXTENSIONS, extensions)
    return head + written + (_parameter(Parameter.COOKIE, own.cookie) if own.cookie else b"")


def _parameter(kind: Parameter, value: bytes) -> bytes:
    size = _PAIR.size + len(value)
    return _PAIR.pack(kind, size) + value + bytes(-size % 4)


def _parameters(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the kind and the value of each parameter, or of each cause of an error, which has
    the same form.
    """
    at = 0
    while at + _PAIR.size <= len(data):
        kind, size = _PAIR.unpack_from(data, at)
        if size < _PAIR.size or at + size > len(data):
            raise ValueError("the length of a parameter is wrong")
        yield kind, data[at + _PAIR.size : at + size]
        at += size + -size % 4


class Fragment(NamedTuple):
    """A chunk DATA: a message, or a part of one. `protocol` is its payload protocol identifier."""

    tsn: int
    stream: int
    sequence: int
    protocol: int
    flags: int
    data: bytes


def parse_fragment(chunk: Chunk) -> Fragment:
    if len(chunk.body) <= _DATA.size:
        raise ValueError("DATA is empty")
    tsn, stream, sequence, protocol = _DATA.unpack_from(chunk.body)
    return Fragment(tsn, stream, sequence, protocol, chunk.flags, chunk.body[_DATA.size :])


def build_fragment(fragment: Fragment) -> bytes:
    head = _DATA.pack(fragment.tsn, fragment.stream, fragment.sequence, fragment.protocol)
    return build_chunk(ChunkKind.DATA, head + fragment.data, fragment.flags)


class Acknowledgement(NamedTuple):
    """A chunk SACK. `gaps` are the first and the last fragment of each block, as offsets from
    `tsn`.
    """

    tsn: int
    window_bytes: int
    gaps: list[tuple[int, int]]


def parse_acknowledgement(body: bytes) -> Acknowledgement:
    if len(body) < _SACK.size:
        raise ValueError("SACK is too short")
    tsn, window_bytes, gaps, _ = _SACK.unpack_from(body)
    if len(body) < _SACK.size + gaps * _PAIR.size:
        raise ValueError("SACK is too short")
    blocks = body[_SACK.size : _SACK.size + gaps * _PAIR.size]
    return Acknowledgement(tsn, window_bytes, list(_PAIR.iter_unpack(blocks)))


def build_acknowledgement(own: Acknowledgement) -> bytes:
    gaps = own.gaps[:MAX_GAPS]
    head = _SACK.pack(own.tsn, own.window_bytes, len(gaps), 0)
    return build_chunk(ChunkKind.SACK, head + b"".join(_PAIR.pack(*gap) for gap in gaps))


def build_abort(cause: AbortCause, reason: str) -> bytes:
    text = reason.encode()
    return build_chunk(ChunkKind.ABORT, _PAIR.pack(cause, _PAIR.size + len(text)) + text)


def parse_abort(body: bytes) -> tuple[int | None, str]:
    """Return the first cause and its text; None if no cause is stated."""
    cause, text = next(_parameters(body), (None, b""))
    return cause, (
        text.decode("utf-8", "replace")
        if cause
        in (
            AbortCause.USER,
            AbortCause.VIOLATION,
        )
        else ""
    )


def parse_number(body: bytes) -> int:
    """Return the first number of 32 bits, such as the TSN of FORWARD-TSN."""
    if len(body) < _NUMBER.size:
        raise ValueError("the chunk is too short")
    (number,) = _NUMBER.unpack_from(body)
    return int(number)


class StreamReset(NamedTuple):
    """A request of RE-CONFIG that the peer's `streams` end after `last_tsn`; all its streams if
    there are none.

    `last_tsn` is None for a request of another kind.
    """

    number: int
    last_tsn: int | None
    streams: tuple[int, ...]


def parse_resets(body: bytes) -> Iterator[StreamReset]:
    for kind, value in _parameters(body):
        if kind == Parameter.RESET_RESPONSE:
            continue
        if kind != Parameter.OUTGOING_RESET:
            yield StreamReset(parse_number(value), None, ())
        elif len(value) < _NUMBERS.size or len(value) % 2:
            raise ValueError("RE-CONFIG is too short")
        else:
            number, _, last_tsn = _NUMBERS.unpack_from(value)
            streams = Struct(f">{(len(value) - _NUMBERS.size) // 2}H").unpack_from(
                value, _NUMBERS.size
            )
            yield StreamReset(number, last_tsn, streams)


def build_reset_response(number: int, result: int) -> bytes:
    value = _NUMBER.pack(number) + _NUMBER.pack(result)
    return build_chunk(ChunkKind.RECONFIG, _parameter(Parameter.RESET_RESPONSE, value))
