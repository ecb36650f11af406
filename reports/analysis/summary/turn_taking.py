"""Turn-taking: in which pauses callers are cut off, and what an agent does with short words, sounds and interruptions.

A turn is cut off in a pause if a reply is played, or if the service commits the audio, before the speech has ended.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, get_args

import numpy as np

from bench.base.units import NS_PER_MS
from reports.analysis.summary.metrics import CANCELLED_SPLIT, ShareEstimate, rate_of
from reports.data.samples import VOICE_TO_VOICE, rate_counts
from reports.data.turns import UNFINISHED, Flags, TurnArrays
from reports.results.json_entries import Count, JsonEntry, Rounded, described
from reports.statistics.counting import Floats, distinct
from reports.statistics.cut_off_pause import cut_off_pause
from reports.statistics.quantiles import CONFIDENCE

MAX_RUNGS = 12
NO_ANSWER = ("timeout:end_of_turn", "timeout:first_delta")
"""The outcomes of a turn that the service did not answer."""
TurnEvent = Literal["cut_off", "no_answer", "false_reply", "false_yield", "yielded"]
"""What may happen in a turn. `TurnTakingStep` describes each."""
EVENTS: tuple[TurnEvent, ...] = get_args(TurnEvent)
EventsOfTurns = Mapping[TurnEvent, Floats]
"""For each event 1 for a turn in which it happened, 0 for others; NaN if it could not happen or is unknown."""
MEDIAN_DELAYS = {"end_of_turn_delay_ms": "end_of_turn_delay", "voice_to_voice_ms": VOICE_TO_VOICE}


class PauseRung(JsonEntry, frozen=True, kw_only=True):
    """The turns of one target with pauses from one length to another, inclusive."""

    from_ms: Rounded
    to_ms: Rounded
    cut_off: ShareEstimate
    end_of_turn_delay_ms: Annotated[Rounded, described("median; null if the service does not report it")]
    voice_to_voice_ms: Annotated[Rounded, described("median of the turns that have it")]


class PauseLadder(JsonEntry, frozen=True, kw_only=True):
    """The turns of one target with pauses in the caller's speech.

    The cut-off pause is the shortest pause from which at least half of the turns are cut off.
    """

    target: str
    sessions: Count
    cut_off: ShareEstimate
    shortest_ms: Rounded
    longest_ms: Rounded
    cut_off_pause_ms: Annotated[
        Rounded, described("null if the cut-off pause is not between the shortest and the longest pause")
    ]
    cut_off_pause_low_ms: Annotated[
        Rounded, described("of the interval of 95 %; null if it is below the shortest pause")
    ]
    cut_off_pause_high_ms: Annotated[
        Rounded, described("of the interval of 95 %; null if it is above the longest pause")
    ]
    rungs: tuple[PauseRung, ...]


class TurnTakingStep(JsonEntry, frozen=True, kw_only=True):
    """What happened in the turns of one step of one target, as shares of the turns to which it could happen."""

    target: str
    step: str
    cut_off: Annotated[ShareEstimate, described("turns in which the caller was cut off")]
    no_answer: Annotated[ShareEstimate, described("turns that the service did not answer")]
    false_reply: Annotated[ShareEstimate, described("turns before which the service replied to a sound")]
    false_yield: Annotated[ShareEstimate, described("replies that a sound stopped")]
    yielded: Annotated[ShareEstimate, described("interrupted replies that stopped within 2 s")]


class TurnTaking(JsonEntry, frozen=True, kw_only=True):
    """The ladder of pauses of each target, and the steps of the script; empty without pauses in speech."""

    ladders: tuple[PauseLadder, ...]
    steps: tuple[TurnTakingStep, ...]


def turn_taking(turns: TurnArrays) -> TurnTaking:
    """Return the turn-taking of a run whose script has speech with pauses of a set length."""
    if not has_pauses(turns):
        return TurnTaking(ladders=(), steps=())
    events = events_of(turns)
    ladders = (ladder_of(turns, turns.target == index, name, events) for index, name in enumerate(turns.targets))
    return TurnTaking(ladders=tuple(filter(None, ladders)), steps=tuple(_steps(turns, events)))


def has_pauses(turns: TurnArrays) -> bool:
    """Return whether the speech of a turn has a pause of a set length."""
    return not np.isnan(turns.column("speech_pause_ns")).all()


def events_of(turns: TurnArrays) -> EventsOfTurns:
    """Return what happened in each turn. Turns that did not end have no event."""
    unanswered = turns.frame["outcome"].isin(NO_ANSWER).to_numpy()[turns.rows]
    return {
        "cut_off": _cut_off(turns),
        "no_answer": np.where(turns.kind != UNFINISHED, unanswered, np.nan),
        "false_reply": rate_counts(turns, "false_reply_rate")[0],
        "false_yield": rate_counts(turns, "false_yield_rate")[0],
        "yielded": rate_counts(turns, "yield_rate")[0],
    }


def _cut_off(turns: TurnArrays) -> Floats:
    cut = turns.column("cut_off")
    cancelled = (turns.frame["outcome"] == CANCELLED_SPLIT).to_numpy()[turns.rows] & ~(turns.column("false_yield") > 0)
    is_cut = (cut > 0) | (turns.value("vad_splits") > 0) | cancelled
    known = (~np.isnan(cut) | is_cut) & (turns.kind != UNFINISHED)
    return np.where(known, is_cut, np.nan)


def ladder_of(turns: TurnArrays, chosen: Flags, target: str, events: EventsOfTurns) -> PauseLadder | None:
    """Return the ladder of the chosen turns; None if none of them has a pause and a known result.

    `target` is the printed name of their target.
    """
    pauses, cut = turns.column("speech_pause_ns") / NS_PER_MS, events["cut_off"]
    mine = chosen & ~np.isnan(pauses) & ~np.isnan(cut)
    if not mine.any():
        return None
    lengths = np.unique(pauses[mine])
    edge = cut_off_pause(pauses[mine], cut[mine], turns.session[mine])
    value, low, high = (end if math.isfinite(end) else math.nan for end in edge)
    return PauseLadder(
        target=target,
        sessions=distinct(turns.session[mine]).size,
        cut_off=_share(turns, cut, mine),
        shortest_ms=float(lengths[0]),
        longest_ms=float(lengths[-1]),
        cut_off_pause_ms=value,
        cut_off_pause_low_ms=low,
        cut_off_pause_high_ms=high,
        rungs=tuple(
            _rung(turns, cut, mine & (pauses >= part[0]) & (pauses <= part[-1]), (part[0], part[-1]))
            for part in np.array_split(lengths, min(MAX_RUNGS, lengths.size))
        ),
    )


def _rung(turns: TurnArrays, cut: Floats, mine: Flags, ends_ms: tuple[float, float]) -> PauseRung:
    delays = {}
    for name, metric in MEDIAN_DELAYS.items():
        values = turns.value(metric)[mine]
        delays[name] = float(np.nanmedian(values)) if not np.isnan(values).all() else math.nan
    return PauseRung(from_ms=ends_ms[0], to_ms=ends_ms[1], cut_off=_share(turns, cut, mine), **delays)


def _steps(turns: TurnArrays, events: EventsOfTurns) -> Iterator[TurnTakingStep]:
    for index, target in enumerate(turns.targets):
        for label in dict.fromkeys(turns.labels):
            mine = (turns.target == index) & turns.steps_named(label)[turns.step]
            if mine.any():
                shares = {name: _share(turns, values, mine) for name, values in events.items()}
                yield TurnTakingStep(target=target, step=label, **shares)


def _share(turns: TurnArrays, events: Floats, mine: Flags) -> ShareEstimate:
    counted = mine & ~np.isnan(events)
    return rate_of(events[counted] > 0, turns.session[counted], CONFIDENCE)
