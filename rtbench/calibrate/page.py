"""The display of a calibration: line by line in a terminal of 100 columns, and as a page in the
report's style.

The page has the answer, one picture, and the table of every load.
"""

import math
from collections.abc import Sequence
from typing import Literal

from bench.base.units import BYTES_PER_MB
from bench.record.calibration import (
    EXACT_MS,
    LIMIT_MS,
    Calibration,
    LoadStep,
    Percentiles,
    SessionKind,
)
from reports.formatting import NONE, count, format_number, log_range, ms
from reports.render.blocks import (
    SIMULATED,
    Block,
    Column,
    Line,
    Page,
    Paragraph,
    Section,
    Table,
    table,
)
from reports.render.svg import WIDE, Plot, log_scale, log_ticks, plot_figure
from reports.statistics.quantiles import turns_to_publish
from reports.text.phrases import as_sentence
from rtbench.calibrate.load_step_search import CAUSES, LOAD_GENERATOR
from rtbench.calibrate.text import conclusions, notes
from rtbench.load_display import SYMBOLS, LoadPoint, draw_curve, head_row, row

STEP = (
    ("sessions", 10),
    ("events/s", 10),
    ("turns", 8),
    ("error p50", 11),
    ("p99", 8),
    ("p99.9", 8),
    ("max", 8),
    ("recv lag", 10),
    ("uncert.", 9),
    ("send lag", 10),
    ("CPU", 6),
)
"""The columns of a step's line: (head, width). The delays and the timestamp uncertainty are p99.
Times are in ms."""


def step_heads(kind: SessionKind) -> list[str]:
    """Return the two lines above the steps of a kind of session: a title, and the heads of the
    columns.
    """
    title = f"{kind} sessions; times in ms, delays and timestamp uncertainty p99"
    return [title, head_row(STEP)]


def step_lines(step: LoadStep) -> list[str]:
    """Return the lines of one load: its values, and why it did not pass."""
    worst = max(step.errors.values(), key=lambda percentiles: percentiles.p99, default=None)
    own = [
        format_number(step.load_generator[name].p99) if name in step.load_generator else NONE
        for name in LOAD_GENERATOR[:3]
    ]
    cells = [
        count(step.sessions),
        count(step.events_per_s),
        count(step.turns),
        *_quantiles(worst),
        *own,
        _share(step.cpu),
    ]
    return [
        SYMBOLS[step.result][0] + row(cells, STEP)[1:],
        *(f"    {note}" for note in notes(step)),
    ]


def _quantiles(percentiles: Percentiles | None) -> list[str]:
    """Return p50, p99, p99.9 and the maximum as texts. p99.9 is shown only if there are enough
    values.
    """
    if percentiles is None:
        return [NONE] * 4
    p999 = percentiles.p999 if percentiles.n >= turns_to_publish(0.999) else None
    return [
        format_number(value) for value in (percentiles.p50, percentiles.p99, p999, percentiles.high)
    ]


LIMITS = {LIMIT_MS: "1 ms", EXACT_MS: "100 µs"}
CHART = (
    "p99 of |value − truth| of the metric with the largest error, over sessions; the truth is the"
    " simulator's. Hollow marks: loads that failed. Loads at which the simulator was late, or other"
    " programs used the CPU, are left out, because they show nothing about the load generator."
)
LOADS = (
    "load",
    "result",
    "events/s",
    *LOAD_GENERATOR,
    "CPU",
    "µs per event",
    "memory",
    "simulator late, p99",
    "other programs",
)
ERRORS = (Column("metric", inline=True), "sessions", "n", "p50", "p99", "p99.9", "max")


def calibration_page(calibration: Calibration) -> Page:
    """Return the page. It has the answer, how the answer was found, the picture, and both
    tables.
    """
    *lines, answer = conclusions(calibration)
    steps = calibration.steps
    transport = "over TLS" if calibration.tls else "without TLS"
    facts = " · ".join(f"{name} {value}" for name, value in calibration.machine.items())
    caption = "Delays and timestamp uncertainty: p50, p99 and p99.9, ms"
    loads = table(LOADS, [_load(step) for step in steps], caption=caption)
    errors = error_table(steps, calibration.kinds, "errors", "instants")
    chart_blocks: list[Block] = [Paragraph(CHART), plot_figure(chart(steps, calibration.kinds))]
    return Page(
        title=f"Calibration, {calibration.date_utc}",
        badges=[SIMULATED],
        headline=as_sentence(answer),
        lead=[
            *(Paragraph(as_sentence(line), "lead") for line in lines),
            Paragraph(f"{calibration.date_utc}, {transport} · {facts}", "meta"),
        ],
        sections=[
            Section(
                "answer",
                "Errors by load level",
                "How large are the errors at each load?",
                chart_blocks,
            ),
            Section("loads", "Load levels", "What did each load require?", [loads]),
            Section(
                "metrics",
                "Errors by metric",
                "How large is the error of each metric at each load?",
                [errors],
            ),
        ],
    )


def error_table(
    steps: Sequence[LoadStep],
    kinds: Sequence[SessionKind],
    *fields: Literal["errors", "instants"],
) -> Table:
    """Return the table with the errors of metrics, of instants, or of both, sorted by rising
    load.
    """
    rows: list[Line] = []
    for field in fields:
        at = "at " if field == "instants" else ""
        errors = [
            (step, name, percentiles)
            for step in steps
            for name, percentiles in getattr(step, field).items()
        ]
        errors.sort(key=lambda error: (kinds.index(error[0].kind), error[1], error[0].sessions))
        rows += [
            [
                f"{step.kind}: {at}{name}",
                count(step.sessions),
                count(percentiles.n),
                *_quantiles(percentiles),
            ]
            for step, name, percentiles in errors
        ]
    return table(ERRORS, rows, caption="|value − truth|, ms")


def _load(step: LoadStep) -> Line:
    return [
        f"{step.kind}, {count(step.sessions)}",
        f"{SYMBOLS[step.result][0]} {'; '.join(notes(step))}".rstrip(),
        count(step.events_per_s),
        *(
            (
                " · ".join(_quantiles(step.load_generator[name])[:3])
                if name in step.load_generator
                else NONE
            )
            for name in LOAD_GENERATOR
        ),
        _share(step.cpu),
        format_number(step.us_per_event),
        NONE if step.rss_bytes is None else f"{step.rss_bytes / BYTES_PER_MB:,.0f} MB",
        format_number(step.simulator_late_p99_ms),
        _share(step.background),
    ]


def _share(cores: float | None) -> str:
    return NONE if cores is None else f"{cores:.0%}"


def chart(steps: Sequence[LoadStep], kinds: Sequence[SessionKind]) -> Plot:
    """Draw the p99 of the error over the number of sessions, with the two limits. Both axes are
    logarithmic.
    """
    plotted = [step for step in steps if step.worst_p99_ms and step.result not in CAUSES]
    title = "Error of the values over sessions per process"
    desc = "; ".join(
        f"{step.kind} {step.sessions}: {ms(step.worst_p99_ms or 0)}" for step in plotted
    )
    plot = Plot(
        WIDE, 364, list(enumerate(kinds)), left=56, right=60, top=18, title=title, desc=desc
    )
    x = log_scale(*log_range(step.sessions for step in plotted), plot.x0, plot.x1)
    y = log_scale(
        *log_range([*LIMITS, *(step.worst_p99_ms or math.nan for step in plotted)]),
        plot.y0,
        plot.y1,
    )
    plot.y_axis(y, log_ticks(y.low, y.high, 7), ms)
    plot.x_axis(x, log_ticks(x.low, x.high, 8), count, "sessions per process")
    for limit, name in LIMITS.items():
        plot.line(plot.x0, y(limit), plot.x1, y(limit), "zero")
        plot.text(plot.x1 + 4, y(limit) + 4, name, "lab")
    for colour, kind in enumerate(kinds):
        points = []
        for step in sorted(
            (step for step in plotted if step.kind == kind), key=lambda step: step.sessions
        ):
            error = step.worst_p99_ms or 0
            tip = f"{kind}, {count(step.sessions)} sessions: {ms(error)}"
            points.append(LoadPoint(x(step.sessions), y(error), step.result == "pass", tip))
        draw_curve(plot, colour, points)
    return plot
