"""summary.json, the summary for programs, and the files of a report.

Times are in ms, rates in B/s, sums of segments in ns, money in USD.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import field
from msgspec.structs import replace

from bench.measures import DEFINITIONS_VERSION
from reports.exactness import Inexact
from reports.page.page import run_page
from reports.page.poured import Paths, write_page
from reports.question import Traits, Wait
from reports.records import Count, Known, Number, Record, Rounded, Version, about, data_of, text_of
from reports.runs import RunFrames
from reports.statistics.power import Spread
from reports.statistics.quantiles import Estimate, Status, quantile
from reports.summary.arms import ArmFacts, ArmsQuantile, Interleaving
from reports.summary.drift import Drift
from reports.summary.figures import Counts, Distribution, Figures, Rate, Throughput, TurnRate
from reports.summary.groups import KEYS, Group, Waits
from reports.summary.load import Arriving, Throttling
from reports.summary.money import Money
from reports.summary.outcomes import by_outcome
from reports.summary.segments import Band, Breakdown
from reports.summary.single_turns import Slow
from reports.summary.summary import CallerWait, Summary, summarise
from reports.summary.trust import Host, Incident, Machine, RuleResult, Setup
from reports.wording.notices import notices
from reports.wording.settings import arm_fact, packetisation
from reports.wording.validity import verdict_reason

SUMMARY_VERSION: Literal[4] = 4


class GroupQuantile(Record, frozen=True):
    """A quantile of a group of turns; null where it is not published, or lies among failed turns."""

    value: Rounded
    low: Rounded
    high: Rounded
    published: bool


class Quantile(Record, frozen=True):
    """Null where it is not published, or lies among failed turns (censored); an open end is null.

    What is not published must not be compared.
    """

    value: Rounded = math.nan
    low: Rounded = math.nan
    high: Rounded = math.nan
    deff: Rounded = math.nan
    censored: bool = False
    published: bool = False
    status: Status = "too few turns"
    needs: Count | None = None
    successes: Rounded = math.nan


class MeasureFigures(Record, frozen=True, kw_only=True):
    """A measure of a target and step."""

    measure: str
    unit: str
    target: str
    measured_from: Annotated[
        Literal["request_sent", "speech_end"] | None,
        about("what the turns count from, where the measure tells it apart"),
    ] = None
    traits: Traits | None = None
    step: str
    n: Count
    failed: Count
    censored: Count
    p50: Quantile
    p90: Quantile
    p95: Quantile
    p99: Quantile
    low: Rounded = field(name="min")
    high: Rounded = field(name="max")
    inexact: Annotated[Known | None, about("why the figure is not exact in this run; null where it is")] = None
    lost: Annotated[Count, about("those of the failed that were wanted and never begun")] = 0
    reached: Annotated[
        Rounded | None, about("share of what was wanted that has a value; null of nothing, and in older versions")
    ] = None


class Answer(MeasureFigures, frozen=True, kw_only=True):
    """What callers of one target wait for, by a measure that counts from one instant: its turns and its figures."""

    turns: Count
    sessions: Count
    turns_failed: Count
    turns_not_started: Count
    turns_planned: Count


class WaitSpread(Wait, frozen=True):
    """sigma: sd of the log of successful waits; icc: the share of its square between sessions; design effects; worth:
    so many sessions of one length tell as much, (Σn)² / Σn².
    """

    sigma: Rounded
    icc: Rounded
    deff50: Rounded
    deff95: Rounded
    worth: Rounded


class GroupWait(Wait, frozen=True):
    """The turns of a target that a key puts together: by their number, the age of their session when they began, the
    tokens that their first response read, the calls in progress, the host that recorded them, or the region that
    answered them.
    """

    by: Annotated[str, about(", ".join(KEYS))]
    name: str
    low: Annotated[
        Rounded, about("from where the group reaches: a number, seconds, tokens or calls; null of names")
    ] = field(name="from")
    high: Annotated[Rounded, about("to where; null: without an end, and of names")] = field(name="to")
    turns: Annotated[Count, about("those begun")]
    sessions: Count
    failed: Annotated[
        Rate, about("failed turns and lost ones, of the turns wanted that the end of the run did not cut")
    ] = field(name="turns_failed")
    unopened: Annotated[Rate | None, about("of the sessions that began here; null where that is not known")] = field(
        name="sessions_unopened"
    )
    n: Annotated[Count, about("turns with a wait, which failed and lost ones have too")]
    p50: GroupQuantile
    p95: GroupQuantile
    lost: Annotated[Count, about("wanted and never begun")] = 0
    lost_unplaced: Annotated[
        Count,
        about("lost turns of this target, origin and traits of which nobody knows the group; the same in each row"),
    ] = 0


class TargetOutcomes(Record, frozen=True, kw_only=True):
    """How the turns and sessions of one target ended."""

    turns: dict[str, Count]
    sessions: dict[str, Count]
    said: dict[str, str] = field(default_factory=dict)
    turns_started: Count
    turns_failed: Count = 0
    turns_censored: Count = 0
    turns_not_started: Count = 0
    turns_planned: Count
    failures: Rounded
    sessions_begun: Count
    sessions_with_failure: Count = 0
    failures_low: Annotated[Rounded, about("of the 95 % interval of failures; older versions have none")] = math.nan
    failures_high: Rounded = math.nan


class ArmsRatios(Record, frozen=True):
    """A published quantile of several arms, as multiples of the first one's."""

    measure: str
    measured_from: Known
    traits: Traits
    p: float
    against: str
    ratios: dict[str, Rounded]


class Limits(Record, frozen=True):
    """What the service limited, and what remained of each limit at least, as a share."""

    target: str
    turns: Count = field(name="throttled_turns")
    sessions: Count = field(name="throttled_sessions")
    waits_asked: Count
    wait_p50_s: Rounded
    wait_max_s: Rounded
    held_s: Rounded
    calls_backed_off: Annotated[Rounded, about("calls held back after refused ones, in a closed loop")]
    least_remaining: dict[str, Rounded]


class PlayedSetup(Setup, frozen=True):
    """The same, and why turns of turn detection wait longer the larger their chunks are; null without such turns."""

    packetisation: Known


class JudgedRun(Record, frozen=True):
    """Whether the figures may be used; null: not judged, the reason says why."""

    valid: bool | None
    reason: str
    rules: tuple[RuleResult, ...]
    inexact: list[Inexact] = field(default_factory=list)


class SummaryDocument(Record, frozen=True, kw_only=True):
    """What is said of a run."""

    schema: Literal[4]
    definitions: Version
    run_id: str | None
    scenario: str | None
    labels: Annotated[dict[str, str], about("what --label says of the run")]
    simulated: bool
    state: str | None
    began_utc_ns: int
    length_s: Number
    warmup_s: Number
    verdict: JudgedRun
    targets: list[str]
    main: Annotated[str, about("the measure that a caller waits for")]
    mains: Annotated[dict[str, str], about("the same by what latency counts from, and traits: requested+calls")]
    setup: PlayedSetup
    answers: list[Answer]
    heard: list[Answer]
    read: list[Answer]
    turn_measures: list[MeasureFigures]
    segments: list[Breakdown]
    segments_around: Annotated[list[Band], about("of the turns around this percentile of voice_to_voice")]
    spread: list[WaitSpread]
    drift: list[Drift]
    groups: Annotated[list[GroupWait], about("waits of groups of turns; those of a key that says nothing are left out")]
    hosts: Annotated[list[Host], about("those that recorded the run; empty where it was one")] = field(
        default_factory=list
    )
    machines: Annotated[list[Machine], about("who had the cores of each host; empty of an older run")] = field(
        default_factory=list
    )
    counts: list[Counts]
    rates: Annotated[list[TurnRate], about("of turns that a column says it of; empty where none does")] = field(
        default_factory=list
    )
    session_measures: list[MeasureFigures]
    events: list[Distribution] = field(name="event_measures")
    harness: list[Distribution]
    throughput: list[Throughput]
    outcomes: dict[str, TargetOutcomes]
    arms: list[ArmFacts]
    interleaving: Interleaving | None
    differences: list[ArmsRatios]
    money: Money
    limits: list[Limits]
    arriving: Annotated[Arriving | None, about("null in a closed loop")]
    incidents: list[Incident]
    incident_counts: dict[str, Count]
    slowest: list[Slow]
    notices: list[str]


def summary_json(summary: Summary) -> str:
    """The file's text."""
    return text_of(summary_data(summary))


def summary_data(summary: Summary) -> dict[str, Any]:
    """The summary as lists, dictionaries, strings and numbers."""
    document, window, setup, verdict = summary.run.document, summary.window, summary.setup, summary.verdict
    return data_of(
        SummaryDocument(
            schema=SUMMARY_VERSION,
            definitions=document.get("definitions") or DEFINITIONS_VERSION,
            run_id=document.get("run_id"),
            scenario=summary.scenario,
            labels=summary.labels,
            simulated=summary.simulated,
            state=document.get("state"),
            began_utc_ns=window.began_utc_ns,
            length_s=window.length_s,
            warmup_s=window.warmup_s,
            verdict=JudgedRun(verdict.valid, verdict_reason(verdict), verdict.rules, list(summary.run.inexact)),
            targets=list(summary.targets),
            main=summary.main,
            mains={stratum.key: measure for stratum, measure in summary.mains.items()},
            setup=PlayedSetup(setup.jitter_buffers_ms, setup.vad_chunks_ms, setup.detections, packetisation(setup)),
            answers=[_answer(answer) for answer in summary.answers],
            heard=[_answer(answer) for answer in summary.heard],
            read=[_answer(answer) for answer in summary.read],
            turn_measures=[MeasureFigures(**_figures(figures)) for figures in summary.measures],
            segments=list(summary.breakdowns),
            segments_around=list(summary.bands),
            spread=[_spread(*one) for one in summary.spreads],
            drift=list(summary.drifts),
            groups=[row for waits in summary.waits for row in _groups(waits)],
            hosts=list(summary.hosts),
            machines=list(summary.machines),
            counts=list(summary.counts),
            rates=list(summary.rates),
            session_measures=[MeasureFigures(**_figures(each)) for each in (*summary.connecting, *summary.slopes)],
            events=list(summary.events),
            harness=list(summary.harness),
            throughput=list(summary.throughput),
            outcomes={label: _outcomes(summary, place) for place, label in enumerate(summary.targets)},
            arms=[replace(arm, compression=Known(arm_fact(arm, "compression"))) for arm in summary.arms],
            interleaving=summary.interleaving,
            differences=[_ratios(one) for one in summary.differences],
            money=summary.money,
            limits=[_limits(throttling) for throttling in summary.quota.targets],
            arriving=summary.arriving,
            incidents=list(summary.incidents.kept),
            incident_counts=dict(summary.incidents.counts),
            slowest=list(summary.slowest),
            notices=notices(summary),
        )
    )


def _answer(answer: CallerWait) -> Answer:
    return Answer(
        turns=answer.turns,
        sessions=answer.sessions,
        turns_failed=answer.failed,
        turns_not_started=answer.lost,
        turns_planned=answer.wanted,
        **_figures(answer.figures),
    )


def _figures(figures: Figures) -> dict[str, Any]:
    """Every field of `MeasureFigures`."""
    quantiles = zip(figures.quantiles, figures.successes, strict=True)
    return {
        "measure": figures.measure,
        "unit": figures.unit,
        "target": figures.target,
        "measured_from": figures.stratum.measured_from or None,
        "traits": figures.stratum.traits,
        "step": figures.step,
        "n": figures.n,
        "failed": figures.failed,
        "censored": figures.censored,
        **{f"p{estimate.p * 100:g}": _quantile(estimate, successes) for estimate, successes in quantiles},
        "low": figures.low,
        "high": figures.high,
        "inexact": figures.inexact,
        "lost": figures.lost,
        "reached": figures.reached,
    }


def _quantile(estimate: Estimate, successes: float) -> Quantile:
    """What may not be told is no number."""
    ends = (estimate.value, estimate.low, estimate.high) if estimate.bounded else (math.nan,) * 3
    censored, needs = estimate.value == math.inf, estimate.needs or None
    return Quantile(*ends, estimate.deff, censored, estimate.published, estimate.status, needs, successes)


def _spread(figures: Figures, spread: Spread) -> WaitSpread:
    of = figures.measure, *figures.stratum, figures.target
    return WaitSpread(*of, spread.sigma, spread.icc, spread.deff50, spread.deff95, spread.worth)


def _groups(waits: Waits) -> Iterable[GroupWait]:
    of = waits.measure, *waits.stratum, waits.target, waits.by
    for group in waits.groups:
        place, quantiles = group.place, (_of_group(group, 0.5), _of_group(group, 0.95))
        counted = group.turns, group.sessions, group.failed, group.unopened, group.n
        lost = group.lost, waits.unplaced
        yield GroupWait(*of, place.name, place.low, place.high, *counted, *quantiles, *lost)


def _of_group(group: Group, p: float) -> GroupQuantile:
    estimate, told = group.at(p), group.told(p)
    return GroupQuantile(*((estimate.value, estimate.low, estimate.high) if told else (math.nan,) * 3), told)


def _outcomes(summary: Summary, place: int) -> TargetOutcomes:
    outcomes = summary.outcomes
    endings = *outcomes.turns, *outcomes.sessions
    return TargetOutcomes(
        turns=by_outcome(outcomes.turns, place),
        sessions=by_outcome(outcomes.sessions, place),
        said={ending.outcome: ending.said for ending in endings if ending.said and ending.counts[place]},
        turns_started=outcomes.begun[place],
        turns_failed=outcomes.failed[place],
        turns_censored=outcomes.censored[place],
        turns_not_started=outcomes.lost[place],
        turns_planned=outcomes.wanted[place],
        failures=outcomes.failures(place),
        failures_low=summary.failures[place].low,
        failures_high=summary.failures[place].high,
        sessions_begun=outcomes.opened[place],
        sessions_with_failure=outcomes.with_failure[place],
    )


def _ratios(one: ArmsQuantile) -> ArmsRatios:
    ratios = dict(zip(one.targets, one.ratios, strict=True))
    return ArmsRatios(one.measure, *one.stratum, p=one.p, against=one.targets[0], ratios=ratios)


def _limits(throttling: Throttling) -> Limits:
    waits_s = np.array(throttling.waits_s)
    return Limits(
        throttling.target,
        throttling.turns,
        throttling.sessions,
        waits_s.size,
        quantile(waits_s, 0.5),
        quantile(waits_s, 1.0),
        throttling.held_s,
        throttling.backed_off,
        {part.limit: part.share.min() for part in throttling.remaining},
    )


def write_report(run: RunFrames | Summary) -> Paths:
    """Write report.html, report.md and summary.json into the run's folder.

    A run is summarised first; hand in the summary where it is there already. Raises UsageError where its folder cannot
    be written.
    """
    summary = run if isinstance(run, Summary) else summarise(run)
    paths = Paths(*(summary.run.folder / name for name in ("report.html", "report.md", "summary.json")))
    return write_page(run_page(summary), summary_json(summary), paths, "the report")
