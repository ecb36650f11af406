"""A service's rate limits: what is left of each, and how long to wait after one is reached.

The service reports them in the headers of its handshake and in the event `rate_limits.updated`. Only the message of an
error contains a wait ("Please try again in 6.232s"). All this is only advice: unreadable values are ignored, and
nothing here raises an error.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import formatdate, mktime_tz, parsedate_tz

import msgspec

from bench.base.units import NS_PER_S
from bench.files.sanitize import MAX_ID_CHARACTERS

MAX_WAIT_S = 1e9
"""The maximum wait in seconds. A longer one is ignored: it is an error, and might not fit its column."""
RECEIVED_HEADER = "x-rtbench-received"
"""Our own header of a refusal: its arrival, by this machine's wall clock, as an HTTP date. A stored refusal has it only
if its `retry-after` is a date, and it has no `date`."""
MAX_NUMBER = 2**53
"""The largest integer that is exact in every JSON notation."""
LIMITED = ("requests", "tokens")
UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""The units of durations such as "1m26.4s", in seconds. Longer names begin with the same letters."""

_NUMBER = r"\d{1,12}(?:\.\d{1,12})?"
_UNIT = r"(?:ms|milliseconds?|d(?:ays?)?|h(?:ours?)?|m(?:inutes?)?|s(?:econds?)?)(?![a-z])"
_LENGTH = rf"(?:{_NUMBER} ?{_UNIT} ?)+"
_FLAGS = re.IGNORECASE | re.ASCII
_parts = re.compile(rf"({_NUMBER}) ?({_UNIT})", _FLAGS).findall
_length = re.compile(_LENGTH, _FLAGS).fullmatch
_asked = re.compile(rf"(?:try again|retry) (?:in|after) ({_LENGTH})", _FLAGS).search


class RateLimit(msgspec.Struct, frozen=True):
    """A limit, such as `requests` or `tokens`, its rest, and the seconds until its reset; None if unknown."""

    name: str
    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


def rate_limits(value: object) -> tuple[RateLimit, ...]:
    """Return the entries of `rate_limits` in the event `rate_limits.updated`. Entries without a name are ignored."""
    entries = [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    return tuple(
        RateLimit(
            name[:MAX_ID_CHARACTERS],
            _count(entry.get("limit")),
            _count(entry.get("remaining")),
            _seconds(entry.get("reset_seconds")),
        )
        for entry in entries
        if isinstance(name := entry.get("name"), str)
    )


def limits_in(headers: Mapping[str, str]) -> tuple[RateLimit, ...]:
    """Return the limits in a handshake's headers: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`."""
    limits = []
    for name in LIMITED:
        limit, remaining, reset = (
            headers.get(f"x-ratelimit-{field}-{name}") for field in ("limit", "remaining", "reset")
        )
        if limit is not None or remaining is not None:
            limits.append(RateLimit(name, _count(limit), _count(remaining), _seconds(reset)))
    return tuple(limits)


def wait_in(message: str) -> int | None:
    """Return the wait, in ns, in an error message ("Please try again in 250ms", "… in 1m26.4s"), or None."""
    match = _asked(message)
    return None if match is None else _ns(_length_s(match[1]))


def wait_of(headers: Mapping[str, str]) -> int | None:
    """Return the wait, in ns, in the headers of a refusal; None if there is none.

    It is `retry-after-ms`, or `retry-after` (RFC 9110 §10.2.3). A date is relative to the `date` of the response,
    because clocks of hosts differ, or else to RECEIVED_HEADER.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return _ns(ms / 1_000)
    retry_after = headers.get("retry-after")
    if (seconds := _number(retry_after)) is not None:
        return _ns(seconds)
    until_s, now_s = _date_s(retry_after), _date_s(headers.get("date"))
    if now_s is None:
        now_s = _date_s(headers.get(RECEIVED_HEADER))
    return None if until_s is None or now_s is None else _ns(max(0.0, until_s - now_s))


def with_arrival(headers: Mapping[str, str], now_s: float) -> Mapping[str, str]:
    """Return the headers of a refusal, with RECEIVED_HEADER if their wait depends on this machine's wall clock."""
    if _date_s(headers.get("retry-after")) is None or _date_s(headers.get("date")) is not None:
        return headers
    return {**headers, RECEIVED_HEADER: formatdate(now_s, usegmt=True)}


def _length_s(text: str) -> float:
    units = (
        (number, "ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower()) for number, unit in _parts(text)
    )
    return math.fsum(float(number) * UNITS_S[unit] for number, unit in units)


def _ns(seconds: float) -> int | None:
    return round(seconds * NS_PER_S) if 0 <= seconds <= MAX_WAIT_S else None


def _seconds(value: object) -> float | None:
    """Return the seconds of a number, or of a duration such as "6m0s"; None for any other value."""
    if isinstance(value, str) and _length(value.strip()):
        return _length_s(value)
    return _number(value)


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None or abs(number) > MAX_NUMBER else int(number)


def _number(value: object) -> float | None:
    """Return `value` if it is a finite number, or a string with such a number; None for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and ("_" in value or not value.isascii()):  # numbers of Python, but not of JSON or HTTP
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _date_s(text: str | None) -> float | None:
    """Return an HTTP date (GMT if it has no zone, RFC 9110 §5.6.7) in seconds since 1970; None if it is invalid."""
    try:
        parsed = parsedate_tz(text) if text else None
        return None if parsed is None else float(mktime_tz((*parsed[:9], parsed[9] or 0)))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
