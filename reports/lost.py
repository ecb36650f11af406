"""Turns that were wanted and never begun, for their session had ended; pure. As failed ones they are endless waits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from reports.statistics.quantiles import Integers

PLACES: tuple[list[str], ...] = (["target", "script", "turn"], ["script", "turn"], ["target", "script"], ["script"], [])
"""What tells which step a lost turn would have had, the surest first: turns of a call are numbered from 1."""


@dataclass(frozen=True)
class Lost:
    """Lost turns as arrays of one length: the code of each one's session, and of the target and the step it was to be.

    Which of several steps it would have been is known where others began the turn of that number.
    """

    session: Integers
    target: Integers
    step: Integers

    def sessions_of(self, target: int, steps: npt.NDArray[np.bool_]) -> Integers:
        """The session of each that was to be of some steps of a target."""
        mine: Integers = self.session[(self.target == target) & steps[self.step]]
        return mine


def lost_of(sessions: pd.DataFrame) -> npt.NDArray[np.int64]:
    """How many turns each session lost; none where the end of the run cut it."""
    whole = (sessions["outcome_class"] != "censored").to_numpy()
    lost: npt.NDArray[np.int64] = (_number(sessions["lost_turns"]) * whole).astype(np.int64)
    return lost


def lost_turns(begun: pd.DataFrame, sessions: pd.DataFrame, target: Integers, session: Integers) -> Lost:
    """Each lost turn, by the steps of turns that were begun.

    `begun` has target (a code), script, turn and step (a code) of each; `target` and `session` are codes of the rows of
    `sessions`. A lost turn has the commonest step of its place; where no turn of that number was begun, of its
    target and script.
    """
    lost = lost_of(sessions)
    if not (lost.any() and len(begun)):
        return Lost(*np.zeros((3, 0), dtype=np.int64))
    targets = np.repeat(target, lost)
    places = pd.DataFrame({"target": targets, "script": np.repeat(_text(sessions["script"]), lost)})
    places["turn"] = turn_numbers(sessions, lost)
    counted = begun.assign(script=_text(begun["script"])).groupby([*PLACES[0], "step"]).size().rename("n").reset_index()
    step = pd.Series(np.nan, index=places.index)
    for place in PLACES:
        known = counted.groupby([*place, "step"])["n"].sum().sort_values(ascending=False, kind="stable").reset_index()
        if place:
            step = step.fillna(places.merge(known.drop_duplicates(place), "left", place)["step"])
        else:
            step = step.fillna(known["step"].iloc[0])
    return Lost(np.repeat(session, lost), targets, step.to_numpy().astype(np.int64))


def turn_numbers(sessions: pd.DataFrame, lost: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The number of each lost turn: those after the turns that its call began, in this session and in those before."""
    begun = _number(sessions["turns_begun"]).astype(np.int64)
    if sessions["renewed"].any():
        call = sessions["session_id"].astype(str).str.partition(".")[0].to_numpy()
        order = np.argsort(sessions["start_utc_ns"].to_numpy(), kind="stable")
        begun[order] = pd.Series(begun[order]).groupby(call[order], sort=False).cumsum().to_numpy()
    numbers: npt.NDArray[np.int64] = np.repeat(begun + 1 - np.cumsum(lost) + lost, lost) + np.arange(lost.sum())
    return numbers


def _text(column: pd.Series[str]) -> npt.NDArray[np.object_]:
    """Names of a categorical; empty where there is none."""
    names: npt.NDArray[np.object_] = np.array([*map(str, column.cat.categories), ""], dtype=object)
    return names[column.cat.codes.to_numpy()]


def _number(column: pd.Series[float]) -> npt.NDArray[np.float64]:
    numbers: npt.NDArray[np.float64] = np.nan_to_num(column.to_numpy(dtype=np.float64))
    return numbers
