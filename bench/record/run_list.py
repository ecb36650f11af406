"""The runs of a folder, with a description of each."""

# A list must not fail because of one damaged run. So it decodes only the keys that it shows, and a
# folder that cannot be read becomes a notice. It reads neither rows nor histograms. A run without
# its final state has no counts yet: they would have to be counted in its rows.

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from bench.base.errors import UsageError
from bench.base.suggestions import did_you_mean
from bench.files.sanitize import excerpt
from bench.record import folder as files
from bench.record.document import Count, StoredState, ValidityStatus, is_recorded
from bench.record.presence import (
    WRITTEN_BY,
    file_status,
    is_folder,
    is_run,
    not_a_run,
    run_folders,
    runs_folder,
)
from bench.record.writers import CLOSED, is_under_way, writer_is_gone

SCHEMA: Literal[2] = 2


class _Target(msgspec.Struct):
    name: str


class _Totals(msgspec.Struct):
    sessions: dict[str, int] = {}
    turns: dict[str, int] = {}


class _Validity(msgspec.Struct):
    status: ValidityStatus = "no_verdict"


class _Listed(msgspec.Struct, frozen=True):
    """The keys of run.json that a list of runs contains unchanged."""

    started_utc_ns: int
    ended_utc_ns: int | None
    state: StoredState
    simulated: bool | None


class _Document(_Listed, frozen=True):
    """The keys of run.json from which an entry of a list of runs is made."""

    targets: list[_Target] = []
    labels: dict[str, str] = {}
    totals: _Totals = msgspec.field(default_factory=_Totals)
    validity: _Validity = msgspec.field(default_factory=_Validity)


class ListedRun(_Listed, frozen=True):
    """A run in a list of runs. `name` is the name of its folder.

    Counts that are computed when the run is finalized are null before that. `under_way` is true if
    a process may still write to the run; it is null if only another host can know that.
    """

    name: str
    under_way: bool | None
    recorded: bool
    targets: list[str]
    labels: dict[str, str]
    sessions: Count | None
    turns: Count | None
    validity: ValidityStatus
    size_bytes: Annotated[int, msgspec.Meta(ge=0, description="of all of its files")]


class RunList(msgspec.Struct, frozen=True):
    """The runs of a folder, newest first. `notices` are the reasons why runs are damaged or
    cannot be read.
    """

    schema: Literal[2]
    folder: str
    runs: list[ListedRun]
    notices: list[str]


def list_runs(folder: Path) -> RunList:
    """Return the runs in this folder. Raise UsageError if `folder` is not a folder."""
    notices: list[str] = []
    runs = [
        _listed_run(path, document, read) for path, document, read in _readable(folder, notices)
    ]
    written = {path.parent for name in WRITTEN_BY for path in folder.glob(f"*/{name}")}
    notices += [not_a_run(path) for path in sorted(written) if not is_run(path)]
    return RunList(
        SCHEMA, str(folder), sorted(runs, key=lambda run: (-run.started_utc_ns, run.name)), notices
    )


def _readable(
    folder: Path, problems: list[str]
) -> Iterator[tuple[Path, dict[str, Any], _Document]]:
    """Yield the readable runs of a folder. Append the reason why each other run cannot be read
    to `problems`.
    """
    for path in run_folders(folder):
        try:
            document = files.read_document(path)
            yield path, document, msgspec.convert(document, _Document)
        except UsageError as error:
            problems.append(str(error))
        except msgspec.ValidationError as error:
            problems.append(f"{path / 'run.json'} is damaged: {excerpt(str(error), 200)}")


def resolve_run(name: str, folder: Path) -> Path:
    """Return the folder of a run, which is given by its path, or by its name in `folder`: that of
    its folder, or of `--name`. Of several runs with the same name, it is the newest.

    If `name` is "", return the newest run that has ended. Raise UsageError if there is no such run.
    """
    if not name:
        return newest_run(folder)
    for path in (Path(name), folder / name):
        if is_run(path):
            return path
    for path in (Path(name), folder / name):
        if is_folder(path):
            raise UsageError(not_a_run(path))
    if named := named_run(name, folder):
        return named
    hint = near_run(name, folder) or ": run `rtbench runs` for a list"
    raise UsageError(f"there is no run {name}, and none of this name in {folder}{hint}")


_NAMED = re.compile(r"\d{8}T\d{6}Z-(.+)")
"""The name of a run's folder: its start, and the value of `--name`."""


def named_run(name: str, folder: Path) -> Path | None:
    """Return the newest run in `folder` whose folder has this name, or which was given it by
    `--name`; None if there is none.
    """
    found = [path for path in _folders(folder) if name in _names(path)]
    return max(found, key=lambda path: (path.name == name, path.name), default=None)


def near_run(name: str, folder: Path, others: Iterable[str] = ()) -> str:
    """Return `; did you mean NAME?` with the most similar name of a run in `folder`, or of
    `others`; "" if none is similar.
    """
    names = [one for path in _folders(folder) for one in _names(path)]
    return did_you_mean(name, [*others, *names])


def _names(path: Path) -> tuple[str, ...]:
    given = _NAMED.fullmatch(path.name)
    return (path.name,) if given is None else (given[1], path.name)


def _folders(folder: Path) -> list[Path]:
    return run_folders(folder) if is_folder(folder) else []


def split_name(reference: str | Path, runs_dir: Path | None = None) -> tuple[Path, str | None]:
    """Split a reference such as `RUN:TARGET` into the folder and the target.

    The target is None if the reference has none. A run is given by its folder, or by its name in
    `runs_dir` (default: the folder of the runs). If there is no such run, the folder is the text.

    Folder and target may both contain a colon. The folder is the shortest prefix that is the path
    of a folder, or else the name of a run.
    """
    path = Path(reference)
    if isinstance(reference, Path) or is_folder(path):
        return path, None
    parts = str(reference).split(":")
    splits: list[tuple[Path, str | None]] = [
        (Path(":".join(parts[:n])), ":".join(parts[n:])) for n in range(1, len(parts))
    ]
    for folder, target in splits:
        if is_folder(folder):
            return folder, target
    for folder, target in ((path, None), *splits):
        if named := named_run(str(folder), runs_dir or runs_folder()):
            return named, target
    return splits[-1] if splits else (path, None)


def run_or_path(path: Path) -> Path:
    """Return a path that exists, or else the run with this name; the path if there is neither."""
    return path if file_status(path) else named_run(str(path), runs_folder()) or path


def reference(folder: Path, target: str | None) -> str:
    """Return the text that `split_name` splits into a folder and a target."""
    return str(folder) if target is None else f"{folder}:{target}"


def newest_run(folder: Path, *, prefer_valid: bool = False) -> Path:
    """Return the ended, readable run that started last; preferably a valid one. Raise UsageError
    if there is none.
    """
    problems: list[str] = []
    start_keys = {
        path: (prefer_valid and read.validity.status == "valid", read.started_utc_ns, path.name)
        for path, document, read in _readable(folder, problems)
        if not is_under_way(path, document)
    }
    if not start_keys and problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        raise UsageError(
            f"none of the completed runs in {folder} can be read: {min(problems)}{more}"
        )
    if not start_keys:
        raise UsageError(f"no run in {folder} has ended: wait for one, or name a run by its folder")
    return max(start_keys, key=lambda path: start_keys[path])


def run_in_progress(folder: Path) -> Path:
    """Return the run in `folder` that a process of this host leads. Raise UsageError if there is
    none, or several.
    """
    found = [
        path
        for path, document, read in _readable(folder, [])
        if read.state == "running" and is_under_way(path, document)
    ]
    if len(found) != 1:
        names = ", ".join(sorted(path.name for path in found))
        what = f"{len(found)} runs are in progress in {folder}: name one, {names}"
        raise UsageError(what if found else f"no run in {folder} is in progress: name its folder")
    return found[0]


def _listed_run(folder: Path, document: dict[str, Any], read: _Document) -> ListedRun:
    closed = read.state in CLOSED
    is_active = is_under_way(folder, document)
    size_bytes = 0
    for path in (Path(parent, name) for parent, _, names in os.walk(folder) for name in names):
        with suppress(OSError):  # files of an active run may disappear
            size_bytes += path.lstat().st_size
    return ListedRun(
        **{key: getattr(read, key) for key in _Listed.__struct_fields__},
        name=folder.name,
        under_way=is_active if is_active or writer_is_gone(folder, document) else None,
        recorded=is_recorded(document),
        targets=[target.name for target in read.targets],
        labels=read.labels,
        sessions=sum(read.totals.sessions.values()) if closed else None,
        turns=sum(read.totals.turns.values()) if closed else None,
        validity=read.validity.status,
        size_bytes=size_bytes,
    )
