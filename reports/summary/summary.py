"""One run in plain data: what the terminal, report.md, summary.json and report.html say, computed once.

Times are in ms, rates in B/s. Quantiles of turns and sessions come from rows, those of events from histograms.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pandas as pd

from bench.run.measured import CARRIED
from bench.units import NS_PER_S
from reports.runs import SESSION_MEASURES, TURN_MEASURES, RunFrames, called, labels_of
from reports.samples import Sampled, sampled
from reports.statistics.counting import distinct
from reports.statistics.power import Spread, spread_of
from reports.statistics.quantiles import NOTHING
from reports.strata import Stratum
from reports.summary.arms import (
    ArmFacts,
    ArmsQuantile,
    Interleaving,
    arms_differences,
    arms_of,
    interleaving_of,
)
from reports.summary.drift import PoolDrift, drifts
from reports.summary.events import ALL, HARNESS, Distribution, Throughput, events, pooled, throughputs
from reports.summary.figures import (
    HEARD,
    Figures,
    figures,
    main_measures,
    session_figures,
    slopes,
    turn_figures,
    with_mark,
)
from reports.summary.groups import Apart, Waits, waits_by
from reports.summary.hosts import Host, Machine, hosts_in, machines
from reports.summary.money import Money, money_of
from reports.summary.notices import Incidents, Noticed, Setup, incidents_of, noticed, setup_of
from reports.summary.offered import Arriving, arriving_of
from reports.summary.outcomes import Outcomes, outcomes_of
from reports.summary.quota import Quota, quota_of
from reports.summary.rates import Counts, Rate, TurnRate, failure_rates, turn_counts, turn_rates
from reports.summary.segments import Band, Breakdown, around, breakdowns
from reports.summary.slowest import Listing, SlowTurn, slowest_turns
from reports.summary.talks import Talk, talks, talks_of_steps
from reports.summary.verdict import RunVerdict, verdict_of
from reports.turns import CENSORED, FAILED, Pool, Turns, measured_sessions, turns_of

READ = "transcript_first"
"""What a reader of captions waits for."""
GREETING = "greeting"
"""What the caller of a service that speaks first waits for."""
DRAWN = ("ttfa", "ttft", HEARD, "response_total", "transcript_total")
"""The measures whose percentiles are drawn."""
CONNECTING = tuple(measure.name for measure in SESSION_MEASURES if measure.scope == "session")


@dataclass(frozen=True)
class CallerWait:
    """What a caller of one target waits for, by a measure that counts from one instant."""

    turns: int
    sessions: int
    failed: int
    lost: int
    """wanted and never begun"""
    wanted: int
    """begun or lost, without those that the end of the run cut"""
    figures: Figures

    @property
    def unmet(self) -> int:
        """Failed turns and lost ones."""
        return self.failed + self.lost

    @property
    def target(self) -> str:
        return self.figures.target

    @property
    def label(self) -> str:
        return self.figures.label

    @property
    def stratum(self) -> Stratum:
        return self.figures.stratum


@dataclass(frozen=True)
class Window:
    """When the run was; seconds."""

    began_utc_ns: int
    length_s: float
    warmup_s: float
    """the part before the first measured turn, where there was a warm-up"""

    @property
    def measured_from_s(self) -> int:
        """The first second (UTC, since 1970) of the measured phase."""
        return (self.began_utc_ns + int(self.warmup_s * NS_PER_S)) // NS_PER_S

    @property
    def measured_s(self) -> float:
        return max(0.0, self.length_s - self.warmup_s)


@dataclass(frozen=True)
class Summary:
    """One run. `turns` and `samples`, those of DRAWN, are kept for the figures and are no part of summary.json."""

    run: RunFrames
    turns: Turns
    samples: dict[str, Sampled]
    window: Window
    mains: dict[Stratum, str]
    """the main measure of each stratum: ttfa where there is audio, else ttft; of agents voice_to_voice"""
    answers: tuple[CallerWait, ...]
    """by the main measures, one for each target and stratum"""
    heard: tuple[CallerWait, ...]
    """by voice_to_voice, where there are spoken turns and it is not their main measure"""
    read: tuple[CallerWait, ...]
    """by transcript_first, one for each target and stratum whose replies have a transcript"""
    measures: tuple[Figures, ...]
    connecting: tuple[Figures, ...]
    events: tuple[Distribution, ...]
    harness: tuple[Distribution, ...]
    throughput: tuple[Throughput, ...]
    carried: tuple[Figures, ...]
    """what sessions carried, in bytes per second"""
    breakdowns: tuple[Breakdown, ...]
    waits: tuple[Waits, ...]
    """the main waits of each target and stratum by turn number, age, context, calls in progress and host"""
    apart: tuple[Apart, ...]
    """which groups of them surely differ, so that figures of the whole run are of a mixture"""
    hosts: tuple[Host, ...]
    """those that recorded the run, where there are several"""
    machines: tuple[Machine, ...]
    """who had the cores of each host; none of an older run"""
    slopes: tuple[Figures, ...]
    """how the main measures grow with the conversation, of each stratum and target that tells it"""
    counts: tuple[Counts, ...]
    rates: tuple[TurnRate, ...]
    """those that columns of turns tell, where there are any"""
    slowest: tuple[SlowTurn, ...]
    slowest_of_steps: tuple[SlowTurn, ...]
    """of each step on each target"""
    outcomes: Outcomes
    failures: tuple[Rate, ...]
    """of each target, of the turns wanted"""
    verdict: RunVerdict
    setup: Setup
    arms: tuple[ArmFacts, ...]
    interleaving: Interleaving | None
    differences: tuple[ArmsQuantile, ...]
    money: Money
    quota: Quota
    arriving: Arriving | None
    """None in a closed loop"""
    incidents: Incidents
    noticed: Noticed

    @property
    def targets(self) -> tuple[str, ...]:
        return self.turns.targets

    def waits_by(self, by: str) -> list[list[Waits]]:
        """The waits by one key, those of each stratum together."""
        of_strata = ([one for one in self.waits if (one.by, one.stratum) == (by, s)] for s in self.turns.strata)
        return [waits for waits in of_strata if waits]

    @property
    def greeted(self) -> tuple[CallerWait, ...]:
        """By greeting, where services speak first; a call is a turn here."""
        greetings = [figures for figures in self.connecting if figures.measure == GREETING]
        return tuple(CallerWait(f.wanted, f.wanted, f.failed, 0, f.wanted, f) for f in greetings)

    @property
    def main(self) -> str:
        """The main measure of most turns."""
        return self.mains[self.turns.strata[self.turns.commonest]]

    @property
    def simulated(self) -> bool:
        return self.run.simulated

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """The measured ones."""
        return measured_sessions(self.run)

    @cached_property
    def drifts(self) -> tuple[PoolDrift, ...]:
        """The first half of the measured phase against the second, of targets with enough sessions."""
        return tuple(drifts(str(self.run.document.get("run_id") or ""), self.turns, self.samples, self.mains))

    @cached_property
    def spreads(self) -> tuple[tuple[Figures, Spread], ...]:
        """How waits scatter, of each answer: what the size of a comparison hangs on."""
        pools = [self.samples[self.mains[p.stratum]].of(p.target, p.steps) for p in self.turns.pools]
        told = [(answer.figures, sample) for answer, sample in zip(self.answers, pools, strict=True) if sample.n > 1]
        return tuple((figures, spread_of(sample, figures.at(0.5), figures.at(0.95))) for figures, sample in told)

    @cached_property
    def talks(self) -> tuple[Talk, ...]:
        """A few turns as the caller heard them; where event logs are kept, with the places of their stalls."""
        return talks(self.run, self.turns, self.samples.get(HEARD))

    @cached_property
    def talks_of_steps(self) -> dict[str, tuple[Talk, ...]]:
        """The same of each step."""
        return talks_of_steps(self.run, self.turns, self.samples.get(HEARD))

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Segments of the turns around p50 and p95 of voice_to_voice, of each target with enough of them."""
        return around(self.turns)

    @cached_property
    def scenario(self) -> str:
        return str(self.run.document.get("scenario") or self.run.document.get("run_id") or self.run.folder.name)

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.run.document)

    @property
    def called(self) -> str:
        """The scenario with the run's labels."""
        return called(self.scenario, self.labels)


def summarise(run: RunFrames) -> Summary:
    """Everything that is said of a run."""
    turns = turns_of(run)
    mains = main_measures(run, turns)
    samples, measures = _samples(run, turns, mains)
    window, sessions = window_of(run, turns), measured_sessions(run)

    def answer(pool: Pool, measure: str) -> CallerWait:
        of = measure, turns.targets[pool.target], pool.stratum, ALL
        told = next((f for f in measures if (f.measure, f.target, f.stratum, f.step) == of), None)
        return _answer(turns, sessions, pool, told or with_mark(run, figures(NOTHING, *of[:2], pool=pool)))

    answers = tuple(answer(pool, mains[pool.stratum]) for pool in _main_pools(turns, samples, mains))
    heard, read = (
        tuple(answer(pool, measure) for pool in _having(samples, measure) if _is_beside(pool, measure, mains))
        for measure in (HEARD, READ)
    )
    slowest, of_steps = slowest_turns(run, _listings(turns, samples, mains), window.began_utc_ns)
    outcomes, (waits, apart) = outcomes_of(turns, sessions), waits_by(run, turns, samples, mains)
    return Summary(
        run=run,
        turns=turns,
        samples={name: one for name, one in samples.items() if name in DRAWN},
        window=window,
        mains=mains,
        answers=answers,
        heard=heard,
        read=read,
        measures=tuple(measures),
        connecting=tuple(with_mark(run, each) for each in session_figures(sessions, turns.targets, CONNECTING)),
        events=tuple(events(run, turns.targets)),
        harness=tuple(one for name in HARNESS if (one := pooled(run, name)).n),
        throughput=tuple(throughputs(run, turns.targets, window.measured_from_s)),
        carried=tuple(session_figures(sessions, turns.targets, tuple(CARRIED))),
        breakdowns=breakdowns(turns),
        waits=waits,
        apart=apart,
        hosts=tuple(hosts_in(run, turns, sessions)),
        machines=tuple(machines(run)),
        slopes=tuple(with_mark(run, each) for each in slopes(turns, samples, mains)),
        counts=turn_counts(turns),
        rates=tuple(turn_rates(turns)),
        failures=tuple(failure_rates(turns, sessions)),
        slowest=slowest,
        slowest_of_steps=of_steps,
        outcomes=outcomes,
        verdict=verdict_of(run.document),
        setup=setup_of(run.document, turns),
        arms=arms_of(run.document, sessions, turns.targets),
        interleaving=interleaving_of(run.document, sessions, len(turns.targets)),
        differences=tuple(arms_differences(answer.figures for answer in (*answers, *heard))),
        money=money_of(run, turns.targets),
        quota=quota_of(run, turns.targets, window.began_utc_ns, window.length_s),
        arriving=_arriving(run, turns.targets, window),
        incidents=incidents_of(run.document, window.began_utc_ns),
        noticed=noticed(run, turns, sessions),
    )


def _samples(run: RunFrames, turns: Turns, mains: dict[Stratum, str]) -> tuple[dict[str, Sampled], list[Figures]]:
    """The figures of the measures that apply to any turn, and of the main ones; samples of those that are asked again.

    Of a million turns a sample takes 12 MB: no other outlives its figures.
    """
    samples: dict[str, Sampled] = {}
    told: list[Figures] = []
    for measure in TURN_MEASURES:
        one = sampled(turns, measure.name, mains)
        if one.applies.any() or measure.name in mains.values():
            told += [with_mark(run, each) for each in turn_figures(one)]
            if measure.name in (*DRAWN, READ):
                samples[measure.name] = one
    return samples, told


def window_of(run: RunFrames, turns: Turns) -> Window:
    """From the document; where a killed run's says no end, up to the last second that was written."""
    began = int(run.document.get("began_utc_ns") or _earliest(run))
    ended = run.document.get("ended_utc_ns") or _latest(run, began)
    warm = 0.0
    if turns.rows.size and turns.rows.size < len(run.turns):
        sessions = measured_sessions(run)
        starts = sessions["start_utc_ns"] if len(sessions) else run.turns["start_utc_ns"].iloc[turns.rows]
        first = int(starts.min())
        warm = (first - began) / NS_PER_S if (run.turns["phase"] == "warmup").any() else 0.0
    return Window(began, max(0.0, (int(ended) - began) / NS_PER_S), max(0.0, warm))


def _earliest(run: RunFrames) -> int:
    return min((int(frame["start_utc_ns"].min()) for frame in (run.turns, run.sessions) if len(frame)), default=0)


def _latest(run: RunFrames, began: int) -> int:
    seconds = [(int(run.seconds["second"].max()) + 1) * NS_PER_S] if len(run.seconds) else []
    starts = [int(frame["start_utc_ns"].max()) for frame in (run.turns, run.sessions) if len(frame)]
    return max([began, *seconds, *starts])


def _answer(turns: Turns, sessions: pd.DataFrame, pool: Pool, told: Figures) -> CallerWait:
    """Of the pool's turns, all of them: where some failed before they could have the measure, they count as well."""
    mine, label = turns.of(pool), turns.targets[pool.target]
    played = distinct(turns.session[mine]).size
    alone = sum(other.target == pool.target for other in turns.pools) == 1
    opened = int((sessions["target"] == label).sum()) if len(sessions) and alone else 0
    ended = int((mine & (turns.kind != CENSORED)).sum())
    failed = int((mine & (turns.kind == FAILED)).sum())
    lost = int(turns.lost_by_group[pool.target][pool.steps].sum())
    return CallerWait(int(mine.sum()), max(opened, played), failed, lost, ended + lost, told)


def _main_pools(turns: Turns, samples: dict[str, Sampled], mains: dict[Stratum, str]) -> Iterable[Pool]:
    """The pools of all turns; where callers hear the reply and no more is told, with the steps that they hear."""
    for pool in turns.pools:
        one = samples[mains[pool.stratum]]
        yield replace(pool, steps=pool.steps & one.applies[pool.target]) if one.measure.name == HEARD else pool


def _is_beside(pool: Pool, measure: str, mains: dict[Stratum, str]) -> bool:
    """Whether a measure is not the main one of all turns of a pool."""
    return any(main != measure for stratum, main in mains.items() if pool.stratum.covers(stratum))


def _having(samples: dict[str, Sampled], measure: str) -> Iterable[Pool]:
    """What may be pooled of a measure that is not the main one, with the steps that have it: typed turns are no part of
    voice_to_voice.
    """
    if measure in samples:
        one = samples[measure]
        yield from (replace(pool, steps=pool.steps & one.applies[pool.target]) for pool in one.pools())


def _arriving(run: RunFrames, targets: Sequence[str], window: Window) -> Arriving | None:
    began_s = window.began_utc_ns / NS_PER_S
    warm_s = float(run.document.get("warmup_s") or 0.0)
    return arriving_of(run, targets, began_s + warm_s, began_s + window.length_s)


def _listings(turns: Turns, samples: dict[str, Sampled], mains: dict[Stratum, str]) -> Iterable[Listing]:
    """By what callers hear, where they hear it; turns without a voice_to_voice by their main measure."""
    for stratum in turns.strata:
        if HEARD in samples:
            yield Listing(samples[HEARD], stratum)
        yield Listing(samples[mains[stratum]], stratum, without=HEARD)
