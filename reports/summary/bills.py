"""All tokens that a run was told, as arrays; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.units import NS_PER_MINUTE
from reports.runs import Run
from reports.statistics.quantiles import Floats, Integers
from reports.turns import Flags, place_of

KINDS = (
    *("text_in", "cached_text_in", "audio_in", "cached_audio_in", "image_in", "cached_image_in"),
    *("text_out", "audio_out"),
)
"""Kinds of tokens as `bench.money` names them; cached ones are a part of the input."""


@dataclass(frozen=True)
class Bills:
    """All that may be billed, as arrays of one length: the turns of a run, then what no turn of each session holds.

    `target` and `model` are places, `session` places among `ids`; `told`: whether the service told any tokens.
    """

    run: Run
    told: Flags
    stray: Flags
    target: Integers
    model: Integers
    session: Integers
    models: list[str]
    ids: pd.Index[str]

    def tokens(self, kind: str) -> Floats:
        """The tokens of one of KINDS, NaN where no usage was told."""
        return _tokens(self.run, kind)

    @property
    def wasted_ns(self) -> Floats:
        """Audio of each turn that came and was never played; NaN where nothing stopped its reply, and of sessions."""
        return self._of_turns("wasted_audio_ns")

    @property
    def wasted_tokens(self) -> Floats:
        """The tokens of that: the same share of the turn's tokens of audio as of its audio; NaN where nobody knows."""
        wasted_ns, received_ns = self.wasted_ns, self._of_turns("received_audio_ns")
        share: Floats = np.divide(wasted_ns, received_ns, out=np.zeros_like(wasted_ns), where=wasted_ns != 0)
        return share * self.tokens("audio_out")

    def _of_turns(self, column: str) -> Floats:
        own = self.run.turns[column].to_numpy(dtype=np.float64, na_value=np.nan)
        of_all: Floats = np.r_[own, np.full(len(self.run.sessions), np.nan)]
        return of_all

    @property
    def minutes(self) -> Floats:
        """How long each session was open, beside what no turn of it holds; 0 beside turns, and of one never opened."""
        sessions = self.run.sessions
        open_ns = (sessions["ended_at_ns"] - sessions["upgrade_done_at_ns"]).where(
            sessions["session_updated_at_ns"].notna()
        )
        of_sessions = open_ns.to_numpy(dtype=np.float64, na_value=0.0) / NS_PER_MINUTE
        minutes: Floats = np.r_[np.zeros(len(self.run.turns)), of_sessions]
        return minutes


def bills_of(run: Run, targets: Sequence[str]) -> Bills:
    """The bills of a run; its targets have the places of these labels."""
    turns, sessions = run.turns, run.sessions
    own = pd.Index(sessions["session_id"].astype(object))
    ids = turns["session_id"].cat.categories.union(own, sort=False)
    session = np.r_[turns["session_id"].cat.codes.to_numpy(), ids.get_indexer(own)].astype(np.int32)
    models, of_session = _models(run, ids)
    told = np.zeros(session.size, dtype=bool)
    for kind in KINDS:
        told |= ~np.isnan(_tokens(run, kind))
    return Bills(
        run=run,
        told=told,
        stray=np.arange(session.size) >= len(turns),
        target=np.r_[place_of(turns["target"], tuple(targets)), place_of(sessions["target"], tuple(targets))],
        model=of_session[session],
        session=session,
        models=models,
        ids=ids,
    )


def _tokens(run: Run, kind: str) -> Floats:
    of_kind = _of_cached if kind.startswith("cached_") else _column
    return np.concatenate([of_kind(run.turns, kind), of_kind(run.sessions, kind)])


def _of_cached(frame: pd.DataFrame, kind: str) -> Floats:
    """Cached tokens of one kind. Where they have no kind, as older versions left them, text is cached before audio."""
    values, cached = _column(frame, kind), _column(frame, "cached_in")
    if kind == "cached_image_in":
        return values
    other = _column(frame, "cached_audio_in" if kind == "cached_text_in" else "cached_text_in")
    kindless = ~np.isnan(cached) & np.isnan(values) & np.isnan(other)
    if kindless.any():
        text = np.minimum(cached, np.nan_to_num(_column(frame, "text_in")))
        values = np.where(kindless, text if kind == "cached_text_in" else cached - text, values)
    return values


def _column(frame: pd.DataFrame, kind: str) -> Floats:
    values: Floats = frame[f"tokens_{kind}"].to_numpy(dtype=np.float64, na_value=np.nan)
    return values


def _models(run: Run, ids: pd.Index[str]) -> tuple[list[str], Integers]:
    """Models, and of each of these sessions the place of its model; the last place is no session's."""
    named = run.sessions.set_index("session_id")["model"].astype("category").cat
    labels = [*map(str, named.categories), ""]
    code_of = pd.Series(named.codes.to_numpy(), index=named.codes.index.astype(object))
    codes = code_of[~code_of.index.duplicated(keep="last")].reindex(ids, fill_value=-1).to_numpy()
    models = list(dict.fromkeys([*(labels[code] for code in pd.unique(codes)), ""]))
    place_of_code = np.array([models.index(label) if label in models else -1 for label in labels], dtype=np.int32)
    return models, place_of_code[np.append(codes, -1)]
