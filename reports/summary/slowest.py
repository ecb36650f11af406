"""The slowest turns, with the names by which the service and the network know them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.plain import printable
from bench.units import NS_PER_MS, NS_PER_S
from reports.runs import Run, response_ids, row_of
from reports.samples import Sampled
from reports.statistics.quantiles import Integers

MOST = 8
OF_TURN = [
    *("session_id", "turn", "start_utc_ns", "ttfa_ms", "voice_to_voice_ms", "response_created_at_ns", "origin_at_ns"),
    *("network_rtt_ms", "retransmits"),
]
"""Columns that are told of a slow turn."""


@dataclass(frozen=True)
class Slow:
    """One of the slowest good turns; times in ms, NaN where absent."""

    measure: str
    origin: str
    value: float
    target: str
    colour: int
    step: str
    turn: int
    at_s: float
    """when it began, seconds after the run did"""
    ttfa: float
    voice_to_voice: float
    created: float
    """origin → response.created"""
    network_rtt: float
    retransmits: float
    session: str
    service_session: str
    response: str
    request: str
    region: str
    event_log: str
    """the log of the session's events, relative to the run's folder; empty where there is none"""


def slowest(
    run: Run, one: Sampled, origin: str, began_utc_ns: int, without: str = "", most: int = MOST
) -> tuple[Slow, ...]:
    """The slowest good turns that count from this origin, by a measure; `without`: of those that lack this one."""
    turns = one.turns
    mine = np.isin(turns.step, np.flatnonzero(turns.origin == turns.origins.index(origin)))
    if without:
        mine &= np.isnan(turns.value(without))
    places = one.index[np.isfinite(one.values) & mine[one.index]][::-1][:most]
    sessions = {str(row["session_id"]): row for _, row in _sessions(run, turns.rows[places]).iterrows()}
    return tuple(_slow(run, one, origin, began_utc_ns, places, sessions))


def _slow(
    run: Run, one: Sampled, origin: str, began_utc_ns: int, places: Integers, sessions: dict[str, pd.Series[str]]
) -> Iterable[Slow]:
    turns = one.turns
    frame, rows = turns.frame[OF_TURN], [int(row) for row in turns.rows[places]]
    responses, values = response_ids(run, rows) if rows else [], turns.value(one.measure.name)
    for place, row, response in zip(places, rows, responses, strict=True):
        turn, colour = row_of(frame, row), int(turns.target[place])
        session = str(turn["session_id"])
        known = sessions.get(session, pd.Series(dtype=str))
        yield Slow(
            measure=one.measure.name,
            origin=origin,
            value=float(values[place]),
            target=turns.targets[colour],
            colour=colour,
            step=turns.steps[int(turns.step[place])],
            turn=int(np.nan_to_num(turn["turn"])),
            at_s=(int(turn["start_utc_ns"]) - began_utc_ns) / NS_PER_S,
            ttfa=float(turn["ttfa_ms"]),
            voice_to_voice=float(turn["voice_to_voice_ms"]),
            created=float(turn["response_created_at_ns"] - turn["origin_at_ns"]) / NS_PER_MS,
            network_rtt=float(turn["network_rtt_ms"]),
            retransmits=float(turn["retransmits"]),
            session=session,
            service_session=_text(known, "service_session_id"),
            response=response,
            request=_text(known, "request_id"),
            region=_text(known, "region"),
            event_log=f"events/{session}.jsonl" if known.get("event_log", False) else "",
        )


def _sessions(run: Run, rows: Integers) -> pd.DataFrame:
    """The rows of the sessions of a few turns."""
    wanted = {str(name) for name in run.turns["session_id"].iloc[rows]}
    names = ["session_id", "service_session_id", "request_id", "region", "event_log"]
    found = run.sessions.loc[run.sessions["session_id"].isin(wanted).to_numpy(), names]
    return found.assign(event_log=found["event_log"].fillna(False))


def _text(row: pd.Series[str], name: str) -> str:
    value = row.get(name)
    return printable(value) if isinstance(value, str) else ""
