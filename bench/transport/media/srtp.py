"""The encryption of a call's packets: SRTP for RTP, and SRTCP for RTCP (RFC 3711). Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pylibsrtp import Error, Policy, Session

SrtpSuite = Literal["AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]


@dataclass(frozen=True, slots=True)
class SrtpKey:
    """The key of one direction of a call."""

    suite: SrtpSuite
    secret: bytes = field(repr=False)
    """The master key and its salt."""


PROFILES: dict[SrtpSuite, int] = {
    "AES_CM_128_HMAC_SHA1_80": Policy.SRTP_PROFILE_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
}
TAG_BYTES: dict[SrtpSuite, int] = {"AES_CM_128_HMAC_SHA1_80": 10, "AES_CM_128_HMAC_SHA1_32": 4}
"""The number of bytes by which each suite makes an RTP packet longer."""
MAX_SOURCES = 64
"""The maximum number of sources (SSRC) with one key. The library keeps the state of each source."""
_RTP_SSRC, _RTCP_SSRC = slice(8, 12), slice(4, 8)


class PacketEncryption:
    """The encryption of one call, with a key for each direction. Without keys, packets are not encrypted."""

    def __init__(self, send_key: SrtpKey | None, receive_key: SrtpKey | None) -> None:
        self._send_key: SrtpKey | None = None
        self._receive_key: SrtpKey | None = None
        self._sender: Session | None = None
        self._receiver: Session | None = None
        self._sources: set[bytes] = set()
        self.use(send_key, receive_key)

    def use(self, send_key: SrtpKey | None, receive_key: SrtpKey | None) -> None:
        """Use these keys from now on. A key that does not change keeps the state of its sources."""
        if send_key != self._send_key:
            self._send_key, self._sender = send_key, _session(send_key, Policy.SSRC_ANY_OUTBOUND)
        if receive_key != self._receive_key:
            self._receive_key, self._receiver = receive_key, _session(receive_key, Policy.SSRC_ANY_INBOUND)
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
        """Return the received RTP packet. Return None if it is not authentic, or if it was received before."""
        return data if self._receiver is None else self._unprotected(self._receiver.unprotect, data, data[_RTP_SSRC])

    def unprotect_again(self, data: bytes) -> bytes | None:
        """Return the RTP packet of a source whose numbers begin again, as if none of its packets had been received.

        A recorded packet that is sent again is also accepted. Therefore call this only if the source is silent. Return
        None if the packet is not authentic.
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
        """Return the received RTCP packet. Return None if it is not authentic, or if it was received before."""
        if self._receiver is None:
            return data
        return self._unprotected(self._receiver.unprotect_rtcp, data, data[_RTCP_SSRC])

    def _unprotected(self, unprotect: Callable[[bytes], bytes], data: bytes, source: bytes) -> bytes | None:
        if source not in self._sources and len(self._sources) >= MAX_SOURCES:
            return None
        try:
            packet = unprotect(data)
        except (Error, ValueError):  # ValueError: the packet is too long
            return None
        self._sources.add(source)
        return packet


def _session(key: SrtpKey | None, sources: int) -> Session | None:
    return None if key is None else Session(Policy(key.secret, sources, srtp_profile=PROFILES[key.suite]))
