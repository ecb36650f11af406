"""What `rtbench size` says on a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from msgspec import field

from reports.numbers import NBSP, NONE, count, plural, span, three, usd
from reports.schemas.document import Closed, Number, about, data_of
from reports.sizing.size import Range, Size
from reports.statistics.power import BETTER_SESSIONS, LEVEL


def size_lines(size: Size) -> Iterable[str]:
    """The answer first, then what it was judged by."""
    asked, pilot, noun = size.asked, size.pilot, "pair" if size.paired else "session"
    least, likely, most = size.sessions
    error, power = (f"{three(100 * share)}{NBSP}%" for share in (LEVEL, asked.power))
    effect, margin = _share(size, asked.effect), _share(size, asked.margin)
    name = asked.question.name
    shared = f", shared by the {asked.gates} gates of a check (Holm)" if asked.gates > 1 else ""
    yield f"{name}: to find +{effect} against a margin of {margin} with power {power}, at an error of {error}{shared}:"
    arms = "pairs" if size.paired else "sessions in each arm"
    yield f"  {count(likely)} {arms} ({count(least)} to {count(most)})"
    if math.isfinite(size.seconds[1]):
        pace = f"{three(size.sessions_per_min)} {noun}s a minute, the pace of this run"
        yield f"  {_range(size.seconds, span)}, both arms at once, at {pace}"
    if math.isfinite(size.usd[1]):
        each = "pair" if size.paired else "session of each"
        yield f"  {_range(size.usd, usd)} for both arms, at {usd(size.usd_per_session)} for a {each}"
    else:
        yield "  cost unknown: the run has no token counts, or its model has no price"
    yield ""
    if asked.gates > 1:
        yield f"As the only gate of a check it takes {count(size.sessions_alone)} (--gates 1)."
    times = three(round(100 * size.power_of_pilot))
    yield f"With as many as this run has, {plural(pilot.sessions, noun)}, it is found in {times}{NBSP}% of the runs."
    if asked.sessions_to_pass:
        yield (
            f"To pass at that margin it takes {count(asked.sessions_to_pass)} {arms} at least, even if nothing fails: "
            "whole sessions might."
        )
    spread = size.spread
    yield (
        f"Judged by {plural(pilot.sessions, noun)} of {three(size.turns_per_session)} turns: "
        f"sigma {_two(spread.sigma)}, ICC {_two(spread.icc)}, "
        f"design effect {_two(spread.deff50)} at p50 and {_two(spread.deff95)} at p95."
    )
    if cheapest := _cheapest(size):
        yield cheapest
    if pilot.sessions < BETTER_SESSIONS:
        yield f"Pilots of {BETTER_SESSIONS} sessions are better: a plan scatters as its pilot does."
    yield "A run that is looked at while it goes on, with --until-decided, mostly needs fewer."


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


SCHEMA: Literal[1] = 1


class SizeDocument(Closed, frozen=True):
    """Ranges are [least, likely, most]; null where the pilot does not tell."""

    schema: Literal[1]
    like: str
    targets: list[str]
    measure: str
    kind: Literal["quantile", "rate"]
    p: float | None
    effect: float = field(name="detect")
    margin: float
    power: float
    level: float
    gates: Annotated[int, about("gates of the check that share the level by Holm, for which it is planned")]
    paired: bool
    pilot_sessions: int
    sessions: tuple[int, int, int]
    sessions_alone: Annotated[int, about("the likely number, were this the only gate")]
    sessions_to_pass: Annotated[
        int | None, about("of a rate: without so many in each arm it cannot pass at the margin, though none fails")
    ]
    seconds: Range
    usd: Range
    power_of_pilot: Number
    turns_per_session: Number
    sigma: Number
    icc: Number
    deff50: Number = field(name="deff_p50")
    deff95: Number = field(name="deff_p95")
    cheapest_by_time: int | None = field(name="cheapest_turns_by_time")
    cheapest_by_usd: int | None = field(name="cheapest_turns_by_usd")


def size_data(size: Size) -> dict[str, Any]:
    """The size as lists, dictionaries, strings and numbers."""
    asked, question = size.asked, size.asked.question
    return data_of(
        SizeDocument(
            schema=SCHEMA,
            like=str(size.run.document.get("run_id") or size.run.folder.name),
            targets=list(size.targets),
            measure=question.measure,
            kind="rate" if asked.is_rate else "quantile",
            p=question.p,
            effect=asked.effect,
            margin=asked.margin,
            power=asked.power,
            level=LEVEL,
            gates=asked.gates,
            paired=size.paired,
            pilot_sessions=size.pilot.sessions,
            sessions=size.sessions,
            sessions_alone=size.sessions_alone,
            sessions_to_pass=asked.sessions_to_pass,
            seconds=size.seconds,
            usd=size.usd,
            power_of_pilot=size.power_of_pilot,
            turns_per_session=size.turns_per_session,
            sigma=size.spread.sigma,
            icc=size.spread.icc,
            deff50=size.spread.deff50,
            deff95=size.spread.deff95,
            cheapest_by_time=size.cheapest_by_time,
            cheapest_by_usd=size.cheapest_by_usd,
        )
    )
