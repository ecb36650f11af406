"""The names of the entries in Locust's statistics, from the plan of a run. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench.base.errors import UsageError
from bench.catalogue.metrics import CATALOGUE
from bench.plan.compiled_script import CompiledScript

MAX_NAMES = 30
"""The maximum number of names (samplers) that the reports of hosted engines show."""
NOT_STARTED = "not started"
"""The name of the entry for the turns of a session that did not start."""


def metric_entry(step: str, metric: str) -> str:
    """Return the name of the entry for one metric of a step's turns."""
    return f"{step}: {metric}"


def check_entries(
    metrics: Sequence[str],
    scripts: Iterable[CompiledScript],
    lacking: Iterable[Mapping[str, Any] | None],
    targets: Sequence[str],
) -> None:
    """Raise UsageError if no turn can have one of the `metrics`, or if there are more than
    MAX_NAMES names.

    `lacking` is what the turns of each script lack (`bench.load.planning.lacking`). `targets` are
    the labels.
    """
    if not metrics:
        return
    turns = [
        (step, lacks)
        for compiled, script in zip(scripts, lacking, strict=True)
        for step, lacks in (
            [(turn["step"], turn["lacks"]) for turn in script["turns"]]
            if script is not None
            else [(turn.plan.step, {}) for turn in compiled.prepare_session(0, 0).turns]
        )
    ]
    for name in metrics:
        reasons = [CATALOGUE[name].lack_reason(lacks) for _, lacks in turns]
        if reasons and all(reasons):
            raise UsageError(
                f"--locust-metrics: no turn can have {name}, because {reasons[0]}: name another"
                " metric"
            )
    steps = {step for step, _ in turns}
    entries = {
        metric_entry(step, name)
        for step, lacks in turns
        for name in metrics
        if not CATALOGUE[name].lack_reason(lacks)
    }
    if (count := len({NOT_STARTED, *targets, *steps, *entries})) > MAX_NAMES:
        raise UsageError(
            f"--locust-metrics: Locust's statistics would have {count} names ({len(entries)} of"
            f" metrics), but hosted engines show at most {MAX_NAMES}: name fewer metrics, or use"
            " fewer steps"
        )
