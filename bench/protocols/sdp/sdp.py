"""Session descriptions (SDP, RFC 8866) of calls: text ↔ audio lines, within limits. Pure.

The parser is strict about what a call uses, and skips everything else: other lines, and spaces.
`offer_answer` decides what both sides use.
"""

# The lines are read in one pass into sections: the session, and one for each m=. An attribute or an
# address of a section replaces that of the session (RFC 8866 §5.7, §5.13). Unknown attributes are
# stored only if WebRTC needs them.
#
# Strictness follows what a mistake would cost. An address that cannot be used is an error, because
# the packets would go nowhere. A missing line that nothing needs, such as `t=`, is not.

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.files.sanitize import CONTROL
from bench.protocols.rtp.srtp import CryptoAttribute, usable_crypto, write_crypto
from bench.wire.addresses import HostPort, whole_number

Direction = Literal["sendrecv", "sendonly", "recvonly", "inactive"]
DIRECTIONS: tuple[Direction, ...] = ("sendrecv", "sendonly", "recvonly", "inactive")
MAX_DESCRIPTION_BYTES = 8_192
MAX_LINES = 256
MAX_LINE_CHARACTERS = 1_024
MAX_MEDIA = 8
MAX_FORMATS = 64
MAX_TEXT = 64
"""The maximum length of a text from the peer that is kept."""
STATIC_FORMATS = {0: ("PCMU", 8_000), 8: ("PCMA", 8_000), 9: ("G722", 8_000), 18: ("G729", 8_000)}
"""The payload types that need no rtpmap (RFC 3551 §6)."""
WEBRTC_ATTRIBUTES = frozenset(
    {
        "mid",
        "ice-ufrag",
        "ice-pwd",
        "ice-lite",
        "fingerprint",
        "setup",
        "candidate",
        "sctp-port",
        "max-message-size",
    }
)
_LINE_END = re.compile(r"[\r\n]+")
_SPACES = " \t\x00"
"""The characters that are skipped at both ends of a line and of its value."""
_LINE = re.compile(r"([a-z])[ \t]*=(.*)")
_RTPMAP = re.compile(r"(\d{1,3})[ \t]+([A-Za-z0-9._-]{1,64})/(\d{1,6})(?:/(\d{1,2}))?", re.ASCII)
_MEDIA = re.compile(
    r"([a-z-]{1,16})[ \t]+(\d{1,5})(?:/\d{1,3})?[ \t]+([A-Za-z0-9/._-]{1,64})[ \t]+(\S.*)",
    re.ASCII | re.IGNORECASE,
)
_CONNECTION = re.compile(r"IN[ \t]+IP([46])[ \t]+(\S{1,255})", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class RtpFormat:
    payload_type: int
    encoding: str
    """The name in upper case, such as PCMU. It is empty if the description does not state it."""
    clock_hz: int = 8_000
    channels: int = 1
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class MediaLine:
    """A line m= with its attributes. `address` is that of the line, or of the session."""

    kind: str
    port: int
    protocol: str
    format_text: str
    formats: tuple[RtpFormat, ...] = ()
    address: str = ""
    direction: Direction = "sendrecv"
    ptime_ms: int | None = None
    """The duration of a packet that is written. Each packet of the peer states its own."""
    rtcp: HostPort | None = None
    rtcp_mux: bool = False
    crypto: tuple[CryptoAttribute, ...] = ()
    """The keys that are supported. Those that are not supported are missing."""
    attributes: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The attributes of ICE, DTLS and SCTP, those of the session first. They contain the
    password of ICE."""

    @property
    def is_plain_audio(self) -> bool:
        return (
            self.kind == "audio"
            and self.protocol.upper() in ("RTP/AVP", "RTP/AVPF")
            and self.port != 0
        )

    @property
    def is_encrypted_audio(self) -> bool:
        """Whether the audio is encrypted: with SDES (a=crypto) or with DTLS."""
        return self.kind == "audio" and "SAVP" in self.protocol.upper() and self.port != 0

    @property
    def is_sdes_audio(self) -> bool:
        return self.is_encrypted_audio and self.protocol.upper() in ("RTP/SAVP", "RTP/SAVPF")


@dataclass(frozen=True, slots=True)
class SessionDescription:
    media: tuple[MediaLine, ...]

    @property
    def audio(self) -> MediaLine | None:
        """The first line of audio without encryption that is not refused."""
        return next((line for line in self.media if line.is_plain_audio), None)

    @property
    def sdes_audio(self) -> MediaLine | None:
        """The first line of audio that is encrypted with SDES and has a supported key."""
        return next((line for line in self.media if line.is_sdes_audio and line.crypto), None)


@dataclass(slots=True)
class _Section:
    """The lines of a session, or of one m=, while they are read."""

    media: str = ""
    connection: str = ""
    direction: Direction | None = None
    attributes: list[tuple[str, str]] = field(default_factory=list)


def parse_description(data: bytes) -> SessionDescription:
    """Return the description. Raise ValueError if it is malformed or exceeds a limit."""
    if len(data) > MAX_DESCRIPTION_BYTES:
        raise ValueError("the session description is too long")
    # names and titles may have any encoding; nothing uses them
    text = data.decode("utf-8", "replace")
    lines = [stripped for line in _LINE_END.split(text) if (stripped := line.strip(_SPACES))]
    if len(lines) > MAX_LINES or any(len(line) > MAX_LINE_CHARACTERS for line in lines):
        raise ValueError("the session description is too long")
    if not any(line[0] in "vm" for line in lines):  # some peers leave out the version
        raise ValueError("the session description has no version 0")
    session = current = _Section()
    sections: list[_Section] = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError("a line of the session description is not valid")
        key = match[1]
        value = match[2].strip(_SPACES)
        if key in "mca" and CONTROL.search(value):
            raise ValueError("the session description contains a control character")
        if key == "v" and value != "0":
            raise ValueError("the session description has no version 0")
        if key == "m":
            if len(sections) == MAX_MEDIA:
                raise ValueError("the session description has too many media")
            current = _Section(value)
            sections.append(current)
        elif key == "c":
            current.connection = value
        elif key == "a":
            name, _, text = value.partition(":")
            if (direction := value.lower()) in DIRECTIONS:
                current.direction = direction
            current.attributes.append((name.strip(_SPACES).lower(), text.strip(_SPACES)))
    return SessionDescription(tuple(_media_line(section, session) for section in sections))


def _address(value: str) -> str:
    """Return the address of a line c=. A multicast address has a suffix, such as /127.

    A host name is not valid: each packet to it would wait for a lookup, and all calls of the
    process with it.
    """
    match = _CONNECTION.fullmatch(value)
    try:
        address = ipaddress.ip_address(match[2].partition("/")[0]) if match else None
    except ValueError:
        address = None
    if (
        match is None
        or address is None
        or address.is_multicast
        or address.version != int(match[1])
        or "%" in match[2]
    ):
        raise ValueError("the connection of the session description is not valid")
    return str(address)


def _media_line(section: _Section, session: _Section) -> MediaLine:
    match = _MEDIA.fullmatch(section.media)
    if match is None or int(match[2]) > 65_535:
        raise ValueError("a medium of the session description is not valid")
    kind = match[1].lower()
    port = int(match[2])
    protocol = match[3]
    format_text = match[4]
    every = (*session.attributes, *section.attributes)
    attributes = tuple(each for each in every if each[0] in WEBRTC_ATTRIBUTES)
    if kind != "audio" or not port:
        return MediaLine(kind, port, protocol, format_text, attributes=attributes)
    if not (connection := section.connection or session.connection):
        raise ValueError("the session description has no address of the audio")
    address = _address(connection)
    values = dict(every)
    # of a session it is not valid
    crypto = [text for name, text in section.attributes if name == "crypto"]
    return MediaLine(
        kind,
        port,
        protocol,
        format_text,
        _formats(format_text, section.attributes),
        address,
        section.direction or session.direction or "sendrecv",
        None,
        _rtcp(values.get("rtcp"), address),
        "rtcp-mux" in values,
        usable_crypto(crypto),
        attributes,
    )


def _formats(text: str, attributes: Sequence[tuple[str, str]]) -> tuple[RtpFormat, ...]:
    numbers = text.split()
    if len(numbers) > MAX_FORMATS:
        raise ValueError("the audio has too many formats")
    # Payload types have seven bits (RFC 3550 §5.1).
    if not all(
        number.isascii() and number.isdigit() and int(number) < 128
        for number in numbers
        if len(number) < 9
    ):
        return ()  # the protocol of the line is not RTP
    maps = [
        match
        for name, value in attributes
        if name == "rtpmap" and (match := _RTPMAP.fullmatch(value))
    ]
    mapped = {int(match[1]): match for match in maps}
    fields = (value.split(None, 1) for name, value in attributes if name == "fmtp")
    parameters = {found[0]: found[1] for found in fields if len(found) == 2}
    found: dict[int, RtpFormat] = {}
    for number in numbers:
        if len(number) > 3:
            raise ValueError("a format of the audio is not valid")
        kind = int(number)
        encoding, clock_hz = STATIC_FORMATS.get(kind, ("", 8_000))
        channels = 1
        if match := mapped.get(kind):
            encoding = match[2].upper()
            clock_hz = int(match[3])
            channels = int(match[4] or 1)
        found.setdefault(
            kind,
            RtpFormat(kind, encoding, clock_hz, channels, parameters.get(number, "")[:MAX_TEXT]),
        )
    return tuple(found.values())


def _rtcp(text: str | None, address: str) -> HostPort | None:
    """Return the address of RTCP (RFC 3605), or None if the attribute is missing."""
    digits, *connection = (text or "").split(None, 1) or [""]
    port = whole_number(digits, 5)
    if not port or port > 65_535:
        return None
    return HostPort(_address(connection[0]) if connection else address, port)


def write_description(
    session_id: int,
    version: int,
    address: str,
    media: Sequence[MediaLine],
    attributes: Sequence[tuple[str, str]] = (),
) -> bytes:
    """Return a description. `attributes` are those of the session."""
    family = "IP6" if ":" in address else "IP4"
    network = f"IN {family} {address}"
    lines = ["v=0", f"o=- {session_id} {version} {network}", "s=-", f"c={network}", "t=0 0"]
    lines += map(_attribute, attributes)
    for line in media:
        lines.append(f"m={line.kind} {line.port} {line.protocol} {line.format_text}")
        lines += map(_attribute, line.attributes)
        if not line.port:
            continue
        for each in line.formats:
            channels = f"/{each.channels}" if each.channels > 1 else ""
            lines.append(f"a=rtpmap:{each.payload_type} {each.encoding}/{each.clock_hz}{channels}")
            if each.parameters:
                lines.append(f"a=fmtp:{each.payload_type} {each.parameters}")
        if line.ptime_ms is not None:
            lines.append(f"a=ptime:{line.ptime_ms}")
        if line.rtcp is not None:
            lines.append(f"a=rtcp:{line.rtcp.port}")
        if line.rtcp_mux:
            lines.append("a=rtcp-mux")
        lines += (f"a=crypto:{write_crypto(each)}" for each in line.crypto)
        lines.append(f"a={line.direction}")
    return ("\r\n".join(lines) + "\r\n").encode()


def _attribute(attribute: tuple[str, str]) -> str:
    name, value = attribute
    return f"a={name}:{value}" if value else f"a={name}"
