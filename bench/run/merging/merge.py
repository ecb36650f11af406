"""Merges runs into one: of load generators that ran alone, of several regions, or the parts of a killed run.

The run that comes of it is like any other; its final files are made by `bench.run.close.merge_parts`, which makes
those of every run. Its parts stay as they are. Runs that are no parts of one run are refused: other scripts, other
targets or names, or overlapping sessions.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.installation import tool_version
from bench.run.close import merge_parts
from bench.run.merging.merged import Document, Numbering, merged_document, notices, numbered_by_start
from bench.run.merging.run_part import DamagedPartError, RunPart, chosen_workers
from bench.run.presence import file_status, is_folder, is_run, run_folders
from bench.run.spool import EVENTS
from bench.run.unknown import UNSEEN_NS, Lost, load_of

UNCOPIED_ONE = "event log was not copied, because it is a link or a special file"
UNCOPIED_MORE = "event logs were not copied, because they are links or special files"
RunKey = tuple[int, str]
"""When it began (UTC, ns since 1970), and its name."""


def merge_runs(given: Sequence[Path], out: Path, without: Collection[str] = ()) -> dict[str, Any]:
    """Make the run folder `out` of the runs in other folders; returns its run.json.

    `without`: the names of hosts that are left out, as if they had had no part in it, which the run says.

    A part that turns out to be damaged is left out, too, and the verdict weighs it. Raises UsageError where the runs
    are no parts of one run, where one is still under way, or where the folder cannot be written; nothing of it is left
    then.
    """
    if not re.fullmatch(r"\w[\w.-]{,199}", out.name, re.ASCII):
        raise UsageError(f"{out} cannot be a run: its name must be letters, digits, dots, dashes and underscores")
    if file_status(out) or out.is_symlink():
        raise UsageError(f"{out} exists already: name another folder")
    parts = [RunPart(folder) for folder in meant_folders(given)]
    for part in parts:
        if part.is_under_way:
            raise UsageError(f"{part.folder} is still under way: merge it when it has ended")
    fresh = out.with_name(f".{out.name}.merging-{os.getpid()}")  # beside it, so that it is in place in one step
    try:
        return _merged_in_place(parts, fresh, out, without)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}; nothing is left of it") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def meant_folders(given: Iterable[Path]) -> list[Path]:
    """The run folders that are meant: a folder that is no run stands for those in it. Raises UsageError for others."""
    folders: list[Path] = []
    for folder in given:
        if is_run(folder):
            folders.append(folder)
            continue
        held = run_folders(folder) if is_folder(folder) else []
        inside = sorted(path for path in held if not path.name.startswith("."))
        if not inside:
            raise UsageError(f"{folder} is not a run folder, and there is none in it: it has no run.json")
        folders += inside
    return folders


def _merged_in_place(parts: Sequence[RunPart], fresh: Path, out: Path, without: Collection[str]) -> dict[str, Any]:
    """Merge what can be read. A part may turn out to be damaged when it is read at last: then all is made again."""
    damages: list[DamagedPartError] = []
    while True:
        sound = [part for part in parts if part not in [damage.part for damage in damages]]
        if not sound:
            raise UsageError(f"no part can be read: {damages[0].part.folder}: {damages[0].why}")
        try:
            document = _merged(sound, damages, fresh, out.name, without)
        except DamagedPartError as damage:
            damages.append(damage)
            shutil.rmtree(fresh, ignore_errors=True)
        else:
            os.rename(fresh, out)
            return document


def _merged(
    parts: Sequence[RunPart],
    damages: Sequence[DamagedPartError],
    folder: Path,
    run_id: str,
    without: Collection[str],
) -> dict[str, Any]:
    ordered = sorted(parts, key=lambda part: (part.document["started_utc_ns"], part.host, str(part.folder)))
    for part, ids in zip(ordered, chosen_workers([part.copies for part in ordered]), strict=True):
        part.taken = frozenset(number for number, identity in part.ids.items() if identity in ids)
    said = _leave_out(ordered, without)
    used = [part for part in ordered if part.taken]
    runs = _runs(used)
    ended = {run for part in ordered if part.was_ended for run in _runs([part])}
    for part in ordered:
        part.ends_cleanly = ended.issuperset(_runs([part]))
    started_utc_ns = min(part.document["started_utc_ns"] for part in used)
    for part, pairs in zip(used, numbered_by_start([part.taken_pairs for part in used], started_utc_ns), strict=True):
        workers = {number: runs[part.ids[number].run] + part.ids[number].worker for number in part.taken}
        part.numbering = Numbering(run_id, workers, pairs)  # the same from whichever folder a worker comes
    check_fit(used)
    folder.mkdir(parents=True)
    leading = _leading(ordered)
    documents = [part.closed_document for part in leading]
    known = {run for part in used if part.is_closed for run in _runs([part])}
    left_out = [(damage.part.name, _left_out(damage, known)) for damage in damages]
    entries = [_entry(run, offset, used, leading) for run, offset in runs.items()]
    document = merged_document(
        run_id,
        {"host": socket.gethostname(), "pid": os.getpid()},
        {"name": "rtbench", "version": tool_version()},
        documents,
        [*entries, *(entry for _, entry in left_out)],
    )
    uncopied = [
        f"{part.name}: {count} {UNCOPIED_ONE if count == 1 else UNCOPIED_MORE}."
        for part in used
        if (count := part.copy_event_logs(folder / EVENTS))
    ]
    unbounded = [
        f"{part.name}: {part.lost_bounds}, so how far the instants of its turns can be off is not known."
        for part in used
        if part.lost_bounds
    ]
    document["notices"] = [*notices([part.name for part in leading], documents, left_out), *said, *unbounded, *uncopied]
    return merge_parts(folder, document, used, lambda _: _lost(used, ordered))


def _leave_out(parts: Sequence[RunPart], without: Collection[str]) -> list[str]:
    """Take nothing of these hosts; returns what is to be said of it. Raises UsageError for those that are not there."""
    rows = {host: Counter[str]() for host in without}
    named = sorted({host for part in parts for host in part.hosts.values()})
    if missing := sorted(rows.keys() - set(named)):
        known = ", ".join(named) or "which workers were on which host is not recorded"
        raise UsageError(f"there is no host {', '.join(missing)} to leave out: there are {known}")
    for part in parts:
        mine = {number: host for number, host in part.hosts.items() if number in part.taken and host in rows}
        for number, host in mine.items():
            rows[host].update(part.extent.workers.get(number, Counter()))
        part.taken -= mine.keys()
    if not any(part.taken for part in parts):
        raise UsageError("nothing is left without these hosts")
    return [
        f"{host} is left out, as was asked for, with {of['sessions']:,} sessions and {of['turns']:,} turns."
        for host, of in sorted(rows.items())
    ]


def _runs(parts: Sequence[RunPart]) -> dict[RunKey, int]:
    """The runs that these folders hold sessions of, each with the first number of its workers in the merged one."""
    workers: dict[RunKey, int] = {}
    for part in parts:
        for identity in part.ids.values():
            workers[identity.run] = max(workers.get(identity.run, 0), identity.worker + 1)
    runs = sorted(workers)
    firsts = accumulate((workers[run] for run in runs), initial=0)
    return dict(zip(runs, firsts, strict=False))


def _leading(parts: Sequence[RunPart]) -> list[RunPart]:
    """The folders whose documents speak for their runs, each run once: one that somebody ended where there is one."""
    leading: list[RunPart] = []
    spoken: set[RunKey] = set()
    for part in sorted(parts, key=lambda part: (len(_runs([part])), part.was_ended, part.is_closed), reverse=True):
        if not spoken.issuperset(runs := _runs([part])):
            spoken |= runs.keys()
            leading.append(part)
    return [part for part in parts if part in leading]


def _lost(parts: Sequence[RunPart], given: Sequence[RunPart]) -> list[Lost]:
    """The workers of which not all is there in any folder.

    A run ended when the last of its folders says so. Where nothing but merged runs tells of it, what was said stays.
    """
    of_runs: dict[RunKey, list[RunPart]] = {}
    for part in given:
        for run in _runs([part]):
            of_runs.setdefault(run, []).append(part)
    lost: list[Lost] = []
    for run, folders in of_runs.items():
        numbers = {each.numbering.workers[n]: each for each in parts for n in each.taken if each.ids[n].run == run}
        own = [part for part in folders if not part.is_merged]
        load = None
        if own:
            ends_ns = [part.document.get("stopping_utc_ns") or part.document.get("ended_utc_ns") for part in own]
            latest_ns = max(map(int, filter(None, ends_ns)), default=max(part.last_utc_ns for part in own) + UNSEEN_NS)
            document = next((part.document for part in own if part.was_ended), own[0].document)
            missing = sum(len(part.lost(None)) for part in parts if run in _runs([part]))
            load = load_of(document, missing, numbers, latest_ns)
        for part in parts:
            lost += [one for one in part.lost(load) if numbers.get(one.worker) is part]
    return lost


def _entry(run: RunKey, offset: int, parts: Sequence[RunPart], leading: Sequence[RunPart]) -> dict[str, Any]:
    """What run.json says of a run that is a part of this one; of one that was merged before, what was said of it."""
    mine = [(part, n) for part in parts for n in part.taken if part.ids[n].run == run]
    rows = sum((part.extent.workers.get(n, Counter()) for part, n in mine), Counter[str]())
    leader = next(part for part in leading if run in _runs([part]))
    before = [e for e in leader.document.get("parts") or [] if (e["started_utc_ns"], e["run_id"]) == run]
    return (before[0] if before else _entry_of(leader)) | {
        "workers": sorted(part.ids[n].worker for part, n in mine),
        "worker_offset": offset,
        "sessions": rows["sessions"],
        "turns": rows["turns"],
        "excluded_because": None,
    }


def _entry_of(part: RunPart) -> dict[str, Any]:
    document, validity = part.closed_document, part.document.get("validity") or {}
    return (
        {"run_id": document["run_id"], "host": part.host, "started_utc_ns": document["started_utc_ns"]}
        | {key: document[key] for key in ("state", "stop_reason", "ended_utc_ns")}
        | {key: document[key] for key in ("labels", "arrivals", "stages") if key in document}
        | {
            "validity": validity.get("status") or "no_verdict",
            "failed_checks": [check for check in validity.get("checks") or [] if check.get("result") == "fail"],
        }
    )


def _left_out(damage: DamagedPartError, known: Collection[RunKey]) -> dict[str, Any]:
    """What run.json says of a part that is damaged: what it had is known where it was closed.

    `known`: the runs of which another folder says what is missing.
    """
    document, totals = damage.part.document, damage.part.document.get("totals") or {}
    told = (document["started_utc_ns"], document["run_id"]) in known
    sessions, turns = (
        0 if told else sum(totals[table].values()) if table in totals else None for table in ("sessions", "turns")
    )
    return {
        "run_id": document["run_id"],
        "host": damage.part.host,
        "started_utc_ns": document["started_utc_ns"],
        "workers": [],
        "state": document["state"],
        "stop_reason": str(document.get("stop_reason") or ""),
        "ended_utc_ns": document.get("ended_utc_ns"),
        "sessions": sessions,
        "turns": turns,
        "worker_offset": 0,
        "validity": "no_verdict",
        "failed_checks": [],
        "excluded_because": damage.why,
    }


TARGET_KEYS = ("name", "url", "dialect", "model", "session", "deflate")
"""What has to be the same of a target; where it was, how it was signed in to and the way there may differ."""


def check_fit(parts: Sequence[RunPart]) -> None:
    """Raises UsageError, which names two parts and what they do not share.

    Or which both hold: where a worker's sessions stand in two folders, and what else one holds cannot do without.
    """
    for what, value in SHARED.items():
        first = parts[0]
        for other in parts[1:]:
            if value(first.document) != value(other.document):
                raise UsageError(
                    f"{first.folder} and {other.folder} are no parts of one run: they have different {what}"
                )
    for part in parts:
        if not part.can_be_split:
            others = {part.ids[number]: number for number in part.ids.keys() - part.taken}
            twin = next((p for p in parts if p is not part and others.keys() & set(p.ids.values())), None)
            if twin is None:
                raise UsageError(f"{part.folder} does not keep what each of its hosts counted: none can be left out")
            run_id = next(iter(others.keys() & set(twin.ids.values()))).run_id
            raise UsageError(
                f"{part.folder} and {twin.folder} overlap: both hold sessions of run {run_id}; "
                "name what they were merged from instead"
            )


def _scripts(document: Document) -> object:
    return sorted(
        (str(script.get("target") or ""), str(script.get("name")), str(script.get("digest")))
        for script in document.get("scripts") or []
    )


def _targets(document: Document) -> object:
    targets = document.get("targets") or []  # older runs do not name settings that are not set
    return sorted(([target.get(key) or None for key in TARGET_KEYS] for target in targets), key=repr)


SHARED: Mapping[str, Callable[[Document], object]] = {
    "definitions of metrics": lambda document: document.get("definitions_version"),
    "scripts (by name and digest)": _scripts,
    "targets": _targets,
    "names of --part-of": lambda document: document.get("part_of") or None,
}
"""What parts of a run share, and what it is in a run's document."""
