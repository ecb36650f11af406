"""STUN messages (RFC 8489) with the attributes of ICE: parse, build, integrity and fingerprint. Pure.

The parser never raises an error. It returns None for data that is not a valid message, and its caller drops these.
"""

from __future__ import annotations

import hmac
import ipaddress
from binascii import crc32
from collections.abc import Mapping
from enum import IntEnum
from struct import Struct, error
from types import MappingProxyType
from typing import NamedTuple

from bench.transport.interface import HostPort

COOKIE = 0x2112A442
TRANSACTION_BYTES = 12
MAX_MESSAGE_BYTES = 1_500
_HEADER = Struct("!HHI12s")
_ATTRIBUTE = Struct("!HH")
_ADDRESS = Struct("!xBH")
_FINGERPRINT_MASK = 0x5354554E
_INTEGRITY_BYTES, _FINGERPRINT_BYTES = 20, 4
_FAMILIES = {1: 4, 2: 16}
"""The numbers of bytes of an address, by the number of its family."""


class StunKind(IntEnum):
    """The types of messages that ICE uses, all of the method Binding."""

    REQUEST = 0x0001
    INDICATION = 0x0011
    SUCCESS = 0x0101
    ERROR = 0x0111


class StunAttribute(IntEnum):
    """The types of attributes that this side reads or writes."""

    USERNAME = 0x0006
    INTEGRITY = 0x0008
    ERROR_CODE = 0x0009
    XOR_MAPPED_ADDRESS = 0x0020
    PRIORITY = 0x0024
    USE_CANDIDATE = 0x0025
    FINGERPRINT = 0x8028
    CONTROLLED = 0x8029
    CONTROLLING = 0x802A


class StunMessage(NamedTuple):
    """A message. `attributes` are those before the integrity, by their types; of several, the first one.

    `signed` is the part of the message that the integrity protects, with the length that it states, and `integrity`
    the value; both are empty if the message has none.
    """

    kind: StunKind
    transaction: bytes
    attributes: Mapping[int, bytes]
    signed: bytes = b""
    integrity: bytes = b""

    def is_authentic(self, key: str) -> bool:
        """Return whether the message was made by a peer that knows the key."""
        expected = hmac.digest(key.encode(), self.signed, "sha1")
        return bool(self.integrity) and hmac.compare_digest(self.integrity, expected)

    @property
    def error_code(self) -> int:
        """The code of an error, such as 487; 0 if there is none."""
        value = self.attributes.get(StunAttribute.ERROR_CODE, b"")
        return (value[2] & 7) * 100 + value[3] if len(value) >= 4 else 0


def parse_message(data: bytes) -> StunMessage | None:
    """Return the message; None if the data is not a Binding message with a valid fingerprint, or is malformed."""
    if not _HEADER.size <= len(data) <= MAX_MESSAGE_BYTES:
        return None
    kind, length, cookie, transaction = _HEADER.unpack_from(data)
    if cookie != COOKIE or length % 4 or length != len(data) - _HEADER.size or kind not in iter(StunKind):
        return None
    attributes: dict[int, bytes] = {}
    signed = integrity = b""
    has_fingerprint = False
    start = _HEADER.size
    while start < len(data):
        number, size = _ATTRIBUTE.unpack_from(data, start)
        value_start = start + _ATTRIBUTE.size
        value, end = data[value_start : value_start + size], value_start + size + -size % 4
        if end > len(data):
            return None
        if number == StunAttribute.FINGERPRINT:
            if size != _FINGERPRINT_BYTES or end != len(data) or value != _fingerprint(data[:start]):
                return None
            has_fingerprint = True
        elif number == StunAttribute.INTEGRITY and not integrity:
            if size != _INTEGRITY_BYTES:
                return None
            signed, integrity = _with_length(data[:start], end), value
        elif not integrity:  # attributes after the integrity are ignored (RFC 8489 §14.5)
            attributes.setdefault(number, value)
        start = end
    if not has_fingerprint:  # ICE requires one (RFC 8445 §7.1)
        return None
    return StunMessage(StunKind(kind), transaction, MappingProxyType(attributes), signed, integrity)


def build_message(kind: StunKind, transaction: bytes, attributes: Mapping[int, bytes], key: str) -> bytes:
    """Return the bytes of a message, with its integrity by `key`, and with its fingerprint."""
    data = _HEADER.pack(kind, 0, COOKIE, transaction)
    for number, value in attributes.items():
        data += _ATTRIBUTE.pack(number, len(value)) + value + bytes(-len(value) % 4)
    signed = _with_length(data, len(data) + _ATTRIBUTE.size + _INTEGRITY_BYTES)
    data = (
        signed + _ATTRIBUTE.pack(StunAttribute.INTEGRITY, _INTEGRITY_BYTES) + hmac.digest(key.encode(), signed, "sha1")
    )
    data = _with_length(data, len(data) + _ATTRIBUTE.size + _FINGERPRINT_BYTES)
    return data + _ATTRIBUTE.pack(StunAttribute.FINGERPRINT, _FINGERPRINT_BYTES) + _fingerprint(data)


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
    try:
        family, port = _ADDRESS.unpack_from(value)
    except error:
        return None
    packed = value[_ADDRESS.size :]
    if _FAMILIES.get(family) != len(packed):
        return None
    return HostPort(str(ipaddress.ip_address(_masked(packed, transaction))), port ^ COOKIE >> 16)


def _masked(packed: bytes, transaction: bytes) -> bytes:
    return bytes(one ^ other for one, other in zip(packed, COOKIE.to_bytes(4) + transaction, strict=False))
