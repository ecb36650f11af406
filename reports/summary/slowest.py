"""The slowest turns, with the names by which the service and the network know them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np
from msgspec import field

from bench.plain import printable, shortened
from bench.run.folder import SCHEMAS
from bench.run.measured import origin_ns
from bench.units import NS_PER_MS, NS_PER_S
from reports.runs import RunFrames, records, response_ids
from reports.samples import Sampled
from reports.schemas.document import Count, Known, Rounded, about
from reports.statistics.counting import Integers
from reports.strata import Stratum, Wait
from reports.turns import values_of

LONGEST_TEXT = 200
COLUMNS = SCHEMAS["turns"].names
MOST = 8
OF_STEP, OF_STEPS = 3, 96
"""So many of each step on each target, and so many of all steps: of many steps fewer each."""


class Slow(Wait, frozen=True):
    """One of the slowest good turns, with the names by which the service and the network know it; null where absent."""

    step: str
    turn: Count
    at_s: Annotated[float, about("when it began, after the run did")]
    retransmits: Count | None
    session: str
    service_session: Known
    response: Known
    request: Known
    region: Known
    event_log: Annotated[Known, about("of the session, relative to the run's folder")]
    value: Rounded = field(name="value_ms")
    ttfa: Rounded = field(name="ttfa_ms")
    voice_to_voice: Rounded = field(name="voice_to_voice_ms")
    created: Annotated[Rounded, about("from what latency counts from to response.created")] = field(name="created_ms")
    network_rtt: Rounded = field(name="network_rtt_ms")


class SlowTurn(Slow, frozen=True, kw_only=True):
    """The same, with what its row in turns.parquet holds, as far as reports read it."""

    row: tuple[tuple[str, str], ...]


class Listing(NamedTuple):
    """The turns of one stratum by a measure; `without`: those of them that lack this one."""

    one: Sampled
    stratum: Stratum
    without: str = ""


def slowest_turns(
    run: RunFrames, listings: Iterable[Listing], began_utc_ns: int
) -> tuple[tuple[SlowTurn, ...], tuple[SlowTurn, ...]]:
    """The slowest good turns of each listing, and those of each step on each target; none where these are too many."""
    falling = [(listing, _falling(listing)) for listing in listings]
    slowest = [(listing, places[:MOST]) for listing, places in falling]
    told = _slow(
        run, [*slowest, *((listing, _of_steps(listing.one, places)) for listing, places in falling)], began_utc_ns
    )
    most = sum(places.size for _, places in slowest)
    return told[:most], told[most:]


def _of_steps(one: Sampled, falling: Integers) -> Integers:
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


def _slow(run: RunFrames, listed: Sequence[tuple[Listing, Integers]], began_utc_ns: int) -> tuple[SlowTurn, ...]:
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
        session, resent = str(turn["session_id"]), measures["retransmits"][row]
        known = sessions.get(session, {})
        of = SlowTurn(
            one.measure.name,
            *listing.stratum,
            target=turns.targets[int(turns.target[index])],
            step=turns.steps[int(turns.step[index])],
            turn=int(np.nan_to_num(turn["turn"])),
            at_s=(int(turn["start_utc_ns"]) - began_utc_ns) / NS_PER_S,
            retransmits=None if np.isnan(resent) else int(resent),
            session=session,
            service_session=_text(known, "service_session_id"),
            response=responses[row],
            request=_text(known, "request_id"),
            region=_text(known, "region"),
            event_log=f"events/{session}.jsonl" if known.get("event_log") is True else "",
            value=float(one.values[place]),
            ttfa=float(measures["ttfa"][row]),
            voice_to_voice=float(measures["voice_to_voice"][row]),
            created=float(created[row]) / NS_PER_MS,
            network_rtt=float(measures["network_rtt"][row]),
            row=shown[row],
        )
        slow.append(of)
    return tuple(slow)


def _written(value: object) -> str:
    """A stored value as it is; texts of others as they may be shown."""
    return f"{value:g}" if isinstance(value, float) else shortened(str(value), LONGEST_TEXT)


def _sessions(run: RunFrames, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """What is known of a few sessions, by their names."""
    names = ["session_id", "service_session_id", "request_id", "region", "event_log"]
    found = np.flatnonzero(run.sessions["session_id"].isin(wanted).to_numpy())
    return {str(row["session_id"]): row for row in records(run.sessions[names].iloc[found])}


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return printable(value) if isinstance(value, str) else ""
