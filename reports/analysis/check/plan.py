"""The thresholds of a planned run. They are read before the run starts, so that a mistake in them costs no session.

This module is pure, but it reads files. `request` comes from the process that runs the load, which does not parse
thresholds:

- `file` is the path of the thresholds file, or null
- `scripts` is the scripts that have their own thresholds. Each has its `name`, its `path` and, if it is a Python
script, its `thresholds`.
- `script_names` is the names of all scripts
- `baseline` is the value of `--baseline`, or null
- `targets` is the names of the targets, in their order
- `lacking` is what the scripts can never measure (`reports.metrics.measurable`)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.base.errors import ScriptError, UsageError
from bench.files.yaml_file import LocatedValue, PythonValue, read_yaml
from reports.analysis.check.check import refuse_unknown_targets, refuse_without_baseline
from reports.analysis.check.relative import baseline_named
from reports.metrics.measurable import refuse_unmeasurable
from reports.metrics.thresholds import Threshold, by_metric, placed_thresholds

KEY = "thresholds"


def planned_thresholds(request: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the thresholds by metric, as run.json stores them. Thresholds of a file replace those of the scripts.

    Raise UsageError if a threshold cannot be read, if the run can never decide it, or if the baseline does not exist.
    """
    targets, baseline = request["targets"], request["baseline"]
    # the run has no folder yet, so no existing folder can be that of the run itself
    base = baseline_named(baseline, Path(), {"interleaved": len(targets) > 1}, targets)
    thresholds = []
    for path, table, script in _tables(request):
        try:
            for value, written in placed_thresholds(table):
                threshold = _of_script(written, script, request.get("script_names", ()))
                try:
                    refuse_unknown_targets([threshold], targets)
                    refuse_unmeasurable(threshold, request["lacking"])
                    if base is None:
                        refuse_without_baseline([threshold])
                except UsageError as error:
                    raise value.error(str(error)) from None
                thresholds.append(threshold)
        except UsageError as error:
            raise error if isinstance(error, ScriptError) else ScriptError(path, None, f"{KEY}: {error}") from None
    return by_metric(thresholds)


def _of_script(threshold: Threshold, script: str, scripts: Sequence[str]) -> Threshold:
    """Return a threshold of a script. The step that it names is one of this script, also if others have such a step."""
    is_complete = any(threshold.step.startswith(f"{name}: ") for name in scripts)
    if not threshold.step or not script or len(set(scripts)) < 2 or is_complete:
        return threshold
    return replace(threshold, step=f"{script}: {threshold.step}")


def _tables(request: Mapping[str, Any]) -> Iterator[tuple[Path, LocatedValue, str]]:
    """Yield each file that contains thresholds, with its table of thresholds and, if it is a script, its name."""
    if request["file"]:
        path = Path(request["file"])
        yield path, read_yaml(path, "the file"), ""
        return
    for script in request["scripts"]:
        path, table = Path(script["path"]), script[KEY]
        root = read_yaml(path, "the script").nearest(KEY) if table is None else PythonValue(KEY, table)
        yield path, root, script.get("name", "")
