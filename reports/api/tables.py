"""The frames of a run's values: the columns of each frame, and its rows, which contain the
values of the report.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pandas as pd

from bench.catalogue.columns import token_column
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.outcomes import remedy_of
from bench.record.histograms import MEASURED, HistogramKey
from bench.record.metric_values import CARRIED
from reports.analysis.summary.cost import KINDS
from reports.analysis.summary.metrics import (
    ALL,
    LOAD_GENERATOR,
    PER_EVENT,
    SLOPES,
    MetricSummary,
    histogram_quantiles,
)
from reports.analysis.summary.run_validity import invalid_reasons, validity_of
from reports.analysis.summary.summary import Summary
from reports.api.frames import COUNT, FLAG, NUMBER, TEXT, USE, dtypes_of, frame_of
from reports.data.runs import RunFrames, run_id_of
from reports.data.samples import Events
from reports.data.uncertainty import uncertain_reason
from reports.engine import evaluate
from reports.metrics.rate_metrics import RATES, RateUnit
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.strata import NO_LABELS, Stratum
from reports.results.value import Reason, Subject
from reports.statistics.counting import Integers
from reports.statistics.quantiles import QuantileEstimate, Sample
from reports.text.reasons import use

STRATUM = ("run_id", "target", "measured_from", "turn_type")
"""The labels of every quantile. Values that differ in one of these labels are never pooled."""
STATUS = USE | dtypes_of((TEXT, ("status",)), (COUNT, ("required",)))
COUNTED = ("n", "failed", "not_started", "unfinished", "unscored")
ENDS = ("value", "low", "high")
UNIT = (TEXT, ("unit",))
QUANTILE = dtypes_of((TEXT, ("metric",)), (COUNT, COUNTED), (NUMBER, ("p", *ENDS)), UNIT) | STATUS
"""The columns of a frame of quantiles that follow the labels, with their dtypes."""
SEEN = (COUNT, ("count", "total", "unscored"))
RATE = dtypes_of((TEXT, ("rate",)), SEEN, UNIT, (COUNT, ("sessions",)), (NUMBER, ENDS)) | STATUS
"""The columns of a frame of rates that follow the labels, with their dtypes."""
OUTCOME = dtypes_of(
    (TEXT, ("run_id", "target", "unit", "outcome", "outcome_class")),
    (COUNT, ("count",)),
    (TEXT, ("service_message", "remedy")),
)
TOKENS = {token_column(kind): kind for kind in KINDS}
PRICED = ("usd", "usd_per_turn", "usd_per_session", "usd_per_minute", "unattributed_usd", "minutes")
PAID = (
    "turns",
    "turns_priced",
    "turns_without_usage",
    "sessions",
    "unattributed_sessions",
    "sessions_unconfirmed",
)
COST = dtypes_of(
    (TEXT, ("run_id", "target")),
    (FLAG, ("simulated",)),
    (TEXT, ("models",)),
    (NUMBER, PRICED),
    (COUNT, (*PAID, *TOKENS)),
    (NUMBER, ("unplayed_audio_s", "unplayed_audio_usd")),
)
DISTRIBUTION = dtypes_of(
    (TEXT, ("run_id", "target", "metric", "per")), (COUNT, ("n",)), (NUMBER, ("p", "value")), UNIT
)
PER = {"run": "second", "session": "session"}
"""The step in the key of a histogram of bytes → the second or the session to which each of its
values belongs."""


def dtypes_of_labels(frame: pd.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Return the dtypes of label columns. A category becomes text; other columns keep the dtype
    that `frame` has.
    """
    texts = {
        name
        for name in names
        if name in STRATUM or isinstance(frame.dtypes[name], pd.CategoricalDtype)
    }
    return {name: TEXT if name in texts else frame.dtypes[name] for name in names}


def is_of_sessions(metric: str) -> bool:
    """Return whether the values of a metric belong to sessions. A slope belongs to the turns of
    a stratum.
    """
    return metric not in SLOPES and CATALOGUE[metric].scope == "session"


def labels_of(metric: str, stratum: Stratum) -> dict[str, str | None]:
    """Return the labels `measured_from` and `turn_type` of a value; None if the metric has no
    such label.
    """
    return NO_LABELS if is_of_sessions(metric) else stratum.labels


def _use(run: RunFrames, target: str, metric: str, missing: Reason | None) -> dict[str, Any]:
    """Return the USE columns of a value. `missing` is the reason why there is no value; None if
    there is one.
    """
    is_invalid = validity_of(run.metadata).status == "invalid"
    uncertain = uncertain_reason(run.uncertain_metrics, target, metric)
    invalid = [*(invalid_reasons(run.metadata) if is_invalid else []), *filter(None, [uncertain])]
    return use(missing, published=not missing, invalid=invalid)


def quantile_row(
    run: RunFrames,
    metric: str,
    target: str,
    stratum: Stratum,
    keys: Mapping[str, Any],
    sample: Sample | MetricSummary,
    estimate: QuantileEstimate,
) -> dict[str, Any]:
    """Return a row of a frame of quantiles. `keys` is the labels of the sample that are not in
    STRATUM.
    """
    known = estimate.has_interval or estimate.status == "in_failures"
    return {
        "run_id": run_id_of(run),
        "target": target,
        **labels_of(metric, stratum),
        **keys,
        "metric": metric,
        **{name: getattr(sample, name) for name in COUNTED},
        "p": estimate.p,
        "value": estimate.value if known else None,
        "low": estimate.low if estimate.has_interval else None,
        "high": estimate.high if estimate.has_interval else None,
        "unit": CATALOGUE[metric].unit,
        **_use(run, target, metric, None if known else estimate.reason),
        "status": estimate.status,
        "required": estimate.required or None,
    }


def rate_row(
    run: RunFrames,
    name: str,
    target: str,
    events: Events,
    sessions: Integers,
    unit: RateUnit,
) -> dict[str, Any]:
    """Return a row of a frame of rates, with its run and target. `events` has the events of each
    turn; its trials count `unit`.
    """
    rate = RATES[name]
    value = evaluate.rate(Subject(target=target), name, events, sessions)
    missing = Rate().shortfall(name, value.n, value.sessions)
    value = evaluate.published(value) if rate.column else value
    return {
        "run_id": run_id_of(run),
        "rate": name,
        "total": value.n,
        "unit": unit,
        **{key: getattr(value, key) for key in ("target", "count", "unscored", "sessions", *ENDS)},
        **_use(run, target, name, missing),
        "status": f"too_few_{rate.units}" if missing else "reported",
        "required": missing and missing.needed,
    }


def summary_frame(summary: Summary) -> pd.DataFrame:
    """Return `turn_metrics` and `session_metrics` of summary.json as a frame with a row for each
    quantile.
    """
    rows = []
    for sample in (*summary.turn_metrics, *summary.session_metrics):
        script, step = (
            (None, None) if sample.step == ALL else summary.samples.turns.row_labels[sample.step]
        )
        labels = sample.metric, sample.target, sample.stratum, {"script": script, "step": step}
        rows += [
            quantile_row(summary.run, *labels, sample, estimate) for estimate in sample.quantiles
        ]
    return frame_of(rows, dtypes_of((TEXT, (*STRATUM, "script", "step"))) | QUANTILE)


def outcome_frame(summary: Summary) -> pd.DataFrame:
    """Return `outcomes` of summary.json as a frame with a row for each target and outcome."""
    outcomes = summary.endings
    rows = list[dict[str, Any]]()
    for index, target in enumerate(summary.targets):
        labels = {"run_id": run_id_of(summary.run), "target": target}
        remedy = partial(remedy_of, own=outcomes.own_remedies[index])
        rows += [
            labels
            | {
                "unit": unit,
                "outcome": ending.outcome,
                "outcome_class": ending.kind,
                "count": ending.counts[index],
            }
            | {"service_message": ending.message, "remedy": remedy(ending.outcome, ending.causes)}
            for unit, endings in (("turns", outcomes.turns), ("sessions", outcomes.sessions))
            for ending in endings
            if ending.counts[index]
        ]
        if not_started := outcomes.targets[index].turns_not_started:
            rows.append(
                labels
                | {
                    "unit": "turns",
                    "outcome": "not_started",
                    "outcome_class": "failed",
                    "count": not_started,
                }
            )
    return frame_of(rows, OUTCOME)


def cost_frame(summary: Summary) -> pd.DataFrame:
    """Return `cost.targets` of summary.json as a frame with a row for each target."""
    rows = [
        {"run_id": run_id_of(summary.run), "target": cost.target, "simulated": summary.simulated}
        | {"models": ", ".join(charge.model for charge in cost.models) or None}
        | {name: getattr(cost, name) for name in (*PRICED, *PAID)}
        | {column: cost.tokens(kind) for column, kind in TOKENS.items()}
        | {
            "unplayed_audio_s": cost.unplayed_audio.seconds,
            "unplayed_audio_usd": cost.unplayed_audio.usd,
        }
        for cost in summary.cost.targets
    ]
    return frame_of(rows, COST)


def distribution_frame(run: RunFrames, targets: Sequence[str], ps: Sequence[float]) -> pd.DataFrame:
    """Return `event_metrics`, `load_generator` and `throughput` of summary.json as a frame.

    It has the quantiles at the levels `ps`.
    """
    targets_by_tag = {HistogramKey("", target).tag.split("|")[1]: target for target in targets}
    keys: dict[tuple[str, str, str | None], list[HistogramKey]] = {}
    for key, _ in run.histograms.items():
        per = (
            PER.get(key.step)
            if key.metric in CARRIED
            else "event"
            if key.metric in PER_EVENT
            else None
        )
        if key.phase == MEASURED and per:
            if key.target in targets_by_tag:
                keys.setdefault((key.metric, per, targets_by_tag[key.target]), []).append(key)
            if key.metric in LOAD_GENERATOR:
                keys.setdefault((key.metric, per, None), []).append(key)
    rows = []
    for (metric, per, target), target_keys in keys.items():
        n, values, _ = histogram_quantiles(run, metric, target_keys, ps)
        labels = {"run_id": run_id_of(run), "target": target, "metric": metric, "per": per, "n": n}
        rows += [
            labels | {"p": p, "value": v, "unit": CATALOGUE[metric].unit}
            for p, v in zip(ps, values, strict=True)
            if n
        ]
    return frame_of(rows, DISTRIBUTION)
