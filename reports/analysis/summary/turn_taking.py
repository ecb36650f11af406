"""Turn-taking: in which pauses callers are cut off, and what an agent does with short words, sounds
and interruptions.

A turn is cut off in a pause if a reply is played, or if the service commits the audio, before the
speech has ended. The values are those of each step, and, for turns with a pause in the caller's
speech, those of each length of the pause.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from msgspec.structs import replace

from bench.base.units import NS_PER_MS
from bench.catalogue.outcomes import NO_REPLY
from reports.analysis.summary.metrics import cancelled_splits
from reports.data.samples import VOICE_TO_VOICE, Events, rate_counts
from reports.data.turns import UNFINISHED, TurnArrays
from reports.engine import evaluate
from reports.engine.evaluate import (
    ChosenTurns,
    RatesByPart,
    average,
    by_step,
    by_target,
    by_value,
    rates,
)
from reports.results.value import Group, Subject, Value
from reports.statistics.cut_off_pause import cut_off_pause

MAX_RUNGS = 12
NO_ANSWER = ("timeout:end_of_turn", NO_REPLY)
"""The outcomes of a turn that the service did not answer."""
CUT_OFF = "cut_off"
PAUSE = "pause"
ALL_PAUSES = "all"
"""The name of the group of all turns of a target with a pause of a set length in the caller's
speech."""
CUT_OFF_PAUSE = "cut_off_pause"
"""The statistic of `cut_off` that is the shortest pause, in ms, from which at least half of the
turns are cut off.

It is unknown if it is not between the shortest and the longest pause. So is an end of its
interval."""
RATES_OF_STEPS = ("false_reply_rate", "false_yield_rate", "yield_rate")
"""The rates of each step, in addition to `cut_off` and `no_answer`."""


def turn_taking(turns: TurnArrays) -> Iterator[Value]:
    """Yield the turn-taking of a run whose script has speech with pauses of a set length:
    nothing for other runs.
    """
    if has_pauses(turns):
        events = events_of(turns)
        for of_target in by_target(turns):
            yield from of_pauses(turns, of_target, events)
        yield from rates(turns, by_step(turns), events)


def compared_rates_of(turns: TurnArrays) -> RatesByPart:
    """Return the rates that are compared between targets: `cut_off` of turns with a pause, and
    all rates of steps.
    """
    events = events_of(turns)
    pauses = Group(by=PAUSE, name=ALL_PAUSES)
    whole = (
        Subject(target="", group=pauses),
        ~np.isnan(turns.column("speech_pause_ns")),
        {CUT_OFF: events[CUT_OFF]},
    )
    steps = (
        (Subject(target="", step=label), turns.steps_named(label)[turns.step], events)
        for label in dict.fromkeys(turns.labels)
    )
    return {subject: (mine, of_rates) for subject, mine, of_rates in (whole, *steps)}


def has_pauses(turns: TurnArrays) -> bool:
    """Return whether the speech of a turn has a pause of a set length."""
    return not np.isnan(turns.column("speech_pause_ns")).all()


def events_of(turns: TurnArrays) -> Mapping[str, Events]:
    """Return what happened in each turn. Turns that did not end have no event."""
    unanswered = turns.frame["outcome"].isin(NO_ANSWER).to_numpy()[turns.rows]
    own = {
        CUT_OFF: _cut_off(turns),
        "no_answer": evaluate.events_of(unanswered, turns.kind != UNFINISHED),
    }
    return own | {name: rate_counts(turns, name) for name in RATES_OF_STEPS}


def _cut_off(turns: TurnArrays) -> Events:
    cut = turns.column("cut_off")
    is_cut = (cut > 0) | (turns.value("vad_splits") > 0) | cancelled_splits(turns)
    is_unscored = rate_counts(turns, "cut_off_rate").unscored > 0
    known = (~np.isnan(cut) | is_cut) & (turns.kind != UNFINISHED)
    return evaluate.events_of(is_cut, known, is_unscored)


def of_pauses(turns: TurnArrays, of: ChosenTurns, events: Mapping[str, Events]) -> Iterator[Value]:
    """Yield the values of selected turns with a pause: of all of them, and of each length."""
    pauses = turns.column("speech_pause_ns") / NS_PER_MS
    cut = events[CUT_OFF]
    mine = of.turns & ~np.isnan(pauses) & cut.counted
    known = mine & ~np.isnan(cut.events)
    if not known.any():
        return
    group = Group(
        by=PAUSE, name=ALL_PAUSES, start=float(pauses[mine].min()), end=float(pauses[mine].max())
    )
    whole = ChosenTurns(Subject(target=of.subject.target, group=group), mine)
    (share,) = rates(turns, [whole], {CUT_OFF: cut})
    edge = cut_off_pause(pauses[known], cut.events[known], turns.session[known])
    value, low, high = (end if math.isfinite(end) else math.nan for end in edge)
    yield share
    yield replace(share, statistic=CUT_OFF_PAUSE, value=value, low=low, high=high)
    for part in by_value(whole, PAUSE, pauses, MAX_RUNGS):
        yield from rates(turns, [part], {CUT_OFF: cut})
        for metric in ("end_of_turn_delay", VOICE_TO_VOICE):
            yield average(turns, part, metric, turns.value(metric))
