"""The texts of events: what an event did to callers, or the smallest harm that would have shown."""

import math
from collections.abc import Iterable, Mapping

from reports.analysis.events import (
    BEFORE_EVENT,
    DROPPED,
    FAILED_TURNS,
    HARM,
    LATENCY,
    NEW_FAILED,
    harmed,
)
from reports.analysis.overload import CHANGE
from reports.formatting import change, count, format_duration, join_words, percent, plural
from reports.results.value import Value, ValuesOfSubject, by_subject
from reports.text.phrases import INFINITE
from reports.text.reasons import reason_text

WHAT = {
    DROPPED: ("calls in progress", "dropped"),
    NEW_FAILED: ("new calls", "failed"),
    FAILED_TURNS: ("turns", "failed"),
}
LATENCIES = {f"{LATENCY} p50 {CHANGE}": "median latency", f"{LATENCY} p95 {CHANGE}": "p95 latency"}
ByEvent = dict[tuple[str, str], tuple[ValuesOfSubject, ValuesOfSubject]]


def events_of(values: Iterable[Value]) -> ByEvent:
    """Return the values of each event, and of its control, by (target, name of the event)."""
    events: ByEvent = {}
    for subject, row in by_subject(values).items():
        pair = events.setdefault((subject.target, subject.part), ({}, {}))
        group = subject.group
        pair[bool(group and group.by == BEFORE_EVENT)].update(row)
    return events


def points(share: float) -> str:
    """Return a difference of shares."""
    return f"{100 * share:+.3g} points".replace("-", "−")


def slower(percent_more: float) -> str:
    """Return a change of latency. It is infinite if the turns of the quantile failed."""
    return change(1 + percent_more / 100) if math.isfinite(percent_more) else INFINITE


def harm_text(row: Mapping[str, Value]) -> str:
    """Return the harm that an event did, or the largest harm that it may have done unseen. It has
    the counts of what happened also if they cannot be compared with the time before.
    """
    found = [_harm(name, row) for name in harmed(row)]
    unknown = [name for name in HARM if name in row and unknown_text(row[name])]
    known = [name for name in HARM if name in row and name not in unknown and row[name].high > 0]
    shares = [name for name in unknown if (share := row.get(row[name].metric)) and share.events]
    counts = join_words([_harm(name, row) for name in shares])
    why = unknown_text(row[unknown[0]]) if unknown else ""
    if found:
        not_compared = f"; {counts}, not compared: {why}" if counts else ""
        return f"harm: {join_words(found)}{not_compared}"
    counts = f"; {counts}" if counts else ""
    if not known:
        return f"unknown: {why}{counts}" if unknown else "unknown"
    most = join_words([_most(name, row[name]) for name in known])
    lacking = f"; {len(unknown)} of {len(HARM)} values are unknown: {why}" if unknown else ""
    return f"no harm was seen; at most {most} would have been missed{lacking}{counts}"


def unknown_text(value: Value) -> str:
    """Return why a difference or a change is unknown; "" if it is known."""
    if value.reason or value.low > -100 or math.isfinite(value.high):
        return reason_text(value.reason)
    failed = f"{count(value.failed)} of " if value.failed else "only "
    turns = plural(value.n, "turn")
    return f"without bounds: {failed}{turns} {'failed' if value.failed else 'ended'}"


def _harm(name: str, row: Mapping[str, Value]) -> str:
    value = row[name]
    if name in LATENCIES:
        return f"{LATENCIES[name]} {slower(value.value)}"
    what, happened = WHAT[value.metric]
    share = row[value.metric]
    of = f"{count(share.events)} of {count(share.n)}"
    return f"{of} {what} {happened} ({percent(share.value, 1)})"


def _most(name: str, value: Value) -> str:
    if name in LATENCIES:
        return f"{LATENCIES[name]} {slower(value.high)}"
    what, happened = WHAT[value.metric]
    return f"{100 * value.high:.3g} points more {what} {happened}"


def recovery_text(value: Value) -> str:
    """Return when latency was as before, with its interval."""
    if value.reason:
        low = format_duration(value.low / 1000)
        bound = f" (not before {low})" if value.low > 0 else ""
        return f"{reason_text(value.reason)}{bound}"
    at, low, high = (format_duration(end / 1000) for end in (value.value, value.low, value.high))
    return f"after {at} ({low} to {high})"


def event_lines(values: Iterable[Value], *, named: bool) -> list[str]:
    """Return a sentence for each event. `named` adds the target."""
    return [
        f"Event {name}{f' on {target}' if named else ''}: {harm_text(row)}."
        for (target, name), (row, _) in events_of(values).items()
    ]
