"""Refuses runs that are no parts of one run: other scripts, other targets or names, or overlapping sessions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from bench.errors import UsageError
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
    """Raises UsageError where a worker's sessions stand in two folders, and what else one holds cannot do without."""
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
