"""The slowest turns, with the names by which the service and the network know them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bench.plain import printable, shortened
from bench.run.folder import SCHEMAS
from bench.run.measured import origin_ns
from bench.units import NS_PER_MS, NS_PER_S
from reports.runs import Run, records, response_ids
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


class Listing(NamedTuple):
    """The turns of one stratum by a measure; `without`: those of them that lack this one."""

    one: Sampled
    stratum: Stratum
    without: str = ""


def slowest(run: Run, listings: Iterable[Listing], began_utc_ns: int, most: int = MOST) -> tuple[Slow, ...]:
    """The slowest good turns of each listing."""
    return _slow(run, [(listing, _falling(listing)[:most]) for listing in listings], began_utc_ns)


def slowest_of_steps(run: Run, listings: Iterable[Listing], began_utc_ns: int) -> tuple[Slow, ...]:
    """The same of each step on each target; none where those are too many."""
    return _slow(run, [(listing, _of_steps(listing)) for listing in listings], began_utc_ns)


def _of_steps(listing: Listing) -> Integers:
    one, falling = listing.one, _falling(listing)
    group = one.turns.group[one.index[falling]]
    groups = np.unique(group)
    each = min(OF_STEP, OF_STEPS // max(1, groups.size))
    first = [np.flatnonzero(group == code)[:each] for code in groups] if each else []
    chosen: Integers = falling[np.sort(np.concatenate([*first, np.zeros(0, dtype=np.int64)]))]
    return chosen


def _falling(listing: Listing) -> Integers:
    """The places of the good turns among the values, the slowest first."""
    one, turns = listing.one, listing.one.turns
    mine = turns.steps_in(listing.stratum)[turns.step]
    if listing.without:
        mine &= np.isnan(turns.value(listing.without))
    places: Integers = np.flatnonzero(np.isfinite(one.values) & mine[one.index])[::-1]
    return places


def _slow(run: Run, listed: Sequence[tuple[Listing, Integers]], began_utc_ns: int) -> tuple[Slow, ...]:
    """Of each listing the turns at these places among its values. Rows are looked up once for all of them."""
    told = [(listing, int(place)) for listing, chosen in listed for place in chosen]
    if not told:
        return ()
    turns = told[0][0].one.turns
    wanted, at = np.unique([turns.rows[listing.one.index[place]] for listing, place in told], return_inverse=True)
    rows = turns.frame.iloc[wanted]
    stored = records(rows)
    sessions = _sessions(run, {str(turn["session_id"]) for turn in stored})
    responses = response_ids(run, wanted.tolist())
    measures = {name: values_of(rows, name) for name in ("ttfa", "voice_to_voice", "network_rtt", "retransmits")}
    created = rows["response_created_at_ns"].to_numpy(dtype=np.float64, na_value=np.nan) - origin_ns(rows)
    shown = [
        tuple((name, _written(turn[name])) for name in COLUMNS if name in turn and turn[name] == turn[name])
        for turn in stored
    ]
    slow = []
    for (listing, place), row in zip(told, at.tolist(), strict=True):
        one, turn = listing.one, stored[row]
        index = one.index[place]
        session, colour = str(turn["session_id"]), int(turns.target[index])
        known = sessions.get(session, {})
        slow.append(
            Slow(
                measure=one.measure.name,
                stratum=listing.stratum,
                value=float(one.values[place]),
                target=turns.targets[colour],
                colour=colour,
                step=turns.steps[int(turns.step[index])],
                turn=int(np.nan_to_num(turn["turn"])),
                at_s=(int(turn["start_utc_ns"]) - began_utc_ns) / NS_PER_S,
                ttfa=float(measures["ttfa"][row]),
                voice_to_voice=float(measures["voice_to_voice"][row]),
                created=float(created[row]) / NS_PER_MS,
                network_rtt=float(measures["network_rtt"][row]),
                retransmits=float(measures["retransmits"][row]),
                session=session,
                service_session=_text(known, "service_session_id"),
                response=responses[row],
                request=_text(known, "request_id"),
                region=_text(known, "region"),
                event_log=f"events/{session}.jsonl" if known.get("event_log") is True else "",
                row=shown[row],
            )
        )
    return tuple(slow)


def _written(value: object) -> str:
    """A stored value as it is; texts of others as they may be shown."""
    return f"{value:g}" if isinstance(value, float) else shortened(str(value), LONGEST_TEXT)


def _sessions(run: Run, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """What is known of a few sessions, by their names."""
    names = ["session_id", "service_session_id", "request_id", "region", "event_log"]
    found = np.flatnonzero(run.sessions["session_id"].isin(wanted).to_numpy())
    return {str(row["session_id"]): row for row in records(run.sessions[names].iloc[found])}


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return printable(value) if isinstance(value, str) else ""
