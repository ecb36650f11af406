"""STUN messages (RFC 8489) with the attributes of ICE and TURN: parse, build, integrity and
fingerprint. Pure.

The parsers never raise an error. They return None for data that is not a valid message, and their
callers drop these.
"""

# A message is a header with a magic cookie, and attributes of four-byte alignment (RFC 8489 §5,
# §14). Two of them protect what precedes: MESSAGE-INTEGRITY is an HMAC-SHA1, and FINGERPRINT,
# always the last one, is a CRC-32 that tells STUN from other packets. Both are computed as if the
# length in the header ended with them (§14.5, §14.7), hence `_with_length`.
#
# An address is sent XORed with the cookie and the transaction (§14.2), because NATs rewrite
# anything in a packet that looks like one of their addresses.

import hmac
import ipaddress
from binascii import crc32
from collections.abc import Mapping
from enum import IntEnum
from struct import Struct, error
from types import MappingProxyType
from typing import NamedTuple

from bench.wire.addresses import HostPort

COOKIE = 0x2112A442
TRANSACTION_BYTES = 12
MAX_MESSAGE_BYTES = 1_500
_HEADER = Struct("!HHI12s")
_ATTRIBUTE = Struct("!HH")
_ADDRESS = Struct("!xBH")
# The two bits of the class lie among the bits of the method (RFC 8489 §5, figure 3).
_KIND_BITS = 0x0110
# "STUN" in ASCII, so that the CRC differs from one of another protocol in the same packet (§14.7).
_FINGERPRINT_MASK = 0x5354554E
_INTEGRITY_BYTES = 20
_FINGERPRINT_BYTES = 4
_FAMILIES = {1: 4, 2: 16}
"""The numbers of bytes of an address, by the number of its family."""


class StunKind(IntEnum):
    """The classes of messages, as the bits of their type (RFC 8489 §5)."""

    REQUEST = 0x0000
    INDICATION = 0x0010
    SUCCESS = 0x0100
    ERROR = 0x0110


class StunMethod(IntEnum):
    """The methods of messages: that of ICE, and those of TURN (RFC 8656 §17)."""

    BINDING = 0x001
    ALLOCATE = 0x003
    REFRESH = 0x004
    SEND = 0x006
    DATA = 0x007
    CREATE_PERMISSION = 0x008
    CHANNEL_BIND = 0x009


class StunAttribute(IntEnum):
    """The types of attributes that this side reads or writes."""

    USERNAME = 0x0006
    INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    CHANNEL_NUMBER = 0x000C
    LIFETIME = 0x000D
    XOR_PEER_ADDRESS = 0x0012
    DATA = 0x0013
    REALM = 0x0014
    NONCE = 0x0015
    XOR_RELAYED_ADDRESS = 0x0016
    REQUESTED_ADDRESS_FAMILY = 0x0017
    REQUESTED_TRANSPORT = 0x0019
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    ALTERNATE_SERVER = 0x8023
    FINGERPRINT = 0x8028
    CONTROLLED = 0x8029
    CONTROLLING = 0x802A


class StunMessage(NamedTuple):
    """A message. `attributes` are those before the integrity, by their types; of several, the first
    one.

    `signed` is the part of the message that the integrity protects, with the length that it states,
    and `integrity` the value; both are empty if the message has none.
    """

    kind: StunKind
    transaction: bytes
    attributes: Mapping[int, bytes]
    signed: bytes = b""
    integrity: bytes = b""
    method: StunMethod = StunMethod.BINDING

    def is_authentic(self, key: str | bytes) -> bool:
        """Return whether the message was made by a peer that knows the key: a password, or what
        was made of it.
        """
        expected = hmac.digest(_key_bytes(key), self.signed, "sha1")
        return bool(self.integrity) and hmac.compare_digest(self.integrity, expected)

    @property
    def error_code(self) -> int:
        """The code of an error, such as 487; 0 if there is none."""
        value = self.attributes.get(StunAttribute.ERROR_CODE, b"")
        return (value[2] & 7) * 100 + value[3] if len(value) >= 4 else 0

    @property
    def error_reason(self) -> str:
        """The text of an error; "" if there is none. coturn counts its padding (RFC 8489 §14) as
        text.
        """
        return (
            self.attributes.get(StunAttribute.ERROR_CODE, b"")[4:]
            .rstrip(b"\0")
            .decode("utf-8", "replace")
        )


def parse_message(data: bytes) -> StunMessage | None:
    """Return the message of ICE; None if the data is not a Binding message with a valid
    fingerprint, or is malformed.

    ICE requires a fingerprint (RFC 8445 §7.1).
    """
    if len(data) > MAX_MESSAGE_BYTES or (parsed := _parsed(data)) is None:
        return None
    message, has_fingerprint = parsed
    return message if has_fingerprint and message.method is StunMethod.BINDING else None


def parse_turn_message(data: bytes) -> StunMessage | None:
    """Return the message of a TURN server; None if the data is no message of a known method, or
    is malformed.
    """
    parsed = _parsed(data)
    return None if parsed is None else parsed[0]


def _parsed(data: bytes) -> tuple[StunMessage, bool] | None:
    """Return (the message, whether it has a fingerprint); None if it is malformed."""
    if len(data) < _HEADER.size:
        return None
    kind_and_method, length, cookie, transaction = _HEADER.unpack_from(data)
    kind = kind_and_method & _KIND_BITS
    method = kind_and_method & ~_KIND_BITS
    if (
        cookie != COOKIE
        or length % 4
        or length != len(data) - _HEADER.size
        or method not in iter(StunMethod)
    ):
        return None
    attributes: dict[int, bytes] = {}
    signed = integrity = b""
    has_fingerprint = False
    start = _HEADER.size
    while start < len(data):
        number, size = _ATTRIBUTE.unpack_from(data, start)
        value_start = start + _ATTRIBUTE.size
        value = data[value_start : value_start + size]
        end = value_start + size + -size % 4
        if end > len(data):
            return None
        if number == StunAttribute.FINGERPRINT:
            if (
                size != _FINGERPRINT_BYTES
                or end != len(data)
                or value != _fingerprint(data[:start])
            ):
                return None
            has_fingerprint = True
        elif number == StunAttribute.INTEGRITY and not integrity:
            if size != _INTEGRITY_BYTES:
                return None
            signed = _with_length(data[:start], end)
            integrity = value
        elif not integrity:  # attributes after the integrity are ignored (RFC 8489 §14.5)
            attributes.setdefault(number, value)
        start = end
    message = StunMessage(
        StunKind(kind),
        transaction,
        MappingProxyType(attributes),
        signed,
        integrity,
        StunMethod(method),
    )
    return message, has_fingerprint


def build_message(
    kind: StunKind,
    transaction: bytes,
    attributes: Mapping[int, bytes],
    key: str | bytes,
    method: StunMethod = StunMethod.BINDING,
) -> bytes:
    """Return the bytes of a message, with its integrity by `key` unless this is empty, and with
    its fingerprint.
    """
    data = _HEADER.pack(kind | method, 0, COOKIE, transaction)
    for number, value in attributes.items():
        data += _ATTRIBUTE.pack(number, len(value)) + value + bytes(-len(value) % 4)
    if key:
        signed = _with_length(data, len(data) + _ATTRIBUTE.size + _INTEGRITY_BYTES)
        integrity = hmac.digest(_key_bytes(key), signed, "sha1")
        data = signed + _ATTRIBUTE.pack(StunAttribute.INTEGRITY, _INTEGRITY_BYTES) + integrity
    data = _with_length(data, len(data) + _ATTRIBUTE.size + _FINGERPRINT_BYTES)
    return (
        data + _ATTRIBUTE.pack(StunAttribute.FINGERPRINT, _FINGERPRINT_BYTES) + _fingerprint(data)
    )


def _key_bytes(key: str | bytes) -> bytes:
    return key.encode() if isinstance(key, str) else key


def _with_length(data: bytes, end: int) -> bytes:
    """Return the start of a message that states that the message ends at `end`."""
    return data[:2] + (end - _HEADER.size).to_bytes(2) + data[4:]


def _fingerprint(data: bytes) -> bytes:
    return (crc32(data) ^ _FINGERPRINT_MASK).to_bytes(_FINGERPRINT_BYTES)


def xor_address(address: HostPort, transaction: bytes) -> bytes:
    """Return the value of XOR-MAPPED-ADDRESS for an IP address and its port."""
    packed = ipaddress.ip_address(address.host.partition("%")[0]).packed
    family = next(number for number, size in _FAMILIES.items() if size == len(packed))
    return _ADDRESS.pack(family, (address.port or 0) ^ COOKIE >> 16) + _masked(packed, transaction)


def mapped_address(value: bytes, transaction: bytes) -> HostPort | None:
    """Return the address in a value of XOR-MAPPED-ADDRESS; None if it is malformed."""
    found = plain_address(value)
    if found is None:
        return None
    packed = _masked(ipaddress.ip_address(found.host).packed, transaction)
    return HostPort(str(ipaddress.ip_address(packed)), (found.port or 0) ^ COOKIE >> 16)


def plain_address(value: bytes) -> HostPort | None:
    """Return the address in a value of MAPPED-ADDRESS or ALTERNATE-SERVER; None if it is
    malformed.
    """
    try:
        family, port = _ADDRESS.unpack_from(value)
    except error:
        return None
    packed = value[_ADDRESS.size :]
    if _FAMILIES.get(family) != len(packed):
        return None
    return HostPort(str(ipaddress.ip_address(packed)), port)


def _masked(packed: bytes, transaction: bytes) -> bytes:
    return bytes(
        one ^ other for one, other in zip(packed, COOKIE.to_bytes(4) + transaction, strict=False)
    )
