"""The sections on distributions, percentiles, the course of the run, and steps."""

from collections.abc import Iterable

from markupsafe import Markup

from bench.catalogue.metrics import CATALOGUE
from reports.analysis.summary.distributions import MIN_TURNS, PUBLISHED, curves, histogram_of
from reports.analysis.summary.over_time import OverTime, over_time, steps_over_time
from reports.analysis.summary.summary import Summary
from reports.data.samples import VOICE_TO_VOICE
from reports.data.turns import Pool
from reports.formatting import NONE, clock, count, format_duration, join_present, join_words, plural
from reports.metrics.strata import Stratum
from reports.pages.run_report import bar_charts, charts, time_panels
from reports.pages.run_report.metric_tables import TARGET, quantile_cells, target_cell
from reports.render import blocks as b
from reports.render.markers import COLOURS
from reports.render.svg import plot_figure
from reports.results.value import LEVEL_NAMES
from reports.text import cells, remarks, sentences

READ_ACROSS = "How to read it: 95 % of the turns were faster than the curve at p95."


def spread(summary: Summary) -> b.Section | None:
    """Return the section on latency percentiles, with the histograms that are not at the top of the
    page; None if no metric has enough turns for either.
    """
    curved: list[tuple[str, b.Block]] = []
    for name, pools, title in _pools(summary):
        plotted = curves(summary.samples[name], pools)
        if any(curve.n - curve.failed >= MIN_TURNS for curve in plotted):
            by_p = [(curve, {e.p: e for e in curve.points}) for curve in plotted]
            rows: list[b.Line] = []
            for p in (p for p in PUBLISHED if any(p in points for _, points in by_p)):
                quantiles_of = (
                    cells.estimate_cell(points[p], curve.n, curve.failed) if p in points else NONE
                    for curve, points in by_p
                )
                rows.append([f"p{p * 100:g}", *quantiles_of])
            heads = ["percentile"] + [f"{curve.target}, ms" for curve in plotted]
            plot = charts.percentiles(plotted, title)
            curved.append((title, plot_figure(plot, stops=(), numbers=[b.table(heads, rows)])))
    if not curved:
        return None
    banded = (
        "Shaded: 95 % interval."
        if len(summary.targets) <= COLOURS
        else "95 % intervals are in the table."
    )
    meets = "Beyond the point where a curve meets the red band, all turns failed or did not start."
    failed = meets if summary.endings.failed_or_not_started else ""
    read = (READ_ACROSS, banded, failed, "Dotted: too few turns or sessions.")
    (title, first), *more = curved
    blocks: b.Blocks = [
        b.Paragraph(join_present(" ", f"{title}.", *read)),
        first,
        *b.others("Other percentiles", more),
        *b.others("Other histograms", histograms(summary)[1:]),
    ]
    question = "What is the latency of most turns, and of the slowest?"
    return b.Section("spread", "Latency percentiles", question, blocks)


NARROW = 358
"""The width of the first figure on a phone, in pixels."""


def histograms(summary: Summary) -> list[tuple[str, b.Figure]]:
    """Return a histogram of voice_to_voice and of each main metric, with its title. The first is
    that of the headline.
    """
    figures = []
    for name, pools, title in _pools(summary):
        if name in {VOICE_TO_VOICE, *summary.mains.values()} and (
            frame := histogram_of(summary.samples[name], pools)
        ):
            read = f"{title}: share of the turns by latency; dotted: p50 and p95, if published"
            failed = [of for of in frame.targets if of.failed]
            if failed:
                read += "; right: of the same turns, those that failed, or did not start"
                one = f" ({count(failed[0].failed)} of {count(failed[0].n)})"
                read += one if len(frame.targets) == 1 else ""
            plot = bar_charts.histogram(frame, title)
            narrow = Markup(bar_charts.histogram(frame, title, NARROW).svg())
            figures.append((title, plot_figure(plot, f"{read}.", stops=(), narrow=narrow)))
    return figures


def _pools(summary: Summary) -> Iterable[tuple[str, list[Pool], str]]:
    """Yield (metric, pools, title) for each plotted metric and stratum. Those of the headline are
    first.
    """
    first = sentences.headline_results(summary)
    metric, commonest = (first[0].metric, first[0].stratum) if first else ("", None)

    def sort_key(name: str) -> tuple[bool, bool, bool]:
        return name != metric, name != summary.main_metric, name not in summary.mains.values()

    for name in sorted(summary.plotted, key=sort_key):
        pools = list(summary.samples[name].pools())
        strata = list(dict.fromkeys(pool.stratum for pool in pools))
        for stratum in sorted(strata, key=lambda stratum: stratum != commonest):
            which = (
                stratum.measured_from_text
                if CATALOGUE[name].begin == "measured_from"
                else f"of {stratum.turns_text(strata)}"
            )
            title = (
                f"{name} {which}"
                if len(strata) > 1 or CATALOGUE[name].begin == "measured_from"
                else name
            )
            yield (
                name,
                [p for p in pools if p.stratum == stratum],
                title,
            )


BY_EVENTS = "the events of this run may be the cause"


def time(summary: Summary) -> b.Section | None:
    """Return the section on latency over time; None if there are no values."""
    frame = over_time(summary)
    if frame is None:
        return None
    question = (
        "Did latency change during the run?" if frame.is_plottable else "When did turns fail?"
    )
    drift = remarks.drift_text(summary.drift)
    suspected = remarks.drift_suspected(summary.drift)
    if suspected and summary.events:
        drift, suspected = f"{drift} {BY_EVENTS}.", f"{suspected}; {BY_EVENTS}"
    figure = plot_figure(
        time_panels.time_panels(frame),
        join_present(" ", *_reading(summary, frame)),
        below=b.note((b.Term("drift"), f": {drift}")) if drift else [],
    )
    brief = b.fact("drift", [suspected])
    return b.Section("time", "Latency over time", question, [figure], brief=brief)


def _reading(summary: Summary, frame: OverTime) -> Iterable[str]:
    titles = dict.fromkeys(cells.row_title(result) for result in summary.results if result.turns)
    yield f"{join_words(list(titles))}."
    if (slow := frame.slowest) is not None:
        where = f" on {slow.label}" if len(frame.panels) > 1 else ""
        at = clock(slow.begin_s, long=frame.duration_s > 180)
        length = format_duration(frame.bin_s)
        yield (
            f"Slowest {length}: from {at}{where}, p50 by step {slow.ratio:.1f} times that of the"
            " run."
        )
    if frame.is_plottable:
        dotted = all(panel.dots is not None for panel in frame.panels)
        yield "Dots: turns, at their start." if dotted else "Shade: number of turns."
        if any(panel.line("p50") for panel in frame.panels):
            tail = ", dashed: p95" if any(panel.line("p95") for panel in frame.panels) else ""
            yield f"Solid line: p50 of each {format_duration(frame.bin_s)}{tail}."
    not_started = sum(panel.not_started for panel in frame.panels)
    if any(panel.failed for panel in frame.panels):
        shaded = any(panel.failures_s.size > time_panels.MAX_TICKS for panel in frame.panels)
        yield f"Red: {'share of failed turns' if shaded else 'failed turns'}."
    if not_started:
        yield (
            f"{plural(not_started, 'turn')} did not start: shown as failed turns at the end of"
            " their session."
        )


def steps(summary: Summary) -> b.Section | None:
    """Return the section with figures and tables of the steps, by stratum; None if there is only
    one step.
    """
    parts = [block for stratum in summary.turns.strata for block in _steps(summary, stratum)]
    step_names = {
        row.step for stratum in summary.turns.strata for row in cells.steps_of(summary, stratum)
    }
    return (
        b.Section("steps", "Latency by step", "Which step is slow?", parts)
        if len(step_names) > 1
        else None
    )


def _steps(summary: Summary, stratum: Stratum) -> Iterable[b.Block]:
    rows = cells.steps_of(summary, stratum)
    of_steps = ((step, [row for row in rows if row.step == step]) for step in summary.turns.steps)
    groups = [
        (step, [(summary.targets.index(row.target), row) for row in group])
        for step, group in of_steps
        if group
    ]
    if not groups:
        return
    published = any(e.has_interval for row in rows for e in row.quantiles)
    caption = cells.slowest_step(summary, stratum)
    heads: b.Heads = [
        "step",
        TARGET,
        *LEVEL_NAMES.values(),
        "max",
        "planned",
        "completed",
    ]
    summaries = (row for _, group in groups for _, row in group)
    numbers = [
        b.table(
            heads,
            [
                [row.step, target_cell(summary, row.target), *quantile_cells(row)]
                for row in summaries
            ],
        )
    ]
    yield b.Heading(f"{cells.row_title(rows[0])}, in ms")
    if published:
        plot = bar_charts.step_bars(groups, summary.mains[stratum])
        yield plot_figure(
            plot, f"{caption} Bars: 95 % intervals over sessions.", stops=(), numbers=numbers
        )
    else:
        yield b.Figure("", caption, numbers=numbers)
    if frame := steps_over_time(summary, stratum):
        description = (
            f"p50 of the turns that began within each {format_duration(frame.bin_s)}, all steps on"
            " one scale."
        )
        if summary.endings.not_started:
            description += " A turn that did not start counts as failed at the end of its session."
        yield b.Details(
            "Each step over time",
            [plot_figure(time_panels.step_panels(frame), description)],
            open=True,
        )
