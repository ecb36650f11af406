"""Draws a calibration as a page in the report's style: the answer, one picture, and the table of every load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from bench.calibrate.conclude import KINDS, closing, judged
from bench.calibrate.text import notes, quantiles
from bench.load_search import SHOWN
from bench.run.calibration import EXACT_MS, LIMIT_MS, Calibration, LoadStep, Spread
from bench.units import BYTES_PER_MB
from reports.blocks import Line, Paragraph, Section, table
from reports.numbers import NONE, count, ms, three
from reports.page.html import SIMULATED, Page, poured
from reports.page.pieces import figure
from reports.page.svg import WIDE, Plot, frame, log_range, log_scale, log_ticks, shape, tone
from reports.wording.words import sentence

LIMITS = {LIMIT_MS: "1 ms", EXACT_MS: "100 µs"}
PICTURE = (
    "p99 of |figure − truth| of the measure that is most wrong, over sessions; the truth is the simulator's. Hollow "
    "marks: a load that was too much. Loads that say nothing about the harness are left out: the simulator was "
    "late, or other programs took the time."
)
LOADS = ("load", "result", "events/s", "receive_lag", "stamp_error", "send_lag", "hub_delay", "CPU", "µs an event",
         "memory", "simulator late, p99", "others")  # fmt: skip
ERRORS = ("measure", "sessions", "n", "p50", "p99", "p99.9", "max")


def html(calibration: Calibration) -> str:
    """The page: one file that needs nothing else."""
    return poured(page_of(calibration))


def page_of(calibration: Calibration) -> Page:
    """The answer, how it was made, the picture, and both tables."""
    *lines, answer = closing(calibration)
    steps, way = calibration.steps, "over TLS" if calibration.tls else "without TLS"
    facts = " · ".join(f"{name} {value}" for name, value in calibration.machine.items())
    loads = table(LOADS, [_load(step) for step in steps], caption="Lags and stamp errors: p50, p99 and p99.9, ms")
    rows = [row for named in ("errors", "instants") for row in _errors(steps, named)]
    return Page(
        title=f"Calibration, {calibration.date_utc}",
        badges=[SIMULATED],
        headline=sentence(answer),
        lead=[
            *(Paragraph(sentence(line), "lead") for line in lines),
            Paragraph(f"{calibration.date_utc}, {way} · {facts}", "meta"),
        ],
        sections=[
            Section(
                "answer",
                "",
                "How wrong are the figures at which load?",
                [Paragraph(PICTURE), figure(picture(steps))],
            ),
            Section("loads", "", "What each load took", [loads]),
            Section(
                "measures",
                "",
                "Every measure at every load",
                [table(ERRORS, rows, caption="|figure − truth|, ms")],
            ),
        ],
    )


def _errors(steps: Sequence[LoadStep], named: Literal["errors", "instants"]) -> list[Line]:
    """Of the measures, or of the instants that they are made of; each at rising loads."""
    at = "at " if named == "instants" else ""
    rising = sorted(steps, key=lambda step: (KINDS.index(step.kind), step.sessions))
    rows = [(step, name, spread) for step in rising for name, spread in getattr(step, named).items()]
    rows.sort(key=lambda row: (KINDS.index(row[0].kind), row[1]))
    return [[f"{step.kind}: {at}{name}", count(step.sessions), count(spread.n), *quantiles(spread)]
            for step, name, spread in rows]  # fmt: skip


def _load(step: LoadStep) -> Line:
    return [
        f"{step.kind}, {count(step.sessions)}",
        f"{SHOWN[step.outcome][0]} {'; '.join(notes(step))}".rstrip(),
        count(step.events_per_s),
        *(_three(step.harness.get(name)) for name in ("receive_lag", "stamp_error", "send_lag", "hub_delay")),
        _share(step.cpu),
        three(step.us_per_event),
        NONE if step.rss_bytes is None else f"{step.rss_bytes / BYTES_PER_MB:,.0f} MB",
        three(step.simulator_late_p99_ms),
        _share(step.background),
    ]


def _three(spread: Spread | None) -> str:
    return NONE if spread is None else " · ".join(quantiles(spread)[:3])


def _share(cores: float | None) -> str:
    return NONE if cores is None else f"{cores:.0%}"


def picture(steps: Sequence[LoadStep]) -> Plot:
    """Draw the error's p99 over sessions, both logarithmic, with the two limits."""
    shown = [step for step in judged(steps) if step.worst_p99_ms]
    plot = frame(
        WIDE,
        364,
        list(enumerate(KINDS)),
        left=56,
        right=60,
        top=18,
        title="Error of the figures over sessions per process",
        desc="; ".join(f"{s.kind} {s.sessions}: {ms(s.worst_p99_ms or 0)}" for s in shown),
    )
    x = log_scale(*log_range(step.sessions for step in shown), plot.x0, plot.x1)
    y = log_scale(*log_range([*LIMITS, *(step.worst_p99_ms or math.nan for step in shown)]), plot.y0, plot.y1)
    plot.y_axis(y, log_ticks(y.low, y.high, 7), ms)
    plot.x_axis(x, log_ticks(x.low, x.high, 8), count, "sessions per process")
    for limit, name in LIMITS.items():
        plot.line(plot.x0, y(limit), plot.x1, y(limit), "zero")
        plot.text(plot.x1 + 4, y(limit) + 4, name, "lab")
    for colour, kind in enumerate(KINDS):
        of_kind = sorted((step for step in shown if step.kind == kind), key=lambda step: step.sessions)
        plot.path([(x(step.sessions), y(step.worst_p99_ms or 0)) for step in of_kind], f"curve s{tone(colour)}")
        for step in of_kind:
            hollow = "" if step.outcome == "good" else " open"
            tip = f"{kind}, {count(step.sessions)} sessions: {ms(step.worst_p99_ms or 0)}"
            plot.dot(
                x(step.sessions), y(step.worst_p99_ms or 0), shape(colour), f"mark{hollow} s{tone(colour)}", tip=tip
            )
    return plot
