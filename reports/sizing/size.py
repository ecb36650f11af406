"""How many sessions, how long and how much money a question needs, judged by a run like it: run → `Size`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.errors import UsageError
from reports import runs
from reports.numbers import NBSP
from reports.question import Question
from reports.runs import Run
from reports.sides.clusters import ABSENT, by_pair, by_session
from reports.sides.named import folder_of, known_targets
from reports.sides.questions import by_stratum, common_strata
from reports.sides.side import Side, against_of, counts_of, sample_of
from reports.sizing.asked import SizeQuestion
from reports.sizing.prices import time_price, usd_per_session, usd_price
from reports.statistics.components import Spread, cheapest_turns, components_at, spread_of
from reports.statistics.differences import Margin
from reports.statistics.looks import pairs_needed
from reports.statistics.power import LEAST_SESSIONS, Pilot, pilot_of_pairs, pilot_of_quantile, pilot_of_rate
from reports.statistics.quantiles import sessions_needed
from reports.statistics.resample import seed_of
from reports.summary.summary import window_of
from reports.turns import turns_of

Range = tuple[float, float, float]
"""Least, likely, most."""
FAILURES = Question("failures", "rate", Margin())


@dataclass(frozen=True)
class Size:
    """`sessions`: in each arm, which are pairs where the pilot has them. `seconds`: of a run that plays both arms at
    once, at the pilot's pace. `usd`: of both arms. NaN where the pilot does not tell.
    """

    run: Run
    asked: SizeQuestion
    targets: tuple[str, ...]
    pilot: Pilot
    sessions: tuple[int, int, int]
    turns_per_session: float
    sessions_per_min: float
    usd_per_session: float
    """of both arms"""
    spread: Spread
    cheapest_by_time: int | None
    cheapest_by_usd: int | None
    sessions_alone: int
    """the likely number, were this the only gate"""

    @property
    def paired(self) -> bool:
        return len(self.targets) == 2

    @property
    def seconds(self) -> Range:
        return _times(self.sessions, 60 / self.sessions_per_min if self.sessions_per_min else math.nan)

    @property
    def usd(self) -> Range:
        return _times(self.sessions, self.usd_per_session)

    @property
    def power_of_pilot(self) -> float:
        """With as many sessions as the pilot has."""
        return self.pilot.power(self.pilot.sessions, self.asked.distance, self.asked.level)


def _times(sessions: tuple[int, int, int], each: float) -> Range:
    return sessions[0] * each, sessions[1] * each, sessions[2] * each


def sized(like: str | Path, asked: SizeQuestion) -> Size:
    """The size of a comparison like this run, `RUN` or `RUN:TARGET`.

    Raises UsageError where it is no run, has fewer than 20 sessions, or does not have the figure.
    """
    folder = folder_of(like)
    run = runs.load_for_report(folder)
    sides = _sides(run, str(like)[len(str(folder)) + 1 :])
    base, many = sides[0], sides[0].sessions
    if many < LEAST_SESSIONS:
        what = "pairs" if len(sides) == 2 else "sessions"
        raise UsageError(f"{like} has {many} {what}: a pilot needs {LEAST_SESSIONS} at least, and 200 are better")
    asked = replace(asked, question=by_stratum(asked.question, sides)[0])
    for side in sides:
        if unfit := side.inexact(asked.question):
            raise UsageError(
                f"{like}: {asked.question.name} is {unfit.replace(NBSP, ' ')}; plan with an idle machine's run"
            )
    pilot = _pilot(sides, asked, np.random.default_rng(seed_of(str(run.document.get("run_id") or folder.name))))
    if not math.isfinite(pilot.variance):
        raise UsageError(f"{like} has no {asked.question.name} to plan with: too few turns have it, or too many failed")
    least, likely, most = pilot.needed(asked.distance, asked.power, asked.level)
    turns = float(counts_of(base, FAILURES)[1].sum()) / many
    figures = 1.0 if asked.is_rate else sample_of(base, asked.question).n / many
    sample = sample_of(base, _waits(base, asked.question))
    told = 0 if asked.is_rate else sessions_needed(asked.question.p or 0.5, np.bincount(sample.sessions))
    floor = max(pairs_needed(asked.question.p, figures), told)
    parts = components_at(sample, asked.question.p or 0.5)
    return Size(
        run=run,
        asked=asked,
        targets=tuple(side.name for side in sides),
        pilot=pilot,
        sessions=(max(floor, least), max(floor, likely), max(floor, most)),
        turns_per_session=turns,
        sessions_per_min=_pace(run, base),
        usd_per_session=usd_per_session(run, sides),
        spread=spread_of(sample),
        cheapest_by_time=cheapest_turns(parts, time_price(base)),
        cheapest_by_usd=cheapest_turns(parts, usd_price(base)),
        sessions_alone=max(floor, pilot.needed(asked.distance, asked.power)[1]),
    )


def _sides(run: Run, target: str) -> tuple[Side, ...]:
    """Both targets of an interleaved run of two, else the one that is named, or the only one."""
    known, turns = known_targets(run), turns_of(run)
    if target and target not in known:
        raise UsageError(f"{run.folder} has no target {target}: it has {', '.join(known) or 'none at all'}")
    names = [target] if target else known
    places = [turns.targets.index(name) if name in turns.targets else ABSENT for name in names]
    pairs = by_pair(run, turns, places) if len(names) == 2 and run.document.get("interleaved") else None
    if pairs is None and len(names) > 1:
        choices = " or ".join(f"{run.folder}:{name}" for name in names)
        raise UsageError(f"{run.folder} has {len(names)} targets: say which one the plan is for, {choices}")
    clusters = pairs or [by_session(run, turns, place) for place in places]
    return tuple(
        Side(run, turns, place, name, name, own) for place, name, own in zip(places, names, clusters, strict=True)
    )


def _pilot(sides: Sequence[Side], asked: SizeQuestion, rng: np.random.Generator) -> Pilot:
    base, question = sides[0], asked.question
    if question.p is None:
        events, turns = against_of(base, question)
        if not turns.sum():
            return Pilot(math.nan, np.zeros(0), base.sessions)
        return pilot_of_rate(events, turns, asked.effect, rng)
    samples = [sample_of(side, question) for side in sides]
    if not all(sample.n for sample in samples):
        return Pilot(math.nan, np.zeros(0), base.sessions)
    if len(samples) == 2:
        return pilot_of_pairs(samples[0], samples[1], question.p, base.sessions, rng)
    return pilot_of_quantile(samples[0], question.p, base.sessions, rng)


def _waits(base: Side, question: Question) -> Question:
    """Whose spread is told: the figure's own, of a rate that of the main measure."""
    if question.kind == "quantile":
        return question
    stratum = next(iter(common_strata([base])), None)
    return Question(base.mains[stratum] if stratum else "ttfa", "quantile", Margin(), 0.5, stratum=stratum)


def _pace(run: Run, base: Side) -> float:
    """Measured sessions of one arm in a minute of the measured part of the run."""
    seconds = window_of(run, base.turns).measured_s
    return base.sessions / seconds * 60 if seconds > 0 else math.nan
