"""All tokens that a run was told, as arrays; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from reports.runs import Run
from reports.statistics.quantiles import Floats, Integers
from reports.turns import Flags, place_of

KINDS = ("text_in", "cached_text_in", "audio_in", "cached_audio_in", "text_out", "audio_out")
"""Kinds of tokens as `bench.money` names them; cached ones are a part of the input."""


@dataclass(frozen=True)
class Bills:
    """All that may be billed, as arrays of one length: the turns of a run, then what no turn of each session holds.

    `target` and `model` are places, `session` places among `ids`; `told`: whether the service told any tokens.
    """

    tokens: Mapping[str, Floats]
    told: Flags
    stray: Flags
    target: Integers
    model: Integers
    session: Integers
    models: list[str]
    ids: pd.Index[str]


def bills_of(run: Run, targets: Sequence[str]) -> Bills:
    """The bills of a run; its targets have the places of these labels."""
    turns, sessions = run.turns, run.sessions
    of_turns, of_sessions = _tokens(turns), _tokens(sessions)
    tokens = {kind: np.r_[of_turns.pop(kind), of_sessions[kind]] for kind in KINDS}
    own = pd.Index(sessions["session_id"].astype(object))
    ids = turns["session_id"].cat.categories.union(own, sort=False)
    session = np.r_[turns["session_id"].cat.codes.to_numpy(), ids.get_indexer(own)].astype(np.int32)
    models, of_session = _models(run, ids)
    return Bills(
        tokens=tokens,
        told=np.any([~np.isnan(values) for values in tokens.values()], axis=0),
        stray=np.arange(session.size) >= len(turns),
        target=np.r_[place_of(turns["target"], tuple(targets)), place_of(sessions["target"], tuple(targets))],
        model=of_session[session],
        session=session,
        models=models,
        ids=ids,
    )


def _tokens(frame: pd.DataFrame) -> dict[str, Floats]:
    """Columns by kind, NaN where no usage was told. Where cached tokens have no kind, text is cached before audio."""
    columns = {kind: frame[f"tokens_{kind}"].to_numpy(dtype=np.float64) for kind in KINDS}
    cached = frame["tokens_cached_in"].to_numpy(dtype=np.float64)
    kindless = ~np.isnan(cached) & np.isnan(columns["cached_text_in"]) & np.isnan(columns["cached_audio_in"])
    if kindless.any():
        text = np.minimum(cached, np.nan_to_num(columns["text_in"]))
        columns["cached_text_in"] = np.where(kindless, text, columns["cached_text_in"])
        columns["cached_audio_in"] = np.where(kindless, cached - text, columns["cached_audio_in"])
    return columns


def _models(run: Run, ids: pd.Index[str]) -> tuple[list[str], Integers]:
    """Models, and of each of these sessions the place of its model; the last place is no session's."""
    of_session = dict(zip(run.sessions["session_id"].astype(object), run.sessions["model"].astype(object), strict=True))
    said = [of_session.get(name) for name in ids]
    names = [name if isinstance(name, str) else "" for name in said]
    models = list(dict.fromkeys([*names, ""]))
    place = {name: code for code, name in enumerate(models)}
    codes: Integers = np.array([*(place[name] for name in names), place[""]], dtype=np.int32)
    return models, codes
