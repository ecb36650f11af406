"""The sentences and cells of a report: templates with numbers, never a judgement that code cannot make."""

from __future__ import annotations

import math
from typing import NamedTuple

from reports.numbers import NBSP, count, listed, ms, percent, plural, span, three, together
from reports.statistics import Estimate
from reports.summary import Answer, Figures, Summary
from reports.verdict import Rule

CAUSES = {
    "stamp_error": ("arrival stamps are not exact", "the load generator fell behind what came in"),
    "hub_delay": ("the event loop ran late", "the load generator could not keep up"),
    "send_lag": ("audio chunks were sent late", "the load generator could not keep up"),
    "start_lag": ("sessions started late", "the load was not the one that was asked for"),
}
WAITS = {
    ("ttfa", "speech_end"): "Callers wait {} for the first audio of the reply (median)",
    ("ttfa", "requested"): "The first audio of the reply comes after {} (median)",
    ("ttft", "speech_end"): "Callers wait {} for the first text of the reply (median)",
    ("ttft", "requested"): "The first text of the reply comes after {} (median)",
}
"""By main measure and origin: what counts from a request is no caller's wait, for the caller had ended before."""
ORIGINS = {"requested": "response.create", "speech_end": "the end of the caller's speech"}
NO_VERDICT = "Not judged: {}. Nothing says whether the load generator kept up."


class Cell(NamedTuple):
    """A figure and what belongs below it."""

    figure: str
    below: str


def cell(figures: Figures, p: float, noun: str = "turn") -> Cell:
    """A quantile as it may be published: `986` over `969 – 1,010`, or why there is none.

    Without a noun the reason is short, for a table that has the number of turns in a column of its own.
    """
    estimate = figures.at(p)
    good = figures.successes[figures.quantiles.index(estimate)]
    return estimate_cell(estimate, figures.n, figures.failed, noun, good)


def estimate_cell(estimate: Estimate, n: int, failed: int, noun: str = "turn", good: float = math.nan) -> Cell:
    """The same for a quantile of n turns; `good` is that of the successes alone, shown where too many failed."""
    if estimate.published:
        return Cell(three(estimate.value), interval(estimate))
    if estimate.status == "failed share":
        beside = "" if math.isnan(good) else f"; successes {three(good)}"
        return Cell(f">{NBSP}timeout", f"{count(failed)} of {count(n)} failed{beside}")
    if estimate.status == "too few turns":
        return Cell(
            "n/a", f"{plural(n, noun)}; needs {count(estimate.needs)}" if noun else f"needs {count(estimate.needs)}"
        )
    if estimate.status == "too few sessions":
        return Cell("n/a", "one session; needs several")
    return Cell("n/a", f"open: {count(failed)} of {count(n)} failed" if noun else "open: failures")


def answer_cell(figures: Figures, p: float) -> Cell:
    """A cell of the answer's table, which has the failed turns in a column of its own."""
    shown, estimate = cell(figures, p), figures.at(p)
    good = figures.successes[figures.quantiles.index(estimate)]
    if estimate.status == "failed share":
        return Cell(shown.figure, "all failed" if math.isnan(good) else f"successes {three(good)}")
    return Cell(shown.figure, f"open: {plural(figures.failed, 'failure')}") if estimate.status == "open" else shown


def interval(estimate: Estimate) -> str:
    """969 – 1,010; an end that the sample does not bound is `open`."""
    low, high = (three(end) if math.isfinite(end) else "open" for end in (estimate.low, estimate.high))
    return f"{low} – {high}"


def inline(figures: Figures, p: float, noun: str = "turn") -> str:
    """A cell in one line: `986 (969 – 1,010)`, `n/a (120 turns; needs 500)`."""
    figure, below = cell(figures, p, noun)
    return f"{figure} ({below})" if below else figure


def headline(summary: Summary) -> str:
    """The answer in one sentence."""
    if summary.verdict.valid is False:
        return f"Do not use these figures: {cause(summary)}."
    begun = [answer for answer in summary.answers if answer.turns]
    if not begun:
        return _no_turns(summary)
    told = [answer for answer in begun if answer.figures.at(0.5).published]
    return _waits(summary, told) if told else _untold(begun)


def cause(summary: Summary) -> str:
    """Why a run is invalid."""
    broken = summary.verdict.broken
    return (
        CAUSES.get(broken[0].measure, ("", f"the check “{broken[0].name}” failed"))[1] if broken else "a check failed"
    )


def rule_line(rule: Rule) -> str:
    """Rule (c) failed: audio chunks were sent late."""
    said = CAUSES.get(rule.measure, (rule.name, ""))[0]
    return f"Rule ({rule.rule}) failed: {said}." if rule.rule else f"Failed: {said}."


def rule_figure(rule: Rule) -> str:
    """send_lag was 14.2 ms; the limit is 10 ms (p99, a tenth of a chunk)."""
    note = f" ({rule.note})" if rule.note else ""
    return f"{rule.measure} was {rule.written(rule.figure)}; the limit is {rule.written(rule.limit)}{note}."


def remedy(rule: Rule) -> str:
    """What to do, as a sentence; empty where the rule has no advice."""
    return f"{rule.remedy.rstrip('. ')}." if rule.remedy else ""


def _no_turns(summary: Summary) -> str:
    sessions = sum(summary.outcomes.opened)
    if not sessions:
        return "This run holds no turns and no sessions."
    ends = [f"{count(sum(ending.counts))} × {ending.outcome}" for ending in summary.outcomes.sessions]
    return f"No turn was begun: {plural(sessions, 'session')} ended as {listed(ends)}."


def _waits(summary: Summary, told: list[Answer]) -> str:
    many = len(told) > 1
    shown = told if len(told) <= 3 else [min(told, key=_median), max(told, key=_median)]
    tails = [answer for answer in shown if answer.figures.at(0.95).published]
    whole = len(tails) == len(shown)
    slowest = max(shown, key=lambda answer: answer.figures.high)
    last = [a.figures.at(0.95).value for a in tails] if whole else [slowest.figures.high]
    times = together(*(a.figures.at(0.5).value for a in shown), *last)
    medians = [f"{time} on {a.target}" if many else time for time, a in zip(times, shown, strict=False)]
    first = WAITS[summary.main, origin(summary)].format(
        listed(medians) if len(told) <= 3 else f"from {medians[0]} to {medians[1]}"
    )
    if whole:
        return f"{first}; one turn in twenty takes longer than {listed(times[len(shown) :])} (p95)."
    where = f" on {slowest.target}" if many else ""
    which = "that succeeded" if slowest.figures.failed else f"of {plural(slowest.turns, 'turn')}"
    return f"{first}; the slowest {which}{where} took {times[-1]}."


def _median(answer: Answer) -> float:
    return answer.figures.at(0.5).value


def _untold(begun: list[Answer]) -> str:
    turns, failed = sum(a.figures.n for a in begun), sum(a.figures.failed for a in begun)
    if failed and failed == turns:
        return f"Every turn failed: {count(failed)} of {count(turns)}."
    if any(a.figures.at(0.5).status == "failed share" for a in begun):
        return f"Half of the turns or more failed: {count(failed)} of {count(turns)}."
    good = [end for a in begun for end in (a.figures.low, a.figures.high) if math.isfinite(end)]
    if not good:
        return f"No turn came to an end: {count(sum(a.turns for a in begun))} were cut by the end of the run."
    took = listed(list(dict.fromkeys(together(min(good), max(good)))))
    many = "it took" if turns == 1 else "the fastest and the slowest took"
    return f"{plural(turns, 'turn')} cannot carry a median with its interval; {many} {took}."


def second(summary: Summary) -> str:
    """What went wrong, in numbers."""
    outcomes = summary.outcomes
    begun, failed, lost, cut = (sum(n) for n in (outcomes.begun, outcomes.failed, outcomes.lost, outcomes.censored))
    ended = begun - cut
    if not begun:
        return ""
    said = [f"None of the {plural(ended, 'turn')} failed." if ended != 1 else "The turn did not fail."]
    if failed:
        said = [f"{count(failed)} of {plural(ended, 'turn')} failed ({percent(failed, ended)}), {_mostly(summary)}."]
    if lost:
        said.append(f"{count(lost)} more {'was' if lost == 1 else 'were'} wanted and never begun.")
    if cut:
        said.append(f"{count(cut)} {'was' if cut == 1 else 'were'} cut by the end of the run and left out.")
    if summary.verdict.valid is None:
        said.append(NO_VERDICT.format(summary.verdict.reason))
    return " ".join(said)


def _mostly(summary: Summary) -> str:
    """How most turns failed: most often as closed:1006 (17)."""
    endings = [ending for ending in summary.outcomes.turns if ending.kind == "failed"]
    most = max(endings, key=lambda ending: sum(ending.counts))
    return f"most often as {most.outcome} ({count(sum(most.counts))})" if len(endings) > 1 else f"as {most.outcome}"


def lasted(summary: Summary) -> str:
    """20 min measured after 3 min of warm-up."""
    window = summary.window
    after = f" after {span(window.warmup_s)} of warm-up" if window.warmup_s else ""
    return f"{span(window.measured_s)} measured{after}"


def origin(summary: Summary) -> str:
    """The instant that the answer counts from; `requested` where no turn came so far."""
    turns = summary.turns
    pooled = turns.rows[turns.pooled[turns.step]] if turns.rows.size else turns.rows
    named = turns.frame["origin"].iloc[pooled].dropna()
    return str(named.iloc[0]) if len(named) else "requested"


def caption(summary: Summary) -> str:
    """What the answer's table is of."""
    kind = {"ttfa": "first audio delta", "ttft": "first text delta"}[summary.main]
    return f"Time from {ORIGINS[origin(summary)]} to the {kind}"


def worst_step(summary: Summary) -> str:
    """Slowest step by p50: order_status on direct (785 ms)."""
    found = []
    for label in summary.targets:
        rows = [f for f in summary.measures if f.measure == summary.main and f.target == label and f.step != "all"]
        told = [f for f in rows if f.at(0.5).published]
        if len(told) > 1:
            top = max(told, key=lambda f: f.at(0.5).value)
            where = f" on {label}" if len(summary.targets) > 1 else ""
            found.append(f"{top.step}{where} ({ms(top.at(0.5).value)})")
    if len(found) > 3:
        return "Steps in the order of the script."
    return (
        f"Slowest step by p50: {listed(found)}." if found else "Too few turns of a step to rank steps by their median."
    )
