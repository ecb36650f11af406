"""Merges runs into one: those of engines that ran alone, of several regions, or what a master that died has left.

The run that comes of it is like any other; its final files are made by `bench.run.close.merge`, which makes those of
every run. Its parts stay as they are.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.run.close import merge
from bench.run.merging.document import merged_document, notices
from bench.run.merging.fit import check_fit, entry_identity
from bench.run.merging.numbering import Numbering
from bench.run.merging.pairs import numbered_by_start
from bench.run.merging.run_part import DamagedPartError, RunPart
from bench.run.provenance import tool_version


def merge_runs(given: Sequence[Path], out: Path) -> dict[str, Any]:
    """Make the run folder `out` of the runs in other folders; returns its run.json.

    A part that turns out to be damaged is left out, which the run says and its verdict weighs. Raises UsageError where
    the runs are no parts of one run, where one is still under way, or where the folder cannot be written; nothing of it
    is left then.
    """
    if not re.fullmatch(r"\w[\w.-]{,199}", out.name, re.ASCII):
        raise UsageError(f"{out} cannot be a run: its name must be letters, digits, dots, dashes and underscores")
    if out.exists() or out.is_symlink():
        raise UsageError(f"{out} exists already: name another folder")
    parts = [RunPart(folder) for folder in run_folders(given)]
    for part in parts:
        if part.is_under_way:
            raise UsageError(f"{part.folder} is still under way: merge it when it has ended")
    fresh = out.with_name(f".{out.name}.merging-{os.getpid()}")  # beside it, so that it is in place in one step
    try:
        return _merged_in_place(parts, fresh, out)
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}; nothing is left of it") from None
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def run_folders(given: Iterable[Path]) -> list[Path]:
    """The run folders that are meant: a folder that is no run stands for those in it. Raises UsageError for others."""
    folders: list[Path] = []
    for folder in given:
        if (folder / "run.json").exists():
            folders.append(folder)
            continue
        inside = sorted(path.parent for path in folder.glob("[!.]*/run.json"))
        if not inside:
            raise UsageError(f"{folder} is not a run folder, and there is none in it: it has no run.json")
        folders += inside
    return folders


def _merged_in_place(parts: Sequence[RunPart], fresh: Path, out: Path) -> dict[str, Any]:
    """Merge what can be read. A part may turn out to be damaged when it is read at last: then all is made again."""
    damages: list[DamagedPartError] = []
    while True:
        sound = [part for part in parts if part not in [damage.part for damage in damages]]
        if not sound:
            raise UsageError(f"no part can be read: {damages[0].part.folder}: {damages[0].why}")
        try:
            document = _merged(sound, damages, fresh, out.name)
        except DamagedPartError as damage:
            damages.append(damage)
            shutil.rmtree(fresh, ignore_errors=True)
        else:
            os.rename(fresh, out)
            return document


def _merged(parts: Sequence[RunPart], damages: Sequence[DamagedPartError], folder: Path, run_id: str) -> dict[str, Any]:
    ordered = sorted(parts, key=lambda part: (part.document["began_utc_ns"], part.host, part.document["run_id"]))
    _number(ordered, run_id)
    check_fit(ordered)
    folder.mkdir(parents=True)
    documents = [part.closed_document for part in ordered]
    left_out = [(damage.part.name, _left_out(damage)) for damage in damages]
    entries = [entry for part in ordered for entry in _entries(part)] + [entry for _, entry in left_out]
    document = merged_document(
        run_id,
        {"host": socket.gethostname(), "pid": os.getpid()},
        {"name": "rtbench", "version": tool_version()},
        documents,
        entries,
    )
    document["notices"] = notices([part.name for part in ordered], documents, left_out)
    return merge(folder, document, ordered)


def _number(parts: Sequence[RunPart], run_id: str) -> None:
    """Give every worker and pair of the parts a number of its own."""
    began_utc_ns = parts[0].document["began_utc_ns"]
    workers = 0
    for part, pairs in zip(parts, numbered_by_start([part.extent.pairs for part in parts], began_utc_ns), strict=True):
        part.numbering = Numbering(run_id, workers, pairs)
        workers += max(part.extent.workers, default=-1) + 1


def _entries(part: RunPart) -> list[dict[str, Any]]:
    """What run.json says of a part; of one that was merged itself, what it says of its own parts."""
    offset, merged = part.numbering.workers, part.document.get("parts")
    if merged:
        return [entry | {"worker_offset": entry["worker_offset"] + offset} for entry in merged]
    document, verdict = part.closed_document, part.document.get("verdict") or {}
    return [
        entry_identity(part)
        | {key: document[key] for key in ("state", "stopped", "ended_utc_ns")}
        | {key: document[key] for key in ("labels", "arrivals", "stages") if key in document}
        | {
            "sessions": part.extent.sessions,
            "turns": part.extent.turns,
            "worker_offset": offset,
            "valid": verdict.get("valid"),
            "broken": [rule for rule in verdict.get("rules") or [] if rule.get("passed") is False],
            "left_out": None,
        }
    ]


def _left_out(damage: DamagedPartError) -> dict[str, Any]:
    """What run.json says of a part that is damaged: what it had is known where it was closed."""
    document, totals = damage.part.document, damage.part.document.get("totals") or {}
    return {
        "run_id": document["run_id"],
        "host": damage.part.host,
        "began_utc_ns": document["began_utc_ns"],
        "workers": [],
        "state": document["state"],
        "stopped": str(document.get("stopped") or ""),
        "ended_utc_ns": document.get("ended_utc_ns"),
        "sessions": sum(totals["sessions"].values()) if "sessions" in totals else None,
        "turns": sum(totals["turns"].values()) if "turns" in totals else None,
        "worker_offset": 0,
        "valid": None,
        "broken": [],
        "left_out": damage.why,
    }
