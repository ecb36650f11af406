"""The session descriptions of WebRTC (RFC 8866, 8839, 8842): one track of audio, ICE, and a DTLS fingerprint. Pure.

The audio of a description is a line of `bench.transport.media.sdp`. Other media of an offer are refused.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

from bench.catalogue.outcomes import OTHER_CODEC
from bench.transport.interface import UNSPECIFIED, HostPort
from bench.transport.media.offer_answer import AgreedMedia, common_format, offered_format
from bench.transport.media.sdp import (
    MediaLine,
    RtpFormat,
    parse_description,
    write_description,
)
from bench.transport.webrtc.dtls import HASHES, DtlsRole, Fingerprint, SrtpKeys
from bench.transport.webrtc.ice import Candidate, IceLogin

Setup = Literal["actpass", "active", "passive"]
SETUPS: tuple[Setup, ...] = get_args(Setup)
PROTOCOL = "UDP/TLS/RTP/SAVPF"
DISCARD_PORT = 9
"""The port of a line m= whose address is in its candidates (RFC 8839 §4.1.2)."""
BROADCAST = "255.255.255.255"
MAX_CANDIDATE_LINES = 64
_CANDIDATE = re.compile(r"\S{1,32} 1 UDP (\d{1,10}) (\S{1,64}) (\d{1,5}) typ \w{1,8}(?: .*)?", re.ASCII | re.IGNORECASE)
_USER, _PASSWORD = re.compile(r"[A-Za-z0-9+/=_-]{4,256}"), re.compile(r"[A-Za-z0-9+/=_-]{22,256}")
"""ICE permits letters, digits, + and /. Some servers also use =, _ and -."""
_FINGERPRINT = re.compile(r"([A-Za-z0-9-]{1,16})[ \t]+([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){19,63})", re.ASCII)


@dataclass(frozen=True, slots=True)
class LocalPeer:
    """The own side of a call. `host` is the address and port of its socket."""

    login: IceLogin
    fingerprint: Fingerprint
    host: HostPort
    priority: int
    session_id: int
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    is_lite: bool = False


@dataclass(frozen=True, slots=True)
class RemotePeer:
    """The peer of a call, as its description names it."""

    login: IceLogin
    fingerprints: tuple[Fingerprint, ...]
    setup: Setup
    candidates: tuple[Candidate, ...]
    is_lite: bool
    audio: MediaLine
    codec: RtpFormat
    """The codec that both sides use."""

    @property
    def own_role(self) -> DtlsRole:
        """The role of this side in DTLS. A peer that leaves the choice waits for this side."""
        return "server" if self.setup == "active" else "client"

    def agreed(self, peer: HostPort, keys: SrtpKeys) -> AgreedMedia:
        """Return the audio of the call between this side and an address of the peer."""
        codec = self.codec
        return AgreedMedia(
            peer.host, peer.port or 0, codec.encoding, codec.payload_type, ((codec.payload_type, codec.encoding),),
            None, None, "sendrecv", None, keys.send, keys.receive,
        )  # fmt: skip


def write_offer(local: LocalPeer) -> bytes:
    """Return an offer of one track of audio. The peer decides about the roles in DTLS."""
    formats = tuple(map(offered_format, local.codecs))
    line = _line(local, formats, "actpass", "0")
    return write_description(local.session_id, 1, UNSPECIFIED[0], [line], _session_attributes(local, "0"))


def _session_attributes(local: LocalPeer, mid: str) -> tuple[tuple[str, str], ...]:
    return ("group", f"BUNDLE {mid}"), *((("ice-lite", ""),) if local.is_lite else ())


def _line(local: LocalPeer, formats: tuple[RtpFormat, ...], setup: Setup, mid: str) -> MediaLine:
    text = " ".join(str(each.payload_type) for each in formats)
    attributes = (
        ("mid", mid),
        ("ice-ufrag", local.login.user),
        ("ice-pwd", local.login.password),
        ("fingerprint", " ".join(local.fingerprint)),
        ("setup", setup),
        ("candidate", f"1 1 udp {local.priority} {local.host.host} {local.host.port} typ host"),
        ("end-of-candidates", ""),
    )
    return MediaLine(
        "audio",
        DISCARD_PORT,
        PROTOCOL,
        text,
        formats,
        UNSPECIFIED[0],
        ptime_ms=20,
        rtcp_mux=True,
        attributes=attributes,
    )


def accepted_answer(local: LocalPeer, data: bytes) -> RemotePeer:
    """Return the peer after its answer to this side's offer. Raise ValueError if no call is possible."""
    description = parse_description(data)
    audio = description.media[0] if description.media else None
    if audio is None or not _is_webrtc(audio):
        raise ValueError("the peer refuses the audio")
    remote = _remote(local, audio, OTHER_CODEC)
    if remote.setup == "actpass":
        raise ValueError("the peer's answer does not state its role in DTLS (a=setup)")
    return remote


def answer_to(local: LocalPeer, data: bytes) -> tuple[bytes, RemotePeer]:
    """Return the answer to an offer, and the peer. This side is the DTLS client if the offer permits that.

    Raise ValueError if no call is possible.
    """
    offer = parse_description(data)
    audio = next((line for line in offer.media if _is_webrtc(line)), None)
    if audio is None:
        raise ValueError("the offer has no audio over DTLS-SRTP")
    remote = _remote(local, audio, "the offer has no codec that is supported")
    mid = dict(audio.attributes).get("mid", "0")
    setup: Setup = "passive" if remote.setup == "active" else "active"
    codec = replace(offered_format(remote.codec.encoding), payload_type=remote.codec.payload_type)
    answered = _line(local, (codec,), setup, mid)
    lines = [answered if line is audio else _refused(line) for line in offer.media]
    written = write_description(local.session_id, 1, UNSPECIFIED[0], lines, _session_attributes(local, mid))
    return written, remote


def _refused(line: MediaLine) -> MediaLine:
    mids = tuple(each for each in line.attributes if each[0] == "mid")
    return MediaLine(line.kind, 0, line.protocol, line.format_text, attributes=mids)


def _is_webrtc(line: MediaLine) -> bool:
    return line.is_encrypted_audio and line.protocol.upper() in (PROTOCOL, PROTOCOL.removesuffix("F"))


def _remote(local: LocalPeer, audio: MediaLine, problem: str) -> RemotePeer:
    values = dict(audio.attributes)
    user, password = values.get("ice-ufrag", ""), values.get("ice-pwd", "")
    setup = next((each for each in SETUPS if each == values.get("setup")), None)
    if not _USER.fullmatch(user) or not _PASSWORD.fullmatch(password):
        raise ValueError("the session description has no valid login for ICE")
    fingerprints = tuple(
        Fingerprint(match[1].lower(), match[2].upper())
        for name, value in audio.attributes
        if name == "fingerprint" and (match := _FINGERPRINT.fullmatch(value)) and match[1].lower() in HASHES
    )
    if not fingerprints:
        raise ValueError("the session description has no DTLS fingerprint that is supported")
    if setup is None:
        raise ValueError("the session description does not state the role in DTLS (a=setup)")
    if not audio.rtcp_mux:
        raise ValueError("the peer wants another port for RTCP")
    codec = common_format(audio, local.codecs)
    if codec is None:
        raise ValueError(problem)
    lines = [value for name, value in audio.attributes if name == "candidate"][:MAX_CANDIDATE_LINES]
    candidates = tuple(each for line in lines if (each := parse_candidate(line)) is not None)
    login = IceLogin(user, password)
    return RemotePeer(login, fingerprints, setup, candidates, "ice-lite" in values, audio, codec)


def parse_candidate(value: str) -> Candidate | None:
    """Return a candidate for UDP with an IP address; None for other ones, such as those for TCP or with a name."""
    match = _CANDIDATE.fullmatch(value)
    if match is None or not 0 < int(match[3]) < 65_536:
        return None
    try:
        address = ipaddress.ip_address(match[2])
    except ValueError:  # a name in .local, which a browser uses to hide an address
        return None
    if address.is_multicast or address.is_unspecified or match[2] == BROADCAST or "%" in match[2]:
        return None
    return Candidate(HostPort(str(address), int(match[3])), int(match[1]))
