"""SRTP (RFC 3711): a call's keys in session descriptions (SDES, RFC 4568), and the encryption of
its packets. Pure.

A key is a secret: no error and no `repr` contains it.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args
from urllib.parse import quote

from pylibsrtp import Error, Policy, Session

SrtpSuite = Literal["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]
SUITES: tuple[SrtpSuite, ...] = get_args(SrtpSuite)
"""The supported suites, in the order of preference."""
MASTER_KEY_BYTES = 16
SECRET_BYTES = 30
"""The length of a master key (16 bytes) with its salt (14 bytes), in each suite."""
_ATTRIBUTE = re.compile(r"(\d{1,9})[ \t]+(\w{1,64})[ \t]+(\S+)((?:[ \t]+\S+)*)[ \t]*", re.ASCII)
_INLINE = re.compile(r"inline:([A-Za-z0-9+/]{40})(?:\|(?:2\^\d{1,2}|\d{1,15}))?", re.ASCII)
"""A key with an optional lifetime, which is ignored."""
_QUOTED = re.compile(r"inline:[A-Za-z0-9+/=]*")
_ALPHANUMERIC = re.compile(r"[A-Za-z0-9]")
MIN_QUOTED = 8
"""The number of letters and digits from which a part of a key is recognized in a text."""
_IGNORED_PARAMETER = re.compile(r"-\S+|WSH=\d{1,4}", re.ASCII)
"""The session parameters that do not change packets: optional ones, and a hint for the replay
window."""
PROFILES: dict[SrtpSuite, int] = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
TAG_BYTES: dict[SrtpSuite, int] = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4}
"""The number of bytes by which each suite makes an RTP packet longer."""
MAX_SOURCES = 64
"""The maximum number of sources (SSRC) with one key. The library keeps the state of each source."""
_RTP_SSRC = slice(8, 12)
_RTCP_SSRC = slice(4, 8)


@dataclass(frozen=True, slots=True)
class SrtpKey:
    """The key of one direction of a call."""

    suite: SrtpSuite
    secret: bytes = field(repr=False)
    """The master key and its salt."""


@dataclass(frozen=True, slots=True)
class CryptoAttribute:
    """An attribute a=crypto: a key, and the tag by which an answer selects it."""

    tag: int
    key: SrtpKey


def new_keys(random_bytes: Callable[[int], bytes]) -> tuple[SrtpKey, ...]:
    """Return a key for each suite. `random_bytes` returns that many random bytes."""
    return tuple(SrtpKey(suite, random_bytes(SECRET_BYTES)) for suite in SUITES)


def parse_crypto(value: str) -> CryptoAttribute:
    """Return the attribute with this value. Raise ValueError if it is malformed, or if it is not
    supported.

    A master key identifier (MKI) and session parameters that change the packets are not supported.
    """
    match = _ATTRIBUTE.fullmatch(value)
    if match is None:
        raise ValueError("an SRTP key of the session description is not valid")
    suite = next((each for each in SUITES if each == match[2]), None)
    key = _INLINE.fullmatch(match[3])
    if suite is None or key is None or not all(map(_IGNORED_PARAMETER.fullmatch, match[4].split())):
        raise ValueError("an SRTP key of the session description is not supported")
    return CryptoAttribute(int(match[1]), SrtpKey(suite, base64.b64decode(key[1])))


def usable_crypto(values: Sequence[str]) -> tuple[CryptoAttribute, ...]:
    """Return the attributes that are supported, the first one of each tag. The others are
    skipped (RFC 4568 §7.1.2).
    """
    found: dict[int, CryptoAttribute] = {}
    for value in values:
        try:
            attribute = parse_crypto(value)
        except ValueError:
            continue
        found.setdefault(attribute.tag, attribute)
    return tuple(found.values())


def without_keys(text: str, keys: Iterable[SrtpKey] = ()) -> str:
    """Return a text of the peer without SRTP keys. A peer may quote a description that it does not
    accept.

    Of `keys`, also parts are removed, in base64, hexadecimal or percent-encoded form, with any
    characters between.
    """
    text = _QUOTED.sub("inline:***", text)
    parts = {
        form[start : start + MIN_QUOTED]
        for key in keys
        for form in _forms(key)
        for start in _starts(form)
    }
    positions = [match.start() for match in _ALPHANUMERIC.finditer(text)]
    letters = "".join(text[position] for position in positions).casefold()
    shown = []
    last = 0
    for start in _starts(letters):
        if letters[start : start + MIN_QUOTED] in parts:
            first = positions[start]
            end = positions[start + MIN_QUOTED - 1] + 1
            if first >= last:
                shown.append(text[last:first] + "***")
            last = end
    return "".join(shown) + text[last:]


def _starts(text: str) -> range:
    return range(len(text) - MIN_QUOTED + 1)


def _forms(key: SrtpKey) -> Iterator[str]:
    """Yield the letters and digits of a key, and of its salt alone, as texts may contain them."""
    for secret in (key.secret, key.secret[MASTER_KEY_BYTES:]):
        encoded = base64.b64encode(secret).decode()
        for form in (encoded, quote(encoded, safe=""), secret.hex()):
            yield "".join(_ALPHANUMERIC.findall(form)).casefold()


def write_crypto(attribute: CryptoAttribute) -> str:
    return (
        f"{attribute.tag} {attribute.key.suite}"
        f" inline:{base64.b64encode(attribute.key.secret).decode()}"
    )


class PacketEncryption:
    """The encryption of one call, with a key for each direction. Without keys, packets are not
    encrypted.
    """

    def __init__(self, send_key: SrtpKey | None, receive_key: SrtpKey | None) -> None:
        self._send_key: SrtpKey | None = None
        self._receive_key: SrtpKey | None = None
        self._sender: Session | None = None
        self._receiver: Session | None = None
        self._sources: set[bytes] = set()
        self.use(send_key, receive_key)

    def use(self, send_key: SrtpKey | None, receive_key: SrtpKey | None) -> None:
        """Use these keys from now on. A key that does not change keeps the state of its sources."""
        # A new session of libsrtp would start at the rollover counter 0 and refuse the running
        # stream, so a re-INVITE with the same key must not make one.
        if send_key != self._send_key:
            self._send_key = send_key
            self._sender = _session(send_key, Policy.SSRC_ANY_OUTBOUND)
        if receive_key != self._receive_key:
            self._receive_key = receive_key
            self._receiver = _session(receive_key, Policy.SSRC_ANY_INBOUND)
            self._sources.clear()

    @property
    def tag_bytes(self) -> int:
        """The number of bytes by which a received RTP packet is longer than without encryption."""
        return TAG_BYTES[self._receive_key.suite] if self._receive_key is not None else 0

    def protect(self, packet: bytes) -> bytes:
        """Return an RTP packet as it is sent."""
        return packet if self._sender is None else self._sender.protect(packet)

    def protect_report(self, packet: bytes) -> bytes:
        """Return an RTCP packet as it is sent."""
        return packet if self._sender is None else self._sender.protect_rtcp(packet)

    def unprotect(self, data: bytes) -> bytes | None:
        """Return the received RTP packet. Return None if it is not authentic, or if it was
        received before.
        """
        return (
            data
            if self._receiver is None
            else self._unprotected(self._receiver.unprotect, data, data[_RTP_SSRC])
        )

    def unprotect_again(self, data: bytes) -> bytes | None:
        """Return the RTP packet of a source whose numbers begin again, as if none of its packets
        had been received.

        A recorded packet that is sent again is also accepted. Therefore call this only if the
        source is silent. Return None if the packet is not authentic.
        """
        if self._receiver is None or data[_RTP_SSRC] not in self._sources:
            return None
        fresh = _session(self._receive_key, Policy.SSRC_ANY_INBOUND)
        assert fresh is not None, "there is a receiver, so there is its key"
        try:
            fresh.unprotect(data)
            self._receiver.remove_stream(int.from_bytes(data[_RTP_SSRC]))
        except (Error, ValueError):
            return None
        return self.unprotect(data)

    def unprotect_report(self, data: bytes) -> bytes | None:
        """Return the received RTCP packet. Return None if it is not authentic, or if it was
        received before.
        """
        if self._receiver is None:
            return data
        return self._unprotected(self._receiver.unprotect_rtcp, data, data[_RTCP_SSRC])

    def _unprotected(
        self, unprotect: Callable[[bytes], bytes], data: bytes, source: bytes
    ) -> bytes | None:
        if source not in self._sources and len(self._sources) >= MAX_SOURCES:
            return None
        try:
            packet = unprotect(data)
        except (Error, ValueError):  # ValueError: the packet is too long
            return None
        self._sources.add(source)
        return packet


def _session(key: SrtpKey | None, sources: int) -> Session | None:
    return (
        None
        if key is None
        else Session(Policy(key.secret, sources, srtp_profile=PROFILES[key.suite]))
    )
