"""The measured turns of a run as arrays, and which of them may be pooled.

Turns of the phase `measure` (or of none) count. Latencies that count from different origins are never pooled: a label
under which turns count from both is two steps, and where steps differ, a target has a pool for each kind.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.measures import CATALOGUE
from bench.run.histograms import MAX_STEPS, OTHER_STEP
from bench.run.measured import origin_ns, values_ns
from bench.units import NS_PER_MS
from reports.lost import lost_by_step
from reports.runs import Run, sequence
from reports.statistics.quantiles import Floats, Integers

Flags = npt.NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)
GOOD, FAILED, CENSORED = 0, 1, 2
UNNAMED = "unnamed"
ORIGINS = {"requested": "response.create", "speech_end": "the end of speech"}
"""What latency counts from, in the order in which reports show it, and its words."""
STARTED_BY = {"requested": "turns with response.create", "speech_end": "VAD turns"}
"""What started the response, in words: for measures that count from the end of speech whatever the origin."""


@dataclass(frozen=True)
class Pool:
    """Turns of one target that may be pooled."""

    target: int
    origin: str
    """what they count from; empty for a measure that counts from nothing"""
    label: str
    """the target, with the origin where the run has several"""
    steps: Flags


@dataclass(frozen=True)
class Turns:
    """The measured turns of a run as arrays of one length, labels as codes (of four bytes: there may be millions)."""

    frame: pd.DataFrame
    """all turns of the run; `rows` says which of its rows are here"""
    rows: Integers
    targets: tuple[str, ...]
    steps: tuple[str, ...]
    target: Integers
    step: Integers
    step_of_row: Integers
    """the step of each row of `frame`, −1 for one that no measured turn has"""
    session: Integers
    kind: Integers
    origins: tuple[str, ...]
    """those that steps of this run count from, in the order of ORIGINS"""
    origin: Integers
    """of each step, its place among `origins`"""
    lost: Integers
    """turns that were wanted and never begun, by target (row) and step (column)"""

    @cached_property
    def group(self) -> Integers:
        """Target and step in one code."""
        return self.target * len(self.steps) + self.step

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """For each target one pool for each origin of turns that it wanted; where it has none, one of the commonest."""
        begun, several = self.by_group(np.ones(self.rows.size, dtype=bool)), len(self.origins) > 1
        wanted = begun + self.lost > 0
        found = []
        for index, label in enumerate(self.targets):
            places = np.unique(self.origin[wanted[index]]) if wanted[index].any() else [self.commonest]
            for place in places:
                name = self.origins[int(place)]
                shown = f"{label} · from {ORIGINS[name]}" if several else label
                found.append(Pool(index, name, shown, self.origin == place))
        return tuple(found)

    @property
    def commonest(self) -> int:
        """The place of the origin that most turns count from."""
        return int(np.bincount(self.origin[self.step], minlength=len(self.origins)).argmax()) if self.rows.size else 0

    @cached_property
    def origins_ns(self) -> Floats:
        """The instant that the measures of each row of `frame` count from."""
        return origin_ns(self.frame)

    def value(self, measure: str) -> Floats:
        """The measure of each turn in its unit, NaN where it is absent."""
        return of_rows(self.value_of_rows(measure), self.rows)

    def value_of_rows(self, measure: str) -> Floats:
        """The measure of each row of `frame`, those of warm-up too, in its unit; NaN where it is absent."""
        return values_of(self.frame, measure, self.origins_ns)

    def instant(self, name: str) -> Floats:
        """An instant of each turn, ns after its start, NaN where it did not happen."""
        return self.column(f"{name}_at_ns")

    def column(self, name: str) -> Floats:
        """A column of numbers, NaN where it is null."""
        return of_rows(self.frame[name].to_numpy(dtype=np.float64, na_value=np.nan), self.rows)

    @cached_property
    def good(self) -> Flags:
        """Which of the turns succeeded."""
        flags: Flags = self.kind == GOOD
        return flags

    @cached_property
    def good_by_group(self) -> npt.NDArray[np.int64]:
        """How many of them each target (row) has of each step (column)."""
        return self.by_group(self.good)

    def by_group(self, mask: Flags) -> npt.NDArray[np.int64]:
        """How many turns of the mask each target (row) has of each step (column)."""
        size = len(self.targets) * len(self.steps)
        return np.bincount(self.group[mask], minlength=size).reshape(len(self.targets), len(self.steps))

    def of(self, pool: Pool) -> Flags:
        """Which of the turns are of a pool."""
        mine: Flags = (self.target == pool.target) & pool.steps[self.step]
        return mine


def values_of(rows: pd.DataFrame, measure: str, origins_ns: Floats | None = None) -> Floats:
    """A measure of stored rows in its unit, NaN where it is absent; `origins_ns` where they are known already."""
    values = values_ns(rows, CATALOGUE[measure], origins_ns)
    return values / NS_PER_MS if CATALOGUE[measure].unit == "ms" else values


def column_of(measure: str) -> str:
    """The column of a measure in a frame."""
    found = CATALOGUE[measure]
    return f"{measure}_ms" if found.unit == "ms" else found.column


def measured(frame: pd.DataFrame) -> Integers:
    """Rows of the measured phase."""
    return np.flatnonzero(frame["measured"].to_numpy()).astype(np.int32)


def target_labels(run: Run) -> tuple[str, ...]:
    """In the order of the run's document, then whatever else the rows name."""
    known = [str(target.get("label", "")) for target in run.document.get("targets") or [] if target.get("label")]
    seen = {label for frame in (run.turns, run.sessions) if len(frame) for label in sequence(frame, "target")}
    listed = [label for label in known if label in seen]
    return tuple(dict.fromkeys([*listed, *sorted(seen - set(listed))]))


def turns_of(run: Run) -> Turns:
    """The measured turns."""
    frame, rows, targets = run.turns, measured(run.turns), target_labels(run)
    kind = frame["outcome_class"].cat.codes.to_numpy()
    labels, codes = _script_steps(frame, rows)
    place = _origin_places(codes, len(labels), place_of(frame["origin"], tuple(ORIGINS)), kind, rows)
    steps, origin, step_of_row = _steps(frame, rows, labels, codes, place)
    origins = np.unique(origin) if origin.size else np.zeros(1, dtype=np.int64)
    begun, sessions = frame[["script", "turn"]].iloc[rows], run.sessions.iloc[measured(run.sessions)]
    target, session = place_of(frame["target"], targets), frame["session_id"].cat.codes.to_numpy()
    step = of_rows(step_of_row, rows)
    return Turns(
        frame=frame,
        rows=rows,
        targets=targets,
        steps=steps,
        target=of_rows(target, rows),
        step=step,
        step_of_row=step_of_row,
        session=of_rows(session, rows).astype(np.int32, copy=False),
        kind=of_rows(kind, rows),
        origins=tuple(list(ORIGINS)[int(one)] for one in origins),
        origin=np.searchsorted(origins, origin),
        lost=lost_by_step(begun, step, sessions, place_of(sessions["target"], targets), targets, steps),
    )


def of_rows(values: npt.NDArray[Scalar], rows: Integers) -> npt.NDArray[Scalar]:
    """Those of some rows, ascending; the same array where they are all rows: copies of a million are not small."""
    return values if values.size == rows.size else values[rows]


def place_of(column: pd.Series[Any], labels: tuple[str, ...]) -> Integers:
    """The place of each row's label among these, −1 for any other."""
    place = {label: index for index, label in enumerate(labels)}
    of_category = np.array([*(place.get(str(name), -1) for name in column.cat.categories), -1], dtype=np.int32)
    codes: Integers = of_category[column.cat.codes.to_numpy()]
    return codes


def _codes(column: pd.Series[Any]) -> tuple[list[str], Integers]:
    """Labels of a categorical and each row's code; the last label is for rows without one, where there are such."""
    codes = column.cat.codes.to_numpy().astype(np.int32)
    labels = [str(name) for name in column.cat.categories]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(labels), codes)
        labels.append(UNNAMED)
    return labels, codes


def _script_steps(frame: pd.DataFrame, rows: Integers) -> tuple[list[str], Integers]:
    """Labels of steps and each row's code. Steps of two scripts are two steps, whatever their labels.

    Of each script the labels with the most measured turns stand by themselves, the others share one.
    """
    labels, codes = _codes(frame["step"])
    scripts, script = _codes(frame["script"])
    labels, codes = _pooled(labels, codes, script, rows)
    if np.unique(script).size < 2:
        return labels, codes
    return [f"{name}: {label}" for name in scripts for label in labels], script * len(labels) + codes


def _pooled(labels: list[str], codes: Integers, script: Integers, rows: Integers) -> tuple[list[str], Integers]:
    """The same with the code of `other` in rows of a script's labels beyond the thirty-two that have the most turns."""
    if len(labels) <= MAX_STEPS:
        return labels, codes
    turns = np.zeros((int(script.max(initial=0)) + 1, len(labels)), dtype=np.int64)
    np.add.at(turns, (script[rows], codes[rows]), 1)
    rank = np.argsort(np.argsort(-turns, axis=1, kind="stable"), axis=1)
    shared = (rank >= MAX_STEPS) & ((turns > 0).sum(axis=1) > MAX_STEPS)[:, None]
    if not shared.any():
        return labels, codes
    names = labels if OTHER_STEP in labels else [*labels, OTHER_STEP]
    return names, np.where(shared[script, codes], names.index(OTHER_STEP), codes)


def _origin_places(codes: Integers, labels: int, named: Integers, kind: Integers, rows: Integers) -> Integers:
    """What each row of a label is taken to count from, as a place in ORIGINS.

    A label counts from what its measured turns surely count from: good ones, and any that got as far as
    response.create. A failed turn may have ended before it was clear who would end it; where it names none of its
    label's origins, it is taken for one of the commoner. So is a turn without an origin, and a label of which no turn
    names any is taken for one of the run's commonest.
    """
    sure = rows[(kind[rows] == GOOD) | (named[rows] == 0)]
    every = _table(codes[rows], labels, named[rows])
    surely = _table(codes[sure], labels, named[sure])
    known = np.where(surely.any(axis=1, keepdims=True), surely, every)
    commoner = np.where(known.any(axis=1), known.argmax(axis=1), every.sum(axis=0).argmax())
    own = (named >= 0) & (known[codes, np.maximum(named, 0)] > 0)
    places: Integers = np.where(own, named, commoner[codes])
    return places


def _table(codes: Integers, labels: int, named: Integers) -> npt.NDArray[np.int64]:
    """How many turns each label (row) has of each of ORIGINS (column)."""
    table = np.zeros((labels, len(ORIGINS)), dtype=np.int64)
    kept = named >= 0
    np.add.at(table, (codes[kept], named[kept]), 1)
    return table


def _steps(
    frame: pd.DataFrame, rows: Integers, labels: list[str], codes: Integers, place: Integers
) -> tuple[tuple[str, ...], Integers, Integers]:
    """Measured steps, script by script, by the earliest turn that has them; the origin of each; the step of every row.

    A label with both origins is two steps, named apart.
    """
    kinds = len(ORIGINS)
    first = np.full(len(labels) * kinds, np.inf)
    whole = codes * kinds + place
    np.minimum.at(first, whole[rows], np.nan_to_num(frame["turn"].to_numpy(dtype=np.float64)[rows]))
    present = [index for index in range(first.size) if first[index] < np.inf]
    origins = Counter(index // kinds for index in present)
    order = sorted(present, key=lambda index: (labels[index // kinds].rpartition(": ")[0], first[index], index))
    step_of = np.full(max(1, first.size), -1, dtype=np.int32)
    step_of[order] = np.arange(len(order))
    words = [f", from {said}" for said in ORIGINS.values()]
    names = [labels[i // kinds] + (words[i % kinds] if origins[i // kinds] > 1 else "") for i in order]
    return tuple(names), np.array([index % kinds for index in order], dtype=np.int64), step_of[whole]
