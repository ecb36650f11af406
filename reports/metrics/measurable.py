"""The rejection of thresholds on a metric that a run of the given scripts can never have. Pure.

`bench.load.planning.lacking` computes what the scripts cannot measure.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE, HEADLINE, REGULAR
from reports.metrics import step_names
from reports.metrics.rate_metrics import RATES
from reports.metrics.thresholds import THRESHOLD_METRICS, Threshold


def refuse_unmeasurable(
    threshold: Threshold, scripts: Sequence[Mapping[str, Any] | None], named: str = ""
) -> None:
    """Raise UsageError if no turn or session of these scripts can have a value of the
    threshold's metric.
    """
    known = [script for script in scripts if script is not None]
    if len(known) < len(scripts) or not known:
        return
    written = named or threshold.source_text
    turns = [(str(script["name"]), turn) for script in known for turn in script["turns"]]
    steps = [(script, str(turn["step"])) for script, turn in turns]
    refuse_unknown_step(threshold, steps, written)
    is_meant = step_names.matching(threshold.step, steps) if threshold.step else [True] * len(turns)
    of_turns = [turn["lacks"] for (_, turn), meant in zip(turns, is_meant, strict=True) if meant]
    judged = (
        [script["session"] for script in known]
        if THRESHOLD_METRICS[threshold.metric].of_sessions
        else of_turns
    )
    turn_types = [] if threshold.turn_type in ("", REGULAR) else threshold.turn_type.split("+")
    reasons = [
        _no_value(threshold.metric, lacks)
        or next(filter(None, (lacks.get(f"turn_type:{turn_type}") for turn_type in turn_types)), "")
        for lacks in judged
    ]
    if not reasons or not all(reasons):
        return
    instead = next(
        (
            f", such as {name}"
            for name in HEADLINE
            if any(not _no_value(name, turn["lacks"]) for _, turn in turns)
        ),
        "",
    )
    step_text = f" of step {threshold.step}" if threshold.step else ""
    names = ", ".join(dict.fromkeys(str(script["name"]) for script in known))
    raise UsageError(
        f"{written} can never be evaluated{step_text}, because {reasons[0]} in {names}: use another"
        f" metric{instead}, or change the script"
    )


def refuse_unknown_step(threshold: Threshold, steps: step_names.Steps, written: str) -> None:
    """Raise UsageError if the threshold names a step that is not in `steps`, or that several
    scripts have.
    """
    if threshold.step and not step_names.matching(threshold.step, steps).any():
        raise UsageError(f"{written}: {step_names.refusal(threshold.step, steps)}")


def _no_value(metric: str, lacks: Mapping[str, str]) -> str:
    """Return why a turn or session can have no value of a metric; "" if it may have one.

    `lacks` has the features that the turn or session does not have, each with the reason.
    """
    if metric in RATES:
        rate = RATES[metric]
        if not rate.of_metric:
            return lacks.get(rate.column, "") or lacks.get(rate.words_column, "")
        metric = rate.of_metric
    return CATALOGUE[metric].lack_reason(lacks)
