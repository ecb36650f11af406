"""SIP messages: bytes ↔ requests and responses (RFC 3261 §7), within limits. Pure.

sipmessage stores the headers. This module reads the values of the headers that a call needs, and
keeps their text. A header that is returned to the peer (Via, From, To, Record-Route) must return
unchanged. Therefore bytes that are not UTF-8 become surrogates, which `write_message` converts
back.
"""

# A message is checked in three steps, and each may refuse it: its size and its lines, the headers
# that may occur only once, and the values of the headers that a call uses. A header that no part of
# a call reads is stored as it came.
#
# A malformed message is dropped, and never answered with 400: what cannot be parsed may not name
# its sender and its transaction either.
#
# The limits bound memory and time per message. They are well above real messages, which rarely
# exceed a few kilobytes, even with long routes or several bodies.

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sipmessage import Headers
from sipmessage.message import COMPACT_FORMS

from bench.files.sanitize import CONTROL
from bench.protocols.sip.header_values import (
    _TOKEN,
    DEFAULT_PORTS,
    MAX_TOKEN_CHARACTERS,
    PHRASES,
    NameAddress,
    _is_token,
    check_uri_length,
    parameters_of,
    parse_address,
    parse_host_port,
    split_outside_quotes,
)
from bench.wire.addresses import HostPort, whole_number

MAX_MESSAGE_BYTES = 16_384
MAX_HEADERS = 128
MAX_HEADER_CHARACTERS = 4_096
MAX_LIST_ENTRIES = 64
# RFC 3261 §8.1.1.5.
MAX_CSEQ = 2**31 - 1

_FOLD = re.compile(r"\r\n[ \t]+")
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_STATUS_LINE = re.compile(r"SIP/2\.0 ([1-6][0-9][0-9])(?: (.*))?")
"""A status line. Some programs leave out the space before an empty phrase."""
# The Request-URI has no space (RFC 3261 §7.1).
_REQUEST_LINE = re.compile(
    rf"({_TOKEN.pattern}) ((?:sips?|tel):[^\s\x00-\x1f\x7f]+) SIP/2\.0", re.IGNORECASE
)
ALLOWED = ("INVITE", "ACK", "CANCEL", "BYE", "OPTIONS", "INFO", "UPDATE")
KNOWN_METHODS = {
    *ALLOWED,
    "MESSAGE",
    "NOTIFY",
    "PRACK",
    "PUBLISH",
    "REFER",
    "REGISTER",
    "SUBSCRIBE",
}
SINGLE_HEADERS = ("Call-ID", "CSeq", "From", "To", "Content-Length", "Content-Type")
"""The headers that a message may contain only once. Two programs could otherwise read different
values."""

RETURNED_HEADERS = (
    "Via",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Contact",
    "Record-Route",
    "Require",
    "Timestamp",
    "WWW-Authenticate",
    "Proxy-Authenticate",
)
"""The headers whose values this side sends to others. They must not contain control characters.
Other headers may."""

LIST_HEADERS = ("Allow", "Contact", "Record-Route", "Require", "Supported")
"""The lists that a call reads later. They are checked first, because an error would leave the
call half changed."""


class Outgoing(NamedTuple):
    """A message to send, and its next hop. `transport` is UDP, TCP or TLS. An IPv6 address is in
    brackets.
    """

    data: bytes
    to: HostPort
    transport: str

    @property
    def hop(self) -> HostPort:
        """The next hop without brackets, with the usual port of the transport if it names none."""
        return HostPort(self.to.host.strip("[]"), self.to.port or DEFAULT_PORTS[self.transport])

    @property
    def is_response(self) -> bool:
        return self.data.startswith(b"SIP/")

    def __repr__(self) -> str:
        """Return a text without the data, which may contain SRTP keys."""
        return f"Outgoing({len(self.data)} bytes to {self.to} over {self.transport})"


@dataclass(frozen=True, slots=True)
class Via:
    """The topmost value of Via."""

    transport: str
    sent_by: HostPort
    parameters: Mapping[str, str]

    @property
    def branch(self) -> str:
        return self.parameters.get("branch", "")


@dataclass(frozen=True, slots=True)
class SipMessage:
    """What requests and responses have in common."""

    headers: Headers
    body: bytes = field(repr=False)
    vias: tuple[str, ...]
    via: Via
    call_id: str
    cseq: int
    cseq_method: str
    caller: NameAddress
    """The value of From."""
    callee: NameAddress
    """The value of To."""

    def tokens(self, name: str) -> tuple[str, ...]:
        """Return the entries of a header that is a list of tokens, in lower case, without
        parameters.
        """
        return tuple(entry.partition(";")[0].strip().lower() for entry in self.entries(name))

    def entries(self, name: str) -> tuple[str, ...]:
        return tuple(_entries(self.headers, name))

    def first(self, name: str) -> str:
        return self.headers.get(name) or ""


@dataclass(frozen=True, slots=True)
class SipRequest(SipMessage):
    method: str
    uri: str


@dataclass(frozen=True, slots=True)
class SipResponse(SipMessage):
    code: int
    phrase: str


def accept_message(data: bytes, dropped: Counter[str]) -> SipRequest | SipResponse | None:
    """Return a message that arrived; None for a keep-alive, and for a malformed message, which
    is counted.
    """
    if not data.strip(b"\r\n"):
        return None
    try:
        return parse_message(data)
    except ValueError:
        dropped["malformed"] += 1
        return None


def parse_message(data: bytes) -> SipRequest | SipResponse:
    """Return the message. Raise ValueError if it is malformed or exceeds a limit. Bytes after
    the body are ignored.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError("the message is too long")
    head, separator, body = data.lstrip(b"\r\n").partition(b"\r\n\r\n")
    if not separator:
        raise ValueError("the headers have no end")
    # A line that begins with a space continues the one before (RFC 3261 §7.3.1).
    lines = _FOLD.sub(" ", head.decode("utf-8", "surrogateescape")).split("\r\n")
    if len(lines) > MAX_HEADERS or any(len(line) > MAX_HEADER_CHARACTERS for line in lines):
        raise ValueError("the headers are too long")
    if any("\n" in line or "\r" in line for line in lines):
        raise ValueError("a header contains a line end")
    method, uri, code, phrase = _start_line(lines[0])
    headers = Headers()
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not _TOKEN.fullmatch(name := name.rstrip(" \t")):
            raise ValueError("a header has no name")
        headers.add(COMPACT_FORMS.get(name.lower(), name), value.strip())
    if any(len(headers.getlist(name)) > 1 for name in SINGLE_HEADERS):
        raise ValueError("a header occurs twice")
    if any(CONTROL.search(value) for name in RETURNED_HEADERS for value in headers.getlist(name)):
        raise ValueError("a header contains a control character")
    for name in LIST_HEADERS:
        list(_entries(headers, name))
    vias = tuple(_entries(headers, "Via"))
    cseq, cseq_method = _cseq(headers.get("CSeq") or "")
    call_id = headers.get("Call-ID") or ""
    if not vias or not call_id or len(call_id) > MAX_TOKEN_CHARACTERS:
        raise ValueError("a header is missing or too long")
    if _NOT_UTF8.search(call_id):  # logs name calls by it
        raise ValueError("Call-ID is not UTF-8")
    common = (
        headers,
        _body_of(headers, body),
        vias,
        parse_via(vias[0]),
        call_id,
        cseq,
        cseq_method,
    )
    caller, callee = (parse_address(headers.get(name) or "") for name in ("From", "To"))
    if code:
        return SipResponse(*common, caller, callee, code, phrase)
    if method != cseq_method:
        raise ValueError("CSeq has another method")
    return SipRequest(*common, caller, callee, method, uri)


def _start_line(line: str) -> tuple[str, str, int, str]:
    """Return (method, URI, 0, "") of a request, and ("", "", code, phrase) of a response."""
    if line.startswith("SIP/"):
        if not (match := _STATUS_LINE.fullmatch(line)):
            raise ValueError("the status code is not valid")
        return "", "", int(match[1]), match[2] or ""
    if not (match := _REQUEST_LINE.fullmatch(line)):
        raise ValueError("the message is neither a request nor a response")
    check_uri_length(match[2])
    return match[1], match[2], 0, ""


def _cseq(text: str) -> tuple[int, str]:
    digits, _, method = " ".join(text.split()).partition(" ")
    number = whole_number(digits, 10)
    if number is None or number > MAX_CSEQ or not _is_token(method):
        raise ValueError("CSeq is not valid")
    return number, method


def _body_of(headers: Headers, body: bytes) -> bytes:
    # Over UDP, the datagram ends the body if Content-Length is missing. More bytes than it states
    # are padding, and fewer mean that the datagram was cut (RFC 3261 §18.3).
    length = content_length(headers.get("Content-Length"))
    if length is None:
        return body
    if length > len(body):
        raise ValueError("the body is shorter than Content-Length")
    return body[:length]


def content_length(text: str | None) -> int | None:
    """Return the value of Content-Length. Raise ValueError if it is no number, or too large."""
    if text is None:
        return None
    length = whole_number(text, 10)
    if length is None or length > MAX_MESSAGE_BYTES:
        raise ValueError("Content-Length is not valid")
    return length


def _entries(headers: Headers, name: str) -> Iterator[str]:
    count = 0
    for value in headers.getlist(name):
        for entry in split_outside_quotes(value, ","):
            count += 1
            if count > MAX_LIST_ENTRIES:
                raise ValueError(f"{name} has too many entries")
            yield entry


def readable(text: str) -> str:
    """Return a text of a header as it is shown. Bytes that are not UTF-8 are taken for Latin-1."""
    return _NOT_UTF8.sub(lambda match: chr(ord(match[0]) - 0xDC00), text)


def parse_via(text: str) -> Via:
    """Return the topmost value of Via. Raise ValueError if it is not valid, or names an unknown
    transport.
    """
    head, *parts = split_outside_quotes(text, ";")
    protocol, _, sent_by = " ".join(head.split()).rpartition(" ")
    name, version, transport = (part.strip() for part in f"{protocol}//".split("/")[:3])
    if (name.upper(), version) != ("SIP", "2.0") or transport.upper() not in DEFAULT_PORTS:
        raise ValueError("Via is not valid")
    via = Via(transport.upper(), parse_host_port(sent_by), parameters_of(parts))
    if not all(_is_token(name) for name in via.parameters) or (
        via.branch and not _is_token(via.branch)
    ):
        raise ValueError("Via is not valid")
    return via


def write_message(start_line: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> bytes:
    """Return the bytes of a message. Content-Length is added."""
    written = Headers()
    for name, value in headers:
        written.add(name, value)
    written.set("Content-Length", str(len(body)))
    return f"{start_line}\r\n{written}".encode(errors="surrogateescape") + body


def write_response(
    request: SipRequest,
    code: int,
    tag: str,
    source: HostPort | None,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    phrase: str = "",
) -> Outgoing:
    """Return a response to a request (RFC 3261 §8.2.6), with its destination (§18.2.2, RFC 3581).

    Over TCP and TLS, the destination is the connection on which the request arrived.

    The tag is added to To, if To has none. A response 100 gets no tag.
    """
    via = request.vias[0]
    destination = request.via.sent_by
    if source is not None:
        # The address from which the request came, and not the one in Via, which a NAT makes wrong
        # (RFC 3261 §18.2.1). With `rport`, also the port from which it came (RFC 3581 §4).
        destination = HostPort(
            source.host, destination.port or DEFAULT_PORTS.get(request.via.transport)
        )
        if request.via.transport != "UDP":
            destination = source
        if "rport" in request.via.parameters:
            destination = source
            via = re.sub(r";\s*rport\s*(=\s*\d+)?(?=;|$|\s)", f";rport={source.port}", via)
        if source.host != request.via.sent_by.host or "rport" in request.via.parameters:
            via += "" if "received" in request.via.parameters else f";received={source.host}"
    to = request.first("To")
    if code != 100 and not request.callee.tag:
        to += f";tag={tag}"
    repeated = [("Via", text) for text in (via, *request.vias[1:])]
    repeated += [("From", request.first("From")), ("To", to)]
    repeated += [("Call-ID", request.call_id), ("CSeq", f"{request.cseq} {request.cseq_method}")]
    # Only these responses make a dialog (RFC 3261 §12.1.1).
    if code < 300 and request.method == "INVITE" and code != 100:
        repeated += [("Record-Route", text) for text in request.entries("Record-Route")]
    if code == 100 and (timestamp := request.headers.get("Timestamp")):
        repeated.append(("Timestamp", timestamp))
    line = f"SIP/2.0 {code} {phrase or PHRASES.get(code, 'Response')}"
    return Outgoing(
        write_message(line, [*repeated, *headers], body), destination, request.via.transport
    )
