"""The page report.html: the summary of a run as blocks, from the headline to the definitions. It
computes no values.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from bench.base.errors import INVALID_STATUS, UsageError
from bench.catalogue.metrics import CATALOGUE, DEFINITIONS_VERSION
from bench.files.sanitize import escape_control
from reports.analysis.check.results import CheckDocument
from reports.analysis.summary.summary import MainResult, Summary
from reports.formatting import NBSP, capitalize, count, format_number, format_utc, percent, plural
from reports.pages.run_report.sections import (
    arrivals,
    audio,
    conversation,
    cost,
    events,
    failed,
    health,
    latency,
    network,
    outcomes,
    overload,
    returns,
    slowest,
    sweep,
    telephone,
    tools,
    turn_taking,
)
from reports.pages.run_report.waveform.section import waveform_of_call
from reports.pages.thresholds import threshold_table
from reports.render import blocks as b
from reports.results.value import LEVEL_NAMES, MAIN_LEVELS, TYPICAL_LEVELS
from reports.text import cells, phrases, remarks, sentences, settings
from reports.text.check_sentences import outcome_text, result_badge
from reports.text.definitions import definitions
from reports.text.events import event_lines
from reports.text.notices import decision_notice, notices, uncertain_line
from reports.text.phrases import INFINITE
from reports.text.validity import verdict_count
from reports.text.verdicts import NOT_SHOWN

METHOD = {
    "interval": (
        "95 %, from order statistics with a design effect. Sessions, not turns, are the unit, "
        "because turns of one session resemble each other more than those of different sessions."
    ),
    "failed turns": cells.FAILED_TURNS,
    "drift": (
        "The ratio of the median latencies of the later and the earlier half of the turns. Each"
        " latency is divided by the median of its step, so that the order of steps does not matter."
        " Drift is suspected if the 98 % interval of the ratio (of all targets together) excludes 1"
        " and the ratio differs from 1 by more than 5 %; each half needs 20 sessions. It is not"
        " suspected in an invalid run."
    ),
    "n/a": (
        "A percentile is shown only if there are enough sessions to bound it. With ten turns per"
        " session, p90 needs 20 sessions, p95 40, and p99 198; with one turn per session, 50, 100,"
        " and 500; more if sessions differ much."
    ),
    "not started": (
        "Planned turns of the script that did not start because their session had ended."
    ),
    "failure_rate": (
        "(failed turns + turns not started) ÷ turns planned, excluding turns that the end of the"
        " run cut, starved turns, and those that a limit of this machine prevented."
    ),
}

NOTED = 2
"""The maximum number of remarks that are shown below the first table. Further remarks are
folded."""
ENDLESS = (
    "Failed turns and turns that did not start count as infinite latency, so they do not improve a"
    " value."
)
READING = (
    "“Failed turns” is the share of the row’s planned turns that failed or did not start. A"
    " percentile is shown only if enough turns lie beyond it. Latencies are measured from an"
    " instant of the turn, not from a schedule."
)
SECTION_MISSING = "This section could not be made, because of a bug of this tool: report it"
SectionMaker = Callable[[Summary], b.Section | Iterable[b.Section] | None]
SUSTAINED = "the load generator kept up"
"""The meaning of VALID. It is not a statement about the service."""


def run_page(summary: Summary, checked: CheckDocument | None = None) -> b.Page:
    """Return the page of a run. Its parts are in the order in which a reader asks questions.

    `checked` is the check of the run; None if it was not checked.
    """
    verdict = summary.validity
    began = format_utc(summary.started_utc_ns)
    sections = list(sections_of(summary))
    definitions = _definitions(summary, flow=any(section.anchor == "flow" for section in sections))
    definition_blocks: b.Blocks = [
        b.ReadingGuide("Words with a dotted underline link to these definitions."),
        b.Details(f"{len(definitions)} definitions", [b.Definitions(list(definitions.items()))]),
        b.Details(
            "Settings of this run", [b.Definitions(list(run_settings(summary)), linked=False)]
        ),
    ]
    sections.append(
        b.Section(
            "how", "Definitions", "What do the words mean?", definition_blocks, True, (), "Settings"
        )
    )
    made_from: b.Inline = (
        "Generated from the run folder ",
        b.Code(escape_control(summary.run.folder.resolve().name)),
    )
    files: b.Inline = (b.Code("summary.json"), "; ", b.Code("turns.parquet"), " has a row per turn")
    version = summary.run.metadata.get("definitions_version") or DEFINITIONS_VERSION
    simulated = b.MEASURED_AGAINST if summary.simulated else ""
    kinds = ["call with audio in RTP"] if summary.calls else []
    kinds += ["WebSocket connection"] if len(summary.calls) < len(summary.targets) else []
    sessions = "recorded call" if summary.recorded else " or a ".join(kinds)
    ends = (
        f". Every session was a {sessions}. Version of the metric definitions: {version}. All times"
        " UTC."
    )
    # failed checks first, then the results, then what failed and the remedy
    failed_checks: list[b.Inline] = []
    for check, remedy in cells.with_remedies(summary.validity.failed):
        failed_checks.append(
            (
                b.Strong(f"Check failed: {phrases.CHECKS[check.name].failure}"),
                f" ({phrases.check_values(check)}).",
            )
        )
        if remedy:
            failed_checks.append((b.Strong("What to do:"), f" {capitalize(remedy)}"))
    texts = (
        decision_notice(summary.run),
        sentences.run_second(summary),
        sentences.played_failures(summary),
        sentences.remedy(summary),
        *sentences.early_replies(summary),
    )
    badges = badges_of(summary, checked)
    return b.Page(
        title=" · ".join(
            [verdict.title, *(badge.text for badge in badges[1:]), f"{summary.scenario}, {began}"]
        ),
        badges=badges,
        notes=f"{summary.called} · {began} · {sentences.load_line(summary)}",
        headline=sentences.run_headline(summary),
        second=event_lines(summary.events, named=summary.has_several_targets),
        lead=[
            *([b.Banner(failed_checks)] if failed_checks else []),
            *(b.Paragraph(b.coded(text), "lead") for text in texts if text),
            *(_warnings(summary, checked) if checked else ()),
        ],
        answer=[
            *(_verdict(checked) if checked else ()),
            *(figure for _, figure in latency.histograms(summary)[:1]),
            *main_results(summary),
            *_facts(summary, checked.notices if checked else ()),
        ],
        next=[
            *b.fact("next step", [b.coded(sentences.next_step(summary))]),
            *(
                b.Command(*step)
                for step in sentences.next_commands(summary, checked=checked is not None)
            ),
        ],
        sections=sections,
        definitions=definitions,
        footer=(simulated, made_from, ". The same values are in ", files, ends),
        targets=summary.targets if summary.has_several_targets else (),
    )


def _warnings(summary: Summary, checked: CheckDocument) -> b.Blocks:
    """Return the reasons why a valid run was not evaluated, and the warnings of the check."""
    is_refused = checked.exit_status == INVALID_STATUS and summary.validity.status == "valid"
    return [
        *([b.Banner([checked.headline])] if is_refused else []),
        *(b.Paragraph(b.Strong(f"! {warning}"), "warn bold") for warning in checked.warnings),
    ]


def _verdict(checked: CheckDocument) -> b.Blocks:
    """Return the table of the thresholds, and what explains their verdicts."""
    against = f", against {checked.baseline}" if checked.baseline else ""
    why = [b.Explanation(checked.explanations)] if checked.exit_status != INVALID_STATUS else []
    return (
        [threshold_table(checked, f"{capitalize(outcome_text(checked))}{against}"), *why]
        if checked.findings
        else []
    )


def badges_of(summary: Summary, checked: CheckDocument | None = None) -> list[b.Badge]:
    """Return the badges of a run's page: its validity, its check, and its source if that is no
    live service.
    """
    verdict = summary.validity
    word = verdict.title if verdict.status == "no_verdict" else f"{verdict.title} RUN"
    reason = verdict_count(verdict)
    if verdict.status == "valid":
        reason = "no check failed" if summary.recorded else SUSTAINED
    badges = [b.Badge(b.MARKS[verdict.title].badge, verdict.marker, word, reason)]
    badges += [result_badge(checked)] if checked and verdict.status == "valid" else []
    return [*badges, *b.source_badges(simulated=summary.simulated, recorded=summary.recorded)]


MAX_ROWS = 5
"""The maximum number of results that are shown above the fold of the first table."""


def main_results(summary: Summary) -> b.Blocks:
    """Return the main metrics of all targets in one table, and a text on how to read the table.
    Return [] if no turn started. One target is not named in each row: rows have the names of their
    metrics.
    """
    groups = cells.tables(summary) if summary.endings.started else []
    if not groups:
        return []
    results = [result for group in groups for result in group.rows]
    # a level beyond p95 has a column only if a target has enough sessions for it
    ps = [
        p
        for p in MAIN_LEVELS
        if p in TYPICAL_LEVELS or any(result.at(p).has_interval for result in results)
    ]
    heads = [
        b.Column("target" if summary.has_several_targets else "metric", style="vh"),
        b.Column("turns", style="minor", shorten=1, leave_out=5),
        *(
            b.Column(LEVEL_NAMES[p], shorten=PRIORITIES[p][0], leave_out=PRIORITIES[p][1])
            for p in ps
        ),
        b.Column("max", leave_out=3),
        b.Column("failed turns", shorten=2),
    ]
    rows: list[b.Line] = []
    shown = 0
    for group in groups:
        name = (b.Term(group.metric), f" of {group.turns}" if group.turns else "")
        what = f"from {group.measured_from}, to {group.end}"
        if summary.has_several_targets:
            comma = ", " if group.turns else " "
            rows.append([b.Cell((*name, comma, what), columns=len(heads), style="of")])
        rows += [_result_row(summary, group, result, ps, name, what) for result in group.rows]
        if not shown or sum(len(row) > 1 for row in rows) <= MAX_ROWS:
            shown = len(rows)
    caption = f"In ms, with 95{NBSP}% intervals over sessions; max of successful turns"
    caption += "; of the whole run: before, in and after the peak" if summary.overload else ""
    for p in (p for p in MAIN_LEVELS if p not in ps):
        required = [
            result.at(p).required for result in results if result.at(p).status == "too_few_sessions"
        ]
        caption += f"; {LEVEL_NAMES[p]} needs {count(min(required))} sessions" if required else ""
    for p in (p for p in ps if any(result.at(p).status == "in_failures" for result in results)):
        failing = percent(round(1 - p, 9), 1)
        caption += f"; {LEVEL_NAMES[p]} stays {INFINITE} while more than {failing} of turns fail"
    style = "struck" if summary.validity.status == "invalid" else ""
    reading = [
        *b.note(ENDLESS),
        *b.note(settings.packetisation_note(summary.playback)),
        *b.note(READING),
    ]
    return [
        b.table(heads, rows, style, stacked=True, caption=caption, answers=True, shown=shown),
        b.Details("How to read this table", reading, style="note"),
    ]


PRIORITIES = dict.fromkeys(MAIN_LEVELS, (4, 4)) | {0.5: (7, 0), 0.95: (6, 8)}
"""The priorities at which a narrow terminal shortens, and leaves out, the column of each level."""
PLACEHOLDER_STYLES = {NOT_SHOWN: "na", INFINITE: "endless"}
"""The styles of the texts that are shown instead of a number."""


def _result_row(
    summary: Summary,
    group: cells.ResultRows,
    result: MainResult,
    ps: Sequence[float],
    name: tuple[b.Inline, ...],
    what: str,
) -> b.Line:
    distinction = group.distinction(result)
    more = f" · {distinction}" if distinction else ""
    head = b.Cell((*name, more), what)
    if summary.has_several_targets:
        target = summary.targets.index(result.target)
        head = b.Cell(f"{result.target}{more}", target=target, marked=True)
    parts = [cells.quantile_cell(result, p, "") for p in ps]
    return [
        head,
        b.Cell(count(result.turns), plural(result.sessions, "session")),
        *(replace(cell, style=PLACEHOLDER_STYLES.get(str(cell.text), "")) for cell in parts),
        format_number(result.largest),
        cells.failures(result),
    ]


def _facts(summary: Summary, of_check: Sequence[str]) -> b.Blocks:
    inexact = uncertain_line(summary.run, cells.main_metrics(summary))
    remaining_notices = [
        notice for notice in dict.fromkeys([*notices(summary), *of_check]) if notice != inexact
    ]
    return [
        *b.fact("differences", remarks.baseline_text(summary)),
        *b.fact("machine", [remarks.machine(summary)]),
        *b.fact("transcribed", remarks.transcription(summary)),
        *b.fact("interpreted", remarks.interpreting(summary)),
        *b.fact("cost", cost.cost_texts(summary.cost, simulated=summary.simulated)[:1]),
        *(health.uncertain_metrics(summary) if health.affects_results(summary) else []),
        *(
            [b.Bullets([*map(b.coded, remaining_notices)], shown=NOTED)]
            if remaining_notices
            else []
        ),
    ]


OPEN = True
FOLDED = False
SECTIONS: Mapping[str, Sequence[tuple[SectionMaker, bool | Callable[[Summary], bool]]]] = {
    "Events": ((events.events, OPEN), (returns.returns, OPEN)),
    "Latency": (
        (overload.overload, OPEN),
        (sweep.sweep, OPEN),
        (latency.spread, OPEN),
        (latency.time, OPEN),
        (audio.segments, OPEN),
        (latency.steps, FOLDED),
        (conversation.by_others, FOLDED),
        (slowest.slowest, FOLDED),
    ),
    "Calls": (
        (audio.playback, OPEN),
        (waveform_of_call, OPEN),
        (turn_taking.turn_taking, OPEN),
        (audio.interruptions, audio.interrupts),
        (tools.tools, OPEN),
        (outcomes.rates, FOLDED),
        (conversation.along_session, FOLDED),
        (conversation.context, FOLDED),
        (telephone.telephone_calls, OPEN),
    ),
    "Failures": (
        (outcomes.outcomes, OPEN),
        (conversation.context_failures, lambda summary: bool(summary.context_failures)),
        (failed.failed, FOLDED),
        (arrivals.rate_limits, FOLDED),
    ),
    "Load": (
        (arrivals.arriving, OPEN),
        (arrivals.by_load, FOLDED),
        (health.hosts, FOLDED),
        (health.health, lambda summary: summary.validity.status != "valid"),
        (health.incidents, OPEN),
    ),
    "Cost": ((cost.costs, FOLDED),),
    "Network": (
        (network.connect, FOLDED),
        (network.network, FOLDED),
        (network.flow, FOLDED),
        (network.other_metrics, FOLDED),
    ),
    "Settings": ((health.targets, FOLDED),),
}
"""The sections below the results, by the link that leads to them and in the order in which a reader
asks questions, and whether each is open at first.

The others are folded, so that the page is only a few screens long.
"""


def sections_of(summary: Summary) -> Iterable[b.Section]:
    """Yield the sections of a run, without empty ones."""
    for group, members in SECTIONS.items():
        for make, is_open in members:
            opened = is_open if isinstance(is_open, bool) else is_open(summary)
            for section in sections_by(make, summary):
                yield replace(section, folded=not opened, group=group)


def sections_by(make: SectionMaker, summary: Summary) -> Iterable[b.Section]:
    """Return the sections that `make` returns. If it raises an error, return a section that states
    this. A section shows texts of a service, which may be anything. An error in one section must
    not prevent the others.
    """
    try:
        made = make(summary)
        return [made] if isinstance(made, b.Section) else list(made or ())
    except UsageError:
        raise
    except Exception as error:
        name = make.__name__.replace("_", " ")
        text = f"{SECTION_MISSING} ({type(error).__name__})."
        heading = f"{name.capitalize()}: not shown"
        return [
            b.Section(make.__name__, heading, "", [b.Paragraph(text)], brief=b.fact(name, [text]))
        ]


def _definitions(summary: Summary, *, flow: bool) -> dict[str, str]:
    names = {row.metric for row in (*summary.turn_metrics, *summary.session_metrics)}
    names -= {*network.OF_WEBSOCKETS} if summary.only_telephone else set()
    names |= {
        distribution.metric for distribution in (*summary.load_generator, *summary.event_metrics)
    }
    names |= {rate.metric for rate in summary.throughput if rate.total_bytes and flow}
    names |= {check.name for check in summary.validity.checks}
    names |= set(summary.mains.values())
    chunked = settings.packetisation(summary.playback)
    grown = {"packetisation": chunked} if chunked else {}
    metrics = [name for name in CATALOGUE if name in names]
    rates = [rate.metric for rate in summary.rates]
    return definitions([*metrics, *rates]) | METHOD | grown


KEYS = (
    "run_id",
    "scenario",
    "labels",
    "state",
    "stop_reason",
    "tool",
    "targets",
    "scripts",
    "settings",
    "host",
    "workers",
    "part_of",
    "parts",
)
"""The entries of run.json that the page shows unchanged."""


def run_settings(summary: Summary) -> Iterable[tuple[str, str]]:
    """Yield the settings of the run as (name, text). A list in run.json has a line for each of
    its entries.
    """
    for key in KEYS:
        value = summary.run.metadata.get(key)
        for index, entry in enumerate(value if isinstance(value, list) else [value]):
            if entry not in (None, "", {}, []):
                yield key if index == 0 else "", _flat(entry)


def _flat(value: object) -> str:
    if isinstance(value, dict):
        # it has every turn of a script
        shown = {key: entry for key, entry in value.items() if key != "plan"}
        parts = (
            (key, _flat(entry)) for key, entry in shown.items() if entry not in (None, "", {}, [])
        )
        return ", ".join(f"{key} {text}" for key, text in parts)
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
