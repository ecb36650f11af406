"""The plan of the interim analyses of a run that ends as soon as it is decided. run.json stores it as
`sequential_plan`.

The plan is made before the run starts, from a request (JSON). The process that runs the load sends the request, because
it does not read thresholds itself. The keys of the request are:

- `metric` is the main metric.
- `targets` are the names of the baseline and of the candidate.
- `scripts` has an object for each script. `name` is its name. `turns` is the number of turns of a session. `steps` is
the label of each turn, or null if the labels are unknown before the run.
- `pairs` is the maximum number of pairs.
- `every` is the number of pairs between two analyses.
- `thresholds` is the path of a thresholds file, or null.
- `of_scripts` are the thresholds in the scripts, by metric.
- `lacking` describes what the scripts can never measure (`reports.metrics.measurable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from scipy.special import ndtr  # type: ignore[import-untyped, unused-ignore]

from bench.base.errors import UsageError
from bench.catalogue.metrics import SLOPE
from reports.formatting import NBSP, count
from reports.metrics import step_names
from reports.metrics.measurable import refuse_unknown_step, refuse_unmeasurable
from reports.metrics.statistic_types.quantile import DRAWS
from reports.metrics.statistic_types.rate import none_seen
from reports.metrics.thresholds import THRESHOLD_METRICS, Threshold, by_metric, parse, parse_all, read_thresholds
from reports.results.json_entries import ClosedJsonEntry
from reports.statistics.group_sequential import SPENDING, analysis_sizes, critical_values, first_analysis, pairs_needed
from reports.statistics.verdicts import turns_to_decide
from reports.text.reasons import reason_text


class SequentialPlan(ClosedJsonEntry, frozen=True):
    """The plan, made before the first session.

    `primary_metrics`: thresholds as the user wrote them, by metric.
    """

    pairs: int
    analyses: tuple[int, ...]
    primary_metrics: dict[str, tuple[str, ...]]
    alpha: float
    spending: str
    bootstrap_samples: int

    @property
    def thresholds(self) -> tuple[Threshold, ...]:
        """The primary metrics, parsed. Raises UsageError if one of them cannot be parsed, or is not relative."""
        parsed = parse_all(self.primary_metrics)
        for threshold in parsed:
            if threshold.margin is None:
                raise UsageError(
                    f"{threshold.text} is not relative, so interim analyses cannot use it: "
                    "write a margin, such as <+20%"
                )
        return tuple(parsed)


def refuse_other_targets(gates: Iterable[Threshold], targets: Sequence[str]) -> None:
    """Raise UsageError if a gate names a target other than the candidate.

    `targets` are the names of the baseline and of the candidate.
    """
    baseline, candidate = targets
    for gate in gates:
        if gate.target not in ("", candidate):
            reason = f"{baseline} is the baseline" if gate.target == baseline else f"there is no target {gate.target}"
            raise UsageError(
                f"{gate.source_text}: {reason}; a threshold may name only the candidate, {candidate}, or no target"
            )


def was_planned(document: Mapping[str, Any]) -> bool:
    """Return whether a run was started with a plan of interim analyses. `document` is the content of its run.json."""
    return document.get("sequential_plan") is not None


def plan_of(document: Mapping[str, Any], run: str) -> SequentialPlan:
    """Return the plan in `document`, the content of run.json. `run` is the name of the run as the user wrote it.

    Raise UsageError if there is no plan, or if the plan is not valid.
    """
    written = document.get("sequential_plan")
    if not isinstance(written, Mapping):
        raise UsageError(
            f"{run} has no plan of interim analyses: start a run with --until-decided, "
            f"or compare its targets with `rtbench compare {run}`"
        )
    try:
        plan = SequentialPlan(
            pairs=int(written["pairs"]),
            analyses=tuple(int(size) for size in written["analyses"]),
            primary_metrics={str(name): tuple(map(str, texts)) for name, texts in written["primary_metrics"].items()},
            alpha=float(written["alpha"]),
            spending=str(written.get("spending", SPENDING)),
            bootstrap_samples=int(written["bootstrap_samples"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"the sequential_plan in run.json of {run} cannot be read: {error!r}") from None
    rising = all(before < after for before, after in pairwise((0, *plan.analyses)))
    within = bool(plan.analyses) and plan.analyses[-1] <= plan.pairs
    if not (rising and within and 0 < plan.alpha < 0.5 and plan.bootstrap_samples >= 2):
        reason = "its interim analyses must increase up to its number of pairs"
        raise UsageError(f"the sequential_plan in run.json of {run} is not valid: {reason}")
    if plan.spending != SPENDING:
        raise UsageError(f"{run} uses the error spending {plan.spending}; this rtbench supports only {SPENDING}")
    if not any(plan.primary_metrics.values()):
        raise UsageError(f"the sequential_plan in run.json of {run} has no gates")
    return plan


LEVEL = 0.05
DEFAULT = {"p(50)": "<+10%", "p(95)": "<+20%"}
"""The gates on the main metric, if no threshold is given."""
DEFAULT_FAILURES = "rate<+1pt"


def plan_analyses(request: dict[str, Any]) -> dict[str, Any]:
    """Return the plan in the form that run.json stores.

    This module's docstring describes the keys of `request`. Raise UsageError if the thresholds file cannot be used or
    has no relative threshold, if this run cannot measure the metric of a threshold, or if the run is too short to test
    a gate.
    """
    gates = _primary_metrics(request["thresholds"], request.get("of_scripts", {}), request["metric"])
    refuse_other_targets(gates, request["targets"])
    known = all(script["steps"] is not None for script in request["scripts"])
    for gate in gates:
        if known:
            refuse_unknown_step(gate, _steps(request["scripts"]), gate.source_text)
        refuse_unmeasurable(gate, request.get("lacking", ()))
    needed = [pairs_needed(gate.p, _values(gate, request["scripts"])) for gate in gates]
    max_needed, gate = max(zip(needed, gates, strict=True), key=lambda pair: pair[0])
    if max_needed > request["pairs"]:
        values = count(turns_to_decide(gate.p)) if gate.p is not None else ""
        turns = f", because it needs {values} values in each target" if values else ""
        raise UsageError(
            f"{gate.source_text} cannot be tested before {count(max_needed)} pairs{turns}, and the run has at most "
            f"{count(request['pairs'])}: raise --sessions to {max_needed} or more, or choose another primary metric"
        )
    step_pairs = request["every"]
    first = first_analysis(needed, step_pairs)
    notices = [notice for gate in gates if (notice := _cannot_pass(gate, request["pairs"], step_pairs, first))]
    return {
        "pairs": request["pairs"],
        "analyses": list(analysis_sizes(request["pairs"], step_pairs, first)),
        "primary_metrics": by_metric(gates),
        "alpha": LEVEL,
        "spending": SPENDING,
        "bootstrap_samples": DRAWS,
    } | ({"notices": notices} if notices else {})


def _cannot_pass(gate: Threshold, pairs: int, step_pairs: int, first: int) -> str:
    """Return the reason if a rate cannot pass with this many pairs, even without failures. Return "" if it can pass.

    The reason includes the required number of pairs, if any number is enough.
    """
    level, margin = _last_level(analysis_sizes(pairs, step_pairs, first)), gate.question.margin
    enough: int | None = pairs
    while enough is not None:
        needed = gate.statistic.sessions_to_pass(margin, _last_level(analysis_sizes(enough, step_pairs, first)))
        if needed is not None and needed <= enough:
            break
        enough = needed
    if enough == pairs:
        return ""
    event = gate.statistic.bad_event(gate.metric) or gate.metric
    reason = reason_text(none_seen(event, pairs, level, None, pairs)).replace(NBSP, " ")
    text = f"{gate.source_text} cannot pass with {count(pairs)} pairs, because {reason}"
    return text if enough is None else f"{text}: raise --sessions to {enough} or more, or widen the margin"


def _last_level(sizes: Sequence[int]) -> float:
    """Return the one-sided type I error of the last analysis, given the sizes of all analyses."""
    return float(ndtr(-critical_values([size / sizes[-1] for size in sizes], LEVEL)[-1]))


def _primary_metrics(file: str | None, of_scripts: Mapping[str, Sequence[str]], metric: str) -> list[Threshold]:
    """Return the relative thresholds, from the file if there is one, otherwise from the scripts.

    Absolute thresholds are left out, because `rtbench check` decides on them. If there is no file, and the scripts have
    no relative threshold, return the default thresholds.
    """
    written = parse_all(of_scripts) if file is None else read_thresholds(Path(file))
    gates = [threshold for threshold in written if threshold.margin is not None]
    if not gates and file is None:
        return [*(parse(metric, p + margin) for p, margin in DEFAULT.items()), parse("failure_rate", DEFAULT_FAILURES)]
    if not gates:
        raise UsageError(
            f"{file} has no relative threshold, so interim analyses have nothing to decide: "
            'add one, such as ttfa: ["p(95)<+20%"]'
        )
    if slopes := [gate.source_text for gate in gates if THRESHOLD_METRICS[gate.metric].unit == SLOPE]:
        reason = "interim analyses cannot decide on a slope; run `rtbench compare` or `rtbench check` after the run"
        raise UsageError(f"{slopes[0]}: {reason}")
    return gates


def _steps(scripts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the planned steps: the name of the script and of the step. Steps that are unknown before the run lack."""
    return [(str(script["name"]), label) for script in scripts for label in script["steps"] or ()]


def _values(gate: Threshold, scripts: Sequence[Mapping[str, Any]]) -> float:
    """Return the expected minimum number of values per session for a gate; 1 if it is unknown.

    For a gate on a step, return the mean over all scripts.
    """
    if THRESHOLD_METRICS[gate.metric].of_sessions:
        return 1
    if not gate.step:
        return min((script["turns"] for script in scripts if script["turns"]), default=1)
    return int(step_names.matching(gate.step, _steps(scripts)).sum()) / len(scripts) or 1
