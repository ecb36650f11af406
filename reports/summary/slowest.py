"""The slowest turns, with the names by which the service and the network know them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.plain import printable, shortened
from bench.run.folder import SCHEMAS
from bench.run.measured import origin_ns
from bench.units import NS_PER_MS, NS_PER_S
from reports.runs import Run, response_ids, row_of
from reports.samples import Sampled
from reports.statistics.quantiles import Integers
from reports.strata import Stratum
from reports.turns import values_of

LONGEST_TEXT = 200
COLUMNS = SCHEMAS["turns"].names
MOST = 8
OF_STEP, OF_STEPS = 3, 96
"""So many of each step on each target, and so many of all steps: of many steps fewer each."""


@dataclass(frozen=True)
class Slow:
    """One of the slowest good turns; times in ms, NaN where absent."""

    measure: str
    stratum: Stratum
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
    row: tuple[tuple[str, str], ...]
    """what its row in turns.parquet holds, as far as reports read it"""


def slowest(
    run: Run, one: Sampled, stratum: Stratum, began_utc_ns: int, without: str = "", most: int = MOST
) -> tuple[Slow, ...]:
    """The slowest good turns of this stratum, by a measure; `without`: of those that lack this one."""
    return tuple(_slow(run, one, stratum, began_utc_ns, _falling(one, stratum, without)[:most]))


def slowest_of_steps(
    run: Run, one: Sampled, stratum: Stratum, began_utc_ns: int, without: str = ""
) -> tuple[Slow, ...]:
    """The same of each step on each target; none where those are too many."""
    falling = _falling(one, stratum, without)
    group = one.turns.group[one.index[falling]]
    groups = np.unique(group)
    each = min(OF_STEP, OF_STEPS // max(1, groups.size))
    first = [np.flatnonzero(group == code)[:each] for code in groups] if each else []
    chosen = falling[np.sort(np.concatenate([*first, np.zeros(0, dtype=np.int64)]))]
    return tuple(_slow(run, one, stratum, began_utc_ns, chosen))


def _falling(one: Sampled, stratum: Stratum, without: str) -> Integers:
    """The places of the good turns among the values, the slowest first."""
    turns = one.turns
    mine = turns.steps_in(stratum)[turns.step]
    if without:
        mine &= np.isnan(turns.value(without))
    places: Integers = np.flatnonzero(np.isfinite(one.values) & mine[one.index])[::-1]
    return places


def _slow(run: Run, one: Sampled, stratum: Stratum, began_utc_ns: int, chosen: Integers) -> Iterable[Slow]:
    """`chosen`: the places of these turns among the values."""
    turns, places = one.turns, one.index[chosen]
    rows = turns.frame.iloc[turns.rows[places]]
    sessions = {str(row["session_id"]): row for _, row in _sessions(run, rows).iterrows()}
    responses = response_ids(run, turns.rows[places].tolist()) if places.size else []
    measures = {name: values_of(rows, name) for name in ("ttfa", "voice_to_voice", "network_rtt", "retransmits")}
    created = rows["response_created_at_ns"].to_numpy(dtype=np.float64, na_value=np.nan) - origin_ns(rows)
    for row, (place, response) in enumerate(zip(places, responses, strict=True)):
        turn, colour = row_of(rows, row), int(turns.target[place])
        session = str(turn["session_id"])
        known = sessions.get(session, pd.Series(dtype=str))
        yield Slow(
            measure=one.measure.name,
            stratum=stratum,
            value=float(one.values[chosen[row]]),
            target=turns.targets[colour],
            colour=colour,
            step=turns.steps[int(turns.step[place])],
            turn=int(np.nan_to_num(turn["turn"])),
            at_s=(int(turn["start_utc_ns"]) - began_utc_ns) / NS_PER_S,
            ttfa=float(measures["ttfa"][row]),
            voice_to_voice=float(measures["voice_to_voice"][row]),
            created=float(created[row]) / NS_PER_MS,
            network_rtt=float(measures["network_rtt"][row]),
            retransmits=float(measures["retransmits"][row]),
            session=session,
            service_session=_text(known, "service_session_id"),
            response=response,
            request=_text(known, "request_id"),
            region=_text(known, "region"),
            event_log=f"events/{session}.jsonl" if known.get("event_log", False) else "",
            row=tuple((name, _written(turn[name])) for name in COLUMNS if name in turn and turn[name] == turn[name]),
        )


def _written(value: object) -> str:
    """A stored value as it is; texts of others as they may be shown."""
    return f"{value:g}" if isinstance(value, float) else shortened(str(value), LONGEST_TEXT)


def _sessions(run: Run, turns: pd.DataFrame) -> pd.DataFrame:
    """The rows of the sessions of a few turns."""
    wanted = {str(name) for name in turns["session_id"]}
    names = ["session_id", "service_session_id", "request_id", "region", "event_log"]
    found = run.sessions.loc[run.sessions["session_id"].isin(wanted).to_numpy(), names]
    return found.assign(event_log=found["event_log"].fillna(False))


def _text(row: pd.Series[str], name: str) -> str:
    value = row.get(name)
    return printable(value) if isinstance(value, str) else ""
