"""Makes the rows of a session's waterfalls: one for what came before the first turn, one for each turn. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from bench.measures import MANUAL_SEGMENTS, VAD_SEGMENTS
from bench.observe.observation import TurnObservation
from bench.observe.turn import ARRIVALS
from bench.plain import printable
from bench.protocol.base import Act
from bench.protocol.events import DELTAS, Event, Kind
from bench.protocol.limits import RateLimit
from bench.run.replay import Passage, Replayed
from bench.units import NS_PER_MS
from reports.numbers import count
from reports.text.waterfall import WaterfallRow, Way, folded, message

SAID = {
    Kind.TEXT_DELTA: "text delta",
    Kind.AUDIO_DELTA: "audio delta",
    Kind.TRANSCRIPT_DELTA: "transcript delta",
    Kind.INPUT_TRANSCRIBED: "input transcript",
    Kind.INPUT_NOT_TRANSCRIBED: "input transcript failed",
    Kind.MALFORMED: "unreadable message",
}
"""What is not called as it is on the wire, where each dialect has its own name or a long one."""
APPENDED, APPENDED_LATER = "audio append", "append after speech"
MARKS: dict[str, tuple[Way, str, str]] = {
    "speech_end": ("·", "end of speech", ""),
    "first_audible": ("♪", "first audible sample", "good"),
}
"""Instants that are no message."""
HEARD = ("first_audio", "first_audible")
Keyed = tuple[object, WaterfallRow]


def opening_rows(replayed: Replayed) -> list[WaterfallRow]:
    """Everything before the first turn."""
    begins = [turn.start_ns for turn in replayed.turns]
    zero_ns = replayed.session.instants.get("connect_start", replayed.session.start_ns)
    early = [passage for passage in replayed.passages if not begins or passage.at_ns < min(begins)]
    return folded(_keyed(passage, zero_ns) for passage in _named_appends(early, None))


def turn_rows(replayed: Replayed) -> Iterator[tuple[TurnObservation, list[WaterfallRow]]]:
    """Each turn, and everything from its beginning to that of the next."""
    turns = sorted(replayed.turns, key=lambda turn: turn.start_ns)
    ends = [*(turn.start_ns for turn in turns[1:]), None]
    for turn, end_ns in zip(turns, ends, strict=False):
        passages = [p for p in replayed.passages if turn.start_ns <= p.at_ns and (end_ns is None or p.at_ns < end_ns)]
        yield turn, _rows(turn, passages)


def _rows(turn: TurnObservation, passages: Iterable[Passage]) -> list[WaterfallRow]:
    zero_ns = turn.instants.get(turn.origin or "", turn.start_ns)
    waits = {name: (at_ns - zero_ns) / NS_PER_MS for name, at_ns in _waits(turn.instants).items()}
    keyed = [
        _waited(_keyed(passage, zero_ns), waits.get(_instant(passage, turn.instants)))
        for passage in _named_appends(passages, turn.instants.get("speech_end"))
    ]
    marks = [
        _waited((None, message((turn.instants[name] - zero_ns) / NS_PER_MS, way, said, style=style)), waits.get(name))
        for name, (way, said, style) in MARKS.items()
        if name in turn.instants
    ]
    return folded([*keyed, *marks])


def _waits(instants: Mapping[str, int]) -> dict[str, int]:
    """When the wait for an instant began: at the milestone before it."""
    chain = VAD_SEGMENTS if "speech_stopped" in instants else MANUAL_SEGMENTS
    happened = [name for name in chain if name in instants]
    waits = {end: instants[begin] for begin, end in pairwise(happened)}
    before = [instants[name] for name in happened if name not in HEARD]
    return waits | (dict.fromkeys(("first_text", "first_transcript"), before[-1]) if before else {})


def _waited(keyed: Keyed, since_ms: float | None) -> Keyed:
    key, row = keyed
    return key, row if since_ms is None else replace(row, since_ms=since_ms)


def _instant(passage: Passage, instants: Mapping[str, int]) -> str:
    """The instant that a message marked; "" where it marked none."""
    if passage.event is None:
        name = "requested" if passage.act is Act.REQUEST else ""
    else:
        name = ARRIVALS.get(passage.event.kind, "")
    return name if instants.get(name) == passage.at_ns else ""


def _named_appends(passages: Iterable[Passage], speech_end_ns: int | None) -> Iterator[Passage]:
    """What a microphone goes on to record after the speech is told apart from it."""
    speaking = True
    for passage in passages:
        if passage.act is not Act.APPEND:
            yield passage
            continue
        yield replace(passage, name=APPENDED if speaking else APPENDED_LATER)
        speaking = speaking and (speech_end_ns is None or passage.at_ns < speech_end_ns)


def _keyed(passage: Passage, zero_ns: int) -> Keyed:
    """A message's row, and what it is folded by."""
    at_ms = (passage.at_ns - zero_ns) / NS_PER_MS
    if passage.event is None:
        return (passage.name if passage.audio_bytes else None), message(at_ms, "→", passage.name, passage.audio_bytes)
    event = passage.event
    row = message(at_ms, "←", _said(event), passage.audio_bytes, _style(event))
    return _together(event), row


def _together(event: Event) -> object:
    """Deltas of one kind and response are one row."""
    if event.kind in DELTAS:
        return event.kind, event.response_id
    return (event.name, event.response_id) if event.name.endswith(".delta") else None


def _said(event: Event) -> str:
    name, more = SAID.get(event.kind, event.name), ""
    if event.kind is Kind.RESPONSE_DONE:
        more = f", {event.status or 'no status'}"
    elif event.kind is Kind.ERROR and event.failure is not None:
        more = f", {event.failure.code or event.failure.type}"
    elif event.kind is Kind.RATE_LIMITS:
        more = "".join(_limit(limit) for limit in event.limits)
    elif event.kind is Kind.UNKNOWN:
        more = " (of the other dialect)" if event.foreign else " (unknown)"
    return printable(name + more)


def _limit(limit: RateLimit) -> str:
    """`, 39 of 40 requests left`, as far as the service tells."""
    if limit.remaining is None:
        return ""
    whole = "" if limit.limit is None else f" of {count(limit.limit)}"
    return f", {count(limit.remaining)}{whole} {limit.name} left"


def _style(event: Event) -> str:
    if event.kind in (Kind.ERROR, Kind.MALFORMED, Kind.INPUT_NOT_TRANSCRIBED) or event.foreign:
        return "bad"
    return "soft" if event.kind in (Kind.NOTED, Kind.RATE_LIMITS, Kind.UNKNOWN) else ""
