"""The page compare.html, made of blocks. This module decides no verdicts."""

import math
from collections.abc import Iterable, Mapping, Sequence

from bench.files.sanitize import escape_control
from reports.analysis.comparisons.comparison import Comparison, Design
from reports.analysis.comparisons.measurements import Shift
from reports.analysis.sequential.decide import Decision
from reports.analysis.targets.fairness import FairnessCheck
from reports.data.runs import target_entries, titles_of
from reports.formatting import (
    NBSP,
    NONE,
    count,
    format_duration,
    format_number,
    format_utc,
    join_present,
    join_words,
    percent,
    plural,
)
from reports.pages.comparisons import forest, interim
from reports.pages.run_report.charts import percentiles
from reports.pages.run_report.sections.turn_taking import (
    EVENT_TEXTS,
    MEANING,
    cut_off_pause_texts,
    pause_blocks,
    share_cell,
)
from reports.render import blocks as b
from reports.render.svg import drawing, plot_figure
from reports.results.value import BaselineFinding
from reports.statistics.verdicts import BEYOND
from reports.text import cells, comparison_rows
from reports.text.comparison_rows import (
    BETWEEN_PEERS,
    MEANINGS,
    ComparisonRow,
    change_of,
    displayed_verdict,
    values_of,
)
from reports.text.comparison_sentences import (
    all_notices,
    assumption,
    comparison_headline,
    comparison_second,
    heard,
    interval_text,
    unusable_status,
    verdict_title,
    worst_steps,
    written_check,
)
from reports.text.decision_sentences import end_reason, end_sentence, verdict_lines
from reports.text.definitions import definitions as of_metrics
from reports.text.metric_sentences import WORST, overall
from reports.text.reasons import EXPLAINING, reason_text, remedies_text
from reports.text.verdicts import NOT_SHOWN, difference_interval, signed

VERDICTS = {
    word: f"{meaning}: {condition}."
    for name, (meaning, condition) in MEANINGS.items()
    for word in (name.replace("_", " "), *BETWEEN_PEERS.get(name, ()))
}
DEFINITIONS = {
    "margin": (
        "The largest accepted change for the worse, agreed before the run: a share of the"
        " baseline’s value, or percentage points for rates."
    ),
    "provisional": (
        "The run-to-run variation was assumed, not estimated, because too few runs of the baseline"
        " are stored; or the latency of one target drifted, and the run is too short to measure the"
        " drift."
    ),
    "Holm": (
        "Several primary metrics increase the chance of a false alarm. For “regressed” or “slower”,"
        " the strongest one must hold at the error of one verdict (100 % − confidence) divided by"
        " their number, the next divided by one less, and so on."
    ),
    "failed turns": cells.FAILED_TURNS,
}
RESAMPLED: dict[Design, str] = {
    "pairs": "pairs of sessions that started together, one of each target, are resampled together",
    "sessions": "whole sessions are resampled, separately for each target",
}


def definitions(comparison: Comparison) -> dict[str, str]:
    """Return the definitions of the metrics, then of the verdicts, then of the method."""
    method = comparison.method
    metrics = dict.fromkeys(compared.spec.metric for compared in comparison.comparisons)
    interval_confidence = interval_text(method.level)
    bound_confidence = f"{format_number(100 * method.confidence)}{NBSP}%"
    interval = (
        f"{interval_confidence}, so that each end alone is a bound at {bound_confidence}."
        f" {RESAMPLED[method.design].capitalize()}; quantiles and means are compared by the log of"
        " their ratio, shown as a percentage, and rates by their difference."
    )
    variation = {}
    if method.run_sd:
        assumed = f"{format_number(100 * method.run_sd)}{NBSP}%"
        variation = {
            "run-to-run variation": (
                f"A standard deviation of {assumed} between runs of an unchanged service is added."
            )
        }
    return of_metrics(metrics) | VERDICTS | {"interval": interval} | DEFINITIONS | variation


def method(comparison: Comparison) -> str:
    """Return the method of the comparison as a text.

    Example: Seed 7, 10,000 resamples of pairs (200), 95 % confidence one-sided, Holm over 3 primary
    metrics.
    """
    method = comparison.method
    parts = [
        f"Seed {method.seed}",
        f"{count(method.bootstrap_samples)} resamples of {method.design} ({count(method.unit)})",
        f"{format_number(100 * method.confidence)}{NBSP}% confidence one-sided",
        f"Holm over {plural(method.holm, 'primary metric')}",
    ]
    versions = {
        str(target.run.metadata.get("definitions_version") or "") for target in comparison.targets
    } - {""}
    defined = (
        f" Definitions of metrics: version {join_words(sorted(versions))}." if versions else ""
    )
    return f"{', '.join(parts)}.{defined}"


TURNS_OF = (
    "Turns, sessions, failed turns (including those that did not start), and the share of the"
    " planned turns that have the metric: baseline / candidate."
)
MAX_ROWS = 10
"""The maximum number of primary metrics in the first table of numbers. Metrics that did not pass
are first in it."""
BOUNDS = (
    "In parentheses: the bounds that decide at this analysis. The verdict is shown below the"
    " estimate that decided it."
)


def comparison_page(comparison: Comparison) -> b.Page:
    """Compose the page: verdict, forest plots, interim analyses, percentiles, and fairness
    checks.
    """
    defined = definitions(comparison)
    how = b.Section("how", "Definitions and method", "", [b.Definitions(list(defined.items()))])
    sections = (
        _changes(comparison),
        _analyses(comparison.decision),
        _percentiles(comparison),
        turn_taking(comparison),
        _fairness(comparison),
        how,
    )
    decisive = [check for check in comparison.checks if check.result != "informational"]
    if comparison.failed_checks:  # an unfair comparison has no verdict
        note = f"{len(comparison.failed_checks)} of {plural(len(decisive), 'check')} failed"
        badges = [_badge(unusable_status(comparison), note)]
    else:
        note = f"{plural(len(decisive), 'check')} passed" if decisive else "nothing was checked"
        badges = [_verdict_badge(comparison), _badge("VALID COMPARISON", note)]
    badges += [
        *([b.SIMULATED] if comparison.simulated else []),
        *([b.RECORDED] if comparison.recorded else []),
    ]
    if not comparison.failed_checks and any(
        compared.verdict.provisional for compared in comparison.primary
    ):
        badges.append(_badge("inconclusive", "", "PROVISIONAL"))
    title_parts = [badges[0].text, *(["SIMULATED"] if comparison.simulated else [])]
    first, *others = [target.label for target in comparison.targets]
    files = (
        "The same verdicts are in ",
        b.Code("compare.json"),
        f". {method(comparison)} All times UTC.",
    )
    return b.Page(
        title=f"{' · '.join(title_parts)} · {join_words(others)} against {first}",
        badges=badges,
        notes=f"{join_words(others)} against {first} · {design(comparison)}",
        headline=comparison_headline(comparison),
        lead=_lead(comparison),
        sections=list(filter(None, sections)),
        definitions=defined,
        footer=(b.MEASURED_AGAINST if comparison.simulated else "", files),
        struck=bool(comparison.failed_checks),
    )


def unusable(comparison: Comparison) -> b.Blocks:
    """Return the reason why an unfair comparison must not be used, and what to do."""
    remedies = remedies_text(comparison.invalid_reasons)
    return [
        b.Paragraph(comparison_headline(comparison), "bold"),
        *([b.Paragraph(f"What to do: {remedies}")] if remedies else []),
    ]


def design(comparison: Comparison) -> str:
    """Return the number of pairs or sessions as text.

    Examples: `200 pairs over 10 min, interleaved in one run`; `100 sessions per target`; `100 and
    120 sessions`; `100 sessions over 82 s, and 40 sessions over 2 min`.
    """
    sizes = [target.sessions for target in comparison.targets]
    durations = [
        format_duration(target.observed_s) if target.observed_s else ""
        for target in comparison.targets
    ]
    if comparison.method.design == "pairs":
        shortest = comparison.method.observed_s
        over = f" over {format_duration(shortest)}" if shortest else ""
        return f"{plural(sizes[0], 'pair')}{over}, interleaved in one run"
    if len(set(durations)) > 1:
        *first, last = [
            f"{plural(size, 'session')}{f' over {duration}' if duration else ''}"
            for size, duration in zip(sizes, durations, strict=True)
        ]
        return f"{', '.join(first)}, and {last}"
    over = f" over {durations[0]}" if durations[0] else ""
    if len(set(sizes)) == 1:
        return f"{plural(sizes[0], 'session')} per target{over}"
    return f"{join_words([count(size) for size in sizes])} sessions{over}"


def runs(comparison: Comparison) -> tuple[str, str]:
    """Return the titles of the runs, and when they began. Each text is there once."""
    documents = [target.run.metadata for target in comparison.targets]
    began = dict.fromkeys(
        format_utc(int(d["started_utc_ns"])) for d in documents if d.get("started_utc_ns")
    )
    return join_words(titles_of(documents)), " and ".join(began)


def _lead(comparison: Comparison) -> b.Blocks:
    """Return the blocks after the headline: the remedies of an invalid comparison, a text, the
    runs, the notices.
    """
    remedies = remedies_text(comparison.invalid_reasons)
    second = comparison_second(comparison)
    decision = comparison.decision
    if comparison.failed_checks:  # the banner has the remedies
        is_ended = decision is not None and decision.ended and not decision.is_decided_by_analysis
        second = end_sentence(decision) if decision and is_ended else ""
    reasons = all_notices(comparison)
    notices = [reason_text(reason) for reason in reasons if reason.code not in EXPLAINING]
    why = [*filter(None, [assumption(comparison)])]
    why += [reason_text(reason) for reason in reasons if reason.code in EXPLAINING]
    entries = [(of.name, target_entries(of.run.metadata)) for of in comparison.targets]
    named = [(name, of.get(name, {}).get("region")) for name, of in entries]
    regions = [f"{name}: {region}" for name, region in named if region]
    about = [*runs(comparison), _sizes(comparison), escape_control(", ".join(regions))]
    return [
        *([b.Banner([(b.Strong("What to do:"), f" {remedies}")])] if remedies else []),
        *([b.Paragraph(second, "lead")] if second else []),
        b.Paragraph(join_present(" · ", *about), "meta"),
        *([b.Bullets([*map(b.coded, notices)])] if notices else []),
        *([b.Explanation([*map(b.coded, why)])] if why else []),
    ]


def _badge(word: str, note: str, displayed: str = "") -> b.Badge:
    """Return a badge for a verdict. `displayed` is the text of the badge if it differs from
    `word`.
    """
    return b.Badge(b.MARKS[word].badge, b.MARKS[word].marker, (displayed or word).upper(), note)


def _verdict_badge(comparison: Comparison) -> b.Badge:
    """Return a badge with the verdict of the interim analyses or, without them, of the primary
    metrics.
    """
    if (decision := comparison.decision) is not None:
        made = NONE if decision.analyses_made is None else count(decision.analyses_made)
        note = f"analysis {made} of {len(decision.plan['analyses'])}"
        if decision.invalid:
            return _badge(unusable_status(comparison), note)
        if decision.end == "pending":
            return _badge("PENDING", note)
        return _badge(decision.verdict, note, verdict_title(comparison))
    primary = comparison.primary
    word = overall(comparison.primary)
    if word is None:
        return _badge("NO VERDICT", "no primary metric")
    # any better verdict than not_regressed also counts as not_regressed
    verdicts = [compared.verdict for compared in primary]
    same = sum(
        verdict.name == word or (word == "not_regressed" and verdict.passes) for verdict in verdicts
    )
    return _badge(
        word, f"{same} of {plural(len(primary), 'primary metric')}", verdict_title(comparison)
    )


def _sizes(comparison: Comparison) -> str:
    """Return the numbers of sessions and turns, such as `60 sessions and 600 turns per target`."""
    sizes = [(target.sessions, int(target.turn_mask.sum())) for target in comparison.targets]
    if len(set(sizes)) == 1:
        sessions, turns = sizes[0]
        return f"{plural(sessions, 'session')} and {plural(turns, 'turn')} per target"
    counts = [
        join_words([count(number) for number in numbers]) for numbers in zip(*sizes, strict=True)
    ]
    return f"{counts[0]} sessions, {counts[1]} turns"


def _changes(comparison: Comparison) -> b.Section:
    """Return the forest plots of primary metrics, their legend, and their numbers. Secondary
    metrics are folded.
    """
    all_panels = forest.panels(comparison)
    main, secondary = (forest.panels_of(all_panels, primary=of) for of in (True, False))
    plotted, folded = (main, secondary) if main else (secondary, ())
    rows = [row for panel in all_panels for row in panel.rows]
    blocks: b.Blocks = [*_drawings(plotted)]
    blocks += [b.Paragraph(f"Worst step: {step}.", "note") for step in worst_steps(comparison)]
    metrics = dict.fromkeys(row.comparison.spec.metric for panel in plotted for row in panel.rows)
    verdict_names = [
        displayed_verdict(row.verdict_name, row.comparison.spec, peers=row.comparison.peers)
        for row in rows
    ]
    defined = [*(word for word in VERDICTS if word in verdict_names), "margin", "interval"]
    defined += ["Holm"] if any(row.after_holm for row in rows) else []
    defined += ["provisional"] if any(row.comparison.verdict.provisional for row in rows) else []
    blocks.append(b.ReadingGuide(("Metrics: ", _terms(metrics), ". Terms: ", _terms(defined), ".")))
    primary, others = (
        [row for row in rows if row.comparison.spec.primary == of] for of in (True, False)
    )
    primary.sort(key=lambda row: WORST.index(row.verdict_name) > 1)
    first = primary[:MAX_ROWS]
    more = primary[MAX_ROWS:]
    steps = [ComparisonRow(step, not comparison.failed_checks) for step in comparison.steps]
    parts = {
        f"{plural(len(more), 'more primary metric')}": more,
        plural(len(others), "secondary metric"): others,
        "Step with the largest change. Secondary": steps,
    }
    folds = [
        b.Details(
            title, [*(_drawings(folded) if mine is others else ()), _numbers(comparison, mine)]
        )
        for title, mine in parts.items()
        if mine
    ]
    numbers: b.Blocks = [_numbers(comparison, first), *b.note(TURNS_OF)] if first else []
    first_block: b.Block = b.Paragraph("The targets have no metric in common.")
    if plotted:
        first_block = b.Figure("", forest.reading_guide(plotted), below=blocks, numbers=numbers)
    of_callers = b.note(heard(comparison))
    brief: b.Blocks = [_numbers(comparison, primary)] if primary else []
    brief += of_callers
    brief += (
        [b.Paragraph("secondary metrics", "soft"), _numbers(comparison, others)] if others else []
    )
    brief += b.fact("worst step", worst_steps(comparison))
    return b.Section(
        "answer",
        "Differences",
        "What changed, and by how much?",
        [first_block, *of_callers, *folds],
        brief=brief,
    )


def _drawings(plotted: Sequence[forest.ForestPanel]) -> Iterable[b.Block]:
    for index, panel in enumerate(plotted):
        head = "" if not index and panel.axis == "lower" else panel.title
        yield drawing(forest.forest(panel), head, forest.forest(panel, narrow=True))


def _terms(names: Iterable[str]) -> b.Inline:
    """Return these words as terms that link to their definitions, separated by dots."""
    return tuple(piece for name in names for piece in (" · ", b.Term(name)))[1:]


def _numbers(comparison: Comparison, rows: Sequence[ComparisonRow]) -> b.Table:
    several = len(comparison.targets) > 2
    base, candidate = comparison.targets[:2]
    verdict = b.TextColumn("verdict", shorten=2)
    interval = f"{interval_text(comparison.method.level)} interval"
    heads = [
        b.Column("metric", leave_out=3),
        b.TextColumn("candidate") if several else None,
        b.Column(base.label, below="baseline"),
        "its value" if several else b.Column(candidate.label, below="candidate"),
        "difference",
        interval,
        b.Column("margin", leave_out=4),
        verdict,
        *(b.Column(head, leave_out=1) for head in ("turns", "sessions", "failed", "completed")),
    ]
    style = "fig nowrap struck" if comparison.failed_checks else "fig nowrap"
    return b.table(
        heads, [_row(row, style, forest.colours_of(comparison) if several else {}) for row in rows]
    )


def _row(row: ComparisonRow, style: str, colours: Mapping[str, int]) -> b.Row:
    """Return a row of the table of numbers. `colours` are those of the targets; empty if there
    is one candidate.
    """
    compared = row.comparison
    metric = row.comparison.spec.metric
    suffix = row.name.removeprefix(metric) if row.name.startswith(metric) else ""
    values = [*values_of(compared), change_of(compared), comparison_rows.interval_text(compared)]
    counts = [
        " / ".join(map(count, compared.each(name))) for name in ("turns", "sessions", "failed")
    ]
    counts.append(" / ".join(percent(share, 1) for share in compared.each("completed_share")))
    return b.make_row(
        [
            b.Cell((b.Term(metric), suffix), row.turns_text),
            b.Cell(compared.target, target=colours.get(compared.target, 1)) if colours else None,
            *(b.Cell(text, style=style) for text in values),
            b.Cell(row.margin_text, style="nowrap"),
            b.Cell(b.VerdictText(row.verdict_text, row.verdict_name), row.reason),
            *(b.Cell(text, style="nowrap") for text in counts),
        ]
    )


def _analyses(decision: Decision | None) -> b.Section | None:
    """Return the section with the estimates at the interim analyses; None if there are no
    estimates.
    """
    table = interim.interim_analyses(decision) if decision else None
    if not decision or table is None:
        return None
    lines = verdict_lines(decision)
    guide: b.Blocks = [b.Bullets(tuple(lines)), b.ReadingGuide(BOUNDS)] if lines else []
    blocks: b.Blocks = [b.Paragraph(end_reason(decision)), *guide, table]
    return b.Section("analyses", "Interim analyses", "When was it decided?", blocks)


def _percentiles(comparison: Comparison) -> b.Section | None:
    """Return the section with the percentile curves and their differences; None if no turn
    succeeded.
    """
    shift = comparison.shift
    if shift is None:
        return None
    spec = shift.spec
    metric = shift.spec.metric
    strata = {stratum for target in comparison.targets for stratum in target.turns.strata}
    mine = [stratum for stratum in strata if spec.stratum is None or spec.stratum.covers(stratum)]
    counted = cells.measured_from_text(metric, mine[0]) if len(mine) == 1 else ""
    of_step = f", {spec.step}" if spec.step else ""
    read = (
        b.Term(metric),
        f"{counted}{of_step}. Shaded: 95 % interval. Dotted: too few turns or sessions.",
    )
    curves: b.Blocks = [
        b.Heading("Latency, one curve per target"),
        plot_figure(percentiles(shift.curves, metric), read),
        b.Heading("The difference at each percentile"),
        _differences(comparison, shift),
    ]
    return b.Section("shift", "Shift by percentile", "Which turns got slower?", curves)


def _differences(comparison: Comparison, shift: Shift) -> b.Block:
    """Return the difference at each percentile, plotted only if enough turns lie beyond the
    median.
    """
    if not shift.ratios:
        return b.Paragraph(
            f"Not shown: fewer than {BEYOND} turns of a target lie beyond its median."
        )
    read = (
        f"{forest.curves_sentence(shift.ratios)} Shaded: {interval_text(comparison.method.level)}"
        f" interval, as in the bars above. The line ends at the last percentile with {BEYOND} turns"
        " of each target beyond it."
    )
    return plot_figure(forest.by_percentile(shift.ratios, shift.spec.metric), read)


def _fairness(comparison: Comparison) -> b.Section:
    """Return the section with the fairness checks. Each check has a text for each target."""
    heads: b.Heads = ["check"]
    for index, target in enumerate(comparison.targets):
        below = (
            f"{'candidate' if index else 'baseline'},"
            f" {escape_control(target.run.folder.resolve().name)}"
        )
        heads.append(b.TextColumn(target.label, target=index, marked=True, below=below))
    heads.append(b.TextColumn("result"))
    rows = []
    written = [*map(written_check, comparison.checks)]
    for check in written:
        word, style = cells.result(check.result)
        remedy = check.remedy if check.result == "fail" else ""
        rows.append(
            b.make_row([check.name, *check.texts, b.Cell(word, remedy, style=f"{style}-ink")])
        )
    checks = b.table(heads, rows, "facts", stacked=True)
    nothing = b.Paragraph("Nothing was checked.")
    brief = [
        *b.fact("fair", [f"✓ {check.name}" for check in written if check.result == "pass"]),
        *_different_checks(
            comparison, "not fair", [check for check in written if check.result == "fail"]
        ),
        *_different_checks(
            comparison, "different", [check for check in written if check.result == "informational"]
        ),
    ]
    blocks = [checks if comparison.checks else nothing]
    return b.Section(
        "fair", "Comparability checks", "Was the comparison fair?", blocks, brief=brief
    )


def _different_checks(
    comparison: Comparison, head: str, checks: Iterable[FairnessCheck]
) -> b.Blocks:
    """Return a table of the checks whose targets differ; [] if there are none."""
    rows = [
        [check.name, *check.texts]
        for check in checks
        if len(set(check.texts)) > 1 or check.result == "fail"
    ]
    heads = [
        b.TextColumn(target.label, target=index) for index, target in enumerate(comparison.targets)
    ]
    return [b.table([b.Column(head, inline=True), *heads], rows)] if rows else []


HEADING = "Turn-taking"
QUESTION = "Which target cuts callers off?"


def turn_taking(comparison: Comparison) -> b.Section | None:
    """Return the section; None if no speech has pauses of a set length."""
    pauses = comparison.pauses
    if not pauses:
        return None
    labels = [target.label for target in comparison.targets]
    several = len(comparison.targets) > 2
    heads = [
        b.TextColumn("step", inline=True),
        b.TextColumn("turns"),
        b.TextColumn("candidate") if several else None,
        b.Column(labels[0], below="baseline", shorten=1),
        b.Column(
            "its share" if several else labels[1], below="" if several else "candidate", shorten=1
        ),
        "difference",
        b.Column(f"{interval_text(comparison.method.level)} interval", leave_out=2),
    ]
    table = b.table(
        heads, [_rate_row(row, comparison, several=several) for row in comparison.turn_taking]
    )
    blocks = [
        *pause_blocks(pauses, labels),
        table,
        *b.note(f"{MEANING} Shares have intervals of 95 %."),
    ]
    brief = [*b.fact("cut-off pause", cut_off_pause_texts(pauses, labels)), table]
    return b.Section("turn-taking", HEADING, QUESTION, blocks, brief=brief)


def _rate_row(row: BaselineFinding, comparison: Comparison, *, several: bool) -> b.Row:
    style = "fig nowrap struck" if comparison.failed_checks else "fig nowrap"
    is_shown = not math.isnan(row.difference)
    texts = [
        signed(row.difference, "points") if is_shown else NOT_SHOWN,
        difference_interval(row.low, row.high, "points") if is_shown else "",
    ]
    return b.make_row(
        [
            row.value.step or "all pauses",
            EVENT_TEXTS[row.value.metric],
            (
                b.Cell(row.value.target, target=forest.colours_of(comparison)[row.value.target])
                if several
                else None
            ),
            *(share_cell(value, style) for value in (row.against, row.value) if value),
            *(b.Cell(text, style=style) for text in texts),
        ]
    )
