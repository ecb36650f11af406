"""The sections of the page on what a caller lives through: where the wait comes from, what was heard, the network, the
slowest turns. Nothing is computed here."""

from __future__ import annotations

import math
from typing import Any

from reports.page import stacks
from reports.page.sections import both, capital, event_row, row
from reports.summary.events import ALL
from reports.summary.segments import Breakdown
from reports.summary.slowest import Slow
from reports.summary.summary import HEARD, Summary
from reports.turns import ORIGINS, STARTED_BY
from reports.wording import remarks, words
from reports.wording.numbers import NONE, clock, count, ms, plural, three

REPLIES = ("stall", "stalls", "audio_speed", "transcript_first", "transcript_total", "transcript_lead")
DETECTED = ("turn_detection", "speech_detected", "input_transcript", "input_transcript_total", "vad_splits")
NETWORK = ("network_rtt", "request_ack", "ttfa_less_rtt", "retransmits")


def segments(summary: Summary) -> dict[str, Any] | None:
    """The segments of voice_to_voice, stacked and in a table; None where no spoken turn was answered."""
    rows = summary.breakdowns
    if not rows:
        return None
    names = stacks.names_of(rows)
    return both(lambda w: stacks.segments(rows, summary.targets, w)) | {
        "names": names,
        "table": [_breakdown(summary, breakdown, names) for breakdown in rows],
        "negative": any(segment.total_ns < 0 for b in rows for segment in b.segments),
        "notes": [n for n in (summary.setup.contained, summary.setup.packetisation, words.COMPARABLE) if n],
        "capped": len(rows) > stacks.ROWS_MOST,
    }


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


def network(summary: Summary) -> dict[str, Any] | None:
    """The way to the service; None where the kernel told nothing of it."""
    rows = _rows(summary, NETWORK)
    said = {c.target: [_resent(c.resent, c.with_resent, c.watched)] for c in summary.counts if c.watched}
    if not any(r["measure"] == "network_rtt" for r in rows):
        return None
    return {"scope": remarks.round_trips(summary), "line": capital(_each(summary, said), summary), "table": rows}


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
