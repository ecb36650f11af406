"""The pairs that a look may see: the first ones in order of their start, whole, and only once all of them have ended.

Never "the pairs that have ended": the slow ones are still running. A pair has its number from when it started, so a
look waits for every number before it. Once the run has ended, a number that no session has never started, and a pair
that lacks a session, or that the end of the run cut, is where the looks end.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from reports.runs import Run
from reports.sides.clusters import ABSENT, by_pair
from reports.sides.side import Side
from reports.statistics.quantiles import Integers
from reports.turns import measured, turns_of

ARMS = 2


def leading(sessions: pd.DataFrame, *, ended: bool) -> Integers:
    """Numbers of the measured pairs, ascending, up to the first one that has not ended.

    `ended`: whether the run came to a clean end, so that what has no row never was.
    """
    numbered = sessions["pair"].notna().to_numpy()
    is_measured = np.zeros(len(sessions), dtype=bool)
    is_measured[measured(sessions)] = True
    cut = (sessions["outcome_class"] == "censored").to_numpy() & ended
    number = sessions["pair"].to_numpy(dtype=np.float64)[numbered].astype(np.int64)
    frame = pd.DataFrame({"target": sessions["target"].to_numpy(dtype=object)[numbered], "cut": cut[numbered]})
    over = ~sessions["renewed"].to_numpy(dtype=bool)[numbered]  # a call goes on where another session took its place
    arms_over = frame["target"].where(over).groupby(number).nunique()
    whole = (arms_over == ARMS) & ~frame.groupby(number)["cut"].any()
    known = whole.index.to_numpy(dtype=np.int64)
    if not known.size:
        return known
    there = known if ended else np.arange(int(known.max()) + 2)
    complete = whole.reindex(there, fill_value=False).to_numpy()
    stop = int(np.argmin(complete)) if not complete.all() else complete.size
    return there[:stop][np.isin(there[:stop], number[is_measured[numbered]])]


def sides_of_pairs(run: Run, targets: tuple[str, str], pairs: Integers) -> tuple[Side, ...]:
    """Both arms of a run, baseline first, with nothing in them but these pairs."""
    rows = run.sessions["pair"].isin(pairs).to_numpy()
    sessions = run.sessions[rows].reset_index(drop=True)
    mine = run.turns["session_id"].isin(set(sessions["session_id"])).to_numpy()
    part = replace(run, sessions=sessions, turns=run.turns[mine].reset_index(drop=True))
    turns = turns_of(part)
    places = [turns.targets.index(name) if name in turns.targets else ABSENT for name in targets]
    clusters = by_pair(part, turns, places)
    assert clusters is not None, "every pair of these has a session of each arm"
    return tuple(
        Side(part, turns, place, name, name, own) for name, place, own in zip(targets, places, clusters, strict=True)
    )
