"""The summary that `rtbench report` prints: at most so many columns, colour only where it is wanted."""

from __future__ import annotations

from collections.abc import Iterable

from reports.blocks import Paragraph
from reports.numbers import NBSP, count, moment, three
from reports.summary import drift
from reports.summary.events import ALL
from reports.summary.places import By
from reports.summary.summary import Summary
from reports.summary.trust import trust
from reports.summary.verdict import RuleResult
from reports.text.columns import answers, waits_by
from reports.text.lines import Badges, Named, Part, pour
from reports.wording import arriving, groups, remarks, words
from reports.wording.failings import second
from reports.wording.sentences import headline, heard

INTERRUPTED = ("barge_in_yield", "audio_wasted")
CALLED = ("function_call", "function_time", "function_answer")
QUOTED = 3
REMEDIES = 2
SHOWN = 4
INCIDENTS = 3
INCIDENT_LINES = 2


def terminal(summary: Summary, width: int = 100, colour: bool = False) -> str:
    """The summary as text, some twenty lines."""
    table = [answers(summary)] if sum(summary.outcomes.begun) else []
    keys: tuple[By, ...] = ("calls", "host")
    by_key = (waits_by(summary, key) for key in keys)
    return pour((_opening(summary), table, *by_key, _closing(summary)), width, colour)


def _opening(summary: Summary) -> Iterable[Part]:
    verdict = summary.verdict
    style = "warn" if verdict.valid is None else "good" if verdict.valid else "bad"
    run = f"{summary.called}  {moment(summary.window.began_utc_ns)}  {words.lasted(summary)}"
    yield Badges([*zip(words.badges(summary), (style, "sim"), strict=False)], run, last=True)
    yield Paragraph(headline(summary), "bold")
    yield Paragraph(remarks.machine(summary))
    for rule in verdict.broken:
        yield Paragraph(f"{words.rule_line(rule)} {words.rule_figure(rule)}", "bad")
        yield Paragraph(f"What to do: {words.remedy(rule)}" if rule.remedy else "")
    yield Paragraph(" ".join(filter(None, (summary.decided, heard(summary), second(summary)))))


def _closing(summary: Summary) -> Iterable[Part]:
    yield Named("calls", arriving.lines(summary))
    yield Named("throughput", remarks.throughput(summary))
    yield Named("arms", _arms(summary))
    alone = len(summary.targets) == 1
    for row in [row for row in summary.breakdowns if row.step == ALL and alone][:SHOWN]:
        yield Named("segments", [words.breakdown(row, summary)])
    yield Named("interrupted", words.medians(summary, INTERRUPTED))
    yield Named("functions", words.medians(summary, CALLED))
    yield Named("drift", [drift.suspected(summary.drifts)])
    yield Named("slope", words.slopes(summary))
    yield Named("detection", _detection(summary))
    yield Named("rates", words.rates(summary))
    yield Named("outcomes", _outcomes(summary))
    for ending in summary.outcomes.quoted()[:QUOTED]:
        yield Named("said", [f"{ending.outcome}: {ending.said}"])
    for remedy in summary.outcomes.remedies()[:REMEDIES]:
        yield Named("to do", [remedy.line])
    yield Named("limits", [remarks.limits_in_all(summary.quota)])
    for incident in remarks.incidents(summary, INCIDENTS):
        yield Named("incident", [incident], most=INCIDENT_LINES)
    yield Named("cost", _cost(summary))
    yield Named("harness", _harness(summary))
    for notice in (*groups.notices(summary), summary.setup.chunks):
        yield Named("note", [notice])


def _arms(summary: Summary) -> list[str]:
    """How they were interleaved, and how far apart they lie."""
    differences = remarks.against(summary)
    interleaved = [summary.interleaving.sentence.rstrip(".")] if summary.interleaving else []
    untested = ["no test was made: rtbench compare does"] if differences and not summary.decided else []
    return [*interleaved, *differences, *untested]


def _cost(summary: Summary) -> list[str]:
    costs = remarks.cost(summary.money)
    return [*costs, "SIMULATED: what the same tokens would cost"] if costs and summary.simulated else costs


def _detection(summary: Summary) -> list[str]:
    """What the service's turn detection got wrong."""
    named = len(summary.targets) > 1
    faults = [(counts.target, fault) for counts in summary.counts[:SHOWN] for fault in words.detection(counts)]
    return [f"{target}: {fault}" if named else fault for target, fault in faults]


def _outcomes(summary: Summary) -> list[str]:
    endings = [f"{ending.outcome} {count(sum(ending.counts))}" for ending in summary.outcomes.turns]
    shown = endings if len(endings) <= 5 else [*endings[:4], f"{len(endings) - 4} others"]
    lost = sum(summary.outcomes.lost)
    return shown + ([f"lost {count(lost)}"] if lost else [])


def _judged(rule: RuleResult) -> str:
    """A rule's figure: stamp_error p99 of the first deltas 0.1 ms (limit 6.2 ms)."""
    which = [rule.note.partition(",")[0]] if rule.note.startswith("p99") else []
    limit = f"(limit {rule.written(rule.limit)})"
    return " ".join([rule.measure or rule.name, *which, rule.written(rule.figure), limit])


def _harness(summary: Summary) -> list[str]:
    rules = [_judged(rule) for rule in summary.verdict.rules if rule.figure is not None]
    lags = [f"receive_lag p99 {three(row.p99)}{NBSP}ms" for row in summary.harness if row.measure == "receive_lag"]
    return rules + lags + trust(summary.run)
