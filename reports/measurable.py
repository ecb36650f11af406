"""Says which thresholds can never be judged by a run of a script, before the run; pure.

`scripts`: what each of its scripts lacks, as `bench.load.planning.lacking` has it; None of one of which nobody knows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.errors import UsageError
from bench.metrics import CATALOGUE, HEADLINE, REGULAR
from reports.rate_metrics import RATES
from reports.thresholds import GATED, Threshold, near, quoted

Lacking = Sequence[Mapping[str, Any] | None]


def refuse_unmeasurable(threshold: Threshold, scripts: Lacking, named: str = "") -> None:
    """Raise UsageError for a threshold that no turn or session of these scripts can be judged by.

    `named`: the threshold as the user wrote it.
    """
    known = [script for script in scripts if script is not None]
    if len(known) < len(scripts) or not known:
        return
    written = named or threshold.written
    steps = list(dict.fromkeys(_step(script, turn, known) for script in known for turn in script["turns"]))
    refuse_unknown_step(threshold, steps, written)
    reasons = [_lacks(threshold.metric, rows) for rows in _rows(threshold, known)]
    reasons = [why or _apart(threshold, rows) for why, rows in zip(reasons, _rows(threshold, known), strict=True)]
    if not reasons or not all(reasons):
        return
    others = [
        name for name in HEADLINE if any(not _lacks(name, turn["lacks"]) for one in known for turn in one["turns"])
    ]
    instead = f", such as {others[0]}" if others else ""
    at = f" of step {threshold.step}" if threshold.step else ""
    raise UsageError(
        f"{written} can never be judged{at}, because {reasons[0]} in {_listed(known)}: ask for another "
        f"measure{instead}, or change the script"
    )


def refuse_unknown_step(threshold: Threshold, steps: Sequence[str], written: str) -> None:
    """Raise UsageError for a threshold of a step that is none of these."""
    if threshold.step and threshold.step not in steps:
        named = f"{quoted(threshold.step)}{near(threshold.step, steps)}"
        raise UsageError(f"{written}: there is no step {named} these are: {', '.join(steps)}")


def _listed(scripts: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(script["name"]) for script in scripts))


def _step(script: Mapping[str, Any], turn: Mapping[str, Any], scripts: Sequence[Mapping[str, Any]]) -> str:
    """The step as reports call it: with the name of its script where there are several."""
    several = len({one["name"] for one in scripts}) > 1
    return f"{script['name']}: {turn['step']}" if several else str(turn["step"])


def _rows(threshold: Threshold, scripts: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, str]]:
    """What each row lacks that could be judged: sessions, or turns of the step."""
    for script in scripts:
        if GATED[threshold.metric].of_sessions:
            yield script["session"]
            continue
        for turn in script["turns"]:
            if threshold.step in ("", _step(script, turn, scripts)):
                yield turn["lacks"]


def _lacks(metric: str, lacks: Mapping[str, str]) -> str:
    """Return why such a row has no value of a metric; "" where it may have one."""
    if metric in RATES:
        rate = RATES[metric]
        return lacks.get(rate.column, "") or lacks.get(rate.words, "")
    of = CATALOGUE[metric]
    begins = [lacks.get(name, "") for name in of.begins]
    begin = begins[0] if begins and all(begins) else ""
    return lacks.get(of.end, "") or lacks.get(of.column, "") or lacks.get(of.less, "") or begin


def _apart(threshold: Threshold, lacks: Mapping[str, str]) -> str:
    """Return why a row is not of the turn type that is asked for; "" where it may have them."""
    names = [] if threshold.turn_type in ("", REGULAR) else threshold.turn_type.split("+")
    return next(filter(None, (lacks.get(f"turn_type:{name}", "") for name in names)), "")
