"""The sections of the page: figures drawn, tables in cells. Nothing is computed here."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from bench.measures import CATALOGUE
from reports.numbers import NONE, clock, count, listed, ms, percent, plural, quantity, scale_of, span, three
from reports.page import bars, frames, panels, stacks
from reports.page.over_time import OverTime, over_time
from reports.page.stretch import courses, slowest
from reports.page.svg import HALF, WIDE, Plot
from reports.summary.drift import said as drift_said
from reports.summary.events import ALL, PS, Distribution
from reports.summary.figures import Figures
from reports.summary.summary import Summary
from reports.wording import remarks, words
from reports.wording.words import cell

FLOWS = ("audio_sent", "audio_received", "wire_sent", "wire_received")


NOT_DRAWN: dict[str, Any] = {"drawn": "", "rows": []}


def drawn(plot: Plot) -> dict[str, Any]:
    """A figure; the readout's stops are its table of numbers."""
    stops = plot.stops or {"t": []}
    rows = [str(text).split(" · ") for text in stops["t"]]  # type: ignore[attr-defined]
    return {"drawn": Markup(plot.svg()), "rows": rows}


def capital(said: str, summary: Summary) -> str:
    """A sentence, with a capital letter unless it begins with a target's name."""
    return f"{said}." if said and len(summary.targets) > 1 else words.sentence(said)


def time(summary: Summary) -> dict[str, Any] | None:
    """The run over time; None without a single value."""
    frame = over_time(summary)
    if frame is None:
        return None
    return drawn(panels.over_time(frame)) | {
        "line": _stretch(summary, frame),
        "drift": drift_said(summary.drifts),
        "question": "Did the wait change during the run?" if frame.drawable else "When did turns fail?",
        "drawable": frame.drawable,
        "of": listed(list(dict.fromkeys(words.named(answer.figures) for answer in summary.answers if answer.turns))),
        "middle": any(panel.line("p50") for panel in frame.panels),
        "bin": span(frame.bin_s),
        "dots": all(panel.dots is not None for panel in frame.panels),
        "shaded": any(panel.failures_s.size > panels.TICKS_MOST for panel in frame.panels),
        "tail": any(panel.line("p95") for panel in frame.panels),
    }


def _stretch(summary: Summary, frame: OverTime) -> str:
    """Slowest minute: from 4:00 on gateway, p50 1.2 s, 1.4 times that of the run; nothing where chance may be why."""
    slow = slowest(courses(summary), frame.bin_s)
    if slow is None:
        return ""
    where = f" on {slow.label}" if len(frame.panels) > 1 else ""
    at = clock(slow.begin_s, long=frame.length_s > 180)
    return f"Slowest {span(frame.bin_s)}: from {at}{where}, p50 {ms(slow.p50)}, {slow.ratio:.1f} times that of the run."


def steps(summary: Summary) -> dict[str, Any] | None:
    """The figures and tables of steps, one for each origin; None where there is one step alone."""
    parts = [_steps(summary, origin) for origin in summary.turns.origins]
    told = {f.step for origin in summary.turns.origins for f in words.steps_of(summary, origin)}
    return {"parts": [part for part in parts if part]} if len(told) > 1 else None


def _steps(summary: Summary, origin: str) -> dict[str, Any] | None:
    rows = words.steps_of(summary, origin)
    groups = [
        (step, [(summary.targets.index(f.target), f) for f in rows if f.step == step])
        for step in summary.turns.steps
        if any(f.step == step for f in rows)
    ]
    if not groups:
        return None
    told = any(e.published for f in rows for e in f.quantiles)
    main = summary.mains[origin]
    figure = drawn(bars.steps(groups, main)) if told else NOT_DRAWN
    return figure | {
        "head": words.named(rows[0]),
        "line": words.worst_step(summary, origin),
        "table": [row(summary, f) for _, g in groups for _, f in g],
    }


def row(summary: Summary, figures: Figures) -> dict[str, Any]:
    """A line of a table of measures."""
    return {
        "measure": figures.measure,
        "unit": f"{figures.unit},{since}" if (since := words.since(figures.measure, figures.origin)) else figures.unit,
        "step": figures.step,
        "colour": summary.targets.index(figures.target),
        "label": words.whose(figures),
        "n": count(figures.n),
        "failed": count(figures.failed),
        "censored": count(figures.censored),
        "cells": [cell(figures, p, "") for p in PS],
        "high": three(figures.high),
    }


def others(summary: Summary) -> list[dict[str, Any]]:
    """Every measure of turns, all steps together; those of connecting have a section of their own."""
    shown = [f for f in (*summary.measures, *summary.connecting) if f.step == ALL]
    return [row(summary, f) for f in shown if CATALOGUE[f.measure].scope == "turn" or f.measure == "session_length"]


def counted_measures(summary: Summary) -> str:
    """24 measures: 22 of turns, 2 of every event."""
    of_turns, of_events = ({r["measure"] for r in rows} for rows in (others(summary), events(summary)))
    parts = [f"{count(len(of_turns))} of turns and sessions"] if of_turns else []
    parts += [f"{count(len(of_events))} of every event"] if of_events else []
    return f"{plural(len(of_turns | of_events), 'measure')}: {listed(parts)}, each target and origin by itself."


def events(summary: Summary) -> list[dict[str, Any]]:
    """Measures of every event, without those of the harness."""
    return [event_row(summary, one) for one in summary.events if CATALOGUE[one.measure].scope == "event"]


def event_row(summary: Summary, one: Distribution) -> dict[str, Any]:
    """A line of a measure from histograms, with what was counted beside them."""
    counted = ((one.negative, "negative"), (one.out_of_range, "out of range"))
    return {
        "measure": one.measure,
        "unit": one.unit,
        "colour": summary.targets.index(one.target) if one.target in summary.targets else 0,
        "label": one.target,
        "n": count(one.n),
        "beside": ", ".join(f"{count(n)} {word}" for n, word in counted if n) or NONE,
        **{name: three(getattr(one, name)) for name in ("p50", "p90", "p95", "p99", "high")},
        "sentence": CATALOGUE[one.measure].sentence,
    }


def outcomes(summary: Summary) -> dict[str, Any] | None:
    """How turns and sessions ended; None where none began."""
    found = summary.outcomes
    if not sum(found.opened) and not sum(found.begun):
        return None
    places = range(len(summary.targets))
    rates = [percent(found.failures(i), 1) if found.wanted[i] else NONE for i in places]
    sums = [
        ("begun, together", [count(n) for n in found.begun], "every turn has one outcome"),
        ("failed, together", [count(n) for n in found.failed], ""),
        ("lost turns", [count(n) for n in found.lost], "wanted, never begun: their session had ended"),
        ("failures", rates, "(failed + lost) ÷ turns wanted, without those cut by the end of the run"),
        ("sessions with any failure", [count(n) for n in found.with_failure], f"of {_of(found.opened)}"),
    ]
    return {
        "caption": f"{plural(sum(found.begun), 'turn')} begun in the measured phase, one outcome each; "
        f"{count(sum(found.lost))} lost.",
        "turns": [_ending(e.outcome, [count(n) for n in e.counts], e.words) for e in found.turns],
        "sums": [_ending(*row) for row in sums],
        "sessions": [_ending(e.outcome, [count(n) for n in e.counts], e.words) for e in found.sessions],
    }


def _of(opened: tuple[int, ...]) -> str:
    return " and ".join(count(n) for n in opened)


def _ending(outcome: str, counts: list[str], meaning: str) -> dict[str, Any]:
    return {"outcome": outcome, "counts": counts, "meaning": meaning}


def connect(summary: Summary) -> dict[str, Any] | None:
    """How long connecting takes; None where no session opened."""
    rows = [f for f in summary.connecting if f.measure != "session_length" and (f.measure != "token_wait" or f.high)]
    found = frames.connecting(summary)
    if not rows:
        return None
    figure = drawn(stacks.connect(found)) if found else NOT_DRAWN
    slow = any(stack.p > 0.5 for stack in found)
    phases = ("connect_dns", "connect_tcp", "connect_tls", "connect_upgrade")
    return figure | {
        "slow": slow,
        "line": _ready(rows),
        "token": remarks.token_wait(summary),
        "table": [row(summary, f) for f in rows if f.measure not in phases],
        "phases": [row(summary, f) for f in rows if f.measure in phases],
    }


def _ready(rows: list[Figures]) -> str:
    """session_ready, p50: direct 228 ms, gateway 223 ms."""
    told = [figures for figures in rows if figures.measure == "session_ready" and figures.at(0.5).published]
    named = len({figures.target for figures in rows}) > 1
    parts = [f"{f'{figures.target} ' if named else ''}{ms(figures.at(0.5).value)}" for figures in told]
    return f"From the start of connecting to session.created, p50: {', '.join(parts)}." if parts else ""


def flow(summary: Summary) -> dict[str, Any] | None:
    """Bytes each way over the run; None where nothing was recorded."""
    found, length = frames.flows(summary), summary.window.length_s
    if not found:
        return None
    width = HALF if len(found) > 1 else WIDE
    rates = [r for r in summary.throughput if r.total_bytes]
    size, unit = scale_of(max((r.mean_bytes_per_s for r in rates), default=0.0) / 10)
    table = [
        {
            "measure": rate.measure,
            "colour": summary.targets.index(rate.target),
            "total": quantity(rate.total_bytes),
            "mean": three(rate.mean_bytes_per_s / size),
            "cells": [three(v / size) for d in (rate.per_second, rate.per_session) for v in (d.p50, d.p99, d.high)],
        }
        for rate in rates
    ]
    longest = max(length, max(float(frame.at_s[-1]) for frame in found), 1.0)
    figures = [drawn(bars.flow(frame, longest, width)) for frame in found]
    spread = any(rate.per_second.n or rate.per_session.n for rate in rates)
    return {"figures": figures, "table": table, "unit": unit, "spread": spread, "line": _volume(summary)}


def _volume(summary: Summary) -> str:
    """Of decoded audio 208 MB were sent and 446 MB received, of WebSocket frames 285 MB and 614 MB."""
    sums = {name: sum(r.total_bytes for r in summary.throughput if r.measure == name) for name in FLOWS}
    audio_sent, audio_received, wire_sent, wire_received = (quantity(total) for total in sums.values())
    audio = f"{audio_sent} of decoded audio sent, {audio_received} received" if any(list(sums.values())[:2]) else ""
    wire = f"{wire_sent} of WebSocket frames sent, {wire_received} received" if any(list(sums.values())[2:]) else ""
    said = "; ".join(filter(None, (audio, wire)))
    drawn = " The figures show the whole run, warm-up too." if summary.window.warmup_s else ""
    return f"{said}, over the measured phase.{drawn}" if said else ""
