"""The session descriptions of WebRTC (RFC 8866, 8839, 8841, 8842): a track of audio, and at most a
data channel. Pure.

Both have one address, one login for ICE and one DTLS fingerprint. Other media of an offer are
refused.
"""

# The offer has the form of a browser's (RFC 8829 §5.2.1), since services are made for browsers:
# BUNDLE on one transport, `rtcp-mux`, both the port 9 and the address 0.0.0.0 in place of an
# address, and the addresses only in candidates. Login, fingerprint, and role of DTLS are repeated
# in each line.
#
# Only what a call needs is read from the answer: the audio line, the line of the channel, the first
# codec that both have, the login for ICE, the fingerprints, the role, and the candidates for UDP
# with an IP address. The roles: an offer says `actpass`, and the answer chooses (RFC 8842 §5.3, RFC
# 5763 §5). A peer that answers `passive` waits for this side's ClientHello.
#
# A candidate that names no IP address is skipped: `.local` names (mDNS) resolve only in the network
# of the peer, and any other name would make the process wait for a lookup.

import ipaddress
import re
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, get_args

from bench.catalogue.causes import Cause, Code
from bench.protocols.ice.ice import (
    MAX_PREFERENCE,
    RELAYED_PRIORITY,
    Candidate,
    IceLogin,
    host_priority,
)
from bench.protocols.sctp.sctp import PORT
from bench.protocols.sdp.offer_answer import AgreedMedia, common_format, offered_format
from bench.protocols.sdp.sdp import (
    MediaLine,
    RtpFormat,
    SessionDescription,
    parse_description,
    write_description,
)
from bench.protocols.webrtc.dtls import HASHES, DtlsRole, Fingerprint, SrtpKeys
from bench.wire.addresses import DISCARD_PORT, UNSPECIFIED, HostPort, whole_number
from bench.wire.connection import MAX_MESSAGE_MIB, MIB

Setup = Literal["actpass", "active", "passive"]
SETUPS: tuple[Setup, ...] = get_args(Setup)
PROTOCOL = "UDP/TLS/RTP/SAVPF"
CHANNEL_PROTOCOL = "UDP/DTLS/SCTP"
CHANNEL_FORMAT = "webrtc-datachannel"
DEFAULT_MESSAGE_BYTES = 65_536
"""The maximum size of a message to a peer that states none (RFC 8841 §6.1)."""
AUDIO_TRACK = "audio"
"""The id of the only track (RFC 8830). That of its stream is the CNAME."""
BROADCAST = "255.255.255.255"
# More lines are ignored before they are parsed. ICE then uses the best ones.
MAX_CANDIDATE_LINES = 64
_CANDIDATE = re.compile(
    r"\S{1,32} 1 UDP (\d{1,10}) (\S{1,64}) (\d{1,5}) typ \w{1,8}(?: .*)?", re.ASCII | re.IGNORECASE
)
_USER = re.compile(r"[A-Za-z0-9+/=_-]{4,256}")
_PASSWORD = re.compile(r"[A-Za-z0-9+/=_-]{22,256}")
"""ICE permits letters, digits, + and /. Some servers also use =, _ and -."""
_FINGERPRINT = re.compile(
    r"([A-Za-z0-9-]{1,16})[ \t]+([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){19,63})", re.ASCII
)


@dataclass(frozen=True, slots=True)
class LocalPeer:
    """The own side of a call.

    `hosts` are the addresses of its socket, from the most to the least preferred one. `ssrc` and
    `cname` are those of its audio: many peers find the track of a packet by the SSRC of the
    description (RFC 5576 §4.1).
    """

    login: IceLogin
    fingerprint: Fingerprint
    hosts: tuple[HostPort, ...]
    ssrc: int
    cname: str
    session_id: int
    codecs: tuple[str, ...] = ("PCMU", "PCMA")
    is_lite: bool = False
    max_message_bytes: int | None = MAX_MESSAGE_MIB * MIB
    """The maximum size of a message that this side accepts; None if it has no data channel."""
    needs_channel: bool = True
    """Whether there is no call if the peer has no data channel."""
    relayed: HostPort | None = None
    """The address of this side at a relay; None without one."""


class PeerChannel(NamedTuple):
    """The end of a data channel at a peer: its SCTP port, and the size of its largest message;
    0: any size.
    """

    port: int
    max_message_bytes: int


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
    channel: PeerChannel | None
    """None if one of the sides has no data channel."""

    @property
    def own_role(self) -> DtlsRole:
        """The role of this side in DTLS. A peer that leaves the choice waits for this side."""
        return "server" if self.setup == "active" else "client"

    def agreed(self, peer: HostPort, keys: SrtpKeys) -> AgreedMedia:
        """Return the audio of the call between this side and an address of the peer."""
        codec = self.codec
        return AgreedMedia(
            peer.host,
            peer.port or 0,
            codec.encoding,
            codec.payload_type,
            ((codec.payload_type, codec.encoding),),
            None,
            None,
            "sendrecv",
            None,
            keys.send,
            keys.receive,
        )


def write_offer(local: LocalPeer) -> bytes:
    """Return an offer of a track of audio, and of a data channel if this side has one.

    The peer decides about the roles in DTLS.
    """
    formats = tuple(map(offered_format, local.codecs))
    lines = [_line(local, formats, "actpass", "0")]
    mids = "0"
    if local.max_message_bytes is not None:
        lines.append(_channel_line(local, "actpass", "1"))
        mids = "0 1"
    return _written(local, lines, mids)


def _written(local: LocalPeer, lines: list[MediaLine], mids: str) -> bytes:
    attributes = ("group", f"BUNDLE {mids}"), *((("ice-lite", ""),) if local.is_lite else ())
    return write_description(local.session_id, 1, UNSPECIFIED[0], lines, attributes)


def _connection(local: LocalPeer, setup: Setup, mid: str) -> tuple[tuple[str, str], ...]:
    return (
        ("mid", mid),
        ("ice-ufrag", local.login.user),
        ("ice-pwd", local.login.password),
        ("fingerprint", " ".join(local.fingerprint)),
        ("setup", setup),
    )


def _channel_line(local: LocalPeer, setup: Setup, mid: str) -> MediaLine:
    own = (("sctp-port", str(PORT)), ("max-message-size", str(local.max_message_bytes)))
    attributes = (*_connection(local, setup, mid), *own)
    return MediaLine(
        "application", DISCARD_PORT, CHANNEL_PROTOCOL, CHANNEL_FORMAT, attributes=attributes
    )


def _line(local: LocalPeer, formats: tuple[RtpFormat, ...], setup: Setup, mid: str) -> MediaLine:
    text = " ".join(str(each.payload_type) for each in formats)
    candidates = [
        (
            "candidate",
            f"{number} 1 udp {host_priority(MAX_PREFERENCE - number)} {host} {port} typ host",
        )
        for number, (host, port) in enumerate(local.hosts)
    ]
    # the related address is not needed, and would be that of another network (§5.1)
    if local.relayed is not None:
        host, port = local.relayed
        related = f"raddr {UNSPECIFIED[':' in host]} rport {DISCARD_PORT}"
        candidates.append(
            ("candidate", f"relay 1 udp {RELAYED_PRIORITY} {host} {port} typ relay {related}")
        )
    stream = (
        ("msid", f"{local.cname} {AUDIO_TRACK}"),
        ("ssrc", f"{local.ssrc} cname:{local.cname}"),
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
        attributes=(
            *_connection(local, setup, mid),
            *stream,
            *candidates,
            ("end-of-candidates", ""),
        ),
    )


def accepted_answer(local: LocalPeer, data: bytes) -> RemotePeer:
    """Return the peer after its answer to this side's offer. Raise ValueError if no call is
    possible.
    """
    description = parse_description(data)
    audio = description.media[0] if description.media else None
    if audio is None or not _is_webrtc(audio):
        raise ValueError("the peer refuses the audio")
    channel = _channel_of(local, description, "the peer refuses the data channel of the events")
    remote = _remote(local, audio, channel, Cause(Code.OTHER_CODEC).text)
    if remote.setup == "actpass":
        raise ValueError("the peer's answer does not state its role in DTLS (a=setup)")
    return remote


def answer_to(local: LocalPeer, data: bytes) -> tuple[bytes, RemotePeer]:
    """Return the answer to an offer, and the peer. This side is the DTLS client if the offer
    permits that.

    Raise ValueError if no call is possible.
    """
    offer = parse_description(data)
    audio = next((line for line in offer.media if _is_webrtc(line)), None)
    if audio is None:
        raise ValueError("the offer has no audio over DTLS-SRTP")
    channel = _channel_of(local, offer, "the offer has no data channel for the events")
    remote = _remote(local, audio, channel, "the offer has no codec that is supported")
    setup: Setup = "passive" if remote.setup == "active" else "active"
    codec = replace(offered_format(remote.codec.encoding), payload_type=remote.codec.payload_type)
    lines = list[MediaLine]()
    mids = list[str]()
    for number, line in enumerate(offer.media):
        if line is not audio and line is not channel:
            # Each line of an offer needs an answer at its place (RFC 3264 §6), and the port 0
            # refuses it.
            lines.append(_refused(line))
            continue
        mids.append(dict(line.attributes).get("mid", str(number)))
        is_audio = line is audio
        lines.append(
            _line(local, (codec,), setup, mids[-1])
            if is_audio
            else _channel_line(local, setup, mids[-1])
        )
    return _written(local, lines, " ".join(mids)), remote


def _refused(line: MediaLine) -> MediaLine:
    mids = tuple(each for each in line.attributes if each[0] == "mid")
    return MediaLine(line.kind, 0, line.protocol, line.format_text, attributes=mids)


def _is_webrtc(line: MediaLine) -> bool:
    return line.is_encrypted_audio and line.protocol.upper() in (
        PROTOCOL,
        PROTOCOL.removesuffix("F"),
    )


def _is_channel(line: MediaLine) -> bool:
    is_sctp = (
        line.protocol.upper() == CHANNEL_PROTOCOL and line.format_text.lower() == CHANNEL_FORMAT
    )
    return line.kind == "application" and is_sctp and line.port != 0


def _channel_of(
    local: LocalPeer, description: SessionDescription, problem: str
) -> MediaLine | None:
    """Return the line of the data channel; None if there is none. Raise ValueError if this side
    needs one.
    """
    if local.max_message_bytes is None:
        return None
    channel = next(filter(_is_channel, description.media), None)
    if channel is None and local.needs_channel:
        raise ValueError(problem)
    return channel


def _peer_channel(line: MediaLine) -> PeerChannel:
    values = dict(line.attributes)
    port = whole_number(values.get("sctp-port", str(PORT)), 5)
    size = whole_number(values.get("max-message-size", str(DEFAULT_MESSAGE_BYTES)), 20)
    if port is None or not 0 < port < 65_536 or size is None:
        raise ValueError("the port or the limit of the data channel is not valid")
    return PeerChannel(port, size)


def _remote(
    local: LocalPeer, audio: MediaLine, channel: MediaLine | None, problem: str
) -> RemotePeer:
    values = dict(audio.attributes)
    user = values.get("ice-ufrag", "")
    password = values.get("ice-pwd", "")
    setup = next((each for each in SETUPS if each == values.get("setup")), None)
    if not _USER.fullmatch(user) or not _PASSWORD.fullmatch(password):
        raise ValueError("the session description has no valid login for ICE")
    fingerprints = tuple(
        Fingerprint(match[1].lower(), match[2].upper())
        for name, value in audio.attributes
        if name == "fingerprint"
        and (match := _FINGERPRINT.fullmatch(value))
        and match[1].lower() in HASHES
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
    is_lite = "ice-lite" in values
    peer_channel = None if channel is None else _peer_channel(channel)
    return RemotePeer(login, fingerprints, setup, candidates, is_lite, audio, codec, peer_channel)


def parse_candidate(value: str) -> Candidate | None:
    """Return a candidate for UDP with an IP address; None for other ones, such as those for TCP
    or with a name.
    """
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
