"""Merging several runs into one run. The runs come from independent load generators, or from
several regions.
"""

# The runs to merge are finalized and share no session; merging does not change their rows. A run
# that was killed is finalized first. If a worker has a folder of its own, this folder replaces the
# data that the worker's master received. The result is a run like any other;
# `bench.record.finalize.merge_parts` writes its final files.
#
# The parts are sorted by their start, and everything is written to a hidden folder next to the
# result, which one rename completes: there is no half of a merged run. Workers, pairs and blocks
# get new numbers (`merged_document`), so that those of several runs differ. Rows are copied with
# these numbers, and histograms are added. If a part proves damaged while its rows are copied, the
# merge begins again without it, and the verdict counts what is missing.

import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.base.errors import UsageError
from bench.base.installation import tool_version
from bench.record.finalize import merge_parts
from bench.record.merging.merged_document import (
    Document,
    RunNumbering,
    excluded_parts,
    first_starts,
    merged_document,
    notices,
    numbered_by_start,
)
from bench.record.merging.source_run import DamagedPartError, RunKey, SourceRun
from bench.record.presence import file_status, is_folder, is_run, run_folders
from bench.record.spool import EVENTS
from bench.record.whole_run import absent_parts, absent_turns
from bench.record.writers import is_under_way


def merge_runs(paths: Sequence[Path], out: Path) -> dict[str, Any]:
    """Merge the runs in other folders into the run folder `out`; return its run.json.

    A damaged run is left out, and the verdict of the result takes its missing data into account.
    Raise UsageError if the runs do not belong together, if two of them contain the same sessions,
    if one of them is active or is itself a merged run, or if `out` cannot be written. After an
    error, no file of `out` remains.
    """
    if not re.fullmatch(r"\w[\w.-]{,199}", out.name, re.ASCII):
        raise UsageError(
            f"{out} is not a valid name of a run: use letters, digits, dots, dashes and underscores"
        )
    if file_status(out) or out.is_symlink():
        raise UsageError(f"{out} already exists: name another folder")
    parts = [SourceRun(folder) for folder in run_folders_of(paths)]
    check_fit(parts)
    for part in parts:
        part.finalize()
    # in the same folder, so that a rename completes it
    fresh = out.with_name(f".{out.name}.merging-{os.getpid()}")
    try:
        return _merged_in_place(parts, fresh, out)
    except OSError as error:
        raise UsageError(
            f"{out} cannot be written: {error.strerror or error}; incomplete files were removed"
        ) from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def run_folders_of(paths: Iterable[Path]) -> list[Path]:
    """Return those of the given folders that are run folders, and the run folders directly inside
    the others.

    Raise UsageError if a folder is not a run and contains no run.
    """
    folders = []
    for folder in paths:
        if is_run(folder):
            folders.append(folder)
            continue
        runs = run_folders(folder) if is_folder(folder) else []
        visible_runs = sorted(path for path in runs if not path.name.startswith("."))
        if not visible_runs:
            raise UsageError(f"{folder} is not a run folder, and contains none: it has no run.json")
        folders += visible_runs
    return folders


def _merged_in_place(parts: Sequence[SourceRun], fresh: Path, out: Path) -> dict[str, Any]:
    """Merge the readable parts. If damage is detected while rows are copied, start again without
    the damaged part.
    """
    damages: list[DamagedPartError] = []
    while True:
        readable = [part for part in parts if part not in [damage.part for damage in damages]]
        if not readable:
            raise UsageError(f"no part can be read: {damages[0].part.folder}: {damages[0].reason}")
        try:
            document = _merged(readable, damages, fresh, out.name)
        except DamagedPartError as damage:
            damages.append(damage)
            shutil.rmtree(fresh, ignore_errors=True)
        else:
            os.rename(fresh, out)
            return document


def _merged(
    parts: Sequence[SourceRun], damages: Sequence[DamagedPartError], folder: Path, run_id: str
) -> dict[str, Any]:
    ordered = sorted(
        parts, key=lambda part: (part.document["started_utc_ns"], part.host, str(part.folder))
    )
    _add_part(ordered)
    missing = {
        run: _missing([part for part in ordered if part.run == run])
        for run in {part.run for part in ordered}
    }
    ended = {part.run for part in ordered if part.was_ended}
    for part in ordered:
        part.is_complete = part.run in ended and not missing[part.run]
    first_workers = _first_workers(ordered, missing)
    used = [part for part in ordered if part.added_workers]
    started_utc_ns = min(part.document["started_utc_ns"] for part in used)
    pairs = [
        first_starts(
            part.extent.pairs[number] for number in part.added_workers & part.extent.pairs.keys()
        )
        for part in used
    ]
    for part, numbering in zip(used, numbered_by_start(pairs, started_utc_ns), strict=True):
        part.numbering = RunNumbering(
            run_id,
            {number: first_workers[part.run] + number for number in part.added_workers},
            numbering,
        )
    leading = _leading(ordered)
    documents = [
        part.document | {"state": "ended" if part.is_complete else "killed"} for part in leading
    ]
    left_out = [(damage.part.name, _left_out(damage, first_workers.keys())) for damage in damages]
    entries = [
        _entry(part, document, first_workers[part.run], used)
        for part, document in zip(leading, documents, strict=True)
    ]
    folder.mkdir(parents=True)
    document = merged_document(
        run_id,
        {"host": socket.gethostname(), "pid": os.getpid()},
        {"name": "rtbench", "version": tool_version()},
        documents,
        entries + [entry for _, entry in left_out],
    )
    one = "event log was not copied, because it is a link or a special file"
    more = "event logs were not copied, because they are links or special files"
    uncopied = [
        f"{part.name}: {count} {one if count == 1 else more}."
        for part in used
        if (count := part.copy_event_logs(folder / EVENTS))
    ]
    uncertain = [
        f"{part.name}: {part.no_uncertainty}, so the timestamp uncertainty of its turns is unknown."
        for part in used
        if part.no_uncertainty
    ]
    document["notices"] = [
        *notices([part.name for part in leading], documents, left_out),
        *uncertain,
        *uncopied,
    ]
    unknown = [
        entry | {"worker": first_workers[run] + number}
        for run in first_workers
        for number, entry in sorted(missing[run].items())
    ]
    first_absent = 1 + max(
        [*(worker["worker"] for worker in unknown), *(_last_worker(part) for part in used)]
    )
    unknown += _absent_entries(documents, excluded_parts(left_out), first_absent)
    return merge_parts(folder, document, used, lambda *_: unknown)


def _add_part(parts: Sequence[SourceRun]) -> None:
    """Set the workers to merge from each folder, so that each worker comes from one folder.

    If a worker has a folder of its own, this folder replaces the data of this worker in its
    master's folder. Raise UsageError if two folders contain the same worker for any other reason.
    """
    owners: dict[tuple[RunKey, int], SourceRun] = {}
    for part in sorted(parts, key=lambda part: part.is_of_master):
        added = set()
        for number in part.held:
            owner = owners.setdefault((part.run, number), part)
            if owner is part:
                added.add(number)
            elif owner.is_of_master or not part.is_of_master:
                raise UsageError(
                    f"{owner.folder} and {part.folder} both contain worker {number} of run"
                    f" {part.run[1]}: name only one of them"
                )
        part.added_workers = frozenset(added)
        if not (part.added_workers >= part.held or part.added_workers <= part.workers.keys()):
            raise UsageError(
                f"{part.folder} contains all of run {part.run[1]}: merge it without the folders of"
                " its workers"
            )


def _missing(parts: Sequence[SourceRun]) -> dict[int, dict[str, Any]]:
    """Return the entry of each worker whose data is incomplete, by number. `parts` are the folders
    of one run.

    If no folder has a worker's data, its entry is that of the master's folder, or else the one with
    the largest bound.
    """
    entries: dict[int, dict[str, Any]] = {}
    for part in sorted(parts, key=lambda part: (part.is_of_master, _bound(part)), reverse=True):
        for number, entry in part.missing.items():
            entries.setdefault(number, entry)
    for part in parts:
        for number in part.added_workers:
            entries.pop(number, None)
            if number in part.missing:
                entries[number] = part.missing[number]
    return entries


def _bound(part: SourceRun) -> float:
    """Return an upper bound of the turns without a row of any one missing worker; infinity if
    there is no bound.
    """
    turns = [entry["turns"] for entry in part.missing.values()]
    return float("inf") if None in turns else max(turns, default=0)


def _first_workers(
    parts: Sequence[SourceRun], missing: Mapping[RunKey, Collection[int]]
) -> dict[RunKey, int]:
    """Return, for each run, the number in the merged run that its worker 0 gets."""
    runs = sorted(missing)
    sizes = [
        1
        + max(
            [*missing[run], *(number for part in parts if part.run == run for number in part.held)],
            default=-1,
        )
        for run in runs
    ]
    return dict(zip(runs, accumulate(sizes, initial=0), strict=False))


def _leading(parts: Sequence[SourceRun]) -> list[SourceRun]:
    """Return one folder for each run, whose document is the run's: the master's, or else
    preferably an ended one.
    """
    by_run: dict[RunKey, SourceRun] = {}
    for part in sorted(parts, key=lambda part: (part.is_of_master, part.was_ended), reverse=True):
        by_run.setdefault(part.run, part)
    return [part for part in parts if part in by_run.values()]


def _last_worker(part: SourceRun) -> int:
    return max(part.numbering.workers.values())


def _absent_entries(
    documents: Sequence[Document], excluded: int, worker: int
) -> list[dict[str, Any]]:
    """Return a `MissingWorkerEntry` for each planned part without a folder, as workers numbered
    from `worker`.
    """
    whole = documents[0].get("whole_run")
    load = documents[0].get("planned_load") or {}
    turns = absent_turns(documents[0], load)
    absent = absent_parts(len(documents) + excluded, whole)
    return [{"worker": worker + number, "host": "", "turns": turns} for number in range(absent)]


def _entry(
    part: SourceRun, document: Document, offset: int, parts: Sequence[SourceRun]
) -> dict[str, Any]:
    run_workers = [
        (source, number)
        for source in parts
        if source.run == part.run
        for number in source.added_workers
    ]
    rows = sum((source.extent.rows[number] for source, number in run_workers), Counter[str]())
    validity = part.document["validity"]
    return (
        _common_entry(part, document)
        | {key: document[key] for key in ("labels", "arrivals", "stages") if key in document}
        | {
            "validity": validity["status"],
            "failed_checks": [check for check in validity["checks"] if check["result"] == "fail"],
            "workers": sorted(number for _, number in run_workers),
            "worker_offset": offset,
            "sessions": rows["sessions"],
            "turns": rows["turns"],
        }
    )


def _left_out(damage: DamagedPartError, known: Collection[RunKey]) -> dict[str, Any]:
    """Return the entry in run.json for a damaged part, which is left out.

    The readable folders of `known` runs report the missing data, so the entry of a part of these
    has counts of 0.
    """
    totals = damage.part.document.get("totals") or {}
    missing_counts = {
        table: (
            0
            if damage.part.run in known
            else sum(totals[table].values())
            if table in totals
            else None
        )
        for table in ("sessions", "turns")
    }
    return (
        _common_entry(damage.part, damage.part.document)
        | missing_counts
        | {"excluded_because": damage.reason}
    )


def _common_entry(part: SourceRun, document: Document) -> dict[str, Any]:
    return {
        "run_id": document["run_id"],
        "host": part.host,
        "started_utc_ns": document["started_utc_ns"],
        "state": document["state"],
        "stop_reason": str(document.get("stop_reason") or ""),
        "ended_utc_ns": document.get("ended_utc_ns"),
        "workers": [],
        "worker_offset": 0,
        "validity": "no_verdict",
        "failed_checks": [],
        "excluded_because": None,
    }


TARGET_KEYS = ("name", "url", "dialect", "model", "session", "deflate")
"""The properties of a target that must be equal in all runs. Its address, credential and network
path may differ."""


def check_fit(parts: Sequence[SourceRun]) -> None:
    """Check that the runs are parts of one run. If not, raise UsageError with the folders and
    the difference.
    """
    for part in parts:
        if is_under_way(part.folder, part.document):
            raise UsageError(
                f"the run of {part.folder} is still in progress: merge it when it has ended"
            )
        if part.document.get("parts"):
            raise UsageError(
                f"{part.folder} is a merged run: name the runs from which it was merged"
            )
    for property_name, value in SHARED.items():
        first = parts[0]
        for other in parts[1:]:
            if value(first.document) != value(other.document):
                raise UsageError(
                    f"{first.folder} and {other.folder} are not parts of one run: they have"
                    f" different {property_name}"
                )


def _scripts(document: Document) -> object:
    return {
        (str(script.get("name")), str(script.get("digest")))
        for script in document.get("scripts") or []
    }


def _scripts_of_targets(document: Document) -> object:
    return sorted(
        (str(script.get("target") or ""), str(script.get("name")))
        for script in document.get("scripts") or []
    )


def _targets(document: Document) -> object:
    return sorted(
        ([target.get(key) for key in TARGET_KEYS] for target in document["targets"]), key=repr
    )


SHARED: Mapping[str, Callable[[Document], object]] = {
    "definitions of metrics": lambda document: document["definitions_version"],
    "scripts (by name and digest)": _scripts,
    "targets": _targets,
    "scripts for a target": _scripts_of_targets,
    "names of --part-of": lambda document: document.get("part_of"),
    "plans (--whole-run)": lambda document: document.get("whole_run"),
}
