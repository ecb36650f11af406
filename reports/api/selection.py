"""The rows of a run that a user selects, and the group of each selected row."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from tokenize import TokenError
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from bench.base.errors import UsageError, see
from bench.catalogue.metrics import MEASURED_FROM, TURN_TYPES, turn_type_of
from bench.catalogue.outcomes import SUCCESSFUL, UNFINISHED, OutcomeClass
from reports.api.arguments import given_texts
from reports.data.runs import RunFrames, target_entries
from reports.data.turns import (
    FAILED,
    NOT_STARTED_COLUMNS,
    TurnArrays,
    measured_sessions,
    not_started_of,
    turn_numbers,
)
from reports.metrics.thresholds import near
from reports.statistics.counting import Flags, Integers

Where = Callable[[pd.DataFrame], Any] | str | pd.Series
"""A selection of rows: a query such as "turn > 1", a mask such as `run.turns["turn"] > 1`, or a
function that returns a mask of a frame.
"""
OF_SESSION = (
    "run_id",
    "session_id",
    "service_session_id",
    "target",
    "block",
    "pair",
    "phase",
    "scenario",
    "script",
    "worker",
    "host",
    "simulated",
)
"""The columns of a turn that have the values of the turn's session."""
ONE_GROUP = pd.DataFrame(index=range(1))
"""The keys if all rows are one group: one row without labels."""


class Selection(NamedTuple):
    """The group of each measured turn or session, and of each turn that did not start; −1 if it is
    not selected.

    `keys` is the labels of the groups, with one row for each group.
    """

    keys: pd.DataFrame
    of_row: Integers
    of_not_started: Integers
    every: bool
    """True if all rows are selected and form one group. This group exists even if there are no
    rows."""


class UnknownValueError(UsageError):
    """The error for a value that no row of the run has. Another run may have it."""


@dataclass(frozen=True)
class RowFilter:
    """A filter of rows. A row passes if it meets `where` and has an allowed value in each column of
    `values`.

    `values` has one value or several values for each column. None allows a missing value.
    """

    where: Where | None = None
    values: Mapping[str, object] = field(default_factory=dict)

    @cached_property
    def options(self) -> dict[str, list[Any]]:
        return {
            name: (
                list(value)
                if isinstance(value, Iterable) and not isinstance(value, str)
                else [value]
            )
            for name, value in self.values.items()
        }

    def __bool__(self) -> bool:
        return self.where is not None or bool(self.values)

    @property
    def columns(self) -> Sequence[str] | None:
        """The columns that the filter reads; None if it may read any column."""
        of_step = ("script",) if "step" in self.values else ()
        return (
            (*of_step, *self.values)
            if self.where is None or isinstance(self.where, pd.Series)
            else None
        )

    def having_values(self, frame: pd.DataFrame) -> Flags:
        """Return the mask of the rows with allowed values.

        A step may also have the name of its script, as in reports.
        """
        flags = np.ones(len(frame), bool)
        for name, options in self.options.items():
            present = [item for item in options if not pd.isna(item)]
            missing = len(present) < len(options)
            allowed = frame[name].isin(present) | (frame[name].isna() & missing)
            if name == "step" and any(": " in str(item) for item in present):
                allowed |= (
                    frame["script"].astype(object) + ": " + frame["step"].astype(object)
                ).isin(present)
            flags &= allowed.to_numpy(bool)
        return flags

    def refuse_unknown(
        self, frames: Sequence[pd.DataFrame], known: Mapping[str, Collection[object]]
    ) -> None:
        """Raise UnknownValueError for a text that no row has. `known` is the texts that a column
        may have.
        """
        for name, options in self.options.items():
            there = _values(frames, name)
            allowed = {*there, *known.get(name, ())}
            for item in options if there or name in known else ():
                if isinstance(item, str) and item not in allowed:
                    hint = near(item, sorted(map(str, allowed)))
                    raise UnknownValueError(
                        f"there is no {name} {item!r}{hint} allowed: {_listed(there or allowed)}"
                    )

    def refuse_empty(self, frames: Sequence[pd.DataFrame]) -> None:
        """Raise UnknownValueError, because the filter selects no row. The error has the values
        that exist.
        """
        texts = [
            f"{name}={options[0] if len(options) == 1 else options!r}"
            for name, options in self.options.items()
        ]
        texts += (
            []
            if self.where is None
            else [f"where={self.where!r}" if isinstance(self.where, str) else "where"]
        )
        words = set(re.findall(r"\w+", self.where)) if isinstance(self.where, str) else set()
        columns = [str(name) for name in frames[0].columns if name in self.options or name in words]
        exist = "; ".join(
            f"{name} is {_listed(_values(frames, name)) or 'always missing'}" for name in columns
        )
        raise UnknownValueError(f"no row has {' and '.join(texts)}{exist and f': {exist}'}")


def _values(frames: Sequence[pd.DataFrame], column: str) -> set[Any]:
    return {value for frame in frames for value in frame[column].dropna().unique()}


def _listed(values: Collection[Any]) -> str:
    if len(values) > LISTED and all(isinstance(value, int | float | np.number) for value in values):
        return f"from {min(values):g} to {max(values):g}"
    texts = sorted(map(str, values), key=lambda text: (text.isdecimal() * len(text), text))
    more = f", … ({len(texts)} in all)" if len(texts) > LISTED else ""
    return f"{', '.join(texts[:LISTED])}{more}"


def _matching(frame: pd.DataFrame, where: Where) -> Flags:
    """Return the mask of the rows that `where` selects. Raise UsageError if it cannot select
    rows of this frame.
    """
    result: Any
    if isinstance(where, pd.Series):
        if not frame.index.isin(where.index).all():
            raise UsageError(
                "where is a mask without a value for each row: make it from run.turns (for a metric"
                ' of sessions, from run.sessions), or write where="turn > 1"'
            )
        result = where.reindex(frame.index)
    elif isinstance(where, str):
        try:
            result = frame.eval(where, engine="python", local_dict={}, global_dict={})
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            NameError,
            NotImplementedError,
            SyntaxError,
            TokenError,
            TypeError,
            ValueError,
        ) as error:
            problem = str(error).split("\n", 1)[0]
            raise UsageError(
                f'where={where!r} cannot be evaluated: {problem}; write a query such as "turn > 1"'
            ) from None
    elif callable(where):
        result = where(frame)
    else:
        raise UsageError(
            'where must be a query such as "turn > 1", a mask, or a function that returns a mask'
            " for a frame"
        )
    mask = pd.Series(result) if np.ndim(result) == 1 else None
    if mask is None or len(mask) != len(frame) or not pd.api.types.is_bool_dtype(mask.dtype):
        raise UsageError("where must be true or false for each row of its frame")
    return mask.astype("boolean").fillna(value=False).to_numpy(bool)


def columns_of(by: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns that a user names, without duplicates, and without `target`, which
    frames always have.
    """
    return tuple(name for name in dict.fromkeys(given_texts(by, "columns")) if name != "target")


LISTED = 20
"""The maximum number of values that an error lists."""
VOCABULARY: dict[str, Collection[object]] = {
    "measured_from": MEASURED_FROM,
    "turn_type": TURN_TYPES,
    "outcome_class": get_args(OutcomeClass),
    "outcome": SUCCESSFUL | UNFINISHED,
}
"""The values that a column may have in other runs. One of several values that a user selects may
be such a value."""
STEP_KEYS = ("label", "name")
"""The names that scripts use for what the column `step` contains."""


def selected(
    rows: pd.DataFrame,
    not_started: pd.DataFrame,
    by: Sequence[str],
    where: RowFilter,
    known: Mapping[str, Collection[object]],
) -> Selection:
    """Select and group the rows, and the turns that did not start.

    `known` is the texts that a column may have, also if no row has them. Raise UsageError if a
    column or `where` is invalid, or if no row is selected.
    """
    for name in (*by, *where.values):
        if name not in rows.columns:
            hint = "; did you mean step?" if name in STEP_KEYS else near(name, list(rows.columns))
            page = see("run-folder", "turnsparquet")
            raise UsageError(
                f"there is no column {name!r} to group or select rows by{hint} {page} lists them"
            )
    if len(not_started) and isinstance(where.where, pd.Series):
        raise UsageError(
            f"where is a mask without values for the {len(not_started):,} turns that did not start:"
            ' write a query such as where="turn > 1", or select turns that started by'
            ' where="outcome.notna()"'
        )
    frames = (rows, not_started)
    where.refuse_unknown(frames, {**VOCABULARY, **known})
    chosen = [where.having_values(frame) for frame in frames]
    if (condition := where.where) is not None:
        both = zip(chosen, frames, strict=True)
        chosen = [
            mask & _matching(frame, condition) if len(frame) else mask for mask, frame in both
        ]
    if where and not any(mask.any() for mask in chosen):
        where.refuse_empty(frames)
    groups = [np.where(mask, 0, -1).astype(int) for mask in chosen]
    keys = ONE_GROUP
    if by:
        selected_frames = [
            frame.loc[mask, list(by)] for frame, mask in zip(frames, chosen, strict=True)
        ]
        together = (
            pd.concat(selected_frames, ignore_index=True)
            if len(selected_frames[1])
            else selected_frames[0].reset_index(drop=True)
        )
        codes = together.groupby(list(by), observed=True, dropna=False).ngroup().to_numpy()
        _, first = np.unique(codes, return_index=True)
        keys = together.iloc[first].reset_index(drop=True)
        groups[0][chosen[0]], groups[1][chosen[1]] = np.split(codes, [len(selected_frames[0])])
    return Selection(keys, groups[0], groups[1], every=not where and not by)


def selected_turns(
    run: RunFrames, turns: TurnArrays, by: Sequence[str], where: RowFilter
) -> Selection:
    """Select and group the measured turns of a run, and the turns that did not start."""
    if not where and not by:
        not_started = int(not_started_of(measured_sessions(run, NOT_STARTED_COLUMNS)).sum())
        return Selection(
            ONE_GROUP, np.zeros_like(turns.step), np.zeros(not_started, int), every=True
        )
    columns = None if where.columns is None else tuple(dict.fromkeys((*by, *where.columns)))
    frame = _with_columns(turns, columns)
    # all columns of a million turns take 1 GB: copy them only if some turns are warm-up
    rows = frame if turns.rows.size == len(frame) else frame.iloc[turns.rows]
    labelled = _with_steps(turns, rows, turns.target, turns.step)
    absent = rows_not_started(run, turns, columns)
    several_scripts = len({script for script, _ in turns.own_names}) > 1
    of_scripts = (
        [f"{script}: {own_name}" for script, own_name in turns.own_names] if several_scripts else []
    )
    known = {"target": [*turns.targets, *target_names(run)]} | (
        {"step": of_scripts} if of_scripts else {}
    )
    return selected(labelled, absent, by, _with_turn_types(where), known)


def target_names(run: RunFrames) -> list[str]:
    """Return the targets that are recorded with a run, also those without turns."""
    return list(target_entries(run.metadata))


def _with_turn_types(where: RowFilter) -> RowFilter:
    """Return the filter with the names of each turn type in the order that they have in rows."""
    if "turn_type" not in where.values:
        return where
    types = [
        (
            turn_type_of(value.split("+"))
            if isinstance(value, str) and set(value.split("+")) <= set(TURN_TYPES)
            else value
        )
        for value in where.options["turn_type"]
    ]
    return RowFilter(where.where, {**where.values, "turn_type": types})


def _with_columns(turns: TurnArrays, columns: Sequence[str] | None) -> pd.DataFrame:
    return (
        turns.frame
        if columns is None
        else turns.frame[[name for name in columns if name in turns.frame]]
    )


def rows_not_started(
    run: RunFrames, turns: TurnArrays, columns: Sequence[str] | None
) -> pd.DataFrame:
    """Return the planned turns that did not start, as rows with these columns; None means all
    columns.
    """
    sessions = measured_sessions(run, list(dict.fromkeys((*OF_SESSION, *NOT_STARTED_COLUMNS))))
    turn_counts = not_started_of(sessions)
    session_rows = sessions.iloc[np.repeat(np.arange(len(sessions)), turn_counts)]
    rows = _with_columns(turns, columns).iloc[:0].reindex(range(len(session_rows)))
    known = {name: session_rows[name].array for name in OF_SESSION}
    classes = pd.Categorical.from_codes(
        np.full(len(session_rows), FAILED), turns.frame["outcome_class"].cat.categories
    )
    number = pd.array(turn_numbers(sessions, turn_counts), "Int64")
    rows = rows.assign(**known, turn=number, measured=True, outcome_class=classes)
    absent = turns.not_started
    return _with_steps(turns, rows, absent.target, absent.step) if absent.step.size else rows


def _with_steps(
    turns: TurnArrays, rows: pd.DataFrame, target: Integers, step: Integers
) -> pd.DataFrame:
    labels = [turns.strata[stratum_index].labels for stratum_index in turns.stratum]
    return rows.assign(
        target=pd.Categorical.from_codes(target, pd.Index(turns.targets, dtype=object)),
        step=_labels([turns.row_labels[name][1] for name in turns.steps], step),
        measured_from=_labels([of_step["measured_from"] for of_step in labels], step),
        turn_type=_labels([of_step["turn_type"] for of_step in labels], step),
    )


def _labels(of_step: Sequence[str | None], step: Integers) -> pd.Categorical[Any]:
    """Return the label of each row. `of_step` is the label of each step, `step` is the step of
    each row.
    """
    labels = list(dict.fromkeys(label for label in of_step if label is not None))
    codes = np.array([-1 if label is None else labels.index(label) for label in of_step], int)
    return pd.Categorical.from_codes(
        codes[step] if codes.size else step, pd.Index(labels, dtype=object)
    )
