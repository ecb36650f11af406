"""The page with the licences of the packages on which ours depends. `python -m tools.licences`
writes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import cast

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).parents[1] / "LICENCES.md"
HEAD = """# Licences

Realtime Bench is under the [MIT licence](LICENSE). This page lists what pip installs with it, the extras `aws`,
`calls` and `otel` included, each with the licence that its own metadata, or its licence file, name. Some wheels bundle libraries that have further licences
(numpy, scipy, pyarrow, soundfile, gevent, opuslib-next-bundled, pylibsrtp, resvg-py); their texts are in the wheels. `make sbom`
writes a bill of materials with versions (CycloneDX), and `make schema` writes this page.

| package | licence |
| --- | --- |
"""
MIT = "Permission is hereby granted, free of charge, to any person obtaining a"
SHORT = 40
"""The length in characters from which a metadata field contains the text of a licence instead of
its name."""


def page() -> str:
    """Return the page, which has a row for each distribution."""
    rows = sorted(
        {
            name: _licence(distribution(name).metadata) or _licence_of_file(distribution(name))
            for name in _needed("rtbench", ("aws", "calls", "otel"), set())
        }.items()
    )
    return HEAD + "".join(
        f"| {name} | {licence} |\n" for name, licence in rows if name != "rtbench"
    )


def _needed(name: str, extras: tuple[str, ...], seen: set[str]) -> Iterator[str]:
    """Yield the canonical names of a distribution and of all distributions on which it depends
    on this platform.
    """
    own = canonicalize_name(name)
    if own in seen:
        return
    seen.add(own)
    yield own
    for requirement in map(Requirement, distribution(name).requires or ()):
        asked = [{"extra": extra} for extra in ("", *extras)]
        if requirement.marker is None or any(requirement.marker.evaluate(extra) for extra in asked):
            yield from _needed(requirement.name, tuple(requirement.extras), seen)


def _licence(metadata: object) -> str:
    """Return the licence of a distribution: the licence expression of its metadata.

    Older metadata have no expression. Return their short licence field or their licence classifier
    instead.
    """
    fields = cast(Message, metadata)
    field = fields.get("License-Expression") or fields.get("License") or ""
    classifiers = [
        text for text in fields.get_all("Classifier") or () if text.startswith("License ::")
    ]
    if (field and (len(field) < SHORT or fields.get("License-Expression"))) or not classifiers:
        return str(field)
    return str(classifiers[0].rpartition(" :: ")[2])


def _licence_of_file(package: Distribution) -> str:
    """Return "MIT" if the metadata name no licence, but a file with its text; "" for other texts."""
    texts = (
        file.read_text(encoding="utf-8")
        for file in package.files or ()
        if file.name.startswith("LICENSE")
    )
    return "MIT" if any(MIT in text for text in texts) else ""


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
