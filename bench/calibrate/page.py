"""A calibration as a page in the report's style: the answer, one picture, and the table of every load."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from bench.calibrate.conclude import KINDS, closing, judged
from bench.calibrate.text import MARKS, notes, quantiles
from bench.run.calibration import EXACT_MS, LIMIT_MS, Calibration, LoadStep, Spread
from bench.units import BYTES_PER_MB
from reports.numbers import NONE, count, ms, three
from reports.page.charts import legend
from reports.page.page import environment
from reports.page.pieces import drawn
from reports.page.svg import WIDE, Plot, log_range, log_scale, log_ticks, shape, tone

LIMITS = {LIMIT_MS: "1 ms", EXACT_MS: "100 µs"}
TEMPLATE = """{% extends "base.html.j2" %}
{% macro rows(lines) %}{% for line in lines %}<tr><th scope="row">{{ line[0] }}</th>
{% for cell in line[1:] %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}{% endmacro %}
{% block page %}
<div class="top"><span class="badge sim">◇ SIMULATED <small>rtbench simulate, no real service</small></span></div>
<h1 id="answer">{{ answer }}</h1>
{% for line in lines %}<p class="lead">{{ line }}</p>{% endfor %}
<p class="meta">{{ made }}</p>
<h2>How wrong are the figures at which load?</h2>
<p class="q">p99 of |figure − truth| of the measure that is most wrong, over sessions; the truth is the simulator's.
Hollow marks: a load that was too much. Left out are loads that say nothing of the harness: the simulator was late, or
other programs took the time.</p>
<figure><div class="pan">{{ picture.drawn }}</div></figure>
<h2>What each load took</h2>
<div class="scroll"><table><caption>Lags and stamp errors: p50, p99 and p99.9, ms</caption><thead><tr>
{% for head in heads %}<th scope="col">{{ head }}</th>{% endfor %}</tr></thead><tbody>
{{ rows(steps) }}</tbody></table></div>
<h2>Every measure at every load</h2>
<div class="scroll"><table><caption>|figure − truth|, ms</caption><thead><tr><th scope="col">measure</th>
<th scope="col">sessions</th><th scope="col">n</th><th scope="col">p50</th><th scope="col">p99</th>
<th scope="col">p99.9</th><th scope="col">max</th></tr></thead><tbody>
{{ rows(errors) }}</tbody></table></div>
{% endblock %}
"""
HEADS = ("load", "result", "events/s", "receive_lag", "stamp_error", "send_lag", "hub_delay", "CPU", "µs an event",
         "memory", "simulator late, p99", "others")  # fmt: skip


def html(calibration: Calibration) -> str:
    """One file that needs nothing else."""
    *lines, answer = closing(calibration)
    facts = calibration.machine
    way = "over TLS" if calibration.tls else "without TLS"
    context: dict[str, Any] = {
        "title": f"Calibration, {calibration.date_utc}",
        "tabs": [],
        "answer": f"{answer[0].upper()}{answer[1:]}.",
        "lines": [f"{line[0].upper()}{line[1:]}." for line in lines],
        "made": f"{calibration.date_utc}, {way} · {' · '.join(f'{name} {value}' for name, value in facts.items())}",
        "picture": drawn(picture(calibration.steps)),
        "errors": [row for named in ("errors", "instants") for row in _error_rows(calibration.steps, named)],
        "heads": HEADS,
        "steps": [_step_row(step) for step in calibration.steps],
    }
    return environment().from_string(TEMPLATE).render(context)


def _error_rows(steps: Sequence[LoadStep], named: Literal["errors", "instants"]) -> list[list[str]]:
    """Of the measures, or of the instants that they are made of; each at rising loads."""
    at = "at " if named == "instants" else ""
    rising = sorted(steps, key=lambda step: (KINDS.index(step.kind), step.sessions))
    rows = [(step, name, spread) for step in rising for name, spread in getattr(step, named).items()]
    rows.sort(key=lambda row: (KINDS.index(row[0].kind), row[1]))
    return [[f"{step.kind}: {at}{name}", count(step.sessions), count(spread.n), *quantiles(spread)]
            for step, name, spread in rows]  # fmt: skip


def _step_row(step: LoadStep) -> list[str]:
    return [
        f"{step.kind}, {count(step.sessions)}",
        f"{MARKS[step.outcome]} {'; '.join(notes(step))}".rstrip(),
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
    """Error p99 over sessions, both logarithmic, with the two limits."""
    shown = [step for step in judged(steps) if step.worst_p99_ms]
    plot = Plot(WIDE, 380, left=56, right=60, top=34, bottom=42,
                title="Error of the figures over sessions per process",
                desc="; ".join(f"{s.kind} {s.sessions}: {ms(s.worst_p99_ms or 0)}" for s in shown))  # fmt: skip
    x = log_scale(*log_range(step.sessions for step in shown), plot.x0, plot.x1)
    y = log_scale(*log_range([*LIMITS, *(step.worst_p99_ms or math.nan for step in shown)]), plot.y0, plot.y1)
    plot.y_axis(y, log_ticks(y.low, y.high, 7), ms)
    plot.x_axis(x, log_ticks(x.low, x.high, 8), count, "sessions per process")
    for limit, name in LIMITS.items():
        plot.line(plot.x0, y(limit), plot.x1, y(limit), "zero")
        plot.text(plot.x1 + 4, y(limit) + 4, name, "lab")
    legend(plot, 14, list(enumerate(KINDS)))
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
