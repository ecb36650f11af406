"""The baseline that `--baseline` names, and the form of the results of a comparison with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from bench.base.errors import UsageError
from bench.record.presence import is_folder, is_run, runs_folder
from bench.record.run_list import near_run, split_name
from reports.metrics.argument_names import option
from reports.metrics.thresholds import quoted

if TYPE_CHECKING:
    from reports.analysis.sequential.decide import Decision
    from reports.analysis.targets.compared_target import ComparedTarget
    from reports.data.runs import Document
    from reports.engine.judge import Judged
    from reports.results.value import Reason, Reasons


@dataclass(frozen=True)
class BaselineResults:
    """All results of the comparison with a baseline.

    - `results` is the results that have no verdicts yet
    - `items` is the results that have the verdicts of interim analyses; `decision` also describes
      them
    - `causes`, `differs`, `notes` and `against` are the same as in `CheckResult`
    - `compared` is the targets of each comparison. The notices on their runs are also notices of
      the check.
    """

    results: tuple[Judged, ...] = ()
    causes: Reasons = ()
    differs: Reasons = ()
    notes: Reasons = ()
    against: Reason | None = None
    items: tuple[Judged, ...] = ()
    compared: tuple[tuple[ComparedTarget, ...], ...] = ()
    decision: Decision | None = None


class Against(NamedTuple):
    """The baseline that `--baseline` names.

    - `same_run`: the target `target` of the checked, interleaved run. The other targets are the
      candidates. `declared` is True if `--baseline` names it.
    - `other_run`: the run in `folder`. If `target` is "", it is the target with the candidate's
      name, or the only one.
    - `stored_runs`: the runs in `folder`, which `rtbench baseline save` wrote. If `target` is "",
      it is the target with the candidate's name.
    """

    kind: Literal["same_run", "other_run", "stored_runs"]
    target: str = ""
    folder: Path = Path()
    declared: bool = False


def baseline_named(
    text: str | None, run: Path, document: Document, targets: Sequence[str]
) -> Against | None:
    """Return the baseline that `--baseline` names. Raise UsageError if nothing has that name.

    If `text` is None, it is the first of `targets` if there are several and they are interleaved,
    otherwise None.
    """
    several = bool(document.get("interleaved")) and len(targets) > 1
    if text is None:
        return Against("same_run", targets[0]) if several else None
    if several and text in targets and not is_folder(Path(text)):
        return Against("same_run", text, declared=True)
    folder, target = split_name(text)
    if not is_folder(folder):
        named = targets if several else ()
        hint = near_run(text, runs_folder(), named)
        raise UsageError(
            f"{option('baseline', quoted(text))}: there is no such folder, no run of this name in"
            f" {runs_folder()}"
            + (f", and no target of this run ({', '.join(named)})" if named else "")
            + f"{hint or ';'} `rtbench runs` lists the runs; the folder of"
            " `rtbench baseline save` must exist before the first run: mkdir -p FOLDER"
        )
    if is_run(folder) and folder.resolve() == run.resolve():
        if several and target in targets:
            return Against("same_run", str(target), declared=True)
        raise UsageError(
            f"{option('baseline', quoted(text))} is the checked run itself, and its targets "
            f"{'are ' + ', '.join(targets) if several else 'did not run in pairs'}"
        )
    return Against("other_run" if is_run(folder) else "stored_runs", target or "", folder)
