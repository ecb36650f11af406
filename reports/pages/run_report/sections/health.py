"""The sections on the load generator, on hosts, on incidents, and on targets."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from msgspec.structs import replace

from bench.base.units import NS_PER_S
from bench.catalogue.metrics import CATALOGUE
from bench.record.document import Check
from bench.record.validity import LOAD_GENERATOR_CHECKS, MAX_UNCERTAINTY_SHARE
from reports.analysis.summary.metrics import measured_seconds
from reports.analysis.summary.run_validity import Incident, Incidents
from reports.analysis.summary.summary import Summary
from reports.data.runs import part_of
from reports.formatting import NBSP, NONE, clock, count, format_number, join_words, ms, percent
from reports.pages.run_report.metric_tables import quantiles
from reports.render import blocks as b
from reports.results.value import LEVEL_NAMES
from reports.text import cells, groups, phrases, remarks, validity
from reports.text.notices import uncertain_line
from reports.text.settings import FACTS

POOLED = (
    "{} hosts recorded this run. Values elsewhere combine all hosts, even if the hosts differ."
    " Latencies do not depend on a host’s clock; seconds and blocks do, by its offset from the"
    " leader’s clock."
)


def targets(summary: Summary) -> b.Section | None:
    """Return the section that shows the targets in columns; None if the run contains no facts
    about them.
    """
    rows = [
        (fact, [getattr(of, key) or "" for of in summary.target_settings])
        for key, fact in FACTS.items()
    ]
    known = [(fact, texts) for fact, texts in rows if any(texts)]
    if not known:
        return None
    columns = [b.TextColumn(name, target=i, marked=True) for i, name in enumerate(summary.targets)]
    interleaved = remarks.interleaved(summary.interleaving) if summary.interleaving else ""
    own = FACTS["variant_settings"]
    facts: list[b.Row] = []
    for name, texts in known:
        differs = "differs" if len(set(texts)) > 1 else ""
        texts_of = [text or ("none" if name == own else NONE) for text in texts]
        facts.append(b.make_row([b.Cell(name, differs), *texts_of], differs))
    settings = b.table([b.Column("setting", style="vh"), *columns], facts, style="facts")
    brief = b.fact("targets", [interleaved])
    return b.Section(
        "targets", "Targets", "What was measured?", [*b.line(interleaved), settings], brief=brief
    )


INCIDENTS = 3


def incidents(summary: Summary) -> b.Section | None:
    """Return the section on incidents; None if there were none."""
    relevant = incidents_that_matter(summary)
    long = summary.duration_s > 180
    rows: list[b.Line] = []
    for incident in relevant.listed:
        kind = b.Cell(incident_kind(incident.kind), style="nowrap")
        text = b.Cell(incident.text, style="wrap")
        rows.append([clock(incident.at_s, long=long), count(incident.worker), kind, text])
    more = f" The texts of {count(len(rows))} were recorded." if relevant.total > len(rows) else ""
    heads = ("when", "worker", b.TextColumn("what"), b.TextColumn("details"))
    blocks: b.Blocks = [
        b.Paragraph(f"{incident_kinds(relevant)}.{more}"),
        b.table(heads, rows),
    ]
    brief = b.facts("incident", incident_lines(summary, INCIDENTS), 3)
    return (
        b.Section("incidents", "Incidents", "What else happened?", blocks, brief=brief)
        if rows
        else None
    )


def uncertain_metrics(summary: Summary) -> b.Blocks:
    """Return the list of metrics that are uncertain in this run, each with its uncertainty; []
    if there are none.
    """
    shown = cells.main_metrics(summary) if affects_results(summary) else None
    title = uncertain_line(summary.run, shown)
    rows = list[b.Line]()
    for metric in (metric for metric in summary.run.uncertain_metrics if not metric.is_early):
        value, limit = (
            f"{format_number(number or 0.0)}{NBSP}{metric.unit}"
            for number in (metric.value, metric.limit)
        )
        value = "without limit" if metric.value is None else value
        rows.append([metric.metric, metric.target, metric.host or "all", value, limit])
    heads = ("metric", "target", "host", "uncertainty (p99)", "limit")
    return [b.Details(title, [b.table(heads, rows)], style="note", stated=True)] if title else []


def affects_results(summary: Summary) -> bool:
    """Return whether one of the main metrics is uncertain. These are in the first table of the
    page.
    """
    main_metrics = cells.main_metrics(summary)
    return any(uncertain.metric in main_metrics for uncertain in summary.run.uncertain_metrics)


WHOLE_S = 0.5
"""The minimum part of a second that was recorded, in seconds. With less, the CPU share of this
second has no meaning.
"""


def health(summary: Summary) -> b.Section:
    verdict = summary.validity
    document = summary.run.metadata
    line = {
        "no_verdict": f"No verdict: {validity.verdict_reason(verdict)}.",
        "valid": (
            f"Yes, as far as the load generator is concerned: {validity.verdict_count(verdict)}."
        ),
        "invalid": f"No: {validity.verdict_count(verdict)}.",
    }[verdict.status]
    timestamp_source = document.get("receive_timestamp_source")
    totals = part_of(document, "totals")
    sentences = [
        (
            f"Timestamps: {timestamp_source}."
            if timestamp_source
            else "The source of the timestamps is unknown."
        )
    ]
    if totals.get("events"):
        sentences.append(
            f"{count(totals['events'])} events{' of the whole run' if summary.warmup_s else ''}, "
            f"{count(totals.get('timestamp_fallbacks') or 0)} without a kernel timestamp."
        )
    seconds = measured_seconds(summary.run.seconds)
    cpu = seconds.loc[(seconds["duration_ns"] >= WHOLE_S * NS_PER_S).to_numpy(), "cpu"]
    if cpu.notna().any():
        sentences.append(f"CPU of the busiest worker: at most {percent(float(cpu.max()), 1)}.")
    if summary.turns.rows.size:
        gaps = int(np.nansum(summary.turns.column("uncertain_gaps")))
        sentences.append(f"{count(gaps)} gaps between deltas were excluded as uncertain.")
    sentences += validity.accuracy_notes(summary)
    heads: b.Heads = [
        "metric",
        "n",
        *LEVEL_NAMES.values(),
        "max",
        b.TextColumn("definition", style="narrowout"),
    ]
    rows: list[b.Row | b.Line] = [
        [
            b.Term(distribution.metric),
            count(distribution.n),
            *quantiles(distribution),
            b.Cell(CATALOGUE[distribution.metric].sentence, style="what"),
        ]
        for distribution in summary.load_generator
    ]
    body: b.Blocks = [b.Paragraph("In ms, over all targets."), b.table(heads, rows)]
    blocks = [
        b.Paragraph(line),
        *([] if affects_results(summary) else uncertain_metrics(summary)),
        *checks(verdict.checks),
        *([b.Details("Load generator metrics", body)] if rows else []),
        *b.note(b.coded(" ".join(sentences))),
    ]
    of_receive = (row for row in summary.load_generator if row.metric == "receive_delay")
    receive = [f"{format_number(row.at(0.99))}{NBSP}ms" for row in of_receive]
    # failed checks are above the results
    others = [
        check for check in verdict.checks if check.value is not None and check.result != "fail"
    ]
    facts: list[b.Inline] = [*map(cells.check_text, others)]
    facts += [f"events processed up to {value} after their arrival (p99)" for value in receive]
    is_valid = summary.validity.status == "valid"
    brief = b.fact(
        "load generator", [*facts, *map(b.coded, validity.trust(summary.run, is_valid=is_valid))]
    )
    return b.Section(
        "health", "Load generator health", "Can these results be trusted?", blocks, brief=brief
    )


def hosts(summary: Summary) -> b.Section | None:
    """Return the section on what each host recorded, and how accurate its times are; None if
    only one host recorded.
    """
    if not summary.hosts:
        return None
    blocks: b.Blocks = [b.Paragraph(POOLED.format(len(summary.hosts)))]
    for frame in summary.latency_by("host"):
        blocks += groups.latency_blocks(frame, summary.targets)
    delays = map(b.Term, LOAD_GENERATOR_CHECKS)
    heads: b.Heads = [
        "host",
        "workers",
        *delays,
        "clock offset",
        b.TextColumn("calibrated"),
    ]
    rows: list[b.Line] = []
    for host in summary.hosts:
        p99s = [format_number(getattr(host, f"{name}_p99_ms")) for name in LOAD_GENERATOR_CHECKS]
        offset = (
            f"{format_number(host.clock_offset_ms)} ±"
            f" {format_number(host.clock_offset_error_ms)}{NBSP}ms"
        )
        clock_offset = NONE if math.isnan(host.clock_offset_ms) else offset
        rows.append([host.name, count(host.workers), *p99s, clock_offset, host.calibrated or "no"])
    blocks += [
        b.Paragraph("Load generator metrics of each host: p99, in ms.", "q gap"),
        b.table(heads, rows),
    ]
    brief = groups.compared_blocks(summary, "host")
    return b.Section("hosts", "Results by host", "Do the hosts agree?", blocks, brief=brief)


def checks(evaluated: Sequence[Check]) -> b.Blocks:
    """Return a table of validity checks, each with its value, its limit and its result; [] if
    there are none.
    """
    used = b.TextColumn("used", style="narrowout", plotted=True)
    result = b.TextColumn("result")
    what = b.Paragraph("These checks decide whether a run is valid.")
    guide = b.ReadingGuide("The mark on each bar is the limit.")
    # the used part of the limit
    bar = Markup('<div class="bar{}"><i style="width:{}%"></i><b></b></div>')
    rows: list[b.Line] = []
    for check in evaluated:
        word, style = cells.result(check.result)
        failed = check.result == "fail"
        about = (b.Term(check.name), f"{', ' if check.note else ''}{check.note}")
        values = (phrases.check_value(check, value) for value in (check.value, check.limit))
        bar_html = bar.format(" x" if failed else "", round(min(100.0, check.used * 80), 1))
        result_cell = b.Cell(word, check.remedy if failed else "", style=f"{style}-ink wrap")
        rows.append(
            [b.Cell(phrases.CHECKS[check.name].title, about), *values, bar_html, result_cell]
        )
    return (
        [what, guide, b.table(("check", "value", "limit", used, result), rows)] if evaluated else []
    )


def incident_kind(kind: str) -> str:
    """Return the name of a type of incident, such as `token refresh`."""
    return kind.replace("_", " ")


def incident_kinds(incidents: Incidents) -> str:
    """Return the number of incidents of each type, such as `token refresh × 3 and clock step ×
    1`.
    """
    return join_words(
        [f"{incident_kind(kind)} × {n:,}" for kind, n in Counter(incidents.counts).most_common()]
    )


def incidents_that_matter(summary: Summary) -> Incidents:
    """Return the incidents of a run, and of those in which a simulator was late only the largest,
    if it changes a reading.

    The limit is that of uncertain timestamps, as a share of the shortest median. The share of the
    lateness is added to the text of the incident. Without a median, lateness changes no reading.
    """
    medians = [result.at(0.5).value for result in summary.results if result.at(0.5).has_interval]
    shortest = min(medians, default=math.inf)
    known = [incident.late_ms for incident in summary.incidents if math.isfinite(incident.late_ms)]
    largest = max(known, default=0.0)
    changes = largest >= MAX_UNCERTAINTY_SHARE * shortest
    incidents = list[Incident]()
    counts = Counter(summary.incident_counts)
    for incident in summary.incidents:
        late = incident.late_ms
        if not math.isfinite(late):
            incidents.append(incident)
        elif changes and late == largest:
            changes = False  # simulators of several targets may be equally late
            share = f"{percent(late, shortest)} of the shortest median, {ms(shortest)}"
            incidents.append(replace(incident, text=f"{incident.text} ({share})"))
        else:
            counts[incident.kind] -= 1
    return Incidents(tuple(incidents), +counts)


def incident_lines(summary: Summary, max_lines: int) -> list[str]:
    """Return the first incidents with their time and worker. If there are more, also return the
    number of each type.
    """
    incidents = incidents_that_matter(summary)
    times = [
        clock(incident.at_s, long=summary.duration_s > 180)
        for incident in incidents.listed[:max_lines]
    ]
    timed = zip(times, incidents.listed, strict=False)
    first = [
        f"{at} worker {incident.worker} {incident_kind(incident.kind)}: {incident.text}"
        for at, incident in timed
    ]
    return (
        [*first, f"in total: {incident_kinds(incidents)}"]
        if incidents.total > len(first)
        else first
    )
