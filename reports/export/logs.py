"""A run's histograms as one HdrHistogram log: its own, or of a run without one the sum of its workers'."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc

from bench.errors import UsageError
from bench.foreign import read_file
from bench.run import folder as run_folder
from bench.run import histograms as hdr
from bench.run.folder import SCHEMAS, TableName
from bench.units import NS_PER_S
from reports.runs import read_histograms

AS_IT_IS = "surrogateescape"
"""A log is ASCII; what is none is copied as it stands."""


def write_log(path: Path, folder: Path, measure: str | None) -> int:
    """Write the log, of one measure alone if it is named; returns the number of histograms.

    Raises UsageError where the run has no histogram of that measure.
    """
    kept = [line for line in _lines(folder) if measure is None or not _is_other(line, measure)]
    count = sum(line.startswith("Tag=") for line in kept)
    if measure is not None and not count:
        found = sorted({_measure_of(line) for line in _lines(folder) if line.startswith("Tag=")})
        raise UsageError(f"{folder} has no histogram of {measure}; it has {', '.join(found) or 'none at all'}")
    path.write_text("".join(kept), encoding="utf-8", errors=AS_IT_IS, newline="")
    return count


def _any_simulated(folder: Path, table: TableName) -> bool:
    return bool(pc.any(run_folder.read_table(folder, table, ["simulated"])["simulated"]).as_py())


def _is_other(line: str, measure: str) -> bool:
    return line.startswith("Tag=") and _measure_of(line) != measure


def _measure_of(line: str) -> str:
    """`Tag=measure|target|step|phase,…`."""
    return line.removeprefix("Tag=").partition("|")[0]


def _lines(folder: Path) -> Iterator[str]:
    """The log as the run's end wrote it, else as it would be written now."""
    final = run_folder.histograms_path(folder)
    if final.exists():
        yield from read_file(final).decode("utf-8", AS_IT_IS).splitlines(keepends=True)
        return
    document = run_folder.read_document(folder)
    began_ns = int(document["began_utc_ns"])
    last_s = pc.max(run_folder.read_table(folder, "seconds", ["second"])["second"]).as_py()
    ended_ns = began_ns if last_s is None else (last_s + 1) * NS_PER_S
    simulated = bool(document.get("simulated")) or any(_any_simulated(folder, table) for table in SCHEMAS)
    yield from hdr.header(began_ns, simulated=simulated).splitlines(keepends=True)
    yield from read_histograms(folder, document).lines(began_ns, ended_ns)
