"""Histograms of the times that rows hold: those of turns and of sessions are made of a run's rows, and in no other way.

So they are complete whenever the rows are, and cost nothing while the run goes on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bench.measures import CATALOGUE, Measure, Scope
from bench.outcomes import GOOD
from bench.run import folder as files
from bench.run.histograms import ALL, MEASURED, Histograms, Key, StepLabels, turn_step
from bench.run.measured import CARRIED, values_ns
from bench.run.part import AnyPart
from bench.units import NS_PER_US

FROM_ROWS = tuple(
    name for name, measure in CATALOGUE.items() if measure.unit == "ms" and (measure.begin or measure.column)
)
"""The times that rows hold: of turns, of sessions, and of the harness with them."""

Integers = npt.NDArray[np.int64]
KeyedValues = Sequence[tuple[Key, Integers]]
"""Which rows are counted under which key, which has no measure yet; a key may stand there twice."""


def all_histograms(folder: Path, parts: Iterable[AnyPart]) -> Histograms:
    """The histograms of a run that is not closed, with what was counted beside them: of all parts, and of the rows.

    A worker of an older version has recorded the times of rows, too, and a run that was closed has those and its rates;
    they are left out. Raises UsageError where the histograms of a part cannot be read.
    """
    total = Histograms()
    for part in parts:
        total.merge(part.histograms())
        total.out_of_range.update(part.facts.out_of_range)
        total.negative.update(part.facts.negative)
    total.discard((*FROM_ROWS, *CARRIED))
    record_rows(folder, total)
    return total


def record_rows(folder: Path, histograms: Histograms) -> None:
    """Record the times of all good turns and of all sessions of a run."""
    _record_table(folder, histograms, "turns", ("turn",), list(_good_turns(folder)))
    _record_table(folder, histograms, "sessions", ("session", "harness"), list(_sessions(folder)))


def _record_table(
    folder: Path, histograms: Histograms, table: files.TableName, scopes: Sequence[Scope], places: KeyedValues
) -> None:
    """Record a table measure by measure, from the columns that it needs alone."""
    read = files.column_reader(folder, table)
    for measure in (CATALOGUE[name] for name in FROM_ROWS):
        if measure.scope in scopes:
            there, values_us = _values_us(read(list(measure.columns)), measure)
            for key, mine in places:
                histograms.record_all(key._replace(measure=measure.name), values_us[mine[there[mine]]])


def _values_us(rows: pa.Table, measure: Measure) -> tuple[npt.NDArray[np.bool_], Integers]:
    """Which rows have the measure, and its values, in whole µs."""
    values = values_ns(rows, measure)
    return ~np.isnan(values), np.nan_to_num(values).astype(np.int64) // NS_PER_US


def _good_turns(folder: Path) -> Iterator[tuple[Key, Integers]]:
    """The places of good turns by where they are counted."""
    names = ["worker", "target", "phase", "script", "step", "traits", "origin"]
    rows = files.read_table(folder, "turns", [*names, "outcome"])
    good = np.flatnonzero(pc.is_in(rows["outcome"], pa.array(sorted(GOOD))).to_numpy())
    labels = _counted_labels(rows.select(["worker", "script", "step"]))
    for (worker, target, phase, script, step, *stratum), places in _grouped(rows.select(names).take(good)):
        counted = turn_step(script, labels[worker, script, step], *stratum)
        yield Key("", target, counted, phase or MEASURED), good[places]


def _counted_labels(rows: pa.Table) -> dict[tuple[Any, ...], str]:
    """The label under which each worker's steps are counted: it met them in the order of its rows."""
    firsts = sorted(((int(places[0]), met) for met, places in _grouped(rows)), key=itemgetter(0))
    of_worker: defaultdict[Any, StepLabels] = defaultdict(StepLabels)
    return {met: of_worker[met[0]].counted(*met[1:]) for _, met in firsts}


def _sessions(folder: Path) -> Iterator[tuple[Key, Integers]]:
    """The places of all sessions by where they are counted."""
    for (target, phase), places in _grouped(files.read_table(folder, "sessions", ["target", "phase"])):
        yield Key("", target, ALL, phase or MEASURED), places


def _grouped(labels: pa.Table) -> Iterator[tuple[tuple[Any, ...], Integers]]:
    """The places of rows that have the same labels, with these."""
    names = labels.column_names
    rows = labels.append_column("place", pa.array(np.arange(len(labels))))
    groups = rows.group_by(names, use_threads=False).aggregate([("place", "list")])
    for place, group in enumerate(groups.select(names).to_pylist()):
        yield tuple(group.values()), groups["place_list"][place].values.to_numpy()
