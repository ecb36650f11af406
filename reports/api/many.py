"""Several runs, and the frames that contain the rows of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any, SupportsIndex, overload

import pandas as pd

from bench.base.errors import UsageError
from bench.record.presence import file_status, is_folder, is_run, run_folders
from bench.record.run_list import run_or_path
from reports.api.arguments import given_run, path_of
from reports.api.frames import concat
from reports.api.run import Run, load_run
from reports.api.selection import UnknownValueError, Where
from reports.data.runs import run_id_of
from reports.formatting import breakable, plural
from reports.results.value import LEVELS


class Runs(tuple[Run, ...]):
    """Several runs, in the order of loading. A frame has the rows of all runs; `run_id` is the
    run of a row.
    """

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> Runs: ...
    def __getitem__(self, index: SupportsIndex | slice) -> Run | Runs:
        """Return the run at an index, or the runs of a slice."""
        return (
            Runs(super().__getitem__(index))
            if isinstance(index, slice)
            else super().__getitem__(index)
        )

    def __repr__(self) -> str:
        """Return `Runs(3 runs: 20261120T091400Z-voice_turns, …)`."""
        return breakable(f"Runs({plural(len(self), 'run')}: {', '.join(map(run_id_of, self))})")

    @property
    def turns(self) -> pd.DataFrame:
        return self._frame(lambda run: run.turns)

    @property
    def measured_turns(self) -> pd.DataFrame:
        return self._frame(lambda run: run.measured_turns)

    @property
    def sessions(self) -> pd.DataFrame:
        return self._frame(lambda run: run.sessions)

    @property
    def seconds(self) -> pd.DataFrame:
        return self._frame(lambda run: run.seconds)

    def quantiles(
        self,
        metric: str | Sequence[str],
        *,
        p: float | Sequence[float] = LEVELS,
        by: str | Sequence[str] = (),
        where: Where | None = None,
        **values: object,
    ) -> pd.DataFrame:
        """Return the quantiles of each run; see `Run.quantiles`."""
        _refuse_mask(where)
        return self._frame(lambda run: run.quantiles(metric, p=p, by=by, where=where, **values))

    def rates(
        self, *, by: str | Sequence[str] = (), where: Where | None = None, **values: object
    ) -> pd.DataFrame:
        """Return the rates of each run; see `Run.rates`."""
        _refuse_mask(where)
        return self._frame(lambda run: run.rates(by=by, where=where, **values))

    def summary(self) -> pd.DataFrame:
        return self._frame(lambda run: run.summary())

    def outcomes(self) -> pd.DataFrame:
        return self._frame(lambda run: run.outcomes())

    def cost(self) -> pd.DataFrame:
        return self._frame(lambda run: run.cost())

    def distributions(self, *, p: float | Sequence[float] = LEVELS) -> pd.DataFrame:
        return self._frame(lambda run: run.distributions(p=p))

    def _frame(self, frame_of_run: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
        if not self:
            raise UsageError("there is no run, so there is no frame")
        frames = []
        unknown = list[UnknownValueError]()
        for run in self:
            try:
                frames.append(frame_of_run(run))
            except UnknownValueError as error:  # another run may have the value
                unknown.append(error)
        if not frames:
            raise unknown[0]
        return concat(frames)


def _refuse_mask(where: Where | None) -> None:
    """Raise UsageError if `where` is a mask, because the index of a mask belongs to one run."""
    if isinstance(where, pd.Series):
        raise UsageError(
            "where is a mask, which applies to one run only: for several runs, write a query such"
            ' as where="turn > 1"'
        )


def load(path: Path | str | Iterable[Path | str] = "", *, all_columns: bool = True) -> Run | Any:
    """Return a run, or several runs as `Runs`.

    `path` is the folder of a run, or its name in the folder of the runs (LOCUST_RUNS_DIR, or
    `runs`). By default, it is the newest run that has ended. A pattern such as "runs/*", a folder
    of runs, and a list are several runs, also if there is only one in them. `all_columns=False`
    reads only the columns of turns that a report needs, which saves four fifths of the memory.
    Raise UsageError if the folder is no run, or its files cannot be read.
    """
    if isinstance(path, Iterable) and not isinstance(path, str):
        return load_many(path, all_columns=all_columns)
    given = given_run(path)
    if not isinstance(given, str):
        return load_run(given.folder, all_columns=all_columns)
    folder = Path(given)
    if not given or not file_status(folder):
        if has_magic(given):
            return load_many(given, all_columns=all_columns)
        return load_run(path_of(given), all_columns=all_columns)
    has_runs = is_folder(folder) and not is_run(folder) and run_folders(folder)
    return (load_many if has_runs else load_run)(folder, all_columns=all_columns)


def load_many(paths: Path | str | Iterable[Path | str], *, all_columns: bool = True) -> Runs:
    """Return several runs, or one as `Runs`. Each path is a run, a folder of runs, or a pattern
    such as "runs/*".

    Raise UsageError if there is no run, if a run cannot be read, or if two runs have the same
    run_id.
    """
    path_list = (
        [paths] if isinstance(paths, Path | str) or not isinstance(paths, Iterable) else paths
    )
    runs = Runs(
        load_run(folder, all_columns=all_columns) for path in path_list for folder in _folders(path)
    )
    if not runs:
        raise UsageError("no run folder is given")
    folders: dict[str, Path] = {}
    for run in runs:
        if (other := folders.setdefault(run_id_of(run), run.folder)) is not run.folder:
            raise UsageError(
                f"{other} and {run.folder} contain the same run {run_id_of(run)}: load only one of"
                " them"
            )
    return runs


def _folders(path: Path | str) -> list[Path]:
    text = given_run(path)
    assert isinstance(text, str), "a run has no path"
    if is_folder(folder := run_or_path(Path(text))):
        folders = [folder] if is_run(folder) else sorted(run_folders(folder))
    else:
        folders = [Path(match) for match in sorted(glob(text)) if is_run(Path(match))]
    if not folders:
        raise UsageError(f"there is no run in {text}")
    return folders
