"""What is to be known before a run's figures are read, in numbers; `reports.wording.notices` says it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.runs import RunFrames
from reports.summary.arms import transcription_model
from reports.turns import Turns

FILLER = "filler"
"""The trait of turns whose caller may hear a filler first."""


@dataclass(frozen=True)
class Noticed:
    """What a run's rows tell beside its figures."""

    turns: int
    left_out: int
    """those of them that are of the warm-up, where others are not"""
    filled: int
    """measured turns whose caller may have heard a filler first"""
    stray_commits: int
    """that no turn of the script made"""
    models: tuple[tuple[str, str], ...]
    """(target, model) of whatever answered, and of what transcribed the caller's words"""


def noticed(run: RunFrames, turns: Turns, sessions: pd.DataFrame) -> Noticed:
    """`sessions`: the measured ones."""
    return Noticed(
        turns=len(run.turns),
        left_out=len(run.turns) - turns.rows.size if turns.rows.size else 0,
        filled=int(turns.frame["traits"].iloc[turns.rows].astype("string").str.contains(FILLER).sum()),
        stray_commits=int(np.nansum(sessions["stray_commits"].to_numpy(dtype=np.float64))),
        models=tuple(dict.fromkeys(_models(sessions))),
    )


def _models(sessions: pd.DataFrame) -> Iterable[tuple[str, str]]:
    named = sessions[["target", "model", "effective_settings"]].drop_duplicates().astype(object)
    for target, model, settings in named.where(named.notna(), "").itertuples(index=False, name=None):
        yield str(target), str(model)
        yield str(target), transcription_model(settings)
