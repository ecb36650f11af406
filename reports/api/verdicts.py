"""`rtbench.compare`, `check` and `trend`, which return in Python the results of the commands
with these names, and their frames. A frame of findings has a row for each metric that a check or a
comparison judged.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from msgspec import structs

from bench.base.errors import OnInconclusive, UsageError
from reports.analysis.check.check import check_of
from reports.analysis.check.results import CheckResult
from reports.analysis.comparisons.comparison import (
    CONFIDENCE,
    Comparison,
    compare_targets,
    one_sided_alpha,
)
from reports.analysis.targets.conditions import allowed
from reports.analysis.targets.named import parse_targets
from reports.analysis.trends.trend import Trend, in_folders, trend_of, trend_spec
from reports.api.arguments import found_run, given_run, given_texts
from reports.api.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of, frame_of
from reports.api.run import Run
from reports.data.runs import RunFrames, load_for_report, run_id_of
from reports.engine.judge import Judged
from reports.formatting import breakable, join_words, plural
from reports.metrics.argument_names import in_python
from reports.metrics.strata import NO_LABELS
from reports.metrics.thresholds import Threshold, parse, read_thresholds
from reports.pages.check.report import with_sentences, written_finding
from reports.render.notebook import frame_html
from reports.results.value import RESULT_OF_STATUS, Reason
from reports.text.reasons import reason_line, use
from reports.text.trend_sentences import notice_texts, series_name

COUNTS = ("turns", "sessions", "failed")
FINDINGS = dtypes_of(
    (
        TEXT,
        (
            "run_id",
            "threshold",
            "title",
            "target",
            "metric",
            "statistic",
            "measured_from",
            "turn_type",
        ),
    ),
    (TEXT, ("script", "step", "unit")),
    (FLAG, ("primary",)),
    (TEXT, ("result", "verdict")),
    (FLAG, ("published", "usable")),
    (TEXT, REASON),
    (FLAG, ("provisional",)),
    (NUMBER, ("value", "low", "high", "bound")),
    (TEXT, ("operator",)),
    (NUMBER, ("limit", "baseline", "difference", "corrected")),
    (TEXT, ("scale", "margin", "direction")),
    (COUNT, ("analysis", "more_sessions")),
    (FLAG, ("in_failures",)),
    (COUNT, (*COUNTS, *(f"baseline_{name}" for name in COUNTS))),
    (NUMBER, ("completed_share", "effective_sessions")),
    (COUNT, ("required", "available")),
    (TEXT, ("required_unit", "sentence")),
)
"""The columns of the frame, with their dtypes."""


def finding_rows(found: Iterable[Judged], invalid: Iterable[Reason]) -> Iterator[dict[str, Any]]:
    """Yield the row of each finding. `invalid` is the reasons why the values may not be used."""
    refused = [*invalid]
    for judged in found:
        row = finding_row(judged)
        published = not pd.isna(row["value"])
        yield row | use(judged.reason, published=published, invalid=refused, note=row["note"])


def finding_row(judged: Judged) -> dict[str, Any]:
    """Return a finding with its sentences as a flat row.

    A value, or the low end of its interval, is inf if it lies among failed turns.
    """
    finding = written_finding(judged)
    sizes = [of.effective_sessions for of in judged.targets if of.sessions]
    row: dict[str, Any] = (
        dict.fromkeys(FINDINGS) | structs.asdict(finding.value) | structs.asdict(finding)
    )
    row |= {"value": finding.value.value, "difference": None}
    row |= dict.fromkeys((*COUNTS, "effective_sessions"))
    if judged.estimate or judged.relative:  # else the metric is uncertain
        row |= vars(judged.counts) | {"effective_sessions": min(sizes, default=None)}
    if short := judged.shortfall:
        row |= {
            "required": short.needed,
            "available": short.there,
            "required_unit": f"{short.unit}s",
        }
    if not judged.relative:
        row |= {"low": finding.value.low, "high": finding.value.high, "margin": None}
    else:
        row["margin"] = judged.spec.margin_text(sign=True)
        row |= {f"baseline_{name}": getattr(judged.targets[0], name) for name in COUNTS}
        difference = judged.difference
        (of_baseline, of_candidate) = judged.shortfalls
        if difference is None:
            row["sentence"] = None
        elif not of_baseline:
            row["baseline"] = difference.baseline
        if difference and not of_candidate:
            row["value"] = difference.candidate
        if judged.published:
            row |= dict(zip(("difference", "low", "high"), judged.published.shares, strict=True))
    row["in_failures"] = row["value"] == math.inf
    unbounded = [name for name in ("baseline", "high", "bound") if row[name] == math.inf]
    unbounded += [name for name in ("value", "low", "high", "bound") if row[name] == -math.inf]
    unknown = [name for name in ("value", "low", "high", "bound") if row[name] != row[name]]  # NaN
    return row | dict.fromkeys([*unbounded, *unknown])


OF_CHECK = (
    "threshold",
    "target",
    "result",
    "verdict",
    "value",
    "low",
    "high",
    "unit",
    "difference",
    "reason_text",
)
"""The columns of a check that a notebook shows."""


class Checked(CheckResult, kw_only=True):
    """The check of one run."""

    def to_frame(self) -> pd.DataFrame:
        """Return the `findings` of check.json as a frame. It has a row for each threshold on each
        target.

        `value` or `low` is inf if it lies among the failed turns. If the check is invalid, `usable`
        is false, and `reason` states why.
        """
        rows = finding_rows(self.thresholds, self.validity.reasons)
        return frame_of([row | {"run_id": self.run_id} for row in rows], FINDINGS)

    def __repr__(self) -> str:
        """Return a summary: Checked(20261120T091400Z-voice_turns: inconclusive, 3 thresholds)."""
        return breakable(
            f"Checked({self.run_id}: {self.result}, {plural(len(self.thresholds), 'threshold')})"
        )

    def _repr_html_(self) -> str:
        return frame_html(repr(self), self.to_frame(), OF_CHECK, [*map(reason_line, self.causes)])


OF_COMPARISON = (
    "title",
    "target",
    "verdict",
    "baseline",
    "value",
    "unit",
    "difference",
    "low",
    "high",
    "reason_text",
)
"""The columns of a comparison that a notebook shows."""


class CompareResult(Comparison):
    """A comparison of targets. The first target is the baseline."""

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each comparison of a metric, with primary metrics first, then one for
        the p50 of each step.

        A row is the flattened entry of compare.json. The column `scale` determines the unit of
        `difference`, `low` and `high`. If it is `ratio`, they are shares of the baseline's value
        (0.2 is +20 %). If it is `points`, they are differences of shares (0.2 is 20 points). If it
        is `slope`, they are in the unit of the metric. An unbounded end is NaN. If the comparison
        is not fair, `usable` is false and `verdict` is `not_evaluated`. `run_id` is the ID of the
        candidate's run.
        """
        run_ids = {target.label: run_id_of(target.run) for target in self.targets}
        of_steps = {
            name: labels
            for target in self.targets
            for name, labels in target.turns.row_labels.items()
        }
        refused = (
            dict.fromkeys(("result", "verdict"), "not_evaluated") if self.failed_checks else {}
        )
        rows = []
        for row in finding_rows((*self.comparisons, *self.steps), self.invalid_reasons):
            script, step = of_steps.get(row["step"], (None, row["step"]))
            rows.append(
                row | refused | {"run_id": run_ids[row["target"]], "script": script, "step": step}
            )
        return frame_of(rows, FINDINGS)

    def __repr__(self) -> str:
        """Return a summary: Comparison(east:b against west:b: inconclusive, 18 metrics)."""
        base, *candidates = (target.label for target in self.targets)
        counted = breakable(plural(len(self.comparisons), "metric"))
        return (
            f"Comparison({join_words(candidates)} against {base}:"
            f" {RESULT_OF_STATUS[self.exit_status]}, {counted})"
        )

    def _repr_html_(self) -> str:
        return frame_html(
            repr(self), self.to_frame(), OF_COMPARISON, [*map(reason_line, self.invalid_reasons)]
        )


OF_RUNS = dtypes_of(
    (TEXT, ("scenario", "series", "target", "run_id", "validity")),
    ("datetime64[ns, UTC]", ("start",)),
    (TEXT, ("title", "metric")),
    (NUMBER, ("p",)),
    (TEXT, ("measured_from", "turn_type", "unit")),
    (NUMBER, ("value", "low", "high")),
    (COUNT, ("n",)),
    (FLAG, ("published", "usable")),
    (TEXT, REASON),
    (NUMBER, ("change", "change_low", "change_high")),
)
"""The columns of a trend's frame with their dtypes."""
OF_TREND = (
    "scenario",
    "target",
    "run_id",
    "title",
    "value",
    "low",
    "high",
    "unit",
    "change",
    "reason",
)
"""The columns of a trend that a notebook shows."""


class TrendResult(Trend):
    """The trends of runs: their values, and the changes of their levels."""

    def to_frame(self) -> pd.DataFrame:
        """Return the trend as a frame with one row for each metric of each run.

        A row has the value with its 95 % interval, in `unit`, as in the run's report. `usable` is
        True if the run is compared; otherwise `reason` states why it is not. If the level changed
        at the run, `change` is the level after the change relative to the level before it, with its
        interval. For a rate, it is the difference of the levels. It is NaN if the level did not
        change.
        """
        rows = []
        for metric in self.metrics:
            spec = metric.spec
            series = metric.series
            for point, run in zip(series.points, metric.values, strict=True):
                changes = [(of.difference, of.low, of.high) for of in metric.changes_at(point)]
                published = not math.isnan(run.value)
                values = (
                    series.scenario,
                    series_name(series),
                    point.target,
                    point.run_id,
                    point.validity,
                    pd.Timestamp(point.started_utc_ns, unit="ns", tz="UTC"),
                    spec.name,
                    spec.metric,
                    spec.p,
                    *(NO_LABELS if spec.stratum is None else spec.stratum.labels).values(),
                    spec.unit,
                    run.value,
                    run.low,
                    run.high,
                    run.n,
                    *use(run.missing, published=published, invalid=point.excluded).values(),
                    *(changes[0] if changes else (None, None, None)),
                )
                rows.append(dict(zip(OF_RUNS, values, strict=True)))
        return frame_of(rows, OF_RUNS)

    def __repr__(self) -> str:
        """Return a text such as `Trend(12 runs, 3 metrics, 1 change)`."""
        specs = len({(metric.series.scenario, metric.spec) for metric in self.metrics})
        changes = plural(len(self.changes) + len(self.slow_changes), "change")
        counted = plural(self.runs, "run"), plural(specs, "metric"), changes
        return breakable(f"Trend({', '.join(counted)})")

    def _repr_html_(self) -> str:
        return frame_html(repr(self), self.to_frame(), OF_TREND, notice_texts(self))


def compare(
    baseline: Run | Path | str, *candidates: Run | Path | str, confidence: float = CONFIDENCE
) -> CompareResult:
    """Return the result of `rtbench compare`. Each argument is a run, or `RUN:TARGET`.

    If the only argument is an interleaved run, its targets are compared. `confidence` applies to
    each verdict: a service that is exactly at its margin is called worse in the share 1 −
    `confidence` of runs. Verdicts use one-sided bounds, so `low` and `high` are the ends of a
    two-sided interval with the confidence 2 · `confidence` − 1, which is 90 % for 0.95. Raise
    UsageError as the command does. Write no files.
    """
    one_sided_alpha(confidence)
    targets = parse_targets([found_run(run) for run in (baseline, *candidates)])
    return CompareResult(**vars(compare_targets(targets, confidence=confidence)))


def check(
    run: Run | Path | str,
    thresholds: Path | str | Mapping[str, str | Sequence[str]] | None = None,
    *,
    baseline: Run | Path | str | None = None,
    on_inconclusive: OnInconclusive = "fail",
    allow_different: str | Sequence[str] = (),
) -> Checked:
    """Return the result of `rtbench check`.

    `thresholds` is a file, or a dict such as {"ttfa": ["p(95)<800", "med<+10%"]}. `allow_different`
    is the conditions in which stored baselines may differ from the run. Raise UsageError as the
    command does. Write no files.
    """
    if on_inconclusive not in (choices := get_args(OnInconclusive)):
        raise UsageError(
            f"on_inconclusive must be one of {', '.join(choices)}, not {on_inconclusive!r}"
        )
    run_or_path = found_run(run)
    baseline_or_path = None if baseline is None else given_run(baseline)
    with in_python():
        may_differ = allowed(",".join(given_texts(allow_different, "conditions")))
        limits = _limits(thresholds)
        frames = load_for_report(Path(run_or_path)) if isinstance(run_or_path, str) else run_or_path
        result = check_of(
            frames, limits, baseline_or_path, on_inconclusive=on_inconclusive, allow=may_differ
        )
        return Checked(**structs.asdict(with_sentences(result)))


def _limits(
    thresholds: Path | str | Mapping[str, str | Sequence[str]] | None,
) -> tuple[Threshold, ...]:
    """Return the thresholds of a file, or of a dict from metrics to texts. Raise UsageError for
    other arguments.
    """
    if isinstance(thresholds, Path | str):
        return read_thresholds(Path(thresholds))
    if thresholds is not None and not isinstance(thresholds, Mapping):
        raise UsageError(
            'thresholds must be a file or a dict such as {"ttfa": "p(95)<800"}, not'
            f" {type(thresholds).__name__}"
        )
    items = (thresholds or {}).items()
    texts_by_metric = {
        name: given_texts(value, f'thresholds of {name}, such as "p(95)<800",')
        for name, value in items
    }
    return tuple(parse(name, text) for name, texts in texts_by_metric.items() for text in texts)


def trend(*folders: Run | Path | str, metrics: str | Sequence[str] = ()) -> TrendResult:
    """Return the result of `rtbench trend` for runs, folders of runs, or folders of stored
    baselines.

    `metrics` is `ttfa:p95`, `failure_rate`, …; by default, it is the latencies and the failure
    rate. Raise UsageError as the command does. Write no files.
    """
    with in_python():
        specs = [trend_spec(text) for text in given_texts(metrics, "metrics")]
        runs: list[Path | RunFrames] = []
        stored: list[Path] = []
        for item in map(given_run, folders):
            if isinstance(item, RunFrames):
                runs.append(item)
            else:
                folder_runs, baselines = in_folders([Path(item)])
                runs += folder_runs
                stored += baselines
        return TrendResult(**vars(trend_of(runs, stored, specs)))
