"""Reads what a service answers instead of the upgrade, as far as it came, and the words in it. Pure.

A refusal has said all that counts once its head is there: status, how long to wait, ids. Its body is often cut, or has
an end that never comes, so it is read here for what there is of it (HTTP/1.1: RFC 9112).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from bench.errors import ConnectError
from bench.foreign import JsonError, read_json

HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
SWITCHING, THROTTLED = 101, 429
QUOTED = 300
_LENGTH = re.compile(r"[0-9]{1,18}")
"""More than anybody waits for, in digits that `int` reads."""
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})(?: (.*))?")


class HttpAnswer(NamedTuple):
    """An answer whose head is whole. Headers by lower-case name; `body`: what came behind them, as it came."""

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def whole(self) -> bool:
        """Whether all of the body is known to be there; where nobody said how long it is, that shows at its end."""
        if self.chunked:
            return self.body.endswith(LAST_CHUNK)
        length = self.headers.get("content-length", "")
        return _LENGTH.fullmatch(length) is not None and len(self.body) >= int(length)


def read_answer(data: bytes) -> HttpAnswer | None:
    """Read an answer; None while its head is not whole, and where that is no head of HTTP."""
    head, end, body = data.partition(HEAD_END)
    first, *lines = head.split(b"\r\n")
    status_line = _STATUS_LINE.fullmatch(first)
    if not end or status_line is None:
        return None
    status, reason = status_line.groups(b"")
    return HttpAnswer(int(status), _text(reason), dict(_field(line) for line in lines), body)


def _field(line: bytes) -> tuple[str, str]:
    name, _, value = line.partition(b":")
    return _text(name).strip().lower(), _text(value).strip()


def _text(data: bytes) -> str:
    """Text that can be written down, whatever the bytes are."""
    return data.decode("utf-8", "replace")


def refusal(answer: HttpAnswer) -> ConnectError:
    """Say why the service did not upgrade, in its own words."""
    body = unchunked(answer.body) if answer.chunked else answer.body
    words = service_words(body).removeprefix(f"{answer.status}: ")
    outcome = "throttled:handshake" if answer.status == THROTTLED else f"refused:{answer.status}"
    return ConnectError(outcome, f"HTTP {answer.status}: {words or answer.reason[:QUOTED]}", answer.headers)


def unchunked(body: bytes) -> bytes:
    """Join what chunks hold (RFC 9112 §7.1), as far as they came; from what is no chunk on, the body as it is."""
    content = b""
    while body:
        line, _, rest = body.partition(b"\r\n")
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return content + body
        if size <= 0:
            break
        content, body = content + rest[:size], rest[size + 2 :]
    return content


def service_words(body: bytes) -> str:
    """The error code and message of a JSON body such as Azure's `{"error": {"code", "message"}}`; else its text."""
    text = " ".join(_text(body).split())
    try:
        parsed = read_json(body, numbers=False)
    except JsonError:
        return text[:QUOTED]
    error = parsed.get("error", parsed) if isinstance(parsed, Mapping) else None
    if not isinstance(error, Mapping):
        return text[:QUOTED]
    parts = [str(error[name]) for name in ("code", "message") if error.get(name)]
    return (": ".join(parts) or text)[:QUOTED].encode("utf-8", "replace").decode()
