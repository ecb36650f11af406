"""Marks of a run: events that another process records while the run is in progress, such as the
start of a deploy. They become events of run.json when the run is finalized.

A mark is one line, which one call appends to a file of the run's folder. So it is complete or
missing, and survives a crash of the run.
"""

from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, json

from bench.base.errors import UsageError
from bench.base.units import NS_PER_S
from bench.files.safe_io import JsonError, read_file, read_json
from bench.record import folder as files
from bench.record.document import UtcNs
from bench.record.presence import file_status
from bench.record.writers import is_under_way

FILE = "marks.jsonl"


class Mark(Struct, frozen=True):
    """An event, and its instant on the clock of the machine, which all processes of it share."""

    name: Annotated[str, Meta(max_length=40)]
    at_utc_ns: UtcNs


def add_mark(folder: Path, mark: Mark) -> float:
    """Append a mark to a run in progress. Return its time in seconds after the start of the load.

    Raise UsageError if the run has stopped, or is in its warm-up.
    """
    document = files.read_document(folder)
    if document["state"] != "running" or not is_under_way(folder, document):
        raise UsageError(f"{folder} is not in progress on this machine: name a run that is")
    at_s: float = (mark.at_utc_ns - document["started_utc_ns"]) / NS_PER_S
    if at_s <= (warmup_s := document["warmup_s"]):
        raise UsageError(
            f"{folder} is in its warm-up of {warmup_s:g} s, so nothing is measured before"
            f" {mark.name}: mark it later, or run with --warmup 0"
        )
    try:
        with (folder / FILE).open("ab", buffering=0) as file:
            file.write(json.encode(mark) + b"\n")
    except OSError as error:
        raise UsageError(f"{folder / FILE} cannot be written: {error.strerror}") from None
    # a run reads its marks after it has changed its state
    if files.read_document(folder)["state"] != "running":
        raise UsageError(f"{folder} has just stopped, and may lack {mark.name}: mark it earlier")
    return at_s


def with_marks(folder: Path, document: dict[str, Any]) -> dict[str, Any]:
    """Return the content of run.json with the marks of the run among its events. A name that
    repeats gets a number. A line that is damaged is left out.
    """
    if file_status(folder / FILE) is None:
        return document
    events = list(document.get("events") or ())
    for line in read_file(folder / FILE).splitlines():
        try:
            mark = read_json(line, Mark)
        except JsonError:
            continue
        known = {event["name"] for event in events}
        names = chain([mark.name], map(f"{mark.name}-{{}}".format, count(2)))
        name = next(name for name in names if name not in known)
        at_s = (mark.at_utc_ns - document["started_utc_ns"]) / NS_PER_S
        events.append({"name": name, "planned_s": at_s, "at_utc_ns": mark.at_utc_ns})
    return document | {"events": events}
