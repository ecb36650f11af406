"""What commands say, in Python: `reports.compare`, `reports.check`, `reports.history`; `docs/api.md` describes them.

Each reads folders and writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from reports import thresholds as grammar
from reports.api import Run
from reports.comparisons.comparison import Comparison, compared
from reports.gate.check import checked
from reports.gate.items import Checked, OnInconclusive
from reports.histories.history import History, history_of, history_question, in_folders
from reports.sides.side import sides_of
from reports.sides.workload import allowed
from reports.statistics.differences import LEVEL


def compare(baseline: Run | Path | str, *candidates: Run | Path | str, level: float = LEVEL) -> Comparison:
    """What `rtbench compare` says: each a run, or `RUN:TARGET`; of one interleaved run alone its targets are compared.

    `level`: the one-sided level of the verdicts. Raises UsageError as the command does.
    """
    return compared(sides_of([_named(side) for side in (baseline, *candidates)]), level=level)


def check(
    run: Run | Path | str,
    thresholds: Path | str | Mapping[str, str | Sequence[str]] | None = None,
    *,
    baseline: Run | Path | str | None = None,
    on_inconclusive: OnInconclusive = "fail",
    allow: Sequence[str] = (),
) -> Checked:
    """What `rtbench check` says: of a file of thresholds, or of such as {"ttfa": ["p(95)<800", "med<+10%"]}.

    `allow`: conditions in which stored baselines may differ. Raises UsageError as the command does.
    """
    if thresholds is None or isinstance(thresholds, Mapping):
        several = {name: [one] if isinstance(one, str) else one for name, one in (thresholds or {}).items()}
        limits = tuple(grammar.parse(name, text) for name, texts in several.items() for text in texts)
    else:
        limits = grammar.read_thresholds(Path(thresholds))
    named, against = Path(_named(run)), None if baseline is None else _named(baseline)
    return checked(named, limits, against, on_inconclusive=on_inconclusive, allow=allowed(",".join(allow)))


def history(*folders: Path | str, measures: Sequence[str] = ()) -> History:
    """What `rtbench history` shows of folders of runs or of stored baselines, or of runs.

    `measures`: `ttfa:p95`, `failures`, …; without any the waits and failures. Raises UsageError as the command does.
    """
    return history_of(*in_folders(map(Path, folders)), [history_question(text) for text in measures])


def _named(run: Run | Path | str) -> str:
    return str(run.folder if isinstance(run, Run) else run)
