"""Phrases of values, their intervals, and the checks of validity, which pages and reasons use."""

import math
from collections.abc import Callable
from typing import NamedTuple

from bench.record.document import Check, CheckName
from reports.formatting import (
    NBSP,
    NONE,
    capitalize,
    count,
    format_duration,
    format_number,
    plural,
)


class CheckText(NamedTuple):
    """The texts for a validity check.

    - `title` is the name of the check.
    - `failure` is the text if the check failed.
    - `consequence` is what the failure means for the run.
    """

    title: str
    failure: str
    consequence: str
    value: str
    """A text with the placeholder {} for the measured value."""


CHECKS: dict[CheckName, CheckText] = {
    "timestamp_uncertainty": CheckText(
        "Timestamps are accurate",
        "timestamps are too uncertain",
        "the load generator fell behind incoming data",
        "timestamps may be off by {}",
    ),
    "rtp_stream": CheckText(
        "The agent's RTP is regular",
        "the agent's RTP does not determine when replies begin",
        "the agent's RTP stream is too irregular",
        "replies may begin {} earlier",
    ),
    "event_loop_delay": CheckText(
        "Event loop keeps up",
        "the event loop was delayed",
        "the load generator could not keep up",
        "event loop delayed by up to {}",
    ),
    "send_delay": CheckText(
        "Audio is sent on time",
        "audio was sent late",
        "the load generator could not keep up",
        "audio sent up to {} late",
    ),
    "start_delay": CheckText(
        "Calls start on time",
        "calls started late",
        "the load differed from the planned load",
        "calls started up to {} late",
    ),
    "own_limits": CheckText(
        "This machine makes all calls",
        "the load generator was the limit",
        "calls were not made, because of a limit of this machine",
        "{} of the calls not made",
    ),
    "dropped_packets": CheckText(
        "Packets are read in time",
        "packets were not read in time",
        "the load generator stood still",
        "this machine dropped packets of {} of the calls",
    ),
    "missing_data": CheckText(
        "Data is complete", "data is missing", "data is missing", "{} of the turns missing"
    ),
}


INFINITE = "∞"


UNBOUNDED = "unbounded"
"""The text for an interval that is open on both sides."""


def interval(
    low: float | None, high: float | None, write: Callable[[float], str], between: str = " to "
) -> str:
    """Return an interval as a text, such as `969 – 1,010`, `+47 to +87 %`, `640 ms to 1.24 s`, or
    `up to +12 %`. An end that is infinite or None is open. `write` returns the text of an end;
    `between` is the text between both ends.
    """
    first, last = (
        "" if end is None or not math.isfinite(end) else write(end) for end in (low, high)
    )
    if not first and not last:
        return UNBOUNDED
    if not first or not last:
        return f"up to {last}" if last else f"from {first}, no upper bound"
    _, space, unit = last.rpartition(NBSP)
    return f"{first.removesuffix(f'{NBSP}{unit}') if space else first}{between}{last}"


def observed(seconds: float) -> str:
    """Return a text with the time for which the service was observed.

    A verdict cannot detect changes that are slower.

    """
    return f"observed for {format_duration(seconds)}" if seconds else ""


def shortfall_text(there: int, noun: str, needs: int) -> str:
    """Return the reason why a value is missing, such as `20 sessions; needs 40`."""
    return f"{plural(there, noun)}; needs {count(needs)}"


def check_value(check: Check, value: float | None) -> str:
    """Return a value with the unit of a check, such as `14.2 ms`."""
    return NONE if value is None else f"{format_number(value)}{NBSP}{check.unit}"


def check_values(check: Check) -> str:
    """Return the value, the limit, and the note of a check. Example: `send_delay p99 14.2 ms, limit
    10 ms; half a chunk`.
    """
    named = (
        f"{check.name} p99"
        if check.unit == "ms"
        else "turns"
        if check.name == "missing_data"
        else "calls"
    )
    note = f"; {check.note}" if check.note else ""
    return (
        f"{named} {check_value(check, check.value)}, limit {check_value(check, check.limit)}{note}"
    )


def as_sentence(text: str) -> str:
    """Return the text with a capital letter and a full stop. Return "" for ""."""
    return f"{capitalize(text)}." if text else ""
