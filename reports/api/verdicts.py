"""`rtbench.compare`, `check` and `trend`, which return in Python the results of the commands
with these names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from msgspec import structs

from bench.base.errors import OnInconclusive, UsageError
from reports.analysis.check.check import check_of
from reports.analysis.comparisons.comparison import CONFIDENCE, compare_targets, one_sided_alpha
from reports.analysis.targets.conditions import allowed
from reports.analysis.targets.named import parse_targets
from reports.analysis.trends.trend import in_folders, trend_of, trend_spec
from reports.api.arguments import found_run, given_run, given_texts
from reports.api.check import Checked
from reports.api.comparison import CompareResult
from reports.api.run import Run
from reports.api.trend import TrendResult
from reports.data.runs import RunFrames, load_for_report
from reports.metrics.argument_names import in_python
from reports.metrics.thresholds import Threshold, parse, read_thresholds
from reports.pages.check.report import with_sentences


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
