"""What a service says of its limits: how much of each is left, and how long to wait when one is reached.

It says so in the headers of its handshake, in the event `rate_limits.updated`, and, where a response fails by a limit,
in the words of its message alone ("Please try again in 6.232s"). All of it is advice: what cannot be read is left out,
and nothing here raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from email.utils import mktime_tz, parsedate_tz

import msgspec

from bench.units import NS_PER_S
from bench.untrusted.values import LONGEST_ID

LONGEST_S = 1e9
"""A longer wait is left out: nobody means it, and it might not fit its column."""
LARGEST = 2**53
"""The largest number that is exact whichever way JSON writes it."""
LIMITED = ("requests", "tokens")
UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
"""Seconds in the units of "1m26.4s"; longer words for them have the same beginning."""

_NUMBER = r"\d{1,12}(?:\.\d{1,12})?"
_UNIT = r"(?:ms|milliseconds?|d(?:ays?)?|h(?:ours?)?|m(?:inutes?)?|s(?:econds?)?)(?![a-z])"
_LENGTH = rf"(?:{_NUMBER} ?{_UNIT} ?)+"
_FLAGS = re.IGNORECASE | re.ASCII
_parts = re.compile(rf"({_NUMBER}) ?({_UNIT})", _FLAGS).findall
_length = re.compile(_LENGTH, _FLAGS).fullmatch
_asked = re.compile(rf"(?:try again|retry) (?:in|after) ({_LENGTH})", _FLAGS).search


class RateLimit(msgspec.Struct, frozen=True):
    """One limit, `requests` or `tokens` or another: what remains of it, and when it is whole again; None: not told."""

    name: str
    limit: int | None = None
    remaining: int | None = None
    reset_s: float | None = None


def rate_limits(value: object) -> tuple[RateLimit, ...]:
    """The named entries of `rate_limits` in `rate_limits.updated`."""
    entries = [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
    return tuple(
        RateLimit(
            name[:LONGEST_ID],
            _count(entry.get("limit")),
            _count(entry.get("remaining")),
            _seconds(entry.get("reset_seconds")),
        )
        for entry in entries
        if isinstance(name := entry.get("name"), str)
    )


def limits_in(headers: Mapping[str, str]) -> tuple[RateLimit, ...]:
    """What a handshake's response says of its limits: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`."""
    found = []
    for name in LIMITED:
        limit, remaining, reset = (
            headers.get(f"x-ratelimit-{what}-{name}") for what in ("limit", "remaining", "reset")
        )
        if limit is not None or remaining is not None:
            found.append(RateLimit(name, _count(limit), _count(remaining), _seconds(reset)))
    return tuple(found)


def wait_in(message: str) -> int | None:
    """The wait that a message of a reached limit asks for, in ns: "Please try again in 250ms", "… in 1m26.4s"."""
    asked = _asked(message)
    return None if asked is None else _ns(_length_s(asked[1]))


def wait_of(headers: Mapping[str, str]) -> int | None:
    """The wait that a refusal's headers ask for, in ns: `retry-after-ms`, else `retry-after` (RFC 9110 §10.2.3).

    A date counts from the response's own `date`, for the clocks of two hosts may differ.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return _ns(ms / 1_000)
    after = headers.get("retry-after")
    if (seconds := _number(after)) is not None:
        return _ns(seconds)
    until_s, now_s = _date_s(after), _date_s(headers.get("date"))
    return None if until_s is None or now_s is None else _ns(max(0.0, until_s - now_s))


def _length_s(text: str) -> float:
    units = (
        (number, "ms" if unit.lower().startswith(("ms", "milli")) else unit[0].lower()) for number, unit in _parts(text)
    )
    return math.fsum(float(number) * UNITS_S[unit] for number, unit in units)


def _ns(seconds: float) -> int | None:
    return round(seconds * NS_PER_S) if 0 <= seconds <= LONGEST_S else None


def _seconds(value: object) -> float | None:
    """A number of seconds, or a length such as "6m0s"."""
    if isinstance(value, str) and _length(value.strip()):
        return _length_s(value)
    return _number(value)


def _count(value: object) -> int | None:
    number = _number(value)
    return None if number is None or abs(number) > LARGEST else int(number)


def _number(value: object) -> float | None:
    """A finite number, also one that is written as a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _date_s(text: str | None) -> float | None:
    """An HTTP date, in seconds since 1970."""
    try:
        parsed = parsedate_tz(text) if text else None
        return None if parsed is None else float(mktime_tz(parsed))
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
