"""The turn-taking of compared targets: the cut-off pause of each, and the differences of their rates. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from reports.analysis.summary.turn_taking import ALL_PAUSES, CUT_OFF, PAUSE, events_of, has_pauses, of_pauses
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.named import matched_to_the_first
from reports.data.turns import Flags
from reports.engine.evaluate import ChosenTurns, Events, rate_of_clusters
from reports.metrics.metric_spec import POINTS
from reports.metrics.rate_metrics import MIN_RATE_UNITS, RATES
from reports.results.value import Finding, Group, Subject, Value
from reports.statistics.autocorrelation import rate_by_order
from reports.statistics.differences import Better, Inference, Margin
from reports.statistics.rates import ClusterTotals


class ComparedTurnTaking(NamedTuple):
    """The turns with pauses of each target, and the rates of each step against the baseline."""

    pauses: tuple[Value, ...]
    steps: tuple[Finding, ...]


def compared_turn_taking(targets: Sequence[ComparedTarget], how: Inference) -> ComparedTurnTaking:
    """Return the turn-taking of the targets; empty without pauses. The first target is the baseline."""
    runs = {id(target.turns): target.turns for target in targets}
    if not any(map(has_pauses, runs.values())):
        return ComparedTurnTaking((), ())
    events = {key: events_of(turns) for key, turns in runs.items()}
    return ComparedTurnTaking(
        tuple(
            value
            for one in targets
            for value in of_pauses(
                one.turns, ChosenTurns(Subject(target=one.label), one.turn_mask), events[id(one.turns)]
            )
        ),
        tuple(
            finding
            for base, cand in matched_to_the_first(targets)
            for finding in _findings(base, cand, (events[id(base.turns)], events[id(cand.turns)]), how)
        ),
    )


def _findings(
    base: ComparedTarget,
    cand: ComparedTarget,
    events: tuple[Mapping[str, Events], Mapping[str, Events]],
    how: Inference,
) -> Iterator[Finding]:
    for step in ("", *dict.fromkeys((*base.turns.labels, *cand.turns.labels))):
        chosen = _turns_of(base, step), _turns_of(cand, step)
        for name in events[0] if step else (CUT_OFF,):
            of_base, of_cand = (
                target.sums(*of[name], turns) for target, of, turns in zip((base, cand), events, chosen, strict=True)
            )
            if of_base[1].any() or of_cand[1].any():
                group = None if step else Group(by=PAUSE, name=ALL_PAUSES)
                against, value = (
                    rate_of_clusters(Subject(target=target.label, step=step, group=group), name, totals)
                    for target, totals in ((base, of_base), (cand, of_cand))
                )
                yield _finding(value, against, ClusterTotals(of_base, of_cand, base.paired), how)


def _finding(value: Value, against: Value, totals: ClusterTotals, how: Inference) -> Finding:
    difference: tuple[float | None, ...] = (None, None, None)
    if min(value.n, against.n) >= MIN_RATE_UNITS:
        better: Better = "higher" if value.metric in RATES and RATES[value.metric].better == "higher" else "lower"
        difference = rate_by_order(totals, Margin(points=POINTS), better, how).shares
    d, low, high = (math.nan if end is None else end for end in difference)
    return Finding(value=value, against=against, difference=d, low=low, high=high)


def _turns_of(target: ComparedTarget, step: str) -> Flags:
    turns = target.turns
    mask: Flags = turns.steps_named(step)[turns.step] if step else ~np.isnan(turns.column("speech_pause_ns"))
    return mask
