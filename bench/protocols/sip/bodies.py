"""The session description in the body of a SIP message, which may be one of several parts (RFC
2046, RFC 5621). Pure.

Telephone networks send it together with ISUP, which is binary, and call recorders and presence
servers with XML.
"""

# The body is searched for one thing, the session description, and everything else is only counted
# against the limits. A part is a session description by its type or, since some gateways mislabel
# it, by its first line `v=`. A part with the right type wins over one without.
#
# Whether an unknown body is an error depends on its sender: `handling=optional` in
# Content-Disposition permits that it is ignored, and the default `required` obliges a receiver to
# refuse the request with 415 (RFC 3261 §20.11).

import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from bench.protocols.sdp.sdp import SessionDescription, parse_description
from bench.protocols.sip.header_values import parameters_of, split_outside_quotes
from bench.protocols.sip.messages import SipMessage

SDP = "application/sdp"
MAX_PARTS = 32
"""The maximum number of parts that are read, in all multipart bodies of a message."""
MAX_DEPTH = 4
"""The maximum depth of multipart bodies in others."""
MAX_PART_HEADERS = 16
_BLANK_LINE = re.compile(rb"^\r?\n|\r?\n\r?\n")
_LINE_END = re.compile(r"\r?\n(?![ \t])")
_FIRST_BOUNDARY = re.compile(rb"^--(\S.{0,69}?)[ \t]*\r?$", re.MULTILINE)
_KIND = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)
_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "base64": binascii.a2b_base64,
    "quoted-printable": binascii.a2b_qp,
}


@dataclass(frozen=True, slots=True)
class _Part:
    """A part that is no multipart body, or the whole body. `kind` is its Content-Type, in lower
    case.
    """

    kind: str
    is_optional: bool
    """Whether its sender allows that it is ignored."""
    content: bytes
    is_description: bool


def description_of(message: SipMessage) -> bytes:
    """Return the session description of a message; b"" if there is none."""
    descriptions = (part for part in _parts_of(message) if part.is_description)
    found = min(descriptions, key=lambda part: part.kind != SDP, default=None)
    return found.content if found else b""


def described_in(message: SipMessage) -> SessionDescription:
    """Return the session description of a message. Raise ValueError if there is none, or if it
    is not valid.
    """
    if data := description_of(message):
        return parse_description(data)
    kinds = sorted({part.kind for part in _parts_of(message) if _KIND.fullmatch(part.kind)})
    found = f" (only {', '.join(kinds)[:80]})" if kinds else ""
    raise ValueError(f"the peer sent no session description{found}")


def has_unknown_body(message: SipMessage) -> bool:
    """Return whether a body must be refused: it has no session description, and its sender
    requires it to be read.
    """
    parts = list(_parts_of(message))
    is_optional = bool(parts) and all(part.is_optional for part in parts)
    return bool(message.body) and not is_optional and not any(part.is_description for part in parts)


def _parts_of(message: SipMessage) -> Iterator[_Part]:
    if message.body:
        names = (
            "Content-Type",
            "Content-Disposition",
            "Content-Encoding",
            "Content-Transfer-Encoding",
        )
        yield from _read(
            {name.lower(): message.first(name) for name in names},
            message.body,
            MAX_DEPTH,
            [MAX_PARTS],
        )


def _read(
    headers: Mapping[str, str], content: bytes, depth: int, left: list[int]
) -> Iterator[_Part]:
    """Yield the parts of a body. `left` contains the number of parts that may still be read."""
    kind, parameters = _value_of(headers, "content-type")
    disposition, handling = _value_of(headers, "content-disposition")
    encoding = headers.get("content-encoding", "").strip().lower()
    if kind.startswith("multipart/"):
        for lines, inner in _divided(content, parameters.get("boundary", "")) if depth else ():
            if not left[0]:
                return
            left[0] -= 1
            yield from _read(lines, inner, depth - 1, left)
        return
    if decode := _DECODERS.get(headers.get("content-transfer-encoding", "").strip().lower()):
        try:
            content = decode(content)
        except binascii.Error:
            content = b""
    # Some peers leave out the type, or name another one. An offer of early audio is none for the
    # call (RFC 3959).
    is_read = encoding in ("", "identity") and disposition != "early-session"
    is_named = kind == SDP or content.lstrip()[:2] == b"v="
    is_optional = handling.get("handling", "").lower() == "optional"
    yield _Part(kind, is_optional, content, is_read and is_named and bool(content.strip()))


def _value_of(headers: Mapping[str, str], name: str) -> tuple[str, dict[str, str]]:
    """Return (value in lower case, parameters) of a header. What cannot be read is missing."""
    try:
        value, *parts = split_outside_quotes(headers.get(name, ""), ";") or [""]
        return value.lower(), parameters_of(parts)
    except ValueError:
        return headers[name].partition(";")[0].strip().lower(), {}


def _divided(content: bytes, boundary: str) -> Iterator[tuple[Mapping[str, str], bytes]]:
    """Yield (headers, content) of each part. If no line has the boundary, it is that of the
    first line with `--`.
    """
    starts = _delimiters(content, boundary.encode(errors="surrogateescape"))
    if not starts and (first := _FIRST_BOUNDARY.search(content)):
        starts = _delimiters(content, first[1])
    for number, start in enumerate(starts):
        if start[1]:
            return
        end = starts[number + 1].start() if number + 1 < len(starts) else len(content)
        part = re.sub(rb"^\r?\n", b"", content[start.end() : end], count=1)
        blank = _BLANK_LINE.search(part)
        head, inner = (part[: blank.start()], part[blank.end() :]) if blank else (part, b"")
        yield _headers_of(head), inner


def _delimiters(content: bytes, boundary: bytes) -> list[re.Match[bytes]]:
    line = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r?\n|$)")
    return list(line.finditer(content))[: MAX_PARTS + 1] if boundary else []


def _headers_of(head: bytes) -> Mapping[str, str]:
    lines = _LINE_END.split(head.decode("latin-1"))[:MAX_PART_HEADERS]
    fields = (line.partition(":")[::2] for line in lines)
    named = {name.strip().lower(): " ".join(value.split()) for name, value in fields}
    return {"content-type": named.get("c", ""), "content-encoding": named.get("e", "")} | named
