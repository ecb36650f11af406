"""The section on a run with `--vary`: the values of each setting, and how they follow it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from markupsafe import Markup

from reports.analysis.summary.summary import Summary
from reports.analysis.summary.sweep import (
    AT_SHARES,
    CUT_OFF_RATE,
    EFFECT,
    NO_CHANGE,
    NO_POINTS,
    RESPONSE,
    SLOPE,
    response_of,
)
from reports.data.samples import VOICE_TO_VOICE
from reports.formatting import NONE, count, format_number, join_words, ms, percent
from reports.pages.run_report.metric_tables import target_cell
from reports.pages.run_report.sections.latency import NARROW
from reports.pages.run_report.sections.turn_taking import share_cell
from reports.render import blocks as b
from reports.render.markers import colour_class, marker_shape
from reports.render.svg import WIDE, Plot, linear_ticks, plot_figure
from reports.results.value import LEVEL_NAMES, Subject, Value, ValuesOfSubject, by_subject, unique
from reports.text import phrases
from reports.text.reasons import reason_text

P50 = LEVEL_NAMES[0.5]
LATENCY = f"{VOICE_TO_VOICE} {P50}"
QUESTION = "Which setting? How late is the reply, and how often is a caller cut off?"
READ = (
    "Each dot is a setting. Horizontal: the median of voice_to_voice. Vertical: the share of turns"
    " that were cut off. Lines: intervals of 95 %."
)
MEANING = (
    "Latencies are those of turns that were answered, in ms. A slope is that of least squares, for"
    " one unit of the setting; the effect is the slope times the range. A metric ignores a setting"
    f" if the whole interval of the effect is below {percent(NO_CHANGE, 1)} of the value at the"
    f" lowest setting, or below {100 * NO_POINTS:g} points of a rate. Intervals of 95 % over groups"
    " of sessions that started together."
)
HEADS = ("metric", "for each unit", "over its range", "response")
TEXTS = {
    "ignored": "ignored",
    "rises": "rises with it",
    "falls": "falls with it",
    "undecided": "not decided",
}


def sweep(summary: Summary) -> b.Section | None:
    """Return the section; None if the run compares no settings."""
    table = by_subject(summary.sweep)
    settings: dict[str, dict[str, ValuesOfSubject]] = {}
    for subject, row in table.items():
        if not subject.group:
            settings.setdefault(subject.step, {})[subject.target] = row
    whole = settings.pop("", None)
    if not whole:
        return None
    keys = [(subject, row) for subject, row in table.items() if subject.group]
    latencies = [name for name in next(iter(whole.values())) if name != CUT_OFF_RATE]
    main = next((name for name in (LATENCY, *latencies) if name in latencies), "")
    of_keys = b.table(
        ["step" if settings else None, "setting", *HEADS],
        [
            [(subject.step or "all") if settings else None, _key_name(subject), *cells]
            for subject, row in keys
            for cells in _responses(row)
            if not subject.step or cells[0] == main
        ],
        stacked=True,
    )
    tables = [_of_settings(summary, whole, latencies), *_of_steps(summary, settings, main), of_keys]
    lines = [*_at_shares(keys), *_unknown(keys)]
    figures = {step: _figure(rows, summary.targets) for step, rows in settings.items()}
    blocks = [
        *tables,
        *(b.Paragraph(f"{line[0].upper()}{line[1:]}.") for line in lines),
        *_figure(whole, summary.targets),
        *(
            b.Details(f"{step}: cut-offs against latency", figure)
            for step, figure in figures.items()
            if figure
        ),
        *b.note(MEANING),
    ]
    brief = [*tables, *b.fact("sweep", lines)]
    return b.Section("sweep", "Settings", QUESTION, blocks, brief=brief)


def _of_settings(
    summary: Summary, settings: Mapping[str, ValuesOfSubject], latencies: Sequence[str]
) -> b.Block:
    """Return the table of the values of each setting, with the cost of a session if it is known."""
    usd = {cost.target: cost.usd_per_session for cost in summary.cost.targets}
    costs = {target: usd.get(target, math.nan) for target in settings}
    has_costs = not all(map(math.isnan, costs.values()))
    return b.table(
        [
            "setting",
            *(f"{name}, ms" for name in latencies),
            "cut off",
            "USD per call" if has_costs else None,
        ],
        [
            [
                target_cell(summary, target),
                *(_latency_cell(row[name]) for name in latencies),
                share_cell(row[CUT_OFF_RATE]),
                format_number(costs[target]) if has_costs else None,
            ]
            for target, row in settings.items()
        ],
        stacked=True,
    )


def _of_steps(
    summary: Summary, settings: Mapping[str, Mapping[str, ValuesOfSubject]], main: str
) -> b.Blocks:
    """Return the table of the main values of each setting in each step, if there are several."""
    rows: list[b.Line] = [
        [
            step,
            target_cell(summary, target),
            _latency_cell(row[main]) if main in row else NONE,
            share_cell(row[CUT_OFF_RATE]),
        ]
        for step, of_step in settings.items()
        for target, row in of_step.items()
    ]
    heads = ["step", "setting", f"{main}, ms", "cut off"]
    return [b.table(heads, rows, stacked=True)] if rows else []


def _key_name(subject: Subject) -> str:
    return subject.part.rpartition(".")[2]


def _at_shares(keys: Iterable[tuple[Subject, ValuesOfSubject]]) -> Iterator[str]:
    for subject, row in keys:
        for statistic, share in AT_SHARES.items():
            value = row.get(f"{VOICE_TO_VOICE} {statistic}")
            if value and not value.reason and not (subject.step and math.isnan(value.value)):
                at = f"at {percent(share, 1)} cut-offs, {VOICE_TO_VOICE} is {_text(value, ms)}"
                yield f"{subject.step}: {at}" if subject.step else at


def _unknown(keys: Iterable[tuple[Subject, ValuesOfSubject]]) -> Iterator[str]:
    """Yield the reasons for which responses of all turns are unknown."""
    unknown: dict[str, list[str]] = {}
    for subject, row in keys:
        for name, value in () if subject.step else row.items():
            if name.endswith(f" {RESPONSE}") and math.isnan(value.value):
                reason = reason_text(value.reason) or "a setting has no turn with a value"
                unknown.setdefault(reason, []).append(value.metric)
    for reason, metrics in unknown.items():
        yield f"response of {join_words(unique(metrics))}: {reason}"


def _latency_cell(value: Value) -> b.Cell | str:
    if math.isnan(value.value):
        return b.Cell(format_number(value.value), reason_text(value.reason))
    return b.Cell(
        format_number(value.value), phrases.interval(value.low, value.high, format_number)
    )


def _responses(row: ValuesOfSubject) -> Iterable[Sequence[b.Cell | str]]:
    """Yield for each metric its name, slope, effect and response."""
    for name, response in row.items():
        metric, _, statistic = name.rpartition(" ")
        if statistic != RESPONSE:
            continue
        is_rate = response.metric == CUT_OFF_RATE
        title = f"{CUT_OFF_RATE}, points" if is_rate else metric
        if math.isnan(response.value):
            yield title, NONE, NONE, "unknown"
            continue
        write = _points if is_rate else format_number
        texts = [_text(row[f"{metric} {each}"], write) for each in (SLOPE, EFFECT)]
        yield title, *texts, reason_text(response.reason) or TEXTS[response_of(response)]


def _points(share: float) -> str:
    return f"{round(100 * share, 9) + 0.0:+.3g}"


def _text(value: Value, write: Callable[[float], str]) -> str:
    """Return a value with its interval, or why it is unknown."""
    if math.isnan(value.value):
        return reason_text(value.reason) or "outside of the settings"
    return f"{write(value.value)} ({phrases.interval(value.low, value.high, write)})"


def _figure(settings: Mapping[str, ValuesOfSubject], targets: Sequence[str]) -> b.Blocks:
    wide, narrow = (cut_offs_by_latency(settings, targets, width) for width in (WIDE, NARROW))
    return [plot_figure(wide, READ, narrow=Markup(narrow.svg()))] if wide and narrow else []


def cut_offs_by_latency(
    settings: Mapping[str, ValuesOfSubject], targets: Sequence[str], width: int
) -> Plot | None:
    """Plot the share of turns that were cut off over the latency; None if one is unknown."""
    points = [
        (list(targets).index(target), target, row[LATENCY], row[CUT_OFF_RATE])
        for target, row in settings.items()
        if LATENCY in row and math.isfinite(row[LATENCY].value) and row[CUT_OFF_RATE].n
    ]
    if len(points) < 2:
        return None
    named = [(colour, target) for colour, target, _, _ in points]
    plot = Plot(width, 300, named, left=56, right=24, title="Cut-offs against latency", desc=READ)
    ends = [
        end
        for *_, latency, _ in points
        for end in (latency.value, latency.low, latency.high)
        if math.isfinite(end)
    ]
    x = plot.along_x(min(ends), max(max(ends), min(ends) + 1))
    top = max(share.high for *_, share in points)
    y = plot.along_y(0.0, min(1.0, max(0.01, top)))
    plot.y_axis(y, linear_ticks(0.0, min(1.0, max(0.01, top))), lambda share: percent(share, 1))
    ticks = [tick for tick in linear_ticks(min(ends), max(ends)) if tick >= min(ends)]
    plot.x_axis(x, ticks, ms, LATENCY)
    ordered = sorted(points, key=lambda point: point[2].value)
    plot.path([(x(latency.value), y(share.value)) for *_, latency, share in ordered], "moved")
    for colour, target, latency, share in points:
        with plot.of(colour):
            at, level = x(latency.value), y(share.value)
            low, high = (
                x.clip(end) if math.isfinite(end) else at for end in (latency.low, latency.high)
            )
            plot.line(low, level, high, level, f"whisker {colour_class(colour)}")
            plot.line(
                at, y.clip(share.low), at, y.clip(share.high), f"whisker {colour_class(colour)}"
            )
            tip = f"{target}: {ms(latency.value)}, {count(share.events)} of {share.n} cut off"
            plot.dot(at, level, marker_shape(colour), f"mark {colour_class(colour)}", 4, tip)
    return plot
