"""The section on events: what each did to callers, against the time before the first event."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from reports.analysis.events import DIFFERENCE, LONGEST_SILENCE
from reports.analysis.overload import RECOVERY_TIME
from reports.analysis.summary.summary import Summary
from reports.formatting import AT_LEAST, NONE, excerpt, format_duration, ms, percent
from reports.render import blocks as b
from reports.results.value import Value, ValuesOfSubject
from reports.text.events import (
    LATENCIES,
    WHAT,
    events_of,
    harm_text,
    points,
    recovery_text,
    slower,
    unknown_text,
)

QUESTION = "What happened to callers at each event, and when was it over?"
MEANING = (
    "Before: the same before the first event. Calls are followed until they end, or until the next"
    " event; differences are of the time for which both are followed."
    " Differences have intervals of 98 %, so that at most 5 % of events without harm show any."
    " Latency: of turns in the window, relative to the median of their step before the events."
    " Recovered: latency is within 10 % of that before."
)
MAX_LINE = 100
HEADS = ["", "before", "event", f"{DIFFERENCE} (98 %)"]


def events(summary: Summary) -> Iterable[b.Section]:
    """Yield the section; nothing if the run has no events."""
    entries = {entry["name"]: entry for entry in summary.run.metadata.get("events") or ()}
    if not entries:
        return
    named = summary.has_several_targets
    blocks: list[b.Block] = []
    happened = events_of(summary.events)
    for name, entry in entries.items():
        blocks += [b.Heading(_title(entry)), *_command(entry)]
        for (target, event), (row, before) in happened.items():
            if event == name:
                on = f"{target}: " if named else ""
                text = f"{on}{harm_text(row)}."
                blocks.append(b.Paragraph(f"{text[0].upper()}{text[1:]}"))
                blocks.append(b.table(HEADS, list(_rows(row, before))))
    yield b.Section("events", "Events", QUESTION, [*blocks, *b.note(MEANING)])


def _title(entry: Mapping[str, Any]) -> str:
    is_late = ": the run ended before it" if entry["at_utc_ns"] is None else ""
    return f"{entry['name']}, at {format_duration(entry['planned_s'])}{is_late}"


def _command(entry: Mapping[str, Any]) -> Iterator[b.Block]:
    if "status" not in entry:
        return
    took = format_duration(entry["took_s"])
    ended = (
        f"ended with status {entry['status']} after {took}"
        if entry["status"] is not None
        else f"was ended with the run, after {took}"
    )
    _, _, last = entry["output"].strip().rpartition("\n")
    shown = f"; the last line of its output: {excerpt(last, MAX_LINE)}" if last else ""
    yield b.Paragraph(f"Its command {ended}{shown}.")


def _rows(row: ValuesOfSubject, before: ValuesOfSubject) -> Iterator[Sequence[b.Cell | str]]:
    for metric, (what, happened) in WHAT.items():
        difference = row[f"{metric} {DIFFERENCE}"]
        yield [
            f"{what} {happened}",
            _share(before[metric]),
            _share(row[metric]),
            _with_interval(difference, points),
        ]
    for name, title in LATENCIES.items():
        yield [title, NONE, NONE, _with_interval(row[name], slower)]
    silence = row[f"{LONGEST_SILENCE} max"]
    sign = "" if math.isnan(silence.low) else AT_LEAST
    yield ["longest silence, ms", NONE, f"{sign}{ms(silence.value)}", NONE]
    yield ["latency recovered", NONE, recovery_text(row[f"{RECOVERY_TIME} value"]), NONE]


def _share(value: Value) -> b.Cell:
    share = percent(value.value, 1) if value.n else NONE
    return b.Cell(share, f"{value.events} of {value.n}")


def _with_interval(value: Value, write: Any) -> b.Cell | str:
    if why := unknown_text(value):
        return b.Cell("unknown", why)
    return b.Cell(write(value.value), f"{write(value.low)} to {write(value.high)}")
