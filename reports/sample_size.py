"""`rtbench sample-size`: how many sessions, how long and how much money a question needs, judged by a run like it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from bench.errors import UsageError
from bench.metrics import SLOPE
from bench.money import Prices, cost_usd
from bench.units import NS_PER_S, S_PER_MINUTE
from reports import runs
from reports.numbers import NBSP, NONE, count, plural, span, three, usd
from reports.question import POINTS, Question, accepted_at, better_of
from reports.records import Closed, Number, about, data_of
from reports.runs import RunFrames, run_id_of
from reports.samples import samples_of
from reports.sides.questions import by_stratum, common_strata
from reports.sides.side import (
    ABSENT,
    Side,
    by_pair,
    by_session,
    known_targets,
    parted,
    refuse_unknown,
)
from reports.statistic_types.quantile import Quantile
from reports.statistic_types.rate import Rate
from reports.statistics.counting import Floats, Integers
from reports.statistics.differences import Margin
from reports.statistics.looks import pairs_needed
from reports.statistics.power import (
    BETTER_SESSIONS,
    GATES,
    LEAST_SESSIONS,
    LEVEL,
    Pilot,
    Price,
    Spread,
    cheapest_turns,
    components_at,
    distance_of,
    pilot_of_pairs,
    pilot_of_quantile,
    pilot_of_rate,
    spread_of,
)
from reports.statistics.quantiles import quantiles, sessions_needed
from reports.statistics.rates import complement
from reports.statistics.resample import seed_of
from reports.statistics.unseen import sessions_without
from reports.summary.money import KINDS, bills_of, money_of
from reports.summary.summary import window_of
from reports.summary.trust import validity_of
from reports.thresholds import primary, quoted
from reports.turns import measured_sessions
from reports.wording.verdicts import figure

_SHARE = re.compile(r"\+?\s*(\d+(?:\.\d+)?|\.\d+)\s*(%|pt)?")
TIMES_MARGIN, EFFECT_POINTS = 2, 0.03
"""Where the user says nothing: an effect of twice the margin; of rates 3 points."""


@dataclass(frozen=True)
class SizeQuestion:
    """`effect`: how much worse the candidate truly is, to be found with this power, as one of so many gates."""

    question: Question
    effect: float
    margin: float
    power: float
    primary_metrics: int = GATES

    @property
    def level(self) -> float:
        """The error that this gate has after Holm, were it the first to turn red."""
        return LEVEL / self.primary_metrics

    @property
    def is_rate(self) -> bool:
        return self.question.kind == "rate"

    @property
    def distance(self) -> float:
        """From the margin to the effect: of logs, or of rates."""
        return self.effect - self.margin if self.is_rate else distance_of(self.effect, self.margin)

    @property
    def sessions_to_pass(self) -> int | None:
        """Sessions in each arm that a rate takes to pass even if nothing fails; None for other figures."""
        return sessions_without(self.margin, LEVEL) if self.is_rate else None


def size_question(
    metric: str, detect: str | None, margin: str | None, power: float, gates: int = GATES
) -> SizeQuestion:
    """Raises UsageError that says what is allowed."""
    name, _, aggregate = metric.partition(":")
    of = primary(name.strip())
    if of.unit == SLOPE:
        raise UsageError(f"{name} is a slope, and has no size to plan for: plan for ttfa")
    rate = of.unit == "share"
    p = 0.0 if rate else _quantile(name, aggregate)
    accepted = share_of(margin, "--margin") if margin else POINTS if rate else accepted_at(p)
    effect = share_of(detect, "--detect") if detect else EFFECT_POINTS if rate else TIMES_MARGIN * accepted
    if not effect > accepted:
        raise UsageError(
            f"an effect of {_said(effect, rate)} is not above the margin of {_said(accepted, rate)}: "
            "no number of sessions would call it worse; raise --detect or lower --margin"
        )
    if not 0.5 <= power < 1:
        raise UsageError(f"--power must be from 0.5 to 0.99, not {power:g}")
    if gates < 1:
        raise UsageError(f"--primary must be 1 or more, not {gates}: a check of one metric has 1")
    if rate:
        if aggregate not in ("", "rate"):
            raise UsageError(f"{name} is a rate: write --metric {name}")
        return SizeQuestion(Question(name, Rate(), Margin(points=accepted)), effect, accepted, power, gates)
    of_quantile = Question(name, Quantile(p), Margin(ratio=accepted))
    return SizeQuestion(of_quantile, effect, accepted, power, gates)


def share_of(text: str, option: str) -> float:
    """20%, 3pt, 0.2 → 0.2, 0.03, 0.2."""
    match = _SHARE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {quoted(text)} is no share: write 20% (of rates, 3% is three percentage points)")
    number = float(match[1]) / (100 if match[2] else 1)
    if not match[2] and number > 1:
        raise UsageError(f"{option} {quoted(text)} is more than everything: write {text}% or 0.{text}")
    return number


def _quantile(name: str, aggregate: str) -> float:
    match = re.fullmatch(r"p\(?(\d+(?:\.\d+)?)\)?|med", aggregate or "p95")
    p = 0.5 if aggregate == "med" else float(match[1]) / 100 if match else 0.0
    if not 0 < p < 1:
        raise UsageError(f"{quoted(aggregate)} is no quantile: write --metric {name}:p95")
    return p


def _said(value: float, rate: bool) -> str:
    return f"{100 * value:g} {'points' if rate else '%'}"


UNKNOWN = Price(math.nan, math.nan)
NOTHING = Price(0.0, 0.0)


def usd_per_session(run: RunFrames, sides: Sequence[Side]) -> float:
    """Cost of a session in each of two arms: the sum over both sides, or twice that of one side."""
    costs = {cost.target: cost.usd_per_session for cost in money_of(run, sides[0].turns.targets).targets}
    each = [costs.get(side.name, math.nan) for side in sides]
    return sum(each) * (2 / len(each))


def time_price(side: Side) -> Price:
    """Seconds from a session's start to its first turn, and from turn to turn, the mean of good sessions."""
    sessions = side.session_rows
    turns = side.turns.frame[["session_id", "start_utc_ns"]].iloc[side.turns.rows[side.here]]
    first_ns = turns.groupby(turns["session_id"].astype(object))["start_utc_ns"].min()
    opened = first_ns.reindex(sessions["session_id"].astype(object)).to_numpy(dtype=np.float64)
    opened -= sessions["start_utc_ns"].to_numpy(dtype=np.float64)
    begun = sessions["turns_started"].to_numpy(dtype=np.float64)
    good = (sessions["outcome_class"] == "success").to_numpy() & (begun > 0) & ~np.isnan(opened)
    if not good.any():
        return UNKNOWN
    length = sessions["ended_at_ns"].to_numpy(dtype=np.float64)[good]
    opening = float(opened[good].mean())
    return _price(
        opening / NS_PER_S, (float(length.sum()) - opening * good.sum()) / float(begun[good].sum()) / NS_PER_S
    )


def usd_price(side: Side) -> Price:
    """What a session costs by its turns: their tokens, and the minutes that they take where these are paid for."""
    run, targets = side.run, side.turns.targets
    charges = next((cost.models for cost in money_of(run, targets).targets if cost.target == side.name), ())
    prices = next((charge.prices for charge in charges if charge.prices), None)
    if prices is None:
        return UNKNOWN
    tokens = _tokens_price(side, prices) if prices.of_tokens else NOTHING
    seconds = time_price(side) if prices.usd_per_minute else NOTHING
    per_s = prices.usd_per_minute / S_PER_MINUTE
    return _price(tokens.session + per_s * seconds.session, tokens.turn + per_s * seconds.turn, tokens.history)


def _tokens_price(side: Side, prices: Prices) -> Price:
    """A straight line through what each turn cost by its number: the history that is billed again is its slope."""
    run, targets = side.run, side.turns.targets
    bills = bills_of(run, targets)
    usd: Floats = cost_usd(prices, {kind: np.nan_to_num(bills.tokens(kind)) for kind in KINDS})
    place = side.turns.targets.index(side.name) if side.name in side.turns.targets else -1
    mine: Integers = bills.told & (bills.target == place)
    told = mine & ~bills.unattributed
    number = np.r_[run.turns["turn"].to_numpy(dtype=np.float64, na_value=np.nan), np.zeros(len(run.sessions))][told]
    sessions = np.unique(bills.session[told]).size
    if np.unique(number).size < 2:
        return UNKNOWN
    history, turn = np.polyfit(number - 1, usd[told], 1)
    return _price(float(usd[mine & bills.unattributed].sum()) / sessions, float(turn), max(0.0, float(history)))


def _price(session: float, turn: float, history: float = 0.0) -> Price:
    return Price(session, turn, history) if turn > 0 else UNKNOWN


Range = tuple[Number, Number, Number]
"""Least, likely, most."""
FAILURES = Question("failure_rate", Rate(), Margin())


@dataclass(frozen=True)
class Size:
    """`sessions`: in each arm, which are pairs where the pilot has them. `seconds`: of a run that plays both arms at
    once, at the pilot's pace. `usd`: of both arms. NaN where the pilot does not tell.
    """

    run: RunFrames
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
    sessions_single_metric: int
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
    folder, target = parted(like)
    return sized_of(runs.load_for_report(folder), asked, target, str(like))


def sized_of(run: RunFrames, asked: SizeQuestion, target: str | None, like: str) -> Size:
    """The same of a run that was read, or of one of its targets. `like`: what the user calls it."""
    sides = _sides(run, target)
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
    pilot = _pilot(sides, asked, np.random.default_rng(seed_of(run_id_of(run))))
    if not math.isfinite(pilot.variance):
        raise UsageError(f"{like} has no {asked.question.name} to plan with: too few turns have it, or too many failed")
    least, likely, most = pilot.needed(asked.distance, asked.power, asked.level)
    turns = float(base.counts(FAILURES)[1].sum()) / many
    figures = 1.0 if asked.is_rate else base.sample(asked.question).n / many
    sample = base.sample(_waits(base, asked.question))
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
        spread=spread_of(sample, *quantiles(sample, (0.5, 0.95))),
        cheapest_by_time=cheapest_turns(parts, time_price(base)),
        cheapest_by_usd=cheapest_turns(parts, usd_price(base)),
        sessions_single_metric=max(floor, pilot.needed(asked.distance, asked.power)[1]),
    )


def _sides(run: RunFrames, target: str | None) -> tuple[Side, ...]:
    """Both targets of an interleaved run of two, else the one that is named, or the only one."""
    known, samples = known_targets(run), samples_of(run)
    turns = samples.turns
    if target is not None:
        refuse_unknown(run, target)
    names = known if target is None else [target]
    places = [turns.targets.index(name) if name in turns.targets else ABSENT for name in names]
    pairs = by_pair(run, turns, places) if len(names) == 2 and run.metadata.get("interleaved") else None
    if pairs is None and len(names) > 1:
        choices = " or ".join(f"{run.folder}:{name}" for name in names)
        raise UsageError(f"{run.folder} has {len(names)} targets: say which one the plan is for, {choices}")
    clusters = pairs or [by_session(run, turns, place) for place in places]
    return tuple(
        Side(run, samples, place, name, name, own) for place, name, own in zip(places, names, clusters, strict=True)
    )


def _pilot(sides: Sequence[Side], asked: SizeQuestion, rng: np.random.Generator) -> Pilot:
    base, question = sides[0], asked.question
    if question.p is None:
        counts = base.counts(question)
        events, turns = complement(counts) if better_of(question) == "higher" else counts
        if not turns.sum():
            return Pilot(math.nan, np.zeros(0), base.sessions)
        return pilot_of_rate(events, turns, asked.effect, rng)
    samples = [side.sample(question) for side in sides]
    if not all(sample.n for sample in samples):
        return Pilot(math.nan, np.zeros(0), base.sessions)
    if len(samples) == 2:
        return pilot_of_pairs(samples[0], samples[1], question.p, base.sessions, rng)
    return pilot_of_quantile(samples[0], question.p, base.sessions, rng)


def _waits(base: Side, question: Question) -> Question:
    """The question whose spread is reported: the figure itself, or for a rate the main metric."""
    if question.kind == "quantile":
        return question
    stratum = next(iter(common_strata([base])), None)
    return Question(base.mains[stratum] if stratum else "ttfa", Quantile(0.5), Margin(), stratum=stratum)


def _pace(run: RunFrames, base: Side) -> float:
    """Measured sessions of one arm in a minute of the measured part of the run."""
    seconds = window_of(run, base.turns, measured_sessions(run)).measured_s
    return base.sessions / seconds * 60 if seconds > 0 else math.nan


def size_lines(size: Size) -> Iterable[str]:
    """The answer first, then what it was judged by."""
    asked, pilot, noun = size.asked, size.pilot, "pair" if size.paired else "session"
    least, likely, most = size.sessions
    error, power = (f"{three(100 * share)}{NBSP}%" for share in (LEVEL, asked.power))
    effect, margin = _share(size, asked.effect), _share(size, asked.margin)
    name = figure(asked.question)
    verdict = validity_of(size.run.metadata)
    if verdict.status != "valid":
        yield f"The pilot is {verdict.word}, so do not rely on this plan: use a valid run."
    shared = f", corrected for {asked.primary_metrics} primary metrics (Holm)" if asked.primary_metrics > 1 else ""
    yield f"{name}: to find +{effect} against a margin of {margin} with power {power}, at an error of {error}{shared}:"
    arms = "pairs" if size.paired else "sessions per target"
    bootstrap = f"90{NBSP}% interval from a bootstrap of the pilot run"
    yield f"  {count(likely)} {arms} ({count(least)} to {count(most)}: {bootstrap})"
    if math.isfinite(size.seconds[1]):
        pace = f"{three(size.sessions_per_min)} {noun}s a minute, the pace of this run"
        yield f"  {_range(size.seconds, span)}, both targets at once, at {pace}"
    if math.isfinite(size.usd[1]):
        each = "pair" if size.paired else "session of each"
        yield f"  {_range(size.usd, usd)} for both targets, at {usd(size.usd_per_session)} for a {each}"
    else:
        yield "  cost unknown: the run has no token counts, or its model has no price"
    if size.run.metadata.get("simulated"):
        yield "  ◇ SIMULATED: the pilot was simulated; a real service varies differently"
    yield ""
    if asked.primary_metrics > 1:
        yield f"As the only primary metric it needs {count(size.sessions_single_metric)} (--primary 1)."
    times = three(round(100 * size.power_of_pilot))
    yield f"With the size of this run, {plural(pilot.sessions, noun)}, the power is {times}{NBSP}%."
    if asked.sessions_to_pass:
        yield (
            f"To pass at that margin at least {count(asked.sessions_to_pass)} {arms} are needed, even if nothing "
            "fails: a session may fail as a whole."
        )
    spread = size.spread
    yield (
        f"Pilot: {plural(pilot.sessions, noun)} of {three(size.turns_per_session)} turns: "
        f"sigma {_two(spread.sigma)}, ICC {_two(spread.icc)}, "
        f"design effect {_two(spread.deff50)} at p50 and {_two(spread.deff95)} at p95."
    )
    if cheapest := _cheapest(size):
        yield cheapest
    if pilot.sessions < BETTER_SESSIONS:
        yield f"A pilot of {BETTER_SESSIONS} sessions is better: a plan is as uncertain as its pilot."
    yield "A run with interim analyses (--until-decided) usually needs fewer."


def _cheapest(size: Size) -> str:
    """How many turns a session should have; nothing of a rate, whose spread was not looked into."""
    if size.asked.is_rate:
        return ""
    cheapest = [
        f"{turns}{' or more' if turns == 10 else ''} by {what}"
        for turns, what in ((size.cheapest_by_time, "time"), (size.cheapest_by_usd, "money"))
        if turns is not None
    ]
    return (
        f"Cheapest number of turns in a session: {', '.join(cheapest)}; it has {three(size.turns_per_session)}."
        if cheapest
        else ""
    )


def _share(size: Size, value: float) -> str:
    points = "point" if value == 0.01 else "points"
    return f"{three(100 * value)}{NBSP}{points if size.asked.is_rate else '%'}"


def _range(values: Range, written: Any) -> str:
    return f"{written(values[1])} ({written(values[0])} to {written(values[2])})"


def _two(value: float) -> str:
    return NONE if math.isnan(value) else three(float(f"{value:.2g}"))


SCHEMA: Literal[2] = 2


class SizeDocument(Closed, frozen=True):
    """Ranges are [least, likely, most]; null where the pilot does not tell."""

    schema: Literal[2]
    pilot: str
    targets: list[str]
    metric: str
    kind: Literal["quantile", "rate"]
    p: float | None
    detect: float
    margin: float
    power: float
    alpha: float
    primary_metrics: Annotated[int, about("gates of the check that share the level by Holm, for which it is planned")]
    paired: bool
    pilot_sessions: int
    sessions: tuple[int, int, int]
    sessions_single_metric: Annotated[int, about("the likely number, were this the only gate")]
    sessions_to_pass: Annotated[
        int | None, about("of a rate: the sessions per target that it takes to pass at the margin if no turn fails")
    ]
    seconds: Range
    usd: Range
    power_of_pilot: Number
    turns_per_session: Number
    sigma: Number
    icc: Number
    deff_p50: Number
    deff_p95: Number
    cheapest_turns_by_time: int | None
    cheapest_turns_by_usd: int | None


def size_data(size: Size) -> dict[str, Any]:
    """The size as lists, dictionaries, strings and numbers."""
    asked, question = size.asked, size.asked.question
    return data_of(
        SizeDocument(
            schema=SCHEMA,
            pilot=run_id_of(size.run),
            targets=list(size.targets),
            metric=question.metric,
            kind="rate" if asked.is_rate else "quantile",
            p=question.p,
            detect=asked.effect,
            margin=asked.margin,
            power=asked.power,
            alpha=LEVEL,
            primary_metrics=asked.primary_metrics,
            paired=size.paired,
            pilot_sessions=size.pilot.sessions,
            sessions=size.sessions,
            sessions_single_metric=size.sessions_single_metric,
            sessions_to_pass=asked.sessions_to_pass,
            seconds=size.seconds,
            usd=size.usd,
            power_of_pilot=size.power_of_pilot,
            turns_per_session=size.turns_per_session,
            sigma=size.spread.sigma,
            icc=size.spread.icc,
            deff_p50=size.spread.deff50,
            deff_p95=size.spread.deff95,
            cheapest_turns_by_time=size.cheapest_by_time,
            cheapest_turns_by_usd=size.cheapest_by_usd,
        )
    )
