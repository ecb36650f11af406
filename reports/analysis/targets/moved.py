"""A target with the lowest and the highest possible values of a metric: unscored turns have any
value, and others are moved by their maximum errors. They give bounds that hold for each of them.

Each value v has its own maximum error e, so its true value is between v − e and v + e. A quantile,
and a share of values up to a deadline, are monotone in each value. So the true one is between those
of all v − e and all v + e, and a turn with a large error changes them only if it lies near them. If
e is unknown, v − e is −inf, and v + e is +inf.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bench.catalogue.metrics import CATALOGUE
from bench.record.metric_values import floats
from bench.record.validity_data import bound_columns, bounds_of_rows
from reports.analysis.targets.compared_target import ComparedTarget
from reports.data.samples import MetricSamples, sampled
from reports.data.turns import column_of, of_rows
from reports.formatting import NBSP, format_number, plural
from reports.metrics.metric_spec import MetricSpec
from reports.statistics.counting import Floats


class Moved(NamedTuple):
    """A target with the values v − e of a metric, and with the values v + e.

    `text` is the largest error of a value, such as `up to 31 ms`, and the number of values with an
    unknown error.
    """

    lower: ComparedTarget
    higher: ComparedTarget
    text: str


def moved(target: ComparedTarget, spec: MetricSpec) -> Moved | None:
    """Return the target with the values of a metric moved by their maximum errors.

    Return None if no error of the metric is known, or if some of its values may be those of another
    metric.
    """
    key = target.name, spec.metric
    early = any(
        entry.is_early
        for entry in target.run.uncertain_metrics
        if (entry.target, entry.metric) == key
    )
    if (
        not spec.statistic.is_monotone
        or early
        or not bound_columns(metric := CATALOGUE[spec.metric])
    ):
        return None
    errors = bounds_of_rows(target.run.folder, metric)
    frame = target.run.sessions if metric.scope == "session" else target.turns.frame
    if errors.size != len(frame):  # the table of an open run has grown
        return None
    targets: list[ComparedTarget] = []
    if metric.scope == "session":
        column = column_of(metric.name)
        values = floats(frame, column)
        counted = np.zeros(len(frame), bool)
        counted[target.clusters.rows] = True
        for change in _changes(errors):
            sessions = frame.assign(**{column: values + change})
            targets.append(replace(target, run=replace(target.run, sessions=sessions)))
    else:
        errors = of_rows(errors, target.turns.rows)
        mains = target.main_metrics
        values = target.turns.value(metric.name)
        counted = target.turn_mask & target.steps(spec)[target.turns.step]
        for change in _changes(errors):
            sample = sampled(target.turns, metric.name, mains, change)
            targets.append(
                replace(target, samples=MetricSamples(target.turns, mains, {metric.name: sample}))
            )
    of_values = errors[counted & ~np.isnan(values)]
    known = of_values[np.isfinite(of_values)]
    if of_values.size and not known.size:
        return None
    text = f"up to {format_number(float(known.max(initial=0.0)))}{NBSP}{spec.unit}"
    if unknown := of_values.size - known.size:
        text += f", unknown for {plural(unknown, 'value')}"
    lower, higher = targets
    return Moved(lower, higher, text)


def extremes(target: ComparedTarget, spec: MetricSpec, *, is_uncertain: bool) -> Moved | None:
    """Return the target with the lowest and the highest possible values of a metric, if turns are
    unscored; if `is_uncertain`, also by the maximum errors of the values.

    Return None if the statistic has no bounds then.
    """
    lower = higher = target
    if target.unscored(spec):
        if not spec.statistic.has_extremes:
            return None
        lower = replace(target, unscored_as="lowest")
        higher = replace(target, unscored_as="highest")
    if not is_uncertain:
        return Moved(lower, higher, "")
    errors = moved(target, spec)
    if errors is None:
        return None
    return Moved(
        replace(errors.lower, unscored_as=lower.unscored_as),
        replace(errors.higher, unscored_as=higher.unscored_as),
        errors.text,
    )


def _changes(errors: Floats) -> tuple[Floats, Floats]:
    """Return the changes of the values to the lowest and to the highest possible values."""
    known = np.nan_to_num(errors, nan=np.inf, posinf=np.inf)
    return -known, known
