"""`rtbench.compare`, `check` and `trend`, which return in Python the results of the commands with these names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import pandas as pd
from msgspec import structs

from bench.base.errors import OnInconclusive, UsageError
from reports.analysis.check.check import check_of
from reports.analysis.check.results import CheckResult, ThresholdResult
from reports.analysis.comparisons.comparison import CONFIDENCE, compare_targets, one_sided_alpha
from reports.analysis.targets.conditions import allowed
from reports.analysis.targets.named import parse_targets
from reports.analysis.trends.trend import in_folders, trend_of, trend_spec
from reports.api.arguments import found_run, given_run, given_texts
from reports.api.comparison import CompareResult
from reports.api.run import Run
from reports.api.trend import TrendResult
from reports.data.frames import COUNT, FLAG, NUMBER, REASON, TEXT, dtypes_of, frame_of
from reports.data.runs import RunFrames, load_for_report
from reports.formatting import NBSP, plural
from reports.metrics.argument_names import in_python
from reports.metrics.thresholds import Threshold, parse, read_thresholds
from reports.pages.check.document import with_sentences
from reports.render.notebook import frame_html
from reports.text import reasons


def compare(baseline: Run | Path | str, *candidates: Run | Path | str, confidence: float = CONFIDENCE) -> CompareResult:
    """Return the result of `rtbench compare`. Each argument is a run, or `RUN:TARGET`.

    If the only argument is an interleaved run, its targets are compared. `confidence` applies to each verdict: a
    service that is exactly at its margin is called worse in the share 1 − `confidence` of runs. Verdicts use one-sided
    bounds, so `low` and `high` are the ends of a two-sided interval with the confidence 2 · `confidence` − 1, which is
    90 % for 0.95. Raise UsageError as the command does. Write no files.
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

    `thresholds` is a file, or a dict such as {"ttfa": ["p(95)<800", "med<+10%"]}. `allow_different` is the conditions
    in which stored baselines may differ from the run. Raise UsageError as the command does. Write no files.
    """
    if on_inconclusive not in (choices := get_args(OnInconclusive)):
        raise UsageError(f"on_inconclusive must be one of {', '.join(choices)}, not {on_inconclusive!r}")
    run_or_path, baseline_or_path = found_run(run), None if baseline is None else given_run(baseline)
    with in_python():
        may_differ = allowed(",".join(given_texts(allow_different, "conditions")))
        limits = _limits(thresholds)
        frames = load_for_report(Path(run_or_path)) if isinstance(run_or_path, str) else run_or_path
        result = check_of(frames, limits, baseline_or_path, on_inconclusive=on_inconclusive, allow=may_differ)
        return Checked(**structs.asdict(with_sentences(result)))


class Checked(CheckResult, frozen=True, kw_only=True):
    """The check of one run."""

    def to_frame(self) -> pd.DataFrame:
        """Return the `thresholds` of check.json as a frame. It has a row for each threshold on each target.

        `value` or `low` is inf if it lies among the failed turns. If the check is invalid, `usable` is false, and
        `reason` states why.
        """
        rows = []
        for result in self.thresholds:
            row = threshold_row(result)
            published = not pd.isna(row["value"])
            row |= reasons.use(result.reason, published=published, invalid=self.validity.reasons, note=result.note)
            rows.append(row | {"run_id": self.run_id})
        return frame_of(rows, OF_CHECK)

    def __repr__(self) -> str:
        """Return a summary: Checked(20261120T091400Z-voice_turns: inconclusive, 3 thresholds)."""
        return f"Checked({self.run_id}: {self.result}, {plural(len(self.thresholds), 'threshold')})".replace(NBSP, " ")

    def _repr_html_(self) -> str:
        columns = [
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
        ]
        return frame_html(repr(self), self.to_frame(), columns, [*map(reasons.reason_line, self.causes)])


OF_CHECK = dtypes_of(
    (TEXT, ("run_id", "threshold", "title", "target", "metric", "unit", "result", "verdict")),
    (FLAG, ("published", "usable")),
    (TEXT, REASON),
    (FLAG, ("provisional",)),
    (NUMBER, ("value", "low", "high", "bound")),
    (TEXT, ("operator",)),
    (NUMBER, ("limit", "baseline", "difference", "corrected")),
    (TEXT, ("margin", "direction")),
    (COUNT, ("analysis", "more_sessions")),
    (FLAG, ("in_failures",)),
    (COUNT, ("turns", "sessions", "failed")),
    (NUMBER, ("completed_share", "effective_sessions")),
    (COUNT, ("required", "available")),
    (TEXT, ("required_unit", "sentence")),
)
"""The columns of a check's frame, with their dtypes."""


def threshold_row(result: ThresholdResult) -> dict[str, Any]:
    """Return a result with its sentences as a flat row.

    A value, or the low end of its interval, is inf if it lies among failed turns.
    """
    row = {name: getattr(result, name, None) for name in OF_CHECK} | {"limit": None, "in_failures": False}
    if result.estimate is None and result.compared is None:  # the metric is uncertain
        row |= dict.fromkeys(("turns", "sessions", "failed", "completed_share", "effective_sessions"))
    if short := result.shortfall:
        row |= {"required": short.needed, "available": short.there, "required_unit": f"{short.unit}s"}
    if result.limit:
        row |= structs.asdict(result.limit)
    if (compared := result.compared) and (entry := result.comparison):
        of_entry = ("verdict", "direction", "analysis", "corrected", "more_sessions", "sentence")
        row |= {name: getattr(entry, name) for name in of_entry} | {"margin": result.spec.margin_text(sign=True)}
        sizes = [target.effective_sessions for target in compared.targets if target.sessions]
        row["effective_sessions"] = min(sizes, default=None)
        difference, (of_baseline, of_candidate) = compared.difference, compared.shortfalls
        if difference is None:
            row["sentence"] = None
        elif not of_baseline:
            row["baseline"] = difference.baseline
        if difference and not of_candidate:
            row |= {"value": difference.candidate, "in_failures": difference.candidate == math.inf}
        if compared.published:
            row |= dict(zip(("difference", "low", "high"), compared.published.shares, strict=True))
    unbounded = [name for name in ("baseline", "high", "bound") if row[name] == math.inf]
    unbounded += [name for name in ("value", "low", "high", "bound") if row[name] == -math.inf]
    unknown = [name for name in ("value", "low", "high", "bound") if row[name] != row[name]]  # NaN
    return row | dict.fromkeys([*unbounded, *unknown])


def _limits(thresholds: Path | str | Mapping[str, str | Sequence[str]] | None) -> tuple[Threshold, ...]:
    """Return the thresholds of a file, or of a dict from metrics to texts."""
    if isinstance(thresholds, Path | str):
        return read_thresholds(Path(thresholds))
    if thresholds is not None and not isinstance(thresholds, Mapping):
        raise UsageError(
            f'thresholds must be a file or a dict such as {{"ttfa": "p(95)<800"}}, not {type(thresholds).__name__}'
        )
    items = (thresholds or {}).items()
    texts_by_metric = {name: given_texts(value, f'thresholds of {name}, such as "p(95)<800",') for name, value in items}
    return tuple(parse(name, text) for name, texts in texts_by_metric.items() for text in texts)


def trend(*folders: Run | Path | str, metrics: str | Sequence[str] = ()) -> TrendResult:
    """Return the result of `rtbench trend` for runs, folders of runs, or folders of stored baselines.

    `metrics` is `ttfa:p95`, `failure_rate`, …; by default, it is the latencies and the failure rate. Raise UsageError
    as the command does. Write no files.
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
