"""The section on a peak of load: what happened to callers, and the recovery."""

from __future__ import annotations

from collections.abc import Iterable

from reports.analysis import overload as of_peak
from reports.analysis.summary.summary import Summary
from reports.formatting import NONE, count, join_words, ms
from reports.pages.run_report.overload_plot import READ, overload_plot
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.results.value import Value
from reports.text.peak import peak_results, value_text

CALLS = ("offered", "opened", "refused", "dropped", "failed")
QUESTION = "What happens to callers when there are too many, and when is it over?"
MEANING = (
    "Refused: did not open. Dropped: closed by the service in progress. Harm: change of p95 of the"
    " calls that were in progress when the peak began, by step and paired by call. Recovery time:"
    " from the end of the peak; calls of the peak that are then in progress still end."
)


def overload(summary: Summary) -> Iterable[b.Section]:
    """Yield a section for each target; nothing if the load had no peak."""
    for number, target in enumerate(summary.targets):
        if (of := of_peak.calls_of_peak(summary.run, summary.samples, number)) is not None:
            values = [value for value in summary.overload if value.target == target]
            heading = f"Overload and recovery{f' · {target}' if number else ''}"
            yield _section(of, values, f"overload-{number}", heading)


def _section(of: of_peak.CallsOfPeak, values: list[Value], anchor: str, heading: str) -> b.Section:
    table = {(value.group.name if value.group else "", value.name): value for value in values}
    recovery = table["", "recovery_time value"]
    refused = [
        f"{count(value.n)} {status}, Retry-After"
        f" {value_text(table[status, of_peak.RETRY_AFTER], ms)}"
        for (status, name), value in table.items()
        if name == of_peak.REFUSED and status not in of_peak.PARTS
    ]
    lines = [
        *peak_results({name: value for (group, name), value in table.items() if not group}),
        f"refused in all: {'; '.join(refused) or 'no call'}",
    ]
    problems = dict(zip(of_peak.PARTS, of.problems, strict=True))
    if set(problems.values()) - {"", of_peak.NOT_RUN}:
        usable = [part for part, problem in problems.items() if not problem]
        lines.append(f"usable parts of the run: {join_words(usable) or 'none'}")
    heads: b.Heads = ["part", "validity", *CALLS, f"{of.metric} of probes", "change by caller"]
    rows: list[b.Line] = [
        [
            part,
            {"": "VALID", of_peak.NOT_RUN: "not run"}.get(problem, "INVALID"),
            *(count(table[part, f"calls_{call}"].n) for call in CALLS),
            ms(table[part, of.metric].value) if of.metric else NONE,
            value_text(table.get((part, f"{of.metric} {of_peak.CHANGE}")), "×{:.2f}".format),
        ]
        for part, problem in problems.items()
    ]
    calls = b.table(heads, rows)
    series = of_peak.peak_series(of)
    plot = overload_plot(series, series.peak_s[1] + recovery.value / 1000)
    paragraphs = (b.Paragraph(f"{line[0].upper()}{line[1:]}.") for line in lines)
    blocks: b.Blocks = [*paragraphs, plot_figure(plot, READ), calls, *b.note(MEANING)]
    return b.Section(anchor, heading, QUESTION, blocks, brief=[*b.fact("overload", lines), calls])
