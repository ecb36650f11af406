"""One run in plain data: what the terminal, report.md, summary.json and report.html say, computed once.

Times are in ms, rates in B/s. Quantiles of turns and sessions come from rows, those of events from histograms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from bench.run.measured import CARRIED
from bench.units import NS_PER_S
from reports.runs import SESSION_METRICS, TURN_METRICS, RunFrames, called, labels_of
from reports.samples import ANSWER_HEARD, HEARD, Samples, sampled, samples_of
from reports.statistics.counting import distinct
from reports.statistics.power import Spread, spread_of
from reports.statistics.quantiles import NOTHING
from reports.strata import Stratum
from reports.summary.arms import (
    ArmsQuantile,
    Interleaving,
    RunArm,
    arms_differences,
    arms_of,
    interleaving_of,
)
from reports.summary.drift import PoolDrift, drifts
from reports.summary.figures import (
    ALL,
    HARNESS,
    Counts,
    Distribution,
    Figures,
    Rate,
    Throughput,
    TurnRate,
    events,
    failure_rates,
    figures,
    pooled,
    session_figures,
    slopes,
    throughputs,
    turn_counts,
    turn_figures,
    turn_rates,
    with_mark,
)
from reports.summary.groups import Apart, Waits, waits_by
from reports.summary.load import Arriving, Quota, arriving_of, quota_of
from reports.summary.money import Money, money_of
from reports.summary.outcomes import Outcomes, outcomes_of
from reports.summary.segments import Band, Breakdown, around, breakdowns
from reports.summary.single_turns import Listing, SlowTurn, Talk, slowest_turns, talks, talks_of_steps
from reports.summary.trust import (
    Host,
    Incidents,
    Machine,
    Noticed,
    RunValidity,
    Setup,
    hosts_in,
    incidents_of,
    machines,
    noticed,
    setup_of,
    validity_of,
)
from reports.turns import FAILED, UNFINISHED, Pool, Turns, measured_sessions

READ = "transcript_first"
"""What a reader of captions waits for."""
GREETING = "greeting"
"""What the caller of a service that speaks first waits for."""
DRAWN = ("ttfa", "ttft", HEARD, "response_total", "transcript_total")
"""The metrics whose percentiles are drawn."""
CONNECTING = tuple(metric.name for metric in SESSION_METRICS if metric.scope == "session")


@dataclass(frozen=True)
class CallerWait:
    """What a caller of one target waits for, by a metric that counts from one instant."""

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
        return self.figures.title

    @property
    def stratum(self) -> Stratum:
        return self.figures.stratum


@dataclass(frozen=True)
class Window:
    """When the run was; seconds."""

    started_utc_ns: int
    length_s: float
    warmup_s: float
    """the part before the first measured turn, where there was a warm-up"""

    @property
    def measured_from_s(self) -> int:
        """The first second (UTC, since 1970) of the measured phase."""
        return (self.started_utc_ns + int(self.warmup_s * NS_PER_S)) // NS_PER_S

    @property
    def measured_s(self) -> float:
        return max(0.0, self.length_s - self.warmup_s)


class TurnMetric(NamedTuple):
    """What is said of a metric of turns: its pools, each with the steps that have it, and the figures of all."""

    pools: tuple[Pool, ...]
    figures: tuple[Figures, ...]


@dataclass(frozen=True, eq=False, repr=False)  # noqa: PLR0904 - a row for each thing that a report says
class Summary:
    """One run. What is said of it is computed when it is first asked for, of rows that were all read before."""

    run: RunFrames
    samples: Samples
    """of DRAWN and of the main metrics; of a million turns one takes 12 MB, so no other outlives its figures"""
    told: dict[str, TurnMetric] = field(default_factory=dict)
    """the metrics of turns that were asked for before"""

    @property
    def turns(self) -> Turns:
        return self.samples.turns

    @property
    def targets(self) -> tuple[str, ...]:
        return self.turns.targets

    @property
    def mains(self) -> Mapping[Stratum, str]:
        """The main metric of each stratum: ttfa where there is audio, else ttft; of agents voice_to_voice."""
        return self.samples.mains

    @property
    def main(self) -> str:
        """The main metric of most turns."""
        return self.mains[self.turns.strata[self.turns.commonest]]

    @property
    def simulated(self) -> bool:
        return self.run.simulated

    @property
    def scenario(self) -> str:
        return str(self.run.metadata.get("scenario") or self.run.metadata.get("run_id") or self.run.folder_name)

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.run.metadata)

    @property
    def called(self) -> str:
        """The scenario with the run's labels."""
        return called(self.scenario, self.labels)

    @cached_property
    def sessions(self) -> pd.DataFrame:
        """The measured ones."""
        return measured_sessions(self.run)

    @cached_property
    def window(self) -> Window:
        return window_of(self.run, self.turns, self.sessions)

    @cached_property
    def validity(self) -> RunValidity:
        return validity_of(self.run.metadata)

    @cached_property
    def setup(self) -> Setup:
        return setup_of(self.run.metadata, self.turns)

    def of_turns(self, name: str) -> TurnMetric:
        """A metric of turns; it has figures where it applies to any turn, or is a main one."""
        if name not in self.told:
            main = name in self.mains.values()
            one = self.samples[name] if main or name in DRAWN else sampled(self.turns, name, self.mains)
            pools = tuple(replace(pool, steps=pool.steps & one.applies[pool.target]) for pool in one.pools())
            figures = turn_figures(one) if main or one.applies.any() else ()
            self.told[name] = TurnMetric(pools, tuple(with_mark(self.run, each) for each in figures))
        return self.told[name]

    @cached_property
    def metrics(self) -> tuple[Figures, ...]:
        """All metrics of turns, of each pool and step."""
        return tuple(figures for metric in TURN_METRICS for figures in self.of_turns(metric.name).figures)

    @property
    def drawn(self) -> list[str]:
        """The metrics whose percentiles are drawn, those that any turn was to have."""
        return [name for name in DRAWN if self.of_turns(name).figures]

    @cached_property
    def answers(self) -> tuple[CallerWait, ...]:
        """By the main metrics, one for each target and stratum."""
        return tuple(self._answer(pool, self.mains[pool.stratum]) for pool in self.turns.pools)

    @cached_property
    def heard(self) -> tuple[CallerWait, ...]:
        """By voice_to_voice, where there are spoken turns and it is not their main metric."""
        return tuple(self._beside(HEARD))

    @cached_property
    def answered(self) -> tuple[CallerWait, ...]:
        """By answer_voice_to_voice, of scripts that say how long an answer is."""
        scripts = self.run.metadata.get("scripts") or []
        defined = any(script.get("answer_min_ms") for script in scripts)
        return tuple(self._beside(ANSWER_HEARD)) if defined else ()

    @cached_property
    def read(self) -> tuple[CallerWait, ...]:
        """By transcript_first, one for each target and stratum whose replies have a transcript."""
        return tuple(self._beside(READ))

    @property
    def greeted(self) -> tuple[CallerWait, ...]:
        """By greeting, where services speak first; a call is a turn here."""
        greetings = [figures for figures in self.connecting if figures.metric == GREETING]
        return tuple(CallerWait(f.planned, f.planned, f.failed, 0, f.planned, f) for f in greetings)

    def _beside(self, metric: str) -> Iterable[CallerWait]:
        """By a metric of turns of which it is not the main one, with the steps that have it: typed turns are no part
        of voice_to_voice.
        """
        for pool in self.of_turns(metric).pools:
            if any(main != metric for stratum, main in self.mains.items() if pool.stratum.covers(stratum)):
                yield self._answer(pool, metric)

    def _answer(self, pool: Pool, metric: str) -> CallerWait:
        """Of all turns of the pool: where some failed before they could have the metric, they count as well. Where
        callers hear the reply and no more is told, those of the steps that they hear.
        """
        turns, label = self.turns, self.turns.targets[pool.target]
        if metric in (HEARD, ANSWER_HEARD):
            pool = replace(pool, steps=pool.steps & self.samples[metric].applies[pool.target])
        mine = turns.of(pool)
        alone = sum(other.target == pool.target for other in turns.pools) == 1
        opened = int((self.sessions["target"] == label).sum()) if len(self.sessions) and alone else 0
        ended, failed = (int((mine & kind).sum()) for kind in (turns.kind != UNFINISHED, turns.kind == FAILED))
        # where no turn of the run was begun, nothing tells the step of a lost one
        lost = (
            int(turns.lost_by_group[pool.target][pool.steps].sum()) if turns.steps else self.outcomes.lost[pool.target]
        )
        of = label, pool.stratum, ALL
        known = (f for f in self.of_turns(metric).figures if (f.target, f.stratum, f.step) == of)
        told = next(known, None) or with_mark(self.run, figures(NOTHING, metric, label, pool=pool))
        played = distinct(turns.session[mine]).size
        return CallerWait(int(mine.sum()), max(opened, played), failed, lost, ended + lost, told)

    @cached_property
    def differences(self) -> tuple[ArmsQuantile, ...]:
        return tuple(arms_differences(answer.figures for answer in (*self.answers, *self.heard)))

    @cached_property
    def spreads(self) -> tuple[tuple[Figures, Spread], ...]:
        """How waits scatter, of each answer: what the size of a comparison hangs on."""
        pools = [self.samples[self.mains[p.stratum]].of(p.target, p.steps) for p in self.turns.pools]
        told = [(answer.figures, sample) for answer, sample in zip(self.answers, pools, strict=True) if sample.n > 1]
        return tuple((figures, spread_of(sample, figures.at(0.5), figures.at(0.95))) for figures, sample in told)

    @cached_property
    def drifts(self) -> tuple[PoolDrift, ...]:
        """The earlier half of the turns against the later half, of targets with enough sessions."""
        return tuple(drifts(self.run, self.samples))

    @cached_property
    def slopes(self) -> tuple[Figures, ...]:
        """How the main metrics grow with the conversation, of each stratum and target that tells it."""
        return tuple(with_mark(self.run, each) for each in slopes(self.samples))

    @cached_property
    def _groups(self) -> tuple[tuple[Waits, ...], tuple[Apart, ...]]:
        return waits_by(self.run, self.samples)

    @property
    def waits(self) -> tuple[Waits, ...]:
        """The main waits of each target and stratum by turn number, age, context, calls in progress and host."""
        return self._groups[0]

    @property
    def apart(self) -> tuple[Apart, ...]:
        """Which groups of them surely differ, so that figures of the whole run are of a mixture."""
        return self._groups[1]

    def waits_by(self, by: str) -> list[list[Waits]]:
        """The waits by one key, those of each stratum together."""
        of_strata = ([one for one in self.waits if (one.by, one.stratum) == (by, s)] for s in self.turns.strata)
        return [waits for waits in of_strata if waits]

    @cached_property
    def breakdowns(self) -> tuple[Breakdown, ...]:
        return breakdowns(self.turns)

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Segments of the turns around p50 and p95 of voice_to_voice, of each target with enough of them."""
        return around(self.turns)

    @cached_property
    def talks(self) -> tuple[Talk, ...]:
        """A few turns as the caller heard them; where event logs are kept, with the places of their stall_count."""
        return talks(self.run, self.samples[HEARD])

    @cached_property
    def talks_of_steps(self) -> dict[str, tuple[Talk, ...]]:
        """The same of each step."""
        return talks_of_steps(self.run, self.samples[HEARD])

    @cached_property
    def _slow(self) -> tuple[tuple[SlowTurn, ...], tuple[SlowTurn, ...]]:
        """By what callers hear, where they hear it; turns without a voice_to_voice by their main metric."""
        listings = [
            listing
            for stratum in self.turns.strata
            for listing in (
                Listing(self.samples[HEARD], stratum),
                Listing(self.samples[self.mains[stratum]], stratum, without=HEARD),
            )
        ]
        return slowest_turns(self.run, listings, self.window.started_utc_ns)

    @property
    def slowest(self) -> tuple[SlowTurn, ...]:
        return self._slow[0]

    @property
    def slowest_of_steps(self) -> tuple[SlowTurn, ...]:
        """Of each step on each target."""
        return self._slow[1]

    @cached_property
    def outcomes(self) -> Outcomes:
        return outcomes_of(self.turns, self.sessions)

    @cached_property
    def failures(self) -> tuple[Rate, ...]:
        """Of each target, of the turns wanted."""
        return tuple(failure_rates(self.turns, self.sessions))

    @cached_property
    def rates(self) -> tuple[TurnRate, ...]:
        """Those that columns of turns tell, where there are any."""
        return tuple(turn_rates(self.turns))

    @cached_property
    def counts(self) -> tuple[Counts, ...]:
        return tuple(turn_counts(self.turns))

    @cached_property
    def connecting(self) -> tuple[Figures, ...]:
        return tuple(with_mark(self.run, each) for each in session_figures(self.sessions, self.targets, CONNECTING))

    @cached_property
    def carried(self) -> tuple[Figures, ...]:
        """What sessions carried, in bytes per second."""
        return tuple(session_figures(self.sessions, self.targets, tuple(CARRIED)))

    @cached_property
    def events(self) -> tuple[Distribution, ...]:
        return tuple(events(self.run, self.targets))

    @cached_property
    def harness(self) -> tuple[Distribution, ...]:
        return tuple(one for name in HARNESS if (one := pooled(self.run, name)).n)

    @cached_property
    def throughput(self) -> tuple[Throughput, ...]:
        return tuple(throughputs(self.run, self.targets))

    @cached_property
    def hosts(self) -> tuple[Host, ...]:
        """Those that recorded the run, where there are several."""
        return tuple(hosts_in(self.run, self.turns, self.sessions))

    @cached_property
    def machines(self) -> tuple[Machine, ...]:
        """Who had the cores of each host."""
        return tuple(machines(self.run))

    @cached_property
    def arms(self) -> tuple[RunArm, ...]:
        return arms_of(self.run.metadata, self.sessions, self.targets)

    @cached_property
    def interleaving(self) -> Interleaving | None:
        return interleaving_of(self.run.metadata, self.sessions, len(self.targets))

    @cached_property
    def money(self) -> Money:
        return money_of(self.run, self.targets)

    @cached_property
    def quota(self) -> Quota:
        return quota_of(self.run, self.targets, self.window.started_utc_ns, self.window.length_s)

    @cached_property
    def arriving(self) -> Arriving | None:
        """None in a closed loop."""
        began_s = self.window.started_utc_ns / NS_PER_S
        warm_s = float(self.run.metadata.get("warmup_s") or 0.0)
        return arriving_of(self.run, self.targets, began_s + warm_s, began_s + self.window.length_s)

    @cached_property
    def incidents(self) -> Incidents:
        return incidents_of(self.run.metadata, self.window.started_utc_ns)

    @cached_property
    def noticed(self) -> Noticed:
        return noticed(self.run, self.turns, self.sessions)


def summarise(run: RunFrames) -> Summary:
    """Everything that is said of a run. Raises UsageError where its rows name no target."""
    return Summary(run, samples_of(run))


def window_of(run: RunFrames, turns: Turns, sessions: pd.DataFrame) -> Window:
    """From the document; where a killed run's says no end, up to the last second that was written. `sessions`: measured
    ones.
    """
    known = [frame["start_utc_ns"] for frame in (run.turns, run.sessions) if len(frame)]
    began = int(run.metadata.get("started_utc_ns") or min((starts.min() for starts in known), default=0))
    seconds = [(int(run.seconds["second"].max()) + 1) * NS_PER_S] if len(run.seconds) else []
    latest = max([began, *seconds, *(int(starts.max()) for starts in known)])
    ended = run.metadata.get("ended_utc_ns") or latest
    warm = 0.0
    if turns.rows.size and turns.rows.size < len(run.turns):
        starts = sessions["start_utc_ns"] if len(sessions) else run.turns["start_utc_ns"].iloc[turns.rows]
        first = int(starts.min())
        warm = (first - began) / NS_PER_S if (run.turns["phase"] == "warmup").any() else 0.0
    return Window(began, max(0.0, (int(ended) - began) / NS_PER_S), max(0.0, warm))
