"""The sections of the page on what a caller lives through: where the wait comes from, what was heard, the network, the
slowest turns. Nothing is computed here."""

from __future__ import annotations

import math
from typing import Any

from reports.numbers import NBSP, NONE, change, clock, count, listed, ms, percent, plural, three
from reports.page import scatter, speech, stacks, trends
from reports.page.sections import capital, drawn, event_row, row
from reports.page.svg import COLOURS, HALF, WIDE
from reports.page.talks import talks
from reports.page.ways import Ways, ways
from reports.summary.along import Along, one_thing
from reports.summary.events import ALL
from reports.summary.segments import Breakdown
from reports.summary.slowest import Slow
from reports.summary.summary import HEARD, Summary
from reports.turns import ORIGINS, STARTED_BY
from reports.wording import remarks, words

REPLIES = ("stall", "stalls", "audio_speed", "transcript_first", "transcript_total", "transcript_lead")
DETECTED = ("turn_detection", "speech_detected", "input_transcript", "input_transcript_total", "vad_splits")
HEADS = {"turn": "By turn number", "age": "By session age"}
NETWORK = ("network_rtt", "request_ack", "ttfa_less_rtt", "retransmits")


def segments(summary: Summary) -> dict[str, Any] | None:
    """The segments of voice_to_voice, stacked and in a table; None where no spoken turn was answered."""
    rows = summary.breakdowns
    if not rows:
        return None
    names, bands = stacks.names_of(rows), summary.bands
    return drawn(stacks.segments(rows, summary.targets)) | {
        "bands": _bands(summary, bands) if bands else None,
        "slow": any(band.around > 0.5 for band in bands),
        "names": names,
        "table": [_breakdown(summary, breakdown, names) for breakdown in rows],
        "negative": any(segment.total_ns < 0 for b in rows for segment in b.segments),
        "notes": [n for n in (summary.setup.contained, summary.setup.packetisation, words.COMPARABLE) if n],
        "capped": len(rows) > stacks.ROWS_MOST,
    }


def _bands(summary: Summary, bands: tuple[Breakdown, ...]) -> dict[str, Any]:
    """Typical and slow turns, and each bar in numbers."""
    rows = [
        [
            summary.targets[band.target],
            f"{band.title}, {plural(band.turns, 'turn')}",
            *(f"{segment.name} {ms(band.mean_ms(segment))}" for segment in band.segments),
            f"together {ms(band.mean_ms())}",
        ]
        for band in bands
    ]
    return drawn(stacks.segments(bands, summary.targets)) | {"rows": rows}


def _breakdown(summary: Summary, row: Breakdown, names: list[str]) -> dict[str, Any]:
    means = {segment.name: three(row.mean_ms(segment)) for segment in row.segments}
    return {
        "step": row.title,
        "colour": row.target,
        "label": summary.targets[row.target],
        "turns": count(row.turns),
        "cells": [means.get(name, NONE) for name in names],
        "sum": three(row.mean_ms()),
    }


def heard(summary: Summary) -> dict[str, Any] | None:
    """How replies sounded and how well the caller was heard; None where nothing of it was measured."""
    replies, callers = _rows(summary, REPLIES), _rows(summary, DETECTED)
    if not replies and not callers:
        return None
    return {
        "stalled": _each(summary, {c.target: [words.stalled(c)] for c in summary.counts if c.replies}),
        "detection": _each(summary, {c.target: words.detection(c) for c in summary.counts}),
        "vad": any(c.noticed for c in summary.counts),
        "replies": replies,
        "gaps": [event_row(summary, one) for one in summary.events if one.measure == "delta_gap"],
        "callers": callers,
    }


def _rows(summary: Summary, measures: tuple[str, ...]) -> list[dict[str, Any]]:
    """Lines of these measures, in their order."""
    shown = [f for f in summary.measures if f.step == ALL and f.measure in measures]
    return [row(summary, f) for f in sorted(shown, key=lambda f: measures.index(f.measure))]


def _each(summary: Summary, said: dict[str, list[str]]) -> str:
    """direct: 3 of 40 replies stalled (7.5 %); gateway: …"""
    named = len(summary.targets) > 1
    parts = [f"{target}: {', '.join(words)}" if named else ", ".join(words) for target, words in said.items() if words]
    return "; ".join(parts)


def timeline(summary: Summary) -> dict[str, Any] | None:
    """A few turns as they were heard; None where no spoken turn was answered."""
    found = talks(summary)
    if not found:
        return None
    return drawn(speech.speech(found)) | {
        "rows": [speech.read(talk) for talk in found],
        "stalls": any(talk.stall_s for talk in found),
        "unplaced": any(talk.stall_s and not talk.heard for talk in found),
        "broken": speech.breaks(found),
        "longest": f"{speech.LONGEST_S:g}",
        "logs": [(talk.role, talk.event_log) for talk in found if talk.event_log],
    }


def along(summary: Summary) -> dict[str, Any] | None:
    """The wait by turn number and by session age, of each origin; None where sessions are too short for either."""
    parts, tailed = [], False
    for origin in summary.turns.origins:
        frames = [frame for frame in summary.alongs if frame.origin == origin and frame.drawable]
        width = HALF if len(frames) > 1 else WIDE
        figures = [
            drawn(trends.along(frame, width))
            | {"head": HEADS[frame.by], "line": _moved(frame), "thinned": frame.thinned}
            for frame in frames
        ]
        tailed |= any(course.tails for frame in frames for course in frame.courses)
        if figures:
            parts.append({"head": words.counted(summary.mains[origin], origin), "figures": figures})
    if not parts:
        return None
    return {
        "parts": parts,
        "alike": one_thing(summary.turns, summary.run.sessions),
        "banded": len(summary.targets) <= COLOURS,
        "tails": tailed,
    }


def _moved(frame: Along) -> str:
    """p50 of turn 10 against turn 1: direct −3 %, gateway +4 %."""
    told = {c.label: (c.told[0], c.told[-1]) for c in frame.courses if len(c.told) > 1}
    ends = {(first.place, last.place) for first, last in told.values()}
    if len(ends) != 1:
        return ""
    first, last = (frame.names[place] for place in next(iter(ends)))
    named = len(frame.courses) > 1
    changes = [f"{f'{label} ' if named else ''}{change(b.p50.value / a.p50.value)}" for label, (a, b) in told.items()]
    where = f"turn {last} against turn {first}" if frame.by == "turn" else f"turns at {last} against {first}"
    return f"p50 of {where}: {', '.join(changes)}."


def network(summary: Summary) -> dict[str, Any] | None:
    """The way to the service; None where the kernel told nothing of it."""
    rows = _rows(summary, NETWORK)
    said = {c.target: [_resent(c.resent, c.with_resent, c.watched)] for c in summary.counts if c.watched}
    if not any(r["measure"] == "network_rtt" for r in rows):
        return None
    frames = [frame for origin in summary.turns.origins if (frame := ways(summary, origin))]
    return {
        "scope": remarks.round_trips(summary),
        "line": capital(_each(summary, said), summary),
        "table": rows,
        "figures": [_way(summary, frame, HALF if len(frames) > 1 else WIDE) for frame in frames],
    }


def _way(summary: Summary, frame: Ways, width: int) -> dict[str, Any]:
    """Of the middle session's ttfa the round trip is 3 % (20.5 ms) on direct, 8 % (51 ms) on gateway."""
    several = len(summary.turns.origins) > 1
    named = len(summary.targets) > 1
    shares = [
        f"{percent(way.share, 1) if way.share > 0.001 else f'below 0.1{NBSP}%'} ({ms(way.rtt_ms)})"
        + (f" on {summary.targets[way.colour]}" if named else "")
        for way in frame.ways
    ]
    return drawn(scatter.scatter(frame, width)) | {
        "head": f"ttfa from {ORIGINS[frame.origin]}" if several else "",
        "line": f"Of the middle session’s ttfa the round trip is {listed(shares)}.",
        "hexagons": any(way.marks is None for way in frame.ways),
        "rows": [
            [
                way.label,
                plural(way.sessions, "session"),
                f"network_rtt {ms(way.rtt_ms)}",
                f"ttfa_less_rtt {ms(way.rest_ms)}",
            ]
            for way in frame.ways
        ],
    }


def _resent(segments: int, turns: int, watched: int) -> str:
    if not segments:
        return f"nothing was sent again in {plural(watched, 'turn')}"
    return f"{plural(segments, 'TCP segment')} sent again in {count(turns)} of {plural(watched, 'turn')}"


def slowest(summary: Summary) -> list[dict[str, Any]]:
    """The slowest good turns, those of each origin and measure in a table of their own."""
    tables: dict[tuple[str, str], list[Slow]] = {}
    for one in summary.slowest:
        tables.setdefault((one.origin, one.measure), []).append(one)
    return [_slowest(summary, *key, rows) for key, rows in tables.items()]


def _slowest(summary: Summary, origin: str, measure: str, rows: list[Slow]) -> dict[str, Any]:
    heard = measure == HEARD
    several = len({one.origin for one in summary.slowest if one.measure == measure}) > 1
    return {
        "measure": measure,
        "which": f" of {STARTED_BY[origin]}" if heard and several else "" if heard else f" from {ORIGINS[origin]}",
        "beside": f"ttfa from {ORIGINS[origin]}" if heard else "",
        "targets": len(summary.targets) > 1,
        "network": any(not math.isnan(one.network_rtt) for one in rows),
        "rows": [_slow(summary, one) for one in rows],
    }


def _slow(summary: Summary, slow: Slow) -> dict[str, Any]:
    names = ("target", "colour", "step", "turn")
    ids = (
        ("session", slow.session),
        ("log", slow.event_log),
        ("request", slow.request),
        ("response", slow.response),
        ("the service’s session", slow.service_session),
        ("region", slow.region),
    )
    return {name: getattr(slow, name) for name in names} | {
        "ids": [(name, value) for name, value in ids if value],
        "value": ms(slow.value),
        "beside": ms(slow.ttfa),
        "at": clock(slow.at_s, long=summary.window.length_s > 180),
        "created": ms(slow.created),
        "rtt": ms(slow.network_rtt),
        "resent": f"{count(slow.retransmits)} sent again" if slow.retransmits > 0 else "",
    }
