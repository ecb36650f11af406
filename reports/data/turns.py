"""The measured turns of a run as arrays, and the pools of turns. A pool is the turns that may be in
one sample.

A turn is measured if its phase is `metric`, or if it has no phase. Strata are defined in
`reports.metrics.strata`. If the turns of a label have several strata, the label becomes several
steps. If the steps of a target have several strata, the target has a pool for each stratum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS
from bench.catalogue.metrics import CATALOGUE, REGULAR, Metric
from bench.record.histograms import MAX_STEPS, OTHER_STEP
from bench.record.metric_values import TableRows, floats, measured_from_ns, values_ns
from reports.data.planned_turns import TurnOfScript, planned_turns
from reports.data.runs import RunFrames, by_label, sequence, target_entries
from reports.metrics import step_names
from reports.metrics.strata import MEASURED_FROM_PHRASES, MEASURED_FROM_TEXTS, Stratum, in_order
from reports.statistics.counting import Flags, Floats, Integers, count_nonzero

POSITIONS: tuple[list[str], ...] = (
    ["target", "script", "turn"],
    ["script", "turn"],
    ["target", "script"],
    ["script"],
    [],
)
"""The sets of columns by which the step of a turn that did not start is guessed: it is the most
frequent step of the started turns with the same values in these columns. The first set, which has
the most columns, is tried first.

The turns of a call are numbered from 1.
"""


@dataclass(frozen=True)
class NotStartedTurns:
    """The turns that did not start, as arrays with one value for each turn.

    `session`, `target` and `step` are codes.
    """

    session: Integers
    target: Integers
    step: Integers
    number: Integers
    """The number of the turn in its call, from 1."""
    position: Integers
    """The index of the turn's session among the measured sessions."""
    at_utc_ns: Integers
    """The end of the turn's session, or the session's start if no end was recorded."""

    def of(self, target: int, steps: Flags) -> Flags:
        """Return a mask of the turns that belong to some steps of a target."""
        mask: Flags = (self.target == target) & steps[self.step]
        return mask


def not_started_of(sessions: pd.DataFrame) -> Integers:
    """Return how many planned turns each session did not start; 0 if the end of the run
    interrupted the session.
    """
    has_ended = (sessions["outcome_class"] != "unfinished").to_numpy()
    return (_number(sessions["turns_not_started"]) * has_ended).astype(int)


def unopened_of(sessions: pd.DataFrame) -> Flags:
    """Return a mask of the sessions that did not open: they failed before the service confirmed
    their settings.
    """
    mask: Flags = (
        sessions["session_updated_at_ns"].isna() & (sessions["outcome_class"] == "failed")
    ).to_numpy()
    return mask


def turns_not_started(
    started: pd.DataFrame,
    sessions: pd.DataFrame,
    target: Integers,
    session: Integers,
    planned: Sequence[tuple[int, str, int, int]] = (),
) -> NotStartedTurns:
    """Return the turns that did not start. The step of such a turn is the most frequent step at its
    position.

    `planned` has the planned turns as (target, script, turn, step). If no turn started at a
    position, its step is the planned one.
    """
    counts = not_started_of(sessions)
    if not (counts.any() and len(started)):
        return NotStartedTurns(*np.zeros((6, 0), int))
    targets = np.repeat(target, counts)
    numbers = turn_numbers(sessions, counts)
    script, started_script = (
        by_label(frame["script"].cat, str, "", object) for frame in (sessions, started)
    )
    positions = pd.DataFrame(
        {"target": targets, "script": np.repeat(script, counts), "turn": numbers}
    )
    counted = (
        started.assign(script=started_script)
        .groupby([*POSITIONS[0], "step"])
        .size()
        .rename("n")
        .reset_index()
    )
    if planned:
        of_plan = pd.DataFrame(planned, columns=[*POSITIONS[0], "step"]).assign(n=0)
        counted = pd.concat([counted, of_plan], ignore_index=True)
    step = pd.Series(np.nan, index=positions.index)
    for keys in POSITIONS:
        if step.notna().all():
            break
        known = (
            counted.groupby([*keys, "step"])["n"]
            .sum()
            .sort_values(ascending=False, kind="stable")
            .reset_index()
        )
        if keys:
            step = step.fillna(positions.merge(known.drop_duplicates(keys), "left", keys)["step"])
        else:
            step = step.fillna(known["step"].iloc[0])
    ended_ns = sessions["start_utc_ns"].to_numpy(int) + _number(sessions["ended_at_ns"]).astype(int)
    steps = step.to_numpy().astype(int)
    rows = np.arange(len(sessions))
    return NotStartedTurns(
        np.repeat(session, counts),
        targets,
        steps,
        numbers,
        np.repeat(rows, counts),
        np.repeat(ended_ns, counts),
    )


def turn_numbers(sessions: pd.DataFrame, counts: Integers) -> Integers:
    """Return the number of each turn that did not start. The numbers continue those of the
    call's started turns, without those that began again.
    """
    started = _number(sessions["turns_started"]).astype(int)
    if sessions["renewed"].any():
        started -= _number(sessions["turns_repeated"]).astype(int)
        call = sessions["session_id"].astype(str).str.partition(".")[0].to_numpy()
        order = np.argsort(sessions["start_utc_ns"].to_numpy(), kind="stable")
        started[order] = (
            pd.Series(started[order]).groupby(call[order], sort=False).cumsum().to_numpy()
        )
    return np.repeat(started + 1 - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def _number(column: pd.Series[float]) -> Floats:
    numbers: Floats = np.nan_to_num(column.to_numpy(float))
    return numbers


OF_INTERRUPTIONS = ("barge_in", "truncate_sent")
"""The instants at which the metrics of an interrupted reply begin."""
Scalar = TypeVar("Scalar", bound=np.generic)
GOOD = 0
FAILED = 1
UNFINISHED = 2
UNNAMED = "unnamed"


@dataclass(frozen=True)
class Pool:
    """The turns of one target that may be in one sample."""

    target: int
    stratum: Stratum
    label: str
    """The name of the target. If the run has several strata, the label also has how this stratum
    differs from the others."""
    steps: Flags


class ContextLengths(NamedTuple):
    """The length of the conversation that each turn continues, in input tokens; NaN if it is
    unknown. `is_bound` is a mask of the turns of which only a lower bound is known.
    """

    tokens: Floats
    is_bound: Flags


def pool_label(
    target: str, stratum: Stratum, among: Sequence[Stratum], origins: Mapping[str, str]
) -> str:
    """Return the name of the target, and how its stratum differs from the strata `among`."""
    differing = stratum.filtered_by(among, origins)
    return f"{target} · {differing}" if differing else target


@dataclass(frozen=True)
class TurnArrays:
    """The measured turns of a run as arrays with one value for each turn. Labels are codes of four
    bytes, to save memory.
    """

    frame: pd.DataFrame
    """All turns of the run. `rows` is the indexes of the measured turns. The arrays have a value
    for each of these."""
    rows: Integers
    targets: tuple[str, ...]
    steps: tuple[str, ...]
    labels: tuple[str, ...]
    """The label that the script has for each step. If the turns of a label have several strata, it
    is the label of several steps."""
    target: Integers
    step: Integers
    step_of_row: Integers
    """The step of each row of `frame`; −1 if the step has no measured turns."""
    session: Integers
    session_of_row: Integers
    """The session code of each row of `RunFrames.sessions`. A session without turns also has its
    own code."""
    kind: Integers
    strata: tuple[Stratum, ...]
    """The strata of this run's steps. They are in the order of MEASURED_FROM_TEXTS, with regular
    turns first."""
    stratum: Integers
    """The index in `strata` of the stratum of each step."""
    is_greeting: Flags
    """A mask of the steps in which the service speaks first. Metrics of turns do not apply to
    them."""
    not_started: NotStartedTurns

    @cached_property
    def group(self) -> Integers:
        """The target and the step of each turn, combined in one code."""
        return self.target * len(self.steps) + self.step

    @cached_property
    def number(self) -> Integers:
        """The number of each turn in its session, from 1; 0 if it is unknown."""
        return np.nan_to_num(self.column("turn")).astype(np.int32)

    @cached_property
    def sessions(self) -> int:
        """The number of different session codes."""
        known = self.frame["session_id"].cat.categories.size
        return max(known, int(self.session_of_row.max(initial=-1)) + 1)

    @cached_property
    def not_started_by_group(self) -> Integers:
        """The number of turns that did not start, by target (row) and step (column)."""
        return self._counted(self.not_started.target * len(self.steps) + self.not_started.step)

    @cached_property
    def pools(self) -> tuple[Pool, ...]:
        """The pools of each target. It has a pool for each stratum of which turns were planned. A
        target without planned turns has a pool of the stratum that is most frequent in the run.
        """
        is_planned = self.by_group(np.ones(self.rows.size, bool)) + self.not_started_by_group > 0
        pools = []
        for index, target in enumerate(self.targets):
            for position in (
                np.unique(self.stratum[is_planned[index]])
                if is_planned[index].any()
                else [self.commonest]
            ):
                stratum = self.strata[int(position)]
                label = pool_label(target, stratum, self.strata, MEASURED_FROM_PHRASES)
                pools.append(Pool(index, stratum, label, self.stratum == position))
        return tuple(pools)

    @cached_property
    def commonest(self) -> int:
        """The index of the stratum with the most turns."""
        return (
            int(np.bincount(self.stratum[self.step], minlength=len(self.strata)).argmax())
            if self.rows.size
            else 0
        )

    @cached_property
    def measured_from_ns(self) -> Floats:
        """For each row of `frame`, the instant from which its metrics are measured."""
        return measured_from_ns(self.frame)

    def value(self, metric: str) -> Floats:
        """Return the value of a metric for each turn, in the unit of the metric; NaN if it is
        missing.
        """
        return of_rows(values_of(self.frame, metric, self.measured_from_ns), self.rows)

    def due(self, metric: Metric) -> Flags:
        """Return a mask of the successful turns that should have a metric if other turns of their
        step have it. A turn that was interrupted may lack all metrics but those of its
        interruption.
        """
        is_due = metric.is_due(TableRows(self.frame, self.measured_from_ns))
        due: Flags = self.succeeded & of_rows(np.broadcast_to(is_due, len(self.frame)), self.rows)
        if metric.begin not in OF_INTERRUPTIONS:
            due = due & self.labelled("outcome", "ok")
        return due

    def labelled(self, column: str, *labels: str) -> Flags:
        """Return a mask of the turns that have one of these labels in a column."""
        of_frame = by_label(self.frame[column].cat, labels.__contains__, False, np.bool_)
        return of_rows(of_frame, self.rows)

    def instant(self, name: str) -> Floats:
        """Return the time of an instant for each turn, in ns after the start of the turn; NaN if
        it did not happen.
        """
        return self.column(f"{name}_at_ns")

    def column(self, name: str) -> Floats:
        """Return a column of numbers for each turn. Null becomes NaN."""
        return of_rows(floats(self.frame, name), self.rows)

    @cached_property
    def spoken(self) -> Flags:
        """A mask of the turns in which the caller speaks. The others are typed."""
        return ~np.isnan(self.instant("speech_start")) | ~np.isnan(self.instant("speech_end"))

    def spoken_from(self, measured_from: str) -> set[bool]:
        """Return whether the turns that are measured from an instant are spoken: {True},
        {False}, or both values.
        """
        if measured_from == "speech_end":
            return {True}
        steps = np.array([stratum.measured_from == measured_from for stratum in self.strata], bool)[
            self.stratum
        ]
        spoken = self.spoken[steps[self.step]]
        return {value for value, has in ((True, spoken.any()), (False, not spoken.all())) if has}

    @cached_property
    def context(self) -> ContextLengths:
        """The input tokens of the first response of each turn. If a failed turn reports none, they
        are those of the last turn of its session that reported them: a lower bound, because a
        conversation grows.
        """
        tokens = self.column("context_tokens")
        unreported = (self.kind == FAILED) & np.isnan(tokens)
        if not unreported.any() or np.isnan(floats(self.frame, "context_tokens")).all():
            return ContextLengths(tokens, np.zeros_like(unreported))
        session = self.frame["session_id"].cat.codes.to_numpy()
        rows = np.flatnonzero(np.isin(session, np.unique(self.session[unreported])))
        rows = rows[np.argsort(self.frame["start_utc_ns"].to_numpy()[rows], kind="stable")]
        of_session = pd.Series(floats(self.frame, "context_tokens")[rows]).groupby(session[rows])
        last_known = np.full(len(self.frame), np.nan)
        last_known[rows] = of_session.ffill().to_numpy()
        tokens = np.where(unreported, last_known[self.rows], tokens)
        return ContextLengths(tokens, unreported & ~np.isnan(tokens))

    @cached_property
    def succeeded(self) -> Flags:
        flags: Flags = self.kind == GOOD
        return flags

    @cached_property
    def failed(self) -> Integers:
        """The indexes of the failed turns."""
        return np.flatnonzero(self.kind == FAILED).astype(np.int32)

    @cached_property
    def unfinished(self) -> Integers:
        """The indexes of the turns that did not end."""
        return np.flatnonzero(self.kind == UNFINISHED).astype(np.int32)

    @cached_property
    def succeeded_by_group(self) -> Integers:
        """The number of successful turns, by target (row) and step (column)."""
        return self.by_group(self.succeeded)

    def by_group(self, chosen: Flags | Integers) -> Integers:
        """Return the number of chosen turns by target (row) and step (column). `chosen` is a
        mask or indexes.
        """
        return self._counted(self.group[chosen])

    def _counted(self, groups: Integers) -> Integers:
        size = len(self.targets) * len(self.steps)
        return np.bincount(groups, minlength=size).reshape(len(self.targets), len(self.steps))

    @cached_property
    def own_names(self) -> tuple[tuple[str, str], ...]:
        """The script of each step, and the name that the step has in this script."""
        scripts, codes = _codes(self.frame["script"])
        if np.unique(codes).size < 2:
            only = scripts[codes[0]] if codes.size else ""
            return tuple((only, label) for label in self.labels)
        by_length = sorted(scripts, key=len, reverse=True)
        of_labels = (
            next((name for name in by_length if label.startswith(f"{name}: ")), "")
            for label in self.labels
        )
        return tuple(
            (script, label.removeprefix(f"{script}: "))
            for script, label in zip(of_labels, self.labels, strict=True)
        )

    @cached_property
    def row_labels(self) -> dict[str, tuple[str | None, str | None]]:
        """The values that rows have in `script` and `step`, by the name of their step in
        reports, and by its label.
        """
        of_rows = [
            (script or None, None if name == UNNAMED else name) for script, name in self.own_names
        ]
        return dict(zip((*self.labels, *self.steps), of_rows * 2, strict=True))

    def steps_named(self, name: str) -> Flags:
        """Return a mask of the steps that have this name in reports, or that a user calls so
        (`step_names`).
        """
        named = np.array(
            [name in names for names in zip(self.steps, self.labels, strict=True)], bool
        )
        return named if named.any() else step_names.matching(name, self.own_names)

    def steps_in(self, stratum: Stratum) -> Flags:
        """Return a mask of the steps whose turns belong to the stratum."""
        return np.array([stratum.covers(other) for other in self.strata], bool)[self.stratum]

    def of(self, pool: Pool) -> Flags:
        """Return a mask of the turns of a pool."""
        mask: Flags = (self.target == pool.target) & pool.steps[self.step]
        return mask

    def not_started_in(self, pool: Pool) -> Flags:
        return self.not_started.of(pool.target, pool.steps)


def values_of(rows: pd.DataFrame, metric: str, origins_ns: Floats | None = None) -> Floats:
    """Return the values of a metric for stored rows, in the unit of the metric; NaN if it is
    missing. `origins_ns` is the instants from which the metric is measured, if they are known
    already.
    """
    values = values_ns(rows, CATALOGUE[metric], origins_ns)
    return values / NS_PER_MS if CATALOGUE[metric].unit == "ms" else values


def column_of(metric: str) -> str:
    """Return the name of the column that contains the metric in a frame."""
    known = CATALOGUE[metric]
    if known.unit == "ms":
        return f"{metric}_ms"
    return known.column if known.column and not known.of else metric


def rows_of(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """Return the rows of a target."""
    return frame[(frame["target"] == target).to_numpy()]


def measured_rows(frame: pd.DataFrame) -> Integers:
    """Return the indexes of the rows in the measured phase."""
    return np.flatnonzero(frame["measured"].to_numpy()).astype(np.int32)


NOT_STARTED_COLUMNS = [
    "session_id",
    "target",
    "script",
    "outcome_class",
    "turns_not_started",
    "turns_started",
    "turns_repeated",
    "renewed",
    "start_utc_ns",
    "ended_at_ns",
]


def measured_sessions(run: RunFrames, columns: list[str] | None = None) -> pd.DataFrame:
    """Return the sessions of the measured phase with these columns; if `columns` is None, with all
    columns. All columns of a hundred thousand sessions take 50 MB.
    """
    rows = measured_rows(run.sessions)
    sessions = run.sessions if columns is None else run.sessions[columns]
    return sessions if rows.size == len(sessions) else sessions.iloc[rows]


def target_labels(run: RunFrames) -> tuple[str, ...]:
    """Return the targets that occur in the rows: first those of the run's document, in its
    order, then the others.
    """
    known = [name for name, entry in target_entries(run.metadata).items() if entry.get("name")]
    seen = {
        label
        for frame in (run.turns, run.sessions)
        if len(frame)
        for label in sequence(frame, "target")
    }
    listed = [label for label in known if label in seen]
    return tuple(dict.fromkeys([*listed, *sorted(seen - set(listed))]))


def measured_turns(run: RunFrames) -> TurnArrays:
    """Return the measured turns. Raise UsageError if a row has no target."""
    for table, frame in (("turns", run.turns), ("sessions", run.sessions)):
        if len(frame) and frame["target"].isna().any():
            raise UsageError(f"{run.folder} is damaged: a row of its {table} has no target")
    frame = run.turns
    rows = measured_rows(run.turns)
    targets = target_labels(run)
    kind = frame["outcome_class"].cat.codes.to_numpy()
    labels, codes = _script_steps(frame, rows)
    plan = list(planned_turns(run.metadata, targets, sequence(frame, "script")))
    stratum_index, strata = _strata(frame, codes, labels, kind, rows, plan)
    steps, step_of_row = _steps(frame, rows, labels, codes, stratum_index, strata)
    sessions = session_codes(frame, run.sessions)
    measured = measured_sessions(run, NOT_STARTED_COLUMNS)
    target = of_rows(position_of(frame["target"], targets), rows)
    session = frame["session_id"].cat.codes.to_numpy()
    step = of_rows(step_of_row, rows)
    planned_at = position_of(measured["target"], targets)
    lacking = not_started_of(measured) > 0
    scripts = by_label(measured["script"].cat, str, "", object)
    lacked = set(zip(planned_at[lacking].tolist(), scripts[lacking], strict=True))
    of_plan = [turn for turn in plan if (turn.target, turn.script) in lacked] if rows.size else []
    planned = _planned_steps(steps, strata, of_plan)
    indices = sorted({position for _, _, position in steps}) or [0]
    started = frame[["script", "turn"]].iloc[rows].assign(target=target, step=step)
    return TurnArrays(
        frame=frame,
        rows=rows,
        targets=targets,
        steps=tuple(name for name, _, _ in steps),
        labels=tuple(label for _, label, _ in steps),
        target=target,
        step=step,
        step_of_row=step_of_row,
        session=of_rows(session, rows).astype(np.int32, copy=False),
        session_of_row=sessions,
        kind=of_rows(kind, rows),
        strata=tuple(strata[position] for position in indices),
        stratum=np.searchsorted(indices, np.array([position for _, _, position in steps], int)),
        is_greeting=np.isin(
            [label for _, label, _ in steps], [turn.label for turn in plan if turn.is_greeting]
        ),
        not_started=turns_not_started(
            started, measured, planned_at, of_rows(sessions, measured_rows(run.sessions)), planned
        ),
    )


def _planned_steps(
    steps: list[tuple[str, str, int]], strata: Sequence[Stratum], plan: Iterable[TurnOfScript]
) -> list[tuple[int, str, int, int]]:
    """Return the step of each planned turn, as `turns_not_started` needs it. Add the steps that no
    turn started. A label has at most MAX_STEPS steps in all; the planned turns of further steps are
    left out.
    """
    of_label = {label: index for index, (_, label, _) in reversed(list(enumerate(steps)))}
    planned = []
    for turn in plan:
        if turn.label not in of_label and len(steps) < MAX_STEPS:
            of_label[turn.label] = len(steps)
            measured_from = list(MEASURED_FROM_TEXTS)[turn.measured_from]
            steps.append((turn.label, turn.label, strata.index(Stratum(measured_from))))
        if turn.label in of_label:
            planned.append((turn.target, turn.script, turn.number, of_label[turn.label]))
    return planned


def session_codes(turns: pd.DataFrame, sessions: pd.DataFrame) -> Integers:
    """Return the code of each session. It is the code that its turns have. Sessions without turns
    have the codes after these.
    """
    known = turns["session_id"].cat.categories
    codes: Integers = known.get_indexer(pd.Index(sessions["session_id"])).astype(np.int32)
    codes[codes < 0] = known.size + np.arange(count_nonzero(codes < 0))
    return codes


def of_rows(values: npt.NDArray[Scalar], rows: Integers) -> npt.NDArray[Scalar]:
    """Return the values at these ascending indexes. If the indexes are all rows, return `values`
    itself, because copies are large.
    """
    return values if values.size == rows.size else values[rows]


def position_of(column: pd.Series[Any], labels: tuple[str, ...]) -> Integers:
    """Return for each row the index of its label in `labels`; −1 if the label is not in
    `labels`.
    """
    positions = {label: index for index, label in enumerate(labels)}
    return by_label(column.cat, lambda name: positions.get(name, -1), -1, np.int32)


def _codes(column: pd.Series[Any]) -> tuple[list[str], Integers]:
    """Return the labels of a categorical, and the code of each row. If rows have no label, the last
    label is an additional one for these rows.
    """
    codes = column.cat.codes.to_numpy().astype(np.int32)
    labels = [str(name) for name in column.cat.categories]
    if (codes < 0).any():
        codes = np.where(codes < 0, len(labels), codes)
        labels.append(UNNAMED)
    return labels, codes


def _script_steps(frame: pd.DataFrame, rows: Integers) -> tuple[list[str], Integers]:
    """Return the labels of steps, and the code of each row. A label that occurs in two scripts
    makes two steps.
    """
    labels, codes = _codes(frame["step"])
    scripts, script = _codes(frame["script"])
    labels, codes = _pooled(labels, codes, script, rows)
    if np.unique(script).size < 2:
        return labels, codes
    return [f"{name}: {label}" for name in scripts for label in labels], script * len(
        labels
    ) + codes


def _pooled(
    labels: list[str], codes: Integers, script: Integers, rows: Integers
) -> tuple[list[str], Integers]:
    """Return the labels and codes, with at most thirty-two labels for each script. If a script has
    more labels, those with the fewest turns become the label `other`.
    """
    if len(labels) <= MAX_STEPS:
        return labels, codes
    turns = np.zeros((int(script.max(initial=0)) + 1, len(labels)), int)
    np.add.at(turns, (script[rows], codes[rows]), 1)
    rank = np.argsort(np.argsort(-turns, axis=1, kind="stable"), axis=1)
    shared = (rank >= MAX_STEPS) & ((turns > 0).sum(axis=1) > MAX_STEPS)[:, None]
    if not shared.any():
        return labels, codes
    names = labels if OTHER_STEP in labels else [*labels, OTHER_STEP]
    return names, np.where(shared[script, codes], names.index(OTHER_STEP), codes)


def _strata(
    frame: pd.DataFrame,
    codes: Integers,
    labels: Sequence[str],
    kind: Integers,
    rows: Integers,
    plan: Sequence[TurnOfScript],
) -> tuple[Integers, tuple[Stratum, ...]]:
    """Return the index of each row's stratum, and all strata that are possible.

    A failed turn may end before it is clear what starts its response, or whether it calls
    functions. So the instant is certain only for turns that succeeded or reached response.create.
    The turn type is certain only for turns that succeeded or name a turn type. If no turn of a
    label names an instant, that of the plan counts.
    """
    succeeded = kind[rows] == GOOD
    turn_type = in_order({"", *sequence(frame, "turn_type")} - {REGULAR})
    measured_from = position_of(frame["measured_from"], tuple(MEASURED_FROM_TEXTS))
    of_plan = {turn.label: turn.measured_from for turn in plan}
    stratum_index = _majority_kinds(
        codes,
        np.array([of_plan.get(label, -1) for label in labels], int),
        measured_from,
        len(MEASURED_FROM_TEXTS),
        rows,
        succeeded | (measured_from[rows] == 0),
    ) * len(turn_type)
    if len(turn_type) > 1:
        named = np.maximum(position_of(frame["turn_type"], turn_type), 0)
        unplanned = np.full(len(labels), -1)
        stratum_index += _majority_kinds(
            codes, unplanned, named, len(turn_type), rows, succeeded | (named[rows] > 0)
        )
    return stratum_index, tuple(
        Stratum(measured_from, together)
        for measured_from in MEASURED_FROM_TEXTS
        for together in turn_type
    )


def _majority_kinds(
    codes: Integers,
    planned: Integers,
    named: Integers,
    kinds: int,
    rows: Integers,
    is_certain: Flags,
) -> Integers:
    """Return the kind of each row. A kind is the index of an instant of MEASURED_FROM_TEXTS, or of
    a turn type.

    - `planned` is the kind that the plan has for each label; −1 if it has none
    - `named` is the kind that the row itself names; −1 if it names no kind
    - `is_certain` is a mask of the measured rows; True if the kind that the row names is certain

    The known kinds of a label are the kinds of its certain rows. If it has no certain rows, they
    are the kinds that its measured rows name. If a row names a known kind of its label, this is its
    kind. Otherwise its kind is the most frequent known kind of its label. If the label has no known
    kind, it is the planned kind or, without one, the most frequent kind of the run.
    """
    labels = planned.size
    all_counts = _table(codes[rows], labels, named[rows], kinds)
    certain_counts = _table(codes[rows[is_certain]], labels, named[rows[is_certain]], kinds)
    known = np.where(certain_counts.any(axis=1, keepdims=True), certain_counts, all_counts)
    unnamed = np.where(planned < 0, all_counts.sum(axis=0).argmax(), planned)
    most_frequent = np.where(known.any(axis=1), known.argmax(axis=1), unnamed)
    has_named_kind = (named >= 0) & (known[codes, np.maximum(named, 0)] > 0)
    return np.where(has_named_kind, named, most_frequent[codes])


def _table(codes: Integers, labels: int, named: Integers, kinds: int) -> Integers:
    has_kind = named >= 0
    cells = codes[has_kind] * kinds + named[has_kind]
    return np.bincount(cells, minlength=labels * kinds).reshape(labels, kinds)


def _steps(
    frame: pd.DataFrame,
    rows: Integers,
    labels: list[str],
    codes: Integers,
    stratum_index: Integers,
    strata: Sequence[Stratum],
) -> tuple[list[tuple[str, str, int]], Integers]:
    """Return the measured steps as (name, label, index of the stratum), and the step of every row.

    Steps are sorted by the name of their script, then by the lowest turn number in which they
    occur. A label with several strata becomes several steps, each with its own name.
    """
    first = np.full(len(labels) * len(strata), np.inf)
    stratum_codes = codes * len(strata) + stratum_index
    np.minimum.at(first, stratum_codes[rows], np.nan_to_num(floats(frame, "turn")[rows]))
    present = [divmod(index, len(strata)) for index in range(first.size) if first[index] < np.inf]
    of_label = defaultdict[int, list[Stratum]](list)
    for code, position in present:
        of_label[code].append(strata[position])
    present.sort(
        key=lambda item: (
            labels[item[0]].rpartition(": ")[0],
            first[item[0] * len(strata) + item[1]],
            item,
        )
    )
    step_of = np.full(max(1, first.size), -1, np.int32)
    step_of[[code * len(strata) + position for code, position in present]] = np.arange(len(present))
    steps = []
    for code, position in present:
        differing = strata[position].filtered_by(of_label[code], MEASURED_FROM_PHRASES)
        steps.append(
            (f"{labels[code]}, {differing}" if differing else labels[code], labels[code], position)
        )
    return steps, step_of[stratum_codes]
