"""Turns that were wanted and never begun, for their session had ended; pure. They are a rate and in no latency."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.statistics.quantiles import Integers

PLACE = ["script", "turn"]
"""What says which turn of a script it was: turns of a session are numbered from 1."""


def lost_of(sessions: pd.DataFrame) -> npt.NDArray[np.int64]:
    """How many turns each session lost; none where the end of the run cut it."""
    whole = (sessions["outcome_class"] != "censored").to_numpy()
    lost: npt.NDArray[np.int64] = (_number(sessions["lost_turns"]) * whole).astype(np.int64)
    return lost


def lost_by_step(
    begun: pd.DataFrame,
    step: Integers,
    sessions: pd.DataFrame,
    target: Integers,
    targets: Sequence[str],
    steps: Sequence[str],
) -> npt.NDArray[np.int64]:
    """Lost turns by target (row) and step (column): the step of most turns at their place that were begun.

    `begun` has the place of each turn begun and `step` its step, `target` the target of each session. Where no session
    got as far, a lost turn is taken for one of the commonest step.
    """
    lost = lost_of(sessions)
    table = np.zeros((len(targets), len(steps)), dtype=np.int64)
    if lost.any() and step.size:
        known = begun.assign(script=_text(begun["script"]), step=step).value_counts(sort=True).reset_index()
        step_at = known.drop_duplicates(PLACE).set_index(PLACE)["step"]
        found = step_at.reindex(_places(sessions, lost)).fillna(np.bincount(step).argmax()).to_numpy(dtype=np.int64)
        np.add.at(table, (np.repeat(target, lost), found), 1)
    return table


def _places(sessions: pd.DataFrame, lost: npt.NDArray[np.int64]) -> pd.MultiIndex:
    """The place of each lost turn: those after the turns that its session began."""
    before = np.repeat(np.cumsum(lost) - lost, lost)
    number = np.repeat(_number(sessions["turns_begun"]), lost) + 1 + np.arange(lost.sum()) - before
    return pd.MultiIndex.from_arrays([np.repeat(_text(sessions["script"]), lost), number], names=PLACE)


def _text(column: pd.Series[str]) -> npt.NDArray[np.object_]:
    """Names of a categorical; empty where there is none."""
    names: npt.NDArray[np.object_] = np.array([*map(str, column.cat.categories), ""], dtype=object)
    return names[column.cat.codes.to_numpy()]


def _number(column: pd.Series[float]) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = np.nan_to_num(column.to_numpy(dtype=np.float64))
    return numbers
