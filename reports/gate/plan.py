"""Reads the thresholds of a run before it begins, so that a mistake in them costs no session; pure but for the files.

What is `asked` comes from the process that runs the load, which knows no thresholds: `file`, the thresholds file or
null; `baseline`, what `--baseline` names or null; `targets`, in their order; and `lacking`, what the scripts can never
show (`reports.measurable`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.gate.check import refuse_unknown_targets, refuse_without_baseline
from reports.gate.relative import baseline_named
from reports.measurable import refuse_unmeasurable
from reports.thresholds import Threshold, by_measure, read_thresholds


def planned_thresholds(asked: Mapping[str, Any]) -> dict[str, list[str]]:
    """The thresholds by measure, as run.json holds them.

    Raises UsageError for those that cannot be read, or that the run can never be judged by, and for a baseline that is
    none.
    """
    thresholds = read_thresholds(Path(asked["file"])) if asked["file"] else ()
    refuse_unjudgeable(thresholds, asked["targets"], asked["baseline"], asked["lacking"])
    return by_measure(thresholds)


def refuse_unjudgeable(
    thresholds: Iterable[Threshold], targets: Sequence[str], baseline: str | None, lacking: Sequence[Any]
) -> None:
    """Raise UsageError for a threshold that such a run can never be judged by."""
    thresholds = tuple(thresholds)
    refuse_unknown_targets(thresholds, targets)
    for threshold in thresholds:
        refuse_unmeasurable(threshold, lacking)
    # the run has no folder yet, so no folder that is there is its own
    base = baseline_named(baseline, Path(), {"interleaved": len(targets) > 1}, targets)
    if base is None:
        refuse_without_baseline(thresholds)
