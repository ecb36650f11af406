"""summary.json: the summary for programs, as `reports.schemas.summary` describes it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from bench.measures import DEFINITIONS_VERSION
from reports.question import RATES
from reports.schemas.document import Values, data_of, text_of
from reports.schemas.summary import SUMMARY_VERSION, SummaryDocument
from reports.statistics.quantiles import Estimate, quantile
from reports.summary.arms import ArmFacts
from reports.summary.figures import Figures
from reports.summary.groups import Waits
from reports.summary.outcomes import Ending
from reports.summary.quota import Throttling
from reports.summary.rates import TurnRate
from reports.summary.segments import Breakdown
from reports.summary.slowest import Slow
from reports.summary.summary import CallerWait, Summary
from reports.wording import groups


def as_json(summary: Summary) -> str:
    """The file's text."""
    return text_of(as_data(summary))


def as_data(summary: Summary) -> dict[str, Any]:
    """The summary as lists, dictionaries, strings and numbers."""
    document = summary.run.document
    return data_of(
        SummaryDocument,
        Values(
            summary,
            summary.window,
            schema=SUMMARY_VERSION,
            definitions=document.get("definitions") or DEFINITIONS_VERSION,
            run_id=document.get("run_id"),
            state=document.get("state"),
            verdict=Values(summary.verdict, inexact=summary.run.inexact),
            mains={stratum.key: measure for stratum, measure in summary.mains.items()},
            answers=[_answer(answer) for answer in summary.answers],
            heard=[_answer(answer) for answer in summary.heard],
            read=[_answer(answer) for answer in summary.read],
            turn_measures=[_figures(figures) for figures in summary.measures],
            segments=[_breakdown(row, summary) for row in summary.breakdowns],
            segments_around=[_breakdown(row, summary) for row in summary.bands],
            spread=[Values(figures, spread, figures.stratum) for figures, spread in summary.spreads],
            drift=[Values(drift, drift.stratum) for drift in summary.drifts],
            groups=[row for waits in summary.waits for row in _groups(waits)],
            notices=groups.notices(summary),
            rates=[_rate(rate) for rate in summary.rates],
            session_measures=[_figures(figures) for figures in (*summary.connecting, *summary.slopes)],
            outcomes={label: _outcomes(summary, place) for place, label in enumerate(summary.targets)},
            arms=[_arm(arm) for arm in summary.arms],
            differences=[
                Values(one, one.stratum, against=one.targets[0], ratios=dict(zip(one.targets, one.ratios, strict=True)))
                for one in summary.differences
            ],
            money=Values(summary.money, prices=summary.money),
            limits=[_limits(throttling) for throttling in summary.quota.targets],
            incidents=summary.incidents.kept,
            incident_counts=summary.incidents.counts,
            slowest=[_slow(slow) for slow in summary.slowest],
        ),
    )


def _answer(answer: CallerWait) -> Values:
    counted = {"turns": answer.turns, "sessions": answer.sessions, "turns_failed": answer.failed}
    return _figures(answer.figures, **counted, lost_turns=answer.lost, turns_wanted=answer.wanted)


def _figures(figures: Figures, **beside: int) -> Values:
    quantiles = {
        f"p{estimate.p * 100:g}": _estimate(estimate, successes)
        for estimate, successes in zip(figures.quantiles, figures.successes, strict=True)
    }
    return Values(figures, figures.stratum, origin=figures.stratum.origin or None, **quantiles, **beside)


def _estimate(estimate: Estimate, successes: float = math.nan) -> Values:
    """What may not be told is no number."""
    censored, needs = estimate.value == math.inf, estimate.needs or None
    hidden = {} if estimate.bounded else dict.fromkeys(("value", "low", "high"), math.nan)
    return Values(estimate, censored=censored, needs=needs, successes=successes, **hidden)


def _breakdown(row: Breakdown, summary: Summary) -> Values:
    segments = [Values(segment, mean_ms=row.mean_ms(segment)) for segment in row.segments]
    return Values(row, p=row.around, target=summary.targets[row.target], mean_ms=row.mean_ms(), segments=segments)


def _groups(waits: Waits) -> Iterable[Values]:
    for group in waits.groups:
        p50, p95 = (_part(group.at(p), told=group.told(p)) for p in (0.5, 0.95))
        yield Values(group, group.place, waits, waits.stratum, p50=p50, p95=p95)


def _part(estimate: Estimate, *, told: bool) -> Values:
    hidden = {} if told else dict.fromkeys(("value", "low", "high"), math.nan)
    return Values(estimate, published=told, **hidden)


def _rate(rate: TurnRate) -> Values:
    hidden = {} if rate.published else dict.fromkeys(("value", "low", "high"), math.nan)
    trials = RATES[rate.name].trials
    return Values(rate, rate.share, rate=rate.name, events=rate.share.count, trials=trials, **hidden)


def _outcomes(summary: Summary, place: int) -> Values:
    outcomes = summary.outcomes
    endings = *outcomes.turns, *outcomes.sessions
    return Values(
        turns=_endings(outcomes.turns, place),
        sessions=_endings(outcomes.sessions, place),
        said={ending.outcome: ending.said for ending in endings if ending.said and ending.counts[place]},
        turns_begun=outcomes.begun[place],
        turns_failed=outcomes.failed[place],
        turns_censored=outcomes.censored[place],
        lost_turns=outcomes.lost[place],
        turns_wanted=outcomes.wanted[place],
        failures=outcomes.failures(place),
        failures_low=summary.failures[place].low,
        failures_high=summary.failures[place].high,
        sessions_begun=outcomes.opened[place],
        sessions_with_failure=outcomes.with_failure[place],
    )


def _endings(endings: tuple[Ending, ...], place: int) -> dict[str, int]:
    return {ending.outcome: ending.counts[place] for ending in endings if ending.counts[place]}


def _arm(arm: ArmFacts) -> Values:
    facts = {fact.replace(" ", "_").replace("-", "_"): text for fact, text in arm.facts.items()}
    return Values(target=arm.target, **facts)


def _limits(throttling: Throttling) -> Values:
    waits_s = np.array(throttling.waits_s)
    return Values(
        throttling,
        waits_asked=waits_s.size,
        wait_p50_s=quantile(waits_s, 0.5),
        wait_max_s=quantile(waits_s, 1.0),
        least_remaining={part.limit: part.share.min() for part in throttling.remaining},
    )


def _slow(slow: Slow) -> Values:
    return Values(slow, slow.stratum, retransmits=None if math.isnan(slow.retransmits) else int(slow.retransmits))
