"""Writes one session from close by as text: its messages turn by turn, and what was measured. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bench.cli.session_rows import opening_rows, turn_rows
from bench.doctor.explain import hint
from bench.measures import CATALOGUE, SEGMENT_NAMES, Measure, segments
from bench.observe.observation import TurnObservation, reason
from bench.plain import printable
from bench.protocol.base import Act
from bench.protocol.simulated import is_simulated
from bench.run.replay import Replayed
from bench.target.target import Target
from bench.units import NS_PER_MS
from reports.numbers import NBSP, count, three
from reports.text.lines import inked
from reports.text.waterfall import waterfall

HEAD = 11
"""Columns of the word that a line begins with."""
TOLD_HEADERS = ("x-", "apim-", "openai-")
LONGEST_SETTING = 60
HELD_TOGETHER = 40


def session_text(
    replayed: Replayed, width: int, *, colour: bool, again: bool = False, target: Target | None = None
) -> Iterator[str]:
    """Write a session line by line; `again` where it was played before and is told from its log.

    `target`: who was called, where that is known.
    """
    yield from _opening(replayed, width, colour=colour, again=again)
    asked = next((passage.name for passage in replayed.passages if passage.act is Act.REQUEST), "")
    origins = {"requested": asked, "speech_end": "the end of speech"}
    for turn, rows in turn_rows(replayed):
        yield from ("", *_wrapped(_title(turn, origins), width))
        yield from waterfall(rows, width, colour=colour)
        yield from ("", *_measured(turn, width))
    yield ""
    yield from _named("settings", _settings(replayed.session.effective_settings), width)
    yield from _ending(replayed, target, width)


def _opening(replayed: Replayed, width: int, *, colour: bool, again: bool) -> Iterator[str]:
    """What holds for the whole session, and its messages before the first turn."""
    about, session = replayed.opened.about, replayed.session
    title = f"{'replay of ' if again else ''}{about.get('script', '')}  {about['dialect']} dialect"
    simulated = is_simulated(session.headers, session.effective_settings)
    yield _first_line(title, width, simulated=simulated, colour=colour)
    yield from _named("log of", _logged(about), width)
    yield from _named("target", _given("", about.get("url") or about.get("target")), width)
    headers = [f"{name} {value}" for name, value in session.headers.items() if name.startswith(TOLD_HEADERS)]
    yield from _named("service", [*_given("session ", session.service_session_id), *headers], width)
    yield from _named("connect", _times(_connecting(session.measures_ns())), width)
    rows = opening_rows(replayed)
    if rows:
        yield from ("", *_wrapped("before the first turn: ms from the start of connecting", width))
        yield from waterfall(rows, width, colour=colour)


def _connecting(measures_ns: Mapping[str, int]) -> dict[str, int]:
    """The phases of connecting, with the wait for a token where there was one."""
    left_out = {"session_length", "start_lag"} | ({"token_wait"} if not measures_ns["token_wait"] else set())
    return {name: value for name, value in measures_ns.items() if name not in left_out}


def _first_line(title: str, width: int, *, simulated: bool, colour: bool) -> str:
    title = printable(title.strip())
    if not simulated:
        return title
    badge = "◇ SIMULATED"
    space = " " * max(3, width - len(title) - len(badge))
    return title + space + inked(badge, "sim", colour)


def _logged(about: Mapping[str, Any]) -> list[str]:
    """Which session of which run; nothing where it was a probe, which is no run."""
    session, run = about.get("session_id"), about.get("run_id")
    return [f"session {session}", f"run {run}"] if session and run and session != run else []


def _title(turn: TurnObservation, origins: Mapping[str, str]) -> str:
    origin = origins.get(turn.origin or "", "the turn's beginning")
    return f"turn {turn.turn}, {turn.step}: ms from {origin} (→ sent, ← received, ♪ heard)"


def _ending(replayed: Replayed, target: Target | None, width: int) -> Iterator[str]:
    session = replayed.session
    if session.outcome != "ok":
        told = [_told(session.outcome, session.detail), *_wait_asked(session.retry_after_ns)]
        yield from _named("session", told, width)
    yield from _named("hint", _given("", hint(replayed, target)), width)
    if replayed.cut:
        yield from _named("note", ["the log ends before the session does"], width)


# What was measured.


def _measured(turn: TurnObservation, width: int) -> Iterator[str]:
    parts = {
        "outcome": [_told(turn.outcome, turn.detail), *_wait_asked(turn.retry_after_ns)],
        "measures": [*_times(turn.measures_ns()), *_figures(turn), *_proxied(turn), *_stamps(turn)],
        "segments": _segments(turn),
        "tokens": _tokens(turn),
        "said": _given("", turn.input_text),
        "replied": _given("", turn.reply_text),
        "ids": [*_given("response ", turn.response_id), *_given("item ", turn.item_id)],
    }
    for name, said in parts.items():
        yield from _named(name, said, width)


def _told(outcome: str, detail: str) -> str:
    return f"{outcome}: {reason(outcome, detail)}" if detail else outcome


def _wait_asked(retry_after_ns: int | None) -> list[str]:
    """What the service asks for that has throttled us."""
    return [] if retry_after_ns is None else [f"asks to wait {_ms(retry_after_ns)} ms"]


def _given(before: str, value: object) -> list[str]:
    """Nothing where there is no value."""
    return [f"{before}{value}"] if value else []


def _times(measures_ns: Mapping[str, int]) -> list[str]:
    return [f"{name} {_ms(measures_ns[name])} ms" for name in CATALOGUE if name in measures_ns]


def _ms(ns: int) -> str:
    """Three digits, and all of a longer whole number: it is one turn's, and no estimate."""
    return three(ns / NS_PER_MS) if abs(ns) < 1000 * NS_PER_MS else f"{ns / NS_PER_MS:,.0f}".replace("-", "−")


def _figures(turn: TurnObservation) -> list[str]:
    """The measures of a turn that are no times."""
    columns = [measure for measure in CATALOGUE.values() if measure.scope == "turn" and measure.column]
    return [
        f"{measure.name} {three(value)}{'' if measure.unit == 'n' else f' {measure.unit}'}"
        for measure in columns
        if measure.unit != "ms" and (value := _figure(turn, measure)) is not None
    ]


def _figure(turn: TurnObservation, measure: Measure) -> float | None:
    """A measure of a turn that is no time: what its column holds, or that as a share of another one, in %."""
    value, unless = getattr(turn, measure.column), measure.unless
    if value is None or (unless is not None and getattr(turn, unless[0]) == unless[1]):
        return None
    if not measure.of:
        return float(value)
    whole = getattr(turn, measure.of)
    return 100 * value / whole if whole else None


def _proxied(turn: TurnObservation) -> list[str]:
    """Whose round trip it was, where it was not the service's."""
    return ["network_rtt is to the proxy"] if turn.rtt_scope == "proxy" else []


def _stamps(turn: TurnObservation) -> list[str]:
    """How far the arrival of the first delta can be off."""
    if turn.stamp_error_ns is None:
        return []
    return [f"stamp_error {three(turn.stamp_error_ns / NS_PER_MS)} ms ({turn.stamp_source})"]


def _segments(turn: TurnObservation) -> list[str]:
    """One sum: to a tenth of a millisecond, for it is to be added up."""
    parts = segments(turn.instants)
    if not parts:
        return []
    whole = sum(length_ns for _, _, length_ns in parts)
    told = [f"{SEGMENT_NAMES[end]} {_tenths(length_ns)}".replace(" ", NBSP) for _, end, length_ns in parts]
    return [f"{f' +{NBSP}'.join(told)} ={NBSP}voice_to_voice{NBSP}{_tenths(whole)}{NBSP}ms"]


def _tenths(ns: int) -> str:
    return f"{ns / NS_PER_MS:,.1f}".replace("-", "−")


def _tokens(turn: TurnObservation) -> list[str]:
    """Those of any number; a sum of cached ones only where it is not told of what kind they all are."""
    if turn.usage is None:
        return []
    if turn.usage.unread:
        return ["told, and not readable"]
    counts = {name: getattr(turn.usage, name) for name in turn.usage.__struct_fields__}
    if turn.usage.cached_in == turn.usage.cached_text_in + turn.usage.cached_audio_in + turn.usage.cached_image_in:
        del counts["cached_in"]
    return [f"{name.replace('_', ' ')} {count(number)}" for name, number in counts.items() if number]


def _settings(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    """`turn_detection.type server_vad`, of every setting that is set."""
    told: list[str] = []
    for name, value in settings.items():
        if isinstance(value, dict):
            told += _settings(value, f"{prefix}{name}.")
        elif value not in (None, "", []):
            told.append(f"{prefix}{name} {_short(value)}")
    return told


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    text = text.lower() if isinstance(value, bool) else text
    return text if len(text) <= LONGEST_SETTING else f"{text[: LONGEST_SETTING - 1]}…"


# Lines.


def _named(name: str, parts: Iterable[str], width: int) -> Iterator[str]:
    """`name   a · b · c`, further lines under the first; nothing where there are no parts."""
    text = f"{NBSP}· ".join(map(_together, parts))
    for row, line in enumerate(_wrapped(text, width - HEAD) if text else []):
        yield f"{name if row == 0 else '':<{HEAD}}{line}"


def _together(part: str) -> str:
    """What is short does not go over the end of a line."""
    return part.replace(" ", NBSP) if len(part) < HELD_TOGETHER else part


def _wrapped(text: str, width: int) -> list[str]:
    lines = textwrap.wrap(printable(text), width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(NBSP, " ") for line in lines]
