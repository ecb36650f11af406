"""Prepares the verdict of a run by its thresholds: they are read before it begins, and `rtbench check` judges it.

This process knows no thresholds. A child reads them (`reports.gate`), so that a mistake in them costs no session; what
it read is stored in run.json, where `rtbench check` finds it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from bench.errors import UsageError
from bench.installation import python_command
from bench.load.planning.planned import Planned
from bench.load.planning.run_options import OF_CHECK, is_command
from bench.load.runners.children import ANSWER_S, child_answer

READ = python_command("reports.gate")

Thresholds = Mapping[str, Sequence[str]]
"""Texts of thresholds by metric and filters, as run.json holds them."""


def read_thresholds(plan: Planned, parsed: Any, command: Sequence[str] = READ) -> Thresholds:
    """Return the thresholds of a run, of a file or of its scripts. Raises UsageError if it cannot be judged by them.

    `parsed`: Locust's options.
    """
    file, baseline = plan.options.thresholds, getattr(parsed, "baseline", None)
    scripts = {script.name: script for script in plan.scripts if script.thresholds}
    if file is None and baseline is None and not scripts:
        return {}
    asked = {
        "file": None if file is None else str(file),
        "scripts": [
            {"path": str(script.path), "thresholds": None if script.task is None else script.thresholds}
            for script in scripts.values()
        ],
        "baseline": baseline,
        "targets": [target.label for target in plan.targets],
        "lacking": plan.lacking,
    }
    thresholds: Thresholds = child_answer(
        [*command, json.dumps(asked)],
        late=f"the thresholds were not read within {ANSWER_S:.0f} s",
        failed="the thresholds could not be read",
    )
    return thresholds


def check_options(parsed: Any, thresholds: Thresholds) -> list[str] | None:
    """Return the options by which `rtbench check` judges the run at its end; None where nothing is to be judged.

    Raises UsageError for an option that has no effect.
    """
    if not is_command(parsed):
        return None
    given = {option.flag: value for option in OF_CHECK if (value := getattr(parsed, option.name))}
    if thresholds or "--baseline" in given:
        return [word for option in given.items() for word in option]
    if given:
        raise UsageError(f"{next(iter(given))} needs thresholds: add --thresholds FILE, or --baseline RUN")
    return None
