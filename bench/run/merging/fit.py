"""Refuses runs that are no parts of one run: other scripts, other targets, another name, or the same sessions twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.errors import UsageError
from bench.run.hosts import leader_of
from bench.run.merging.document import Document
from bench.run.merging.run_part import RunPart

TARGET_KEYS = ("label", "url", "dialect", "model", "session", "deflate")
"""What has to be the same of a target; where it was, how it was signed in to and the way there may differ."""


def check_fit(parts: Sequence[RunPart]) -> None:
    """Raises UsageError, which names two parts and what they do not share."""
    for what, value in SHARED.items():
        first = parts[0]
        for other in parts[1:]:
            if value(first.document) != value(other.document):
                raise UsageError(
                    f"{first.folder} and {other.folder} are no parts of one run: they have different {what}"
                )
    _check_apart(parts)


def _scripts(document: Document) -> object:
    return sorted(
        (str(script.get("target") or ""), str(script.get("name")), str(script.get("digest")))
        for script in document.get("scripts") or []
    )


def _targets(document: Document) -> object:
    targets = document.get("targets") or []
    return sorted(([_plain(target.get(key)) for key in TARGET_KEYS] for target in targets), key=repr)


def _plain(value: object) -> object:
    """A setting; one that older runs do not name is one that is not set."""
    return value or None


SHARED: Mapping[str, Callable[[Document], object]] = {
    "definitions of measures": lambda document: document.get("definitions"),
    "scripts (by name and digest)": _scripts,
    "targets": _targets,
    "names of --part-of": lambda document: document.get("part_of") or None,
}
"""What parts of a run share, and what it is in a run's document."""


def _check_apart(parts: Sequence[RunPart]) -> None:
    """Raises UsageError where two parts hold sessions of the same worker of the same run: a copy, or a merged run."""
    holders: dict[tuple[object, ...], RunPart] = {}
    for part in parts:
        for recorded in workers_of(part):
            holder = holders.setdefault(recorded, part)
            if holder is not part:
                raise UsageError(f"{holder.folder} and {part.folder} overlap: both hold sessions of run {recorded[0]}")


def workers_of(part: RunPart) -> Iterable[tuple[object, ...]]:
    """Each worker whose sessions a part holds: of which run, led by whom, begun when, which number."""
    merged = [entry for entry in part.document.get("parts") or [] if not entry.get("left_out")]
    entries = merged or [entry_identity(part)]
    return [
        (entry["run_id"], entry["host"], entry["began_utc_ns"], worker)
        for entry in entries
        for worker in entry["workers"]
    ]


def entry_identity(part: RunPart) -> dict[str, Any]:
    """What tells a run from all others, and its workers."""
    document = part.document
    return {
        "run_id": document["run_id"],
        "host": leader_of(document)["name"],
        "began_utc_ns": document["began_utc_ns"],
        "workers": list(part.extent.workers),
    }
