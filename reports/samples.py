"""Which rows are a sample of which measure: frames → `statistics.Sample`.

Turns of the phase `measure` (or of none) count. Good turns enter with their value; one without it (an `ok` turn without
text has no ttft) is no sample of that measure. Failed turns enter as +inf wherever the measure *applies*: where any
good turn of the same target and step has it, else any good turn of that step at another target, else, when nothing of
the step ever succeeded, where it is the run's main measure or response_total. Of measures that are no waiting time
(audio_speed, transcript_lead) endlessness says nothing: failed turns are counted beside them. Censored turns are left
out, counted.

Latencies of different origins are never pooled. A step has one kind of origin; where steps differ, a target's figure is
of the steps with the commonest one, and the others are named (`Turns.apart`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.errors import UsageError
from bench.measures import CATALOGUE, Measure
from reports.runs import Run, sequence
from reports.statistics import Floats, Integers, Sample, sample

Flags = npt.NDArray[np.bool_]
GOOD, FAILED, CENSORED = 0, 1, 2
UNNAMED = "unnamed"
ALWAYS = "response_total"


@dataclass(frozen=True)
class Turns:
    """The measured turns of a run as arrays of one length, labels as codes."""

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
    pooled: Flags
    """for each step: its origin is the commonest one, so it is in the figures of all steps"""

    @property
    def apart(self) -> list[str]:
        """Steps that count from another origin than most turns."""
        return [name for name, pooled in zip(self.steps, self.pooled, strict=True) if not pooled]

    @cached_property
    def group(self) -> Integers:
        """Target and step in one code."""
        return self.target * len(self.steps) + self.step

    def value(self, measure: str) -> Floats:
        """The measure of each turn in its unit, NaN where it is absent."""
        column = column_of(measure)
        if column not in self.frame.columns:
            return np.full(self.rows.size, np.nan)
        values = self.frame[column].to_numpy(dtype=np.float64)
        return values if values.size == self.rows.size else values[self.rows]

    def by_group(self, mask: Flags) -> npt.NDArray[np.int64]:
        """How many turns of the mask each target (row) has of each step (column)."""
        size = len(self.targets) * len(self.steps)
        return np.bincount(self.group[mask], minlength=size).reshape(len(self.targets), len(self.steps))


@dataclass(frozen=True)
class Sampled:
    """One measure's values, ascending over the whole run: samples of any part need no further sort."""

    measure: Measure
    turns: Turns
    values: Floats
    index: Integers
    """beside each value, its place in `turns`"""
    failed: npt.NDArray[np.int64]
    censored: npt.NDArray[np.int64]
    applies: Flags
    """by target (row) and step (column)"""

    def of(self, target: int, step: int | None = None) -> Sample:
        """The sample of a target, of one step or of all that may be pooled."""
        chosen = self.turns.pooled if step is None else np.arange(len(self.turns.steps)) == step
        here = (self.turns.target[self.index] == target) & chosen[self.turns.step[self.index]]
        return Sample(
            self.values[here],
            self.turns.session[self.index[here]],
            int(self.failed[target][chosen].sum()),
            int(self.censored[target][chosen].sum()),
        )


def column_of(measure: str) -> str:
    """The column of a measure in a frame."""
    return f"{measure}_ms" if CATALOGUE[measure].unit == "ms" else measure


def measured(frame: pd.DataFrame) -> Integers:
    """Rows of the measured phase; a row without a phase belongs to it."""
    phase = frame["phase"]
    return np.flatnonzero((phase.isna() | (phase == "measure")).to_numpy())


def target_labels(run: Run) -> tuple[str, ...]:
    """In the order of the run's document, then whatever else the rows name."""
    known = [str(target.get("label", "")) for target in run.document.get("targets") or [] if target.get("label")]
    seen = {label for frame in (run.turns, run.sessions) if len(frame) for label in sequence(frame, "target")}
    listed = [label for label in known if label in seen]
    return tuple(dict.fromkeys([*listed, *sorted(seen - set(listed))]))


def turns_of(run: Run) -> Turns:
    """The measured turns. Raises UsageError where a step mixes kinds of origin."""
    frame, rows, targets = run.turns, measured(run.turns), target_labels(run)
    steps, step_of_row = _steps(frame, rows)
    step = step_of_row[rows]
    origins, origin = _codes(frame["origin"], rows)
    pooled = _pooled(steps, step, origins, origin)
    labels, label = _codes(frame["target"], rows)
    place = np.array([targets.index(name) for name in labels], dtype=np.int64)
    kind = frame["outcome_class"].cat.codes.to_numpy()[rows].astype(np.int64)
    session = frame["session_id"].cat.codes.to_numpy()[rows].astype(np.int64)
    return Turns(
        frame, rows, targets, steps, place[label] if rows.size else label, step, step_of_row, session, kind, pooled
    )


def _codes(column: pd.Series[Any], rows: Integers) -> tuple[list[str], Integers]:
    """Labels of a categorical and each row's code; the last label is for rows without one, where there are such."""
    codes = column.cat.codes.to_numpy()[rows].astype(np.int64)
    labels = [str(name) for name in column.cat.categories]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(labels), codes)
        labels.append(UNNAMED)
    return labels, codes


def _steps(frame: pd.DataFrame, rows: Integers) -> tuple[tuple[str, ...], Integers]:
    """Measured steps, script by script, by the earliest turn that has them; the step of every row."""
    labels, codes = _script_steps(frame)
    first = np.full(len(labels), np.inf)
    np.minimum.at(first, codes[rows], np.nan_to_num(frame["turn"].to_numpy(dtype=np.float64)[rows]))
    present = [index for index in range(len(labels)) if first[index] < np.inf]
    order = sorted(present, key=lambda index: (labels[index].rpartition(": ")[0], first[index], labels[index]))
    place = np.full(max(1, len(labels)), -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    return tuple(labels[index] for index in order), place[codes]


def _script_steps(frame: pd.DataFrame) -> tuple[list[str], Integers]:
    """Labels of steps and each row's code. Steps of two scripts are two steps, whatever their labels."""
    every = np.arange(len(frame))
    labels, codes = _codes(frame["step"], every)
    scripts, script = _codes(frame["script"], every)
    if np.unique(script).size < 2:
        return labels, codes
    return [f"{name}: {label}" for name in scripts for label in labels], script * len(labels) + codes


def _pooled(steps: tuple[str, ...], step: Integers, origins: list[str], origin: Integers) -> Flags:
    known = np.array([name != UNNAMED for name in origins] or [False])
    table = np.zeros((len(steps), known.size), dtype=np.int64)
    np.add.at(table, (step, origin), 1)
    table = table[:, known]
    for name, counts in zip(steps, table, strict=True):
        if np.count_nonzero(counts) > 1:
            kinds = " and ".join(o for o in origins if o != UNNAMED)
            raise UsageError(f"step {name!r} mixes turns that count from different origins ({kinds})")
    if not table.size:
        return np.ones(len(steps), dtype=bool)
    common = int(table.sum(axis=0).argmax())
    pooled: Flags = (table.sum(axis=1) == 0) | (table[:, common] > 0)
    return pooled


def sampled(turns: Turns, name: str, main: str) -> Sampled:
    """One measure over the run. `main` is the run's main measure, which applies to what never succeeded."""
    measure, values = CATALOGUE[name], turns.value(name)
    there = (turns.kind == GOOD) & ~np.isnan(values)
    applies = _applies(turns, there, name in (main, ALWAYS))
    member = applies.ravel()[turns.group] if turns.rows.size else np.zeros(0, dtype=bool)
    failed = (turns.kind == FAILED) & member
    waits = measure.better == "lower"
    index = np.flatnonzero(there | failed if waits else there)
    drawn = np.where(failed[index], np.inf, values[index])
    order = np.argsort(drawn, kind="stable")
    counted = turns.by_group(failed), turns.by_group((turns.kind == CENSORED) & member)
    return Sampled(measure, turns, drawn[order], index[order], *counted, applies)


def _applies(turns: Turns, there: Flags, always: bool) -> Flags:
    has, good = turns.by_group(there) > 0, turns.by_group(turns.kind == GOOD) > 0
    elsewhere = np.where(good.any(axis=0), has.any(axis=0), always)
    result: Flags = np.where(good, has, elsewhere[None, :])
    return result


def session_sample(frame: pd.DataFrame, name: str) -> Sample | None:
    """One measure of sessions, each its own cluster; None where no session has it.

    A session that failed before the measure's end counts as +inf; one that failed later keeps its value. session_length
    is no waiting time: failed sessions are left out of it, counted.
    """
    values = frame[column_of(name)].to_numpy(dtype=np.float64)
    kind, there = frame["outcome_class"].cat.codes.to_numpy(), ~np.isnan(values)
    if not there.any():
        return None
    waits = CATALOGUE[name].better == "lower"
    failed = (kind == FAILED) & (~there if waits else np.ones_like(there))
    kept = np.flatnonzero((there & ~failed) | (failed if waits else False))
    drawn = np.where(failed[kept], np.inf, values[kept])
    return sample(drawn, kept, failed=int(failed.sum()), censored=int(((kind == CENSORED) & ~there).sum()))
