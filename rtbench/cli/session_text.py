"""One session in detail as text: its messages turn by turn, and its metrics. Pure."""

import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import (
    CATALOGUE,
    MANUAL_SEGMENTS,
    SEGMENT_NAMES,
    VAD_SEGMENTS,
    segments,
)
from bench.catalogue.outcomes import detail_text
from bench.catalogue.pricing import BilledModel, Billing, Prices, tariff_of, token_model
from bench.doctor.diagnosis import hint
from bench.doctor.service_findings import (
    billed_audio,
    billed_minutes,
    billed_tokens,
    delegation_texts,
)
from bench.files.sanitize import escape_control
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.turn import ARRIVALS
from bench.record.replay import ReplayedSession, WireTransfer
from bench.services.registry import dialect_of
from bench.target.target import Target
from bench.wire.dialect import MessageKind, is_simulated
from bench.wire.events import DELTAS, EventKind, ServerEvent, TokenUsage
from reports.formatting import NBSP, count, format_number
from reports.render.terminal import coloured
from reports.render.waterfall import Direction, WaterfallRow, folded, message, waterfall

EVENT_NAMES = {
    EventKind.TEXT_DELTA: "text delta",
    EventKind.AUDIO_DELTA: "audio delta",
    EventKind.TRANSCRIPT_DELTA: "transcript delta",
    EventKind.INPUT_DELTA: "input transcript delta",
    EventKind.INPUT_TRANSCRIBED: "input transcript",
    EventKind.INPUT_NOT_TRANSCRIBED: "input transcript failed",
    EventKind.MALFORMED: "unreadable message",
}
"""The displayed names of events whose wire names are long or differ between dialects."""
APPENDED = "audio append"
APPENDED_LATER = "append after speech"
MARKS: dict[str, tuple[Direction, str, str]] = {
    "speech_end": ("·", "end of speech", ""),
    "first_audible": ("♪", "first audible sample", "good"),
    "function_audible": ("♪", "first audible sample of the answer", "good"),
}
"""The instants that are displayed as rows although no message sets them."""
PLAYBACK = ("first_audio", "first_audible")
Keyed = tuple[object, WaterfallRow]
HEAD = 11
"""The width of the first column, in characters."""
PRINTED_HEADERS = ("x-", "apim-", "openai-")
MAX_SETTING = 60
UNBREAKABLE = 40


def opening_rows(replayed: ReplayedSession) -> list[WaterfallRow]:
    """Return the rows of all messages before the first turn."""
    first_ns = min((turn.start_ns for turn in replayed.turns), default=math.inf)
    zero_ns = replayed.session.instants.get("connect_start", replayed.session.start_ns)
    early = [passage for passage in replayed.passages if passage.at_ns < first_ns]
    return folded(_keyed(passage, zero_ns) for passage in _named_appends(early, None))


def turn_rows(replayed: ReplayedSession) -> Iterator[tuple[TurnObservation, list[WaterfallRow]]]:
    """Yield each turn with the rows from the start of this turn to the start of the next turn."""
    turns = sorted(replayed.turns, key=lambda turn: turn.start_ns)
    ends = [*(turn.start_ns for turn in turns[1:]), math.inf]
    for turn, end_ns in zip(turns, ends, strict=False):
        passages = [p for p in replayed.passages if turn.start_ns <= p.at_ns < end_ns]
        yield turn, _rows(turn, passages)


def _rows(turn: TurnObservation, passages: Iterable[WireTransfer]) -> list[WaterfallRow]:
    zero_ns = turn.instants.get(turn.measured_from or "", turn.start_ns)
    waits = {
        name: (at_ns - zero_ns) / NS_PER_MS for name, at_ns in _wait_starts(turn.instants).items()
    }
    keyed = [
        _latency(_keyed(passage, zero_ns), waits.get(_instant(passage, turn.instants)))
        for passage in _named_appends(passages, turn.instants.get("speech_end"))
    ]
    markers = [
        _latency(
            (
                None,
                message((turn.instants[name] - zero_ns) / NS_PER_MS, direction, text, style=style),
            ),
            waits.get(name),
        )
        for name, (direction, text, style) in MARKS.items()
        if name in turn.instants
        and (
            name != "function_audible" or turn.instants[name] != turn.instants.get("first_audible")
        )
    ]
    return folded([*keyed, *markers])


def _wait_starts(instants: Mapping[str, int]) -> dict[str, int]:
    """Return when the wait for each instant started. It started at the previous instant in the
    chain of segments.
    """
    chain = VAD_SEGMENTS if "speech_stopped" in instants else MANUAL_SEGMENTS
    reached = [name for name in chain if name in instants]
    waits = {end: instants[start] for start, end in pairwise(reached)}
    before = [instants[name] for name in reached if name not in PLAYBACK]
    return waits | (dict.fromkeys(("first_text", "first_transcript"), before[-1]) if before else {})


def _latency(keyed: Keyed, since_ms: float | None) -> Keyed:
    key, row = keyed
    return key, replace(row, since_ms=since_ms)


def _instant(passage: WireTransfer, instants: Mapping[str, int]) -> str:
    """Return the name of the instant that a message set; "" if it set no instant."""
    if passage.event is None:
        name = "request_sent" if passage.message_kind is MessageKind.REQUEST else ""
    else:
        name = ARRIVALS.get(passage.event.kind, "")
    return name if instants.get(name) == passage.at_ns else ""


def _named_appends(
    passages: Iterable[WireTransfer], speech_end_ns: int | None
) -> Iterator[WireTransfer]:
    """Yield the messages, and give each append a name to display. Appends after the end of
    speech get another name.
    """
    speaking = True
    for passage in passages:
        if passage.message_kind is not MessageKind.APPEND:
            yield passage
            continue
        yield replace(passage, name=APPENDED if speaking else APPENDED_LATER)
        speaking = speaking and (speech_end_ns is None or passage.at_ns < speech_end_ns)


def _keyed(passage: WireTransfer, zero_ns: int) -> Keyed:
    """Return (key, row) of a message. Consecutive rows with the same key become one row."""
    at_ms = (passage.at_ns - zero_ns) / NS_PER_MS
    if passage.event is None:
        return (passage.name if passage.audio_bytes else None), message(
            at_ms, "→", passage.name, passage.audio_bytes
        )
    event = passage.event
    is_error = (
        event.kind in (EventKind.ERROR, EventKind.MALFORMED, EventKind.INPUT_NOT_TRANSCRIBED)
        or event.other_dialect
    )
    is_minor = event.kind in (EventKind.NOTED, EventKind.RATE_LIMITS, EventKind.UNKNOWN)
    row = message(
        at_ms,
        "←",
        _event_name(event),
        passage.audio_bytes,
        "bad" if is_error else "soft" if is_minor else "",
    )
    if event.kind in DELTAS:  # deltas of one kind and response are one row
        return (event.kind, event.response_id), row
    return ((event.name, event.response_id) if event.name.endswith(".delta") else None), row


def _event_name(event: ServerEvent) -> str:
    name = EVENT_NAMES.get(event.kind, event.name)
    more = ""
    if event.kind is EventKind.RESPONSE_DONE:
        more = f", {event.status or 'no status'}"
    elif event.kind is EventKind.ERROR and event.failure is not None:
        more = f", {event.failure.code or event.failure.type}"
    elif event.kind is EventKind.RATE_LIMITS:
        for limit in event.limits:  # only the limits that the service reports
            total = "" if limit.limit is None else f" of {count(limit.limit)}"
            if limit.remaining is not None:
                more += f", {count(limit.remaining)}{total} {limit.name} left"
    elif event.kind is EventKind.UNKNOWN:
        more = " (of the other dialect)" if event.other_dialect else " (unknown)"
    return escape_control(name + more)


NO_PRICES: Mapping[str, Prices] = MappingProxyType({})


def session_text(
    replayed: ReplayedSession,
    width: int,
    *,
    colour: bool,
    again: bool = False,
    target: Target | None = None,
    prices: Mapping[str, Prices] = NO_PRICES,
) -> Iterator[str]:
    """Yield the lines of a session.

    `again` is True if the session is replayed from a log. `target` is the called target, if it is
    known. `prices` are the prices by model.
    """
    yield from _opening(replayed, width, colour=colour, again=again)
    sent = {
        passage.message_kind: passage.name
        for passage in reversed(replayed.passages)
        if passage.event is None
    }
    # without replies, the commit requests the transcript
    request_name = sent.get(MessageKind.REQUEST) or sent.get(MessageKind.COMMIT, "")
    origins = {"request_sent": request_name, "speech_end": "the end of speech"}
    for turn, rows in turn_rows(replayed):
        measured_from = origins.get(turn.measured_from or "", "the start of the turn")
        title = (
            f"turn {turn.turn}, {turn.step}: ms from {measured_from} (→ sent, ← received, ♪"
            " audible)"
        )
        yield from ("", *_wrapped(title, width))
        yield from waterfall(rows, width, colour=colour)
        yield from ("", *_measured(turn, width))
        if turn.delegations and dialect_of(replayed.opened.about).billing is Billing.BACKEND:
            yield from _named("delegation", delegation_texts(turn, replayed.session), width)
    if target is not None:
        yield from _named("cost", _cost(replayed.session, replayed.turns, target, prices), width)
    yield ""
    yield from _named("settings", _settings(replayed.session.effective_settings), width)
    session = replayed.session
    if session.outcome != "ok":
        pieces = [_reported(session.outcome, session.detail), *_retry_after(session.retry_after_ns)]
        yield from _named("session", pieces, width)
    yield from _named("hint", _stated("", hint(replayed, target)), width)
    if replayed.cut:
        yield from _named("note", ["the log ends before the end of the session"], width)


def _opening(replayed: ReplayedSession, width: int, *, colour: bool, again: bool) -> Iterator[str]:
    """Yield the lines about the whole session, and the lines of its messages before the first
    turn.
    """
    about = replayed.opened.about
    session = replayed.session
    kind = "replay of " if again else ""
    script = about.get("script", "")
    title = escape_control(f"{kind}{script}  {about['dialect']} dialect".strip())
    if is_simulated(session.headers, session.effective_settings):
        badge = "◇ SIMULATED"
        title += " " * max(3, width - len(title) - len(badge)) + coloured(badge, "sim", colour)
    yield title
    session_id = about.get("session_id")
    run_id = about.get("run_id")
    if session_id and run_id and session_id != run_id:  # a probe has no session ID of a run
        yield from _named("log of", [f"session {session_id}", f"run {run_id}"], width)
    yield from _named("target", _stated("", about.get("url") or about.get("target")), width)
    headers = [
        f"{name} {value}"
        for name, value in session.headers.items()
        if name.startswith(PRINTED_HEADERS)
    ]
    yield from _named(
        "service", [*_stated("session ", session.service_session_id), *headers], width
    )
    metrics_ns = session.metrics_ns()
    left_out = {"session_duration", "start_delay"} | (
        {"auth_wait"} if not metrics_ns["auth_wait"] else set()
    )
    connecting = {name: value for name, value in metrics_ns.items() if name not in left_out}
    yield from _named("connect", _times(connecting), width)
    rows = opening_rows(replayed)
    if rows:
        yield from ("", *_wrapped("before the first turn: ms from the start of connecting", width))
        yield from waterfall(rows, width, colour=colour)


def _measured(turn: TurnObservation, width: int) -> Iterator[str]:
    proxied = ["network_rtt is measured to the proxy"] if turn.rtt_scope == "proxy" else []
    uncertainty = []
    # the uncertainty of the arrival of the first delta
    if (uncertainty_ns := turn.timestamp_uncertainty_ns) is not None:
        uncertainty = [
            f"timestamp_uncertainty {format_number(uncertainty_ns / NS_PER_MS)} ms"
            f" ({turn.receive_timestamp_source})"
        ]
    parts = {
        "outcome": [_reported(turn.outcome, turn.detail), *_retry_after(turn.retry_after_ns)],
        "metrics": [*_times(turn.metrics_ns()), *_values(turn), *proxied, *uncertainty],
        "breakdown": _segments(turn),
        "tokens": _tokens(turn),
        "input text": _stated("", turn.input_text),
        "reply text": _stated("", turn.reply_text),
        "ids": [*_stated("response ", turn.response_id), *_stated("item ", turn.item_id)],
    }
    for name, texts in parts.items():
        yield from _named(name, texts, width)


def _reported(outcome: str, detail: str) -> str:
    return f"{outcome}: {detail_text(outcome, detail)}" if detail else outcome


def _retry_after(retry_after_ns: int | None) -> list[str]:
    return [] if retry_after_ns is None else [f"retry after {_ms(retry_after_ns)} ms"]


def _stated(before: str, value: object) -> list[str]:
    """Return a list of one text, `before` and the value; [] if there is no value."""
    return [f"{before}{value}"] if value else []


def _times(metrics_ns: Mapping[str, int]) -> list[str]:
    return [f"{name} {_ms(metrics_ns[name])} ms" for name in CATALOGUE if name in metrics_ns]


def _ms(ns: int) -> str:
    """Return a time in ms, with three digits. From one second on, it has all digits: it is not
    an estimate.
    """
    return (
        format_number(ns / NS_PER_MS)
        if abs(ns) < 1000 * NS_PER_MS
        else f"{ns / NS_PER_MS:,.0f}".replace("-", "−")
    )


def _values(turn: TurnObservation) -> list[str]:
    columns = (metric for metric in CATALOGUE.values() if metric.scope == "turn" and metric.column)
    return [
        f"{metric.name}"
        f" {format_number(float(value))}{'' if metric.unit == 'n' else f' {metric.unit}'}"
        for metric in columns
        if metric.unit != "ms" and (value := turn.value(metric)) is not None
    ]


def _segments(turn: TurnObservation) -> list[str]:
    """Return the segments of a turn as one sum, each rounded to 0.1 ms, so that the numbers add
    up.
    """
    parts = segments(turn.instants)
    if not parts:
        return []
    total_ns = sum(duration_ns for _, _, duration_ns in parts)
    texts = [
        f"{SEGMENT_NAMES[end]} {_tenths(duration_ns)}".replace("_", " ").replace(" ", NBSP)
        for _, end, duration_ns in parts
    ]
    return [f"{f' +{NBSP}'.join(texts)} ={NBSP}voice_to_voice{NBSP}{_tenths(total_ns)}{NBSP}ms"]


def _tenths(ns: int) -> str:
    return f"{ns / NS_PER_MS:,.1f}".replace("-", "−")


def _tokens(turn: TurnObservation) -> list[str]:
    """Return the number of tokens of each kind. Cached tokens are included only if kinds do not
    add up to them.
    """
    if turn.usage is None:
        return []
    if turn.usage.unread:
        return ["reported, but not readable"]
    counts = {name: getattr(turn.usage, name) for name in turn.usage.__struct_fields__}
    if (
        turn.usage.cached_in
        == turn.usage.cached_text_in + turn.usage.cached_audio_in + turn.usage.cached_image_in
    ):
        del counts["cached_in"]
    return [
        f"{name.replace('_', ' ')} {count(number)}" for name, number in counts.items() if number
    ]


def _cost(
    session: SessionObservation,
    turns: Sequence[TurnObservation],
    target: Target,
    prices: Mapping[str, Prices],
) -> Iterator[str]:
    """Yield the cost of the session's minutes, and of its tokens or those of its backend."""
    terms = target.terms
    minutes = tariff_of(prices, terms, BilledModel(session.model))
    tokens = tariff_of(prices, terms, token_model(terms, session.model, session.backend_model))
    if not session.is_answered:
        yield billed_audio(sum(turn.input_audio_ns for turn in turns), minutes)
    elif terms.has_backend or (minutes.prices and minutes.prices.usd_per_minute):
        yield billed_minutes(session, minutes)
    usages = [
        usage
        for usage in (*(turn.usage for turn in turns), session.stray_usage)
        if usage is not None
    ]
    if usages and (tokens.prices is None or tokens.prices.of_tokens):
        yield f"{tokens.model}: {billed_tokens(sum(usages, TokenUsage()), tokens)}".removeprefix(
            ": "
        )


def _settings(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return a text for each setting that has a value, such as `turn_detection.type server_vad`."""
    lines: list[str] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            lines += _settings(value, f"{prefix}{name}.")
        elif value not in (None, "", []):
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            text = text.lower() if isinstance(value, bool) else text
            text = text if len(text) <= MAX_SETTING else f"{text[: MAX_SETTING - 1]}…"
            lines.append(f"{prefix}{name} {text}")
    return lines


def _named(name: str, pieces: Iterable[str], width: int) -> Iterator[str]:
    """Yield the lines of `name   a · b · c`, which begin below the first piece; no line if there
    are no pieces.
    """
    # short pieces are not broken across lines
    text = f"{NBSP}· ".join(
        piece.replace(" ", NBSP) if len(piece) < UNBREAKABLE else piece for piece in pieces
    )
    for row, line in enumerate(_wrapped(text, width - HEAD) if text else []):
        yield f"{name if row == 0 else '':<{HEAD}}{line}"


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(
        escape_control(text), width, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(NBSP, " ") for line in lines]
