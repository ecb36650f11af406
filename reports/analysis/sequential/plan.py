"""The plan of the interim analyses of a run that ends as soon as it is decided. run.json stores it
as `sequential_plan`.

The plan is made before the run starts, from a request (JSON). The process that runs the load sends
the request, because it does not read thresholds itself. The keys of the request are:

- `metric` is the main metric.
- `targets` are the names of the baseline and of the candidate.
- `scripts` has an object for each script. `name` is its name. `turns` is the number of turns of a
  session. `steps` is the label of each turn, or null if the labels are unknown before the run.
- `pairs` is the maximum number of pairs.
- `every` is the number of pairs between two analyses.
- `thresholds` are the values of `--thresholds`.
- `of_scripts` are the thresholds in the scripts, by metric.
- `lacking` describes what the scripts can never measure (`reports.metrics.measurable`).
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from bench.base.errors import UsageError
from bench.catalogue.metrics import SLOPE
from bench.record.document import SequentialPlanEntry
from reports.formatting import count
from reports.metrics import step_names
from reports.metrics.measurable import refuse_unknown_step, refuse_unmeasurable
from reports.metrics.statistic_types.quantile import DRAWS
from reports.metrics.statistic_types.rate import none_seen
from reports.metrics.thresholds import (
    THRESHOLD_METRICS,
    Threshold,
    by_metric,
    parse,
    parse_all,
    requested_thresholds,
)
from reports.results.value import Reason
from reports.statistics.differences import LEVEL
from reports.statistics.distributions import ndtr
from reports.statistics.group_sequential import (
    SPENDING,
    analysis_sizes,
    critical_values,
    first_analysis,
    pairs_needed,
)
from reports.statistics.verdicts import turns_to_decide


def planned_thresholds(plan: SequentialPlanEntry) -> list[Threshold]:
    """Return the primary metrics of a plan. Raise UsageError if one cannot be parsed, or is not
    relative.
    """
    parsed = parse_all(plan["primary_metrics"])
    for threshold in parsed:
        if threshold.margin is None:
            raise UsageError(
                f"{threshold.text} is not relative, so interim analyses cannot use it: write a"
                " margin, such as <+20%"
            )
    return parsed


def refuse_other_targets(thresholds: Iterable[Threshold], targets: Sequence[str]) -> None:
    """Raise UsageError if a threshold names a target other than the candidate. `targets` has the
    baseline first.
    """
    baseline, candidate = targets
    for threshold in thresholds:
        if (target := threshold.target) not in ("", candidate):
            is_baseline = target == baseline
            raise UsageError(
                f"{threshold.source_text}: "
                + (f"{target} is the baseline" if is_baseline else f"there is no target {target}")
                + f"; a threshold may name only the candidate, {candidate}, or no target"
            )


def was_planned(document: Mapping[str, Any]) -> bool:
    """Return whether a run was started with a plan of interim analyses. `document` is the
    content of its run.json.
    """
    return document.get("sequential_plan") is not None


def plan_of(document: Mapping[str, Any], run: str) -> SequentialPlanEntry:
    """Return the plan in `document`, the content of run.json. `run` is the name of the run as the
    user wrote it.

    Raise UsageError if there is no plan, or if the plan is not valid.
    """
    written = document.get("sequential_plan")
    if not isinstance(written, Mapping):
        raise UsageError(
            f"{run} has no plan of interim analyses: start a run with --until-decided, "
            f"or compare its targets with `rtbench compare {run}`"
        )
    try:
        plan = SequentialPlanEntry(
            pairs=int(written["pairs"]),
            analyses=[int(size) for size in written["analyses"]],
            primary_metrics={
                str(name): [*map(str, texts)] for name, texts in written["primary_metrics"].items()
            },
            alpha=float(written["alpha"]),
            spending=str(written.get("spending", SPENDING)),
            bootstrap_samples=int(written["bootstrap_samples"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(
            f"the sequential_plan in run.json of {run} cannot be read: {error!r}"
        ) from None
    sizes = plan["analyses"]
    is_rising = (
        all(before < after for before, after in pairwise((0, *sizes)))
        and sizes
        and sizes[-1] <= plan["pairs"]
    )
    if not (is_rising and 0 < plan["alpha"] < 0.5 and plan["bootstrap_samples"] >= 2):
        raise UsageError(
            f"the sequential_plan in run.json of {run} is not valid: its interim analyses must"
            " increase up to its number of pairs"
        )
    if plan["spending"] != SPENDING:
        raise UsageError(
            f"{run} uses the error spending {plan['spending']}; this rtbench supports only"
            f" {SPENDING}"
        )
    if not any(plan["primary_metrics"].values()):
        raise UsageError(f"the sequential_plan in run.json of {run} has no primary metrics")
    return plan


DEFAULT = {"p(50)": "<+10%", "p(95)": "<+20%"}
"""The primary metrics of the main metric, if no threshold is given."""
DEFAULT_FAILURES = "rate<+1pt"


def plan_analyses(request: dict[str, Any]) -> tuple[SequentialPlanEntry, list[Reason]]:
    """Return the plan, and the reasons why some primary metrics cannot pass.

    This module's docstring describes the keys of `request`. Raise UsageError if the thresholds of
    the command line are wrong or all absolute, if this run cannot measure the metric of a
    threshold, or if the run is too short to test a primary metric.
    """
    primary = _primary_metrics(
        request["thresholds"], request.get("of_scripts", {}), request["metric"]
    )
    refuse_other_targets(primary, request["targets"])
    known = all(script["steps"] is not None for script in request["scripts"])
    for threshold in primary:
        if known:
            refuse_unknown_step(threshold, _steps(request["scripts"]), threshold.source_text)
        refuse_unmeasurable(threshold, request.get("lacking", ()))
    needed = [
        pairs_needed(threshold.p, _values(threshold, request["scripts"])) for threshold in primary
    ]
    max_needed, threshold = max(zip(needed, primary, strict=True), key=lambda pair: pair[0])
    pairs = request["pairs"]
    step_pairs = request["every"]
    if max_needed > pairs:
        values = count(turns_to_decide(threshold.p)) if threshold.p is not None else ""
        raise UsageError(
            f"{threshold.source_text} cannot be tested before {count(max_needed)}"
            f" pairs{f', because it needs {values} values in each target' if values else ''}, and"
            f" the run has at most {count(pairs)}: raise --sessions to {max_needed} or more, or"
            " choose another primary metric"
        )
    first = first_analysis(needed, step_pairs)
    reasons = filter(
        None, (_cannot_pass(threshold, pairs, step_pairs, first) for threshold in primary)
    )
    plan = SequentialPlanEntry(
        pairs=pairs,
        analyses=list(analysis_sizes(pairs, step_pairs, first)),
        primary_metrics=by_metric(primary),
        alpha=LEVEL,
        spending=SPENDING,
        bootstrap_samples=DRAWS,
    )
    return plan, list(reasons)


def _cannot_pass(threshold: Threshold, pairs: int, step_pairs: int, first: int) -> Reason | None:
    """Return the reason if a rate cannot pass with this many pairs, even without failures; None if
    it can pass.

    The reason includes the required number of pairs, if any number is enough.
    """
    level = _last_level(analysis_sizes(pairs, step_pairs, first))
    enough: int | None = pairs
    while enough is not None:
        needed = threshold.statistic.sessions_to_pass(
            threshold.spec.margin, _last_level(analysis_sizes(enough, step_pairs, first))
        )
        if needed is not None and needed <= enough:
            break
        enough = needed
    if enough == pairs:
        return None
    event = threshold.statistic.bad_event(threshold.metric) or threshold.metric
    reason = none_seen(event, pairs, level, None, pairs)
    numbers = {"threshold": threshold.source_text, "pairs": pairs, "reason": reason}
    return Reason("cannot_pass", numbers | ({} if enough is None else {"needed": enough}))


def _last_level(sizes: Sequence[int]) -> float:
    """Return the one-sided type I error of the last analysis, given the sizes of all analyses."""
    return float(ndtr(-critical_values([size / sizes[-1] for size in sizes], LEVEL)[-1]))


def _primary_metrics(
    given: Sequence[str], of_scripts: Mapping[str, Sequence[str]], metric: str
) -> list[Threshold]:
    """Return the relative thresholds, from the command line if it has thresholds, otherwise from
    the scripts.

    Absolute thresholds are left out, because `rtbench check` decides on them. If the command line
    has none, and the scripts have no relative threshold, return the default thresholds. Raise
    UsageError if the command line has only absolute thresholds, or if a threshold is on a slope.
    """
    written = requested_thresholds(given) if given else parse_all(of_scripts)
    primary = [threshold for threshold in written if threshold.margin is not None]
    if not primary and not given:
        return [
            *(parse(metric, p + margin) for p, margin in DEFAULT.items()),
            parse("failure_rate", DEFAULT_FAILURES),
        ]
    if not primary:
        raise UsageError(
            f"{', '.join(given)} has no relative threshold, so interim analyses have nothing to"
            ' decide: add one, such as ttfa: ["p(95)<+20%"]'
        )
    if slopes := [
        each.source_text for each in primary if THRESHOLD_METRICS[each.metric].unit == SLOPE
    ]:
        raise UsageError(
            f"{slopes[0]}: interim analyses cannot decide on a slope; run `rtbench compare` or"
            " `rtbench check` after the run"
        )
    return primary


def _steps(scripts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the planned steps: the name of the script and of the step. Steps that are unknown
    before the run lack.
    """
    return [(str(script["name"]), label) for script in scripts for label in script["steps"] or ()]


def _values(threshold: Threshold, scripts: Sequence[Mapping[str, Any]]) -> float:
    """Return the expected minimum number of values per session for a threshold; 1 if it is unknown.

    For a threshold on a step, return the mean over all scripts.
    """
    if THRESHOLD_METRICS[threshold.metric].of_sessions:
        return 1
    if not threshold.step:
        return min((script["turns"] for script in scripts if script["turns"]), default=1)
    return int(step_names.matching(threshold.step, _steps(scripts)).sum()) / len(scripts) or 1
