"""What relative thresholds are held against: a target of the same run, another run, or a folder of stored runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from reports.sides.named import parted
from reports.thresholds.gated import near, quoted


@dataclass(frozen=True)
class SameRun:
    """The other targets of an interleaved run are the candidates."""

    target: str


@dataclass(frozen=True)
class OtherRun:
    """A run's folder. `target` is empty where the one of the same label is meant, or the only one."""

    folder: Path
    target: str = ""


@dataclass(frozen=True)
class StoredRuns:
    """A folder that `rtbench baseline save` wrote. `target` is empty where the one of the same label is meant."""

    folder: Path
    target: str = ""


Baseline = SameRun | OtherRun | StoredRuns


def baseline_of(text: str | None, run: Path, document: dict[str, Any], targets: Sequence[str]) -> Baseline | None:
    """What `--baseline` names; without it the first target of an interleaved run, else None.

    `targets`: those of the run. Raises UsageError where nothing is named so.
    """
    several = bool(document.get("interleaved")) and len(targets) > 1
    if text is None:
        return SameRun(targets[0]) if several else None
    folder, target = parted(text)
    if not folder.is_dir():
        if several and text in targets:
            return SameRun(text)
        raise UsageError(
            f"--baseline {quoted(text)} is no run, no folder of stored baselines and no target of an interleaved run"
            f"{near(text, targets) if several else ';'} allowed: RUN, RUN:TARGET, a folder of `rtbench baseline save`, "
            "FOLDER:TARGET (of the first run, make it: mkdir -p FOLDER)"
            f"{f', {chr(44).join(targets)}' if several else ''}"
        )
    if (folder / "run.json").exists():
        if folder.resolve() == run.resolve():
            return _of_itself(text, target or "", targets, several)
        return OtherRun(folder, target or "")
    return StoredRuns(folder, target or "")


def _of_itself(text: str, target: str, targets: Sequence[str], several: bool) -> SameRun:
    """A target of the run that is checked."""
    if several and target in targets:
        return SameRun(target)
    reason = f"it has the targets {', '.join(targets)}" if several else "its targets did not run in pairs"
    raise UsageError(f"--baseline {quoted(text)} is the run that is checked, and {reason}")
