"""Which rows a user asks for, by `where` and `by`: the group that each is in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.errors import UsageError
from bench.manual import see
from reports.api.arguments import given_texts
from reports.runs import RunFrames
from reports.statistics.counting import Integers
from reports.thresholds import near
from reports.turns import FAILED, OF_LOST, Flags, Turns, lost_of, measured_sessions, turn_numbers

Where = Callable[[pd.DataFrame], Any]
"""Which rows of a frame are asked for: `lambda turns: turns["turn"] > 1`."""
OF_SESSION = (
    *("run_id", "session_id", "service_session_id", "target", "block", "pair", "phase"),
    *("scenario", "script", "worker", "host", "simulated"),
)
"""What a turn has of its session."""
ALL_TOGETHER = pd.DataFrame(index=range(1))
"""The keys of one group, which nothing tells apart."""


@dataclass(frozen=True)
class Selection:
    """The group that each row is in, −1 where it is not asked for; `keys`: for each group what tells it apart.

    `of_row`: of measured turns, or sessions; `of_lost`: of turns that were never begun.
    """

    keys: pd.DataFrame
    of_row: Integers
    of_lost: Integers
    every: bool
    """whether nothing was left out, nor told apart: then there is one group, whatever is in it"""


def columns_of(by: str | Sequence[str] | None) -> tuple[str, ...]:
    """The columns that a user names, each once."""
    return tuple(dict.fromkeys(given_texts(by, "columns")))


STEP_KEYS = ("label", "name")
"""What a script calls the column `step`."""


def selected(rows: pd.DataFrame, lost: pd.DataFrame, by: Sequence[str], where: Where | None) -> Selection:
    """Raises UsageError where a column is unknown, or `where` is no function that says which rows."""
    for name in by:
        if name not in rows.columns:
            close = "; did you mean step?" if name in STEP_KEYS else near(name, list(rows.columns))
            page = see("run-folder", "turnsparquet")
            raise UsageError(f"there is no column {name!r} to group rows by{close} {page} lists them")
    frames = (rows, lost)
    chosen = [_chosen(frame, where) for frame in frames]
    groups = [np.where(mask, 0, -1).astype(np.int64) for mask in chosen]
    keys = ALL_TOGETHER
    if by:
        kept = [frame.loc[mask, list(by)] for frame, mask in zip(frames, chosen, strict=True)]
        together = pd.concat(kept, ignore_index=True) if len(kept[1]) else kept[0].reset_index(drop=True)
        codes = together.groupby(list(by), observed=True, dropna=False).ngroup().to_numpy()
        _, first = np.unique(codes, return_index=True)
        keys = together.iloc[first].reset_index(drop=True)
        groups[0][chosen[0]], groups[1][chosen[1]] = np.split(codes, [len(kept[0])])
    return Selection(keys, groups[0], groups[1], every=where is None and not by)


def selected_turns(run: RunFrames, turns: Turns, by: Sequence[str], where: Where | None) -> Selection:
    """The same of the measured turns of a run, and of those that were never begun."""
    if where is None and not by:
        lost = int(lost_of(measured_sessions(run, OF_LOST)).sum())
        return Selection(ALL_TOGETHER, np.zeros_like(turns.step), np.zeros(lost, dtype=np.int64), every=True)
    columns = by if where is None else None
    frame = _with_columns(turns, columns)
    # all columns of a million turns are a GB: they are copied only where some turns are of the warm-up
    rows = frame if turns.rows.size == len(frame) else frame.iloc[turns.rows]
    return selected(_as_taken(turns, rows, turns.target, turns.step), lost_rows(run, turns, columns), by, where)


def _chosen(frame: pd.DataFrame, where: Where | None) -> Flags:
    if where is None or not len(frame):
        return np.ones(len(frame), dtype=bool)
    if not callable(where):
        raise UsageError('where is a function that says which rows: where=lambda turns: turns["turn"] > 1')
    found = pd.Series(where(frame))
    if len(found) != len(frame) or not pd.api.types.is_bool_dtype(found.dtype):
        raise UsageError("where must return true or false for each row of its frame")
    flags: Flags = found.astype("boolean").fillna(value=False).to_numpy(dtype=bool)
    return flags


def _with_columns(turns: Turns, columns: Sequence[str] | None) -> pd.DataFrame:
    return turns.frame if columns is None else turns.frame[[name for name in columns if name in turns.frame]]


def lost_rows(run: RunFrames, turns: Turns, columns: Sequence[str] | None) -> pd.DataFrame:
    """Turns that were wanted and never begun, as rows with these columns or all."""
    sessions = measured_sessions(run, list(dict.fromkeys((*OF_SESSION, *OF_LOST))))
    lost = lost_of(sessions)
    mine = sessions.iloc[np.repeat(np.arange(len(sessions)), lost)]
    rows = _with_columns(turns, columns).iloc[:0].reindex(range(len(mine)))
    known = {name: mine[name].array for name in OF_SESSION}
    classes = pd.Categorical.from_codes(np.full(len(mine), FAILED), turns.frame["outcome_class"].cat.categories)
    number = pd.array(turn_numbers(sessions, lost), "Int64")
    rows = rows.assign(**known, turn=number, measured=True, outcome_class=classes)
    return _as_taken(turns, rows, turns.lost.target, turns.lost.step) if turns.lost.step.size else rows


def _as_taken(turns: Turns, rows: pd.DataFrame, target: Integers, step: Integers) -> pd.DataFrame:
    strata = [turns.strata[place] for place in turns.stratum]
    of_step = {
        "step": turns.steps,
        "measured_from": [s.measured_from for s in strata],
        "turn_type": [s.turn_type or None for s in strata],
    }
    columns = {name: _labels(labels, step) for name, labels in of_step.items()}
    return rows.assign(target=pd.Categorical.from_codes(target, pd.Index(turns.targets, dtype=object)), **columns)


def _labels(of_step: Sequence[str | None], step: Integers) -> pd.Categorical[Any]:
    """The label of each row by its step; labels are in the order of the steps."""
    labels = list(dict.fromkeys(label for label in of_step if label is not None))
    codes = np.array([-1 if label is None else labels.index(label) for label in of_step], dtype=np.int64)
    return pd.Categorical.from_codes(codes[step] if codes.size else step, pd.Index(labels, dtype=object))
