"""The sections on targets, cost, rate limits, incidents, hosts, and the load generator. They compute no values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from bench.base.units import NS_PER_S
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.pricing import dollars
from bench.record.document import Check
from bench.record.validity import LOAD_GENERATOR_CHECKS
from reports.analysis.summary.cost import CACHED, INPUT, OUTPUT, Charge, RunCost
from reports.analysis.summary.metrics import measured_seconds
from reports.analysis.summary.summary import Summary
from reports.formatting import NBSP, NONE, clock, count, format_duration, format_number, ms, percent
from reports.pages.run_report import time_panels
from reports.pages.run_report.metric_tables import quantiles, target_cell
from reports.render import blocks as b
from reports.render.svg import plot_figure
from reports.text import cells, groups, remarks, validity
from reports.text.notices import uncertain_line
from reports.text.settings import FACTS

POOLED = (
    "{} hosts recorded this run. Values elsewhere combine all hosts, even if the hosts differ. Latencies do not depend "
    "on a host’s clock; seconds and blocks do, by its offset from the leader’s clock."
)


def targets(summary: Summary) -> b.Section | None:
    """Return the section that shows the targets in columns; None if the run contains no facts about them."""
    rows = [
        (fact, [getattr(target_facts, key) or "" for target_facts in summary.target_facts])
        for key, fact in FACTS.items()
    ]
    known = [(fact, texts) for fact, texts in rows if any(texts)]
    if not known:
        return None
    columns = [b.Column(name, left=True, target=i, marked=True) for i, name in enumerate(summary.targets)]
    interleaved = remarks.interleaved(summary.interleaving) if summary.interleaving else ""
    own = FACTS["variant_settings"]
    facts: list[b.Row] = []
    for name, texts in known:
        differs = "differs" if len(set(texts)) > 1 else ""
        texts_of = [text or ("none" if name == own else NONE) for text in texts]
        facts.append(b.make_row([b.Cell(name, differs), *texts_of], differs))
    settings = b.table([b.Column("setting", style="vh"), *columns], facts, style="facts")
    brief = b.fact("targets", [interleaved])
    return b.Section("targets", "Targets", "What was measured?", [*b.line(interleaved), settings], brief=brief)


def costs(summary: Summary) -> b.Section | None:
    """Return the section on tokens and cost; None if the services reported no usage and the user set no budget."""
    run_cost = summary.cost
    if not run_cost.is_known and run_cost.budget_usd is None:
        return None
    amounts = cells.as_sentence(", ".join(remarks.amounts(run_cost)))
    simulated = (b.Strong("◇ SIMULATED."), " ") if summary.simulated else ""
    blocks: list[b.Block] = [b.Paragraph((simulated, amounts))]
    if run_cost.targets:
        heads, rows = (*COSTS, *(["image input"] if run_cost.has_images else []), *OF_COSTS), list[b.Line]()
        inputs = INPUT if run_cost.has_images else INPUT[:-1]
        for cost in run_cost.targets:
            rates = map(format_number, (cost.usd_per_turn, cost.usd_per_session, cost.usd_per_minute))
            turns = count(cost.turns), count(cost.turns_without_usage)
            input_counts, output_counts = ([count(cost.tokens(kind)) for kind in kinds] for kinds in (inputs, OUTPUT))
            cached = percent(cost.tokens(*CACHED), cost.tokens(*INPUT))
            usd = NONE if math.isnan(cost.usd) else f"{'≥ ' if cost.is_lower_bound else ''}{dollars(cost.usd)}"
            rows.append(
                [
                    target_cell(summary, cost.target, marked=True),
                    usd,
                    *rates,
                    *turns,
                    *input_counts,
                    cached,
                    *output_counts,
                ]
            )
        blocks += [b.table(heads, rows), b.Paragraph(TOKENS, "note")]
    if run_cost.unplayed_audio is not None:
        wasted = [
            b.make_row([target_cell(summary, cost.target, marked=True), *remarks.unplayed_audio(cost.unplayed_audio)])
            for cost in run_cost.targets
        ]
        blocks.append(b.table(("target", *remarks.UNPLAYED_REPLIES), wasted))
    blocks += [b.Paragraph(text, "note") for text in remarks.cost_notes(summary.cost, simulated=summary.simulated)]
    prices = [_prices(summary, cost.target, charge) for cost in run_cost.targets for charge in cost.models]
    blocks += (
        [b.Details("Prices", [b.table((*PRICES, *_displayed_prices(run_cost).values()), prices)])] if prices else []
    )
    return b.Section("money", "Cost", "What did it cost?", blocks)


COSTS = (
    *("target", "USD", "USD per turn", "per session", "per minute"),
    *("turns", "turns without usage", "text input", "audio input"),
)
OF_COSTS = ("cached, of input", "text output", "audio output")
TOKENS = (
    "Tokens are those that the service reported in the usage of each turn. A minute is a minute of conversation: the "
    "time of sessions from the opened connection to the end."
)
PRICES = ("USD per million tokens", b.Column("model", left=True), b.Column("source", left=True))
OF_TOKENS = {
    **{"text_input": "text in", "text_cached_input": "cached", "text_output": "text out"},
    **{"audio_input": "audio in", "audio_cached_input": "cached", "audio_output": "audio out"},
}


def _displayed_prices(money: RunCost) -> dict[str, str]:
    """Return the names of the prices to show, with their heads.

    The prices of images, of writes into the cache, and of minutes are shown only if such costs occurred.
    """
    images = {"image_input": "image in", "image_cached_input": "cached"} if money.has_images else {}
    writes = {"text_cache_write": "cache write"} if money.has_cache_writes else {}
    minutes = {"usd_per_minute": "USD per minute"} if money.by_minute else {}
    standby = {"usd_per_standby_minute": "in standby"} if money.has_standby else {}
    return OF_TOKENS | images | writes | minutes | standby


def _prices(summary: Summary, target: str, charge: Charge) -> b.Line:
    run_cost = summary.cost
    prices = [getattr(charge.prices, name, None) for name in _displayed_prices(run_cost)]
    price_texts = [NONE if price is None else f"{price:g}" for price in prices]
    table_of = f"{run_cost.prices.name or 'table'}{f', as of {run_cost.prices.as_of}' if run_cost.prices.as_of else ''}"
    source = {"own": "the target’s own", "table": table_of}.get(charge.source, "unknown")
    model = f"{charge.model} (backend)" if charge.is_backend else charge.model
    return [target_cell(summary, target, marked=True), model, source, *price_texts]


def rate_limits(summary: Summary) -> b.Section | None:
    """Return the section on rate limits; None if no turn was throttled and the service reported no limit."""
    limits = summary.rate_limits
    if not limits.any:
        return None
    figures, interval_text = [], f"in each {format_duration(limits.bin_s)}"
    if limits.is_plottable:
        lines = (
            "Lines: the minimum share of a limit that the service reported as remaining "
            f"{interval_text}; tokens solid, requests dashed."
        )
        read = [lines] if any(target.remaining for target in limits.targets) else []
        counted = any(target.counts.any() for target in limits.targets)
        read += [f"Red: throttled turns and sessions {interval_text}."] if counted else []
        figures = [plot_figure(time_panels.limit_panels(limits), " ".join([*read, "Warm-up is shown too."]))]
    rows: list[b.Line] = []
    for throttling in limits.targets:
        min_shares = {limit: percent(share, 1) for limit, share in throttling.min_remaining.items()}
        counts = map(count, (throttling.throttled_turns, throttling.throttled_sessions, throttling.retry_after_count))
        waits = (
            ms(1000 * wait) if throttling.waits_s else NONE
            for wait in (throttling.retry_after_p50_s, throttling.retry_after_max_s)
        )
        delays = format_number(throttling.start_delay_s), count(throttling.calls_backed_off)
        remained = (min_shares.get(limit, NONE) for limit in ("tokens", "requests"))
        rows.append([target_cell(summary, throttling.target, marked=True), *counts, *waits, *delays, *remained])
    totals_text = remarks.limits_in_all(limits)
    what = b.Paragraph(cells.as_sentence(totals_text) or "Nothing was throttled.")
    brief = b.fact("rate limits", [totals_text])
    blocks: list[b.Block] = [what, *figures, b.table(LIMITS, rows)]
    return b.Section("limits", "Rate limits", "Did the service limit the rate?", blocks, brief=brief)


LIMITS = (
    *("target", "throttled turns", "throttled sessions", "Retry-After count", "p50", "max", "starts delayed, s"),
    "calls delayed after failures to connect",
    *("min tokens remaining", "min requests remaining"),
)


INCIDENTS = 3


def incidents(summary: Summary) -> b.Section | None:
    """Return the section on incidents; None if there were none."""
    relevant, long = remarks.incidents_that_matter(summary), summary.window.duration_s > 180
    rows: list[b.Line] = []
    for incident in relevant.listed:
        kind, text = b.Cell(remarks.incident_kind(incident.kind), style="nowrap"), b.Cell(incident.text, style="wrap")
        rows.append([clock(incident.at_s, long=long), count(incident.worker), kind, text])
    more = f" The texts of {count(len(rows))} were recorded." if relevant.total > len(rows) else ""
    heads = ("when", "worker", b.Column("what", left=True), b.Column("details", left=True))
    blocks: list[b.Block] = [b.Paragraph(f"{remarks.incident_kinds(relevant)}.{more}"), b.table(heads, rows)]
    brief = [block for text in remarks.incident_lines(summary, INCIDENTS) for block in b.fact("incident", [text], 3)]
    return b.Section("incidents", "Incidents", "What else happened?", blocks, brief=brief) if rows else None


def uncertain_metrics(summary: Summary) -> list[b.Block]:
    """Return the list of metrics that are uncertain in this run, each with its uncertainty; [] if there are none."""
    title, rows = uncertain_line(summary.run), list[b.Line]()
    for uncertain in (uncertain for uncertain in summary.run.uncertain_metrics if not uncertain.is_early):
        value = (
            "without limit" if uncertain.value is None else f"{format_number(uncertain.value)}{NBSP}{uncertain.unit}"
        )
        rows.append(
            [
                uncertain.metric,
                uncertain.target,
                uncertain.host or "all",
                value,
                f"{format_number(uncertain.limit)}{NBSP}{uncertain.unit}",
            ]
        )
    heads = ("metric", "target", "host", "uncertainty (p99)", "limit")
    return [b.Details(title, [b.table(heads, rows)], style="note", stated=True)] if title else []


def affects_answers(summary: Summary) -> bool:
    """Return whether one of the main metrics is uncertain. These are in the first table of the page."""
    main_metrics = cells.main_metrics(summary)
    return any(uncertain.metric in main_metrics for uncertain in summary.run.uncertain_metrics)


WHOLE_S = 0.5
"""The minimum part of a second that was recorded, in seconds. With less, the CPU share of this second has no meaning.
"""


def health(summary: Summary) -> b.Section:
    verdict, document = summary.validity, summary.run.metadata
    line = {
        "no_verdict": f"No verdict: {validity.verdict_reason(verdict)}.",
        "valid": f"Yes, as far as the load generator is concerned: {validity.verdict_count(verdict)}.",
        "invalid": f"No: {validity.verdict_count(verdict)}.",
    }[verdict.status]
    timestamp_source = document.get("receive_timestamp_source")
    totals = document.get("totals") or {}
    sentences = [f"Timestamps: {timestamp_source}." if timestamp_source else "The source of the timestamps is unknown."]
    if totals.get("events"):
        sentences.append(
            f"{count(totals['events'])} events{' of the whole run' if summary.window.warmup_s else ''}, "
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
    heads = ("metric", "n", "p50", "p90", "p95", "p99", "max", b.Column("definition", left=True, style="narrowout"))
    rows: list[b.Row | b.Line] = [
        [
            b.Term(distribution.metric),
            count(distribution.n),
            *quantiles(distribution),
            b.Cell(CATALOGUE[distribution.metric].sentence, style="what"),
        ]
        for distribution in summary.load_generator
    ]
    body: list[b.Block] = [b.Paragraph("In ms, over all targets."), b.table(heads, rows)]
    blocks = [
        b.Paragraph(line),
        *([] if affects_answers(summary) else uncertain_metrics(summary)),
        *checks(verdict.checks),
        *([b.Details("Load generator metrics", body)] if rows else []),
        *_variability(summary),
        *b.note(b.coded(" ".join(sentences))),
    ]
    receive = [f"{format_number(row.p99)}{NBSP}ms" for row in summary.load_generator if row.metric == "receive_delay"]
    facts: list[b.Inline] = [cells.check_text(check) for check in verdict.checks if check.value is not None]
    facts += [f"events processed up to {value} after their arrival (p99)" for value in receive]
    brief = b.fact("load generator", [*facts, *map(b.coded, validity.trust(summary.run))])
    return b.Section("health", "Load generator health", "Can these results be trusted?", blocks, brief=brief)


def hosts(summary: Summary) -> b.Section | None:
    """Return the section on what each host recorded, and how accurate its times are; None if only one host recorded."""
    if not summary.hosts:
        return None
    blocks: list[b.Block] = [b.Paragraph(POOLED.format(len(summary.hosts)))]
    for frame in summary.latency_by("host"):
        blocks += groups.latency_blocks(frame, summary.targets)
    delays = map(b.Term, LOAD_GENERATOR_CHECKS)
    heads: list[b.Head] = ["host", "workers", *delays, "clock offset", b.Column("calibrated", left=True)]
    rows: list[b.Line] = []
    for host in summary.hosts:
        p99s = [format_number(getattr(host, f"{name}_p99_ms")) for name in LOAD_GENERATOR_CHECKS]
        offset = f"{format_number(host.clock_offset_ms)} ± {format_number(host.clock_offset_error_ms)}{NBSP}ms"
        clock_offset = NONE if math.isnan(host.clock_offset_ms) else offset
        rows.append([host.name, count(host.workers), *p99s, clock_offset, host.calibrated or "no"])
    blocks += [b.Paragraph("Load generator metrics of each host: p99, in ms.", "q gap"), b.table(heads, rows)]
    brief = groups.compared_blocks(summary, "host")
    return b.Section("hosts", "Results by host", "Do the hosts agree?", blocks, brief=brief)


def checks(evaluated: Sequence[Check]) -> list[b.Block]:
    """Return a table of validity checks, each with its value, its limit and its result; [] if there are none."""
    used, result = b.Column("used", left=True, style="narrowout", plotted=True), b.Column("result", left=True)
    what = b.Paragraph("These checks decide whether a run is valid.")
    guide = b.ReadingGuide("The mark on each bar is the limit.")
    bar = Markup('<div class="bar{}"><i style="width:{}%"></i><b></b></div>')  # the used part of the limit
    rows: list[b.Line] = []
    for check in evaluated:
        word, style = cells.result(check.result)
        failed = check.result == "fail"
        about: b.Inline = (b.Term(check.name), f"{', ' if check.note else ''}{check.note}")
        values = (cells.check_value(check, value) for value in (check.value, check.limit))
        bar_html = bar.format(" x" if failed else "", round(min(100.0, check.used * 80), 1))
        result_cell = b.Cell(word, check.remedy if failed else "", style=f"{style}-ink wrap")
        rows.append([b.Cell(cells.CHECKS[check.name].title, about), *values, bar_html, result_cell])
    return [what, guide, b.table(("check", "value", "limit", used, result), rows)] if evaluated else []


def _variability(summary: Summary) -> list[b.Block]:
    rows: list[b.Line] = []
    for f, variability in summary.variability:
        values = (variability.sigma, variability.icc, variability.deff50, variability.deff95)
        texts = (format_number(float(f"{value:.2g}")) if math.isfinite(value) else NONE for value in values)
        target = target_cell(summary, f.target, cells.row_target(f))
        rows.append([cells.row_title(f), target, *texts, format_number(variability.effective_sessions)])
    what = b.Paragraph("Variability of latencies, which determines the sample size of a comparison:", "q gap")
    effects: tuple[b.Inline, ...] = ((b.Term("design effect"), ", p50"), "p95", b.Term("effective sessions"))
    heads = ("metric", b.Column("target", left=True), b.Term("sigma"), b.Term("ICC"), *effects)
    return [what, b.table(heads, rows)] if rows else []
