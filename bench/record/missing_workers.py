"""Upper bounds of the work of missing workers that was not recorded. Pure.

The number of unrecorded turns is unknown, so an upper bound is computed. A worker that stopped
reporting may have continued until the run's end. In each of its slots, sessions follow one another.
So it started no more turns in a slot than fit into that time. The only assumption is that the time
from the start of a turn to the start of the next turn in its slot was never shorter than the
shortest such time that the run recorded.
"""

# If the facts of a worker state how many rows it wrote, the number of missing turns is exact: the
# worker was done, and its rows were damaged later. Otherwise there are two bounds, and the smaller
# one counts. Its slots cannot have started more turns than the shortest time between two turns
# allows. Its pairs or calls cannot have had more turns than the script has. If neither is known,
# the number is unknown (None), and the check `missing_data` fails.
#
# The bound is of turns, and never of latencies: a report cannot guess these, so it only states by
# how much its counts may be wrong.

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bench.base.units import NS_PER_S
from bench.catalogue.outcomes import outcome_class

if TYPE_CHECKING:  # load generators without reports have no pandas
    import pandas as pd

UNSEEN_NS = NS_PER_S
"""The maximum time for which a process continued after its last second on disk, which is written
when it is over."""
OF_TURNS = ["session_id", "worker", "start_ns"]
OF_SESSIONS = ["session_id", "outcome", "start_ns", "ended_at_ns", "turns_started"]
OF_SECONDS = [
    "second",
    "duration_ns",
    "worker",
    "target",
    "calls_offered",
    "sessions_active",
    "turns_started",
]


class WorkerLoad(NamedTuple):
    """The planned work of one worker.

    `slots` is the maximum number of its concurrent sessions, 0 if unknown. `targets` is the number
    of slots that a pair occupies. `pairs` is the maximum number of its pairs. `turns` is the
    maximum number of turns of a session. `pairs` and `turns` are None without a limit. `peers` are
    the workers of its run, if calls arrive. Calls go to workers in rotation, so this worker had at
    most one call more than any other worker. The run lasts from `started_utc_ns` to `ends_utc_ns`,
    when it began to stop.
    """

    started_utc_ns: int
    ends_utc_ns: int
    slots: int
    targets: int = 1
    pairs: int | None = None
    turns: int | None = None
    peers: frozenset[int] | None = None


class MissingWorker(NamedTuple):
    """A worker whose data is incomplete. `rows` are its own counts of written rows. `why` is the
    damage to its data.
    """

    worker: int
    host: str
    load: WorkerLoad
    rows: Mapping[str, int] | None = None
    why: str = ""


class KnownWork(NamedTuple):
    """The known work of a missing worker: its `turns` with rows, and its counts at the end of
    its last second.
    """

    turns: int = 0
    turns_started: int = 0
    calls: int = 0
    until_utc_ns: int = 0


def unknown_turns(
    record: KnownWork, load: WorkerLoad, shortest_ns: int | None, calls: int | None = None
) -> int | None:
    """Return the maximum number of turns that a worker started and that have no row; None without a
    bound.

    `shortest_ns` is as in `shortest_turn_ns`. `calls` is the maximum number of calls that arrived
    at the worker.
    """
    silent_ns = max(0, load.ends_utc_ns - record.until_utc_ns)
    bounds = []
    if not silent_ns or (shortest_ns is not None and load.slots):
        # rounded up, because in each slot one more turn may just have started
        bounds.append(record.turns_started + load.slots * -(-silent_ns // max(1, shortest_ns or 1)))
    pairs = [known for known in (load.pairs, calls) if known is not None]
    if pairs and load.turns is not None:
        bounds.append(min(pairs) * load.targets * load.turns)
    return max(0, min(bounds) - record.turns) if bounds else None


def unknown_calls(record: KnownWork, of_peers: Collection[int]) -> int | None:
    """Return the maximum of a worker's unreported calls, by those of its complete peers; None if
    it has none.
    """
    return max(0, max(of_peers) + 1 - record.calls) if of_peers else None


def shortest_turn_ns(turns: pd.DataFrame, sessions: pd.DataFrame) -> int | None:
    """Return the shortest time between the starts of two consecutive turns of a slot; None if no
    time is known.

    Two consecutive turns are in one session, or in two consecutive sessions. For turns in two
    sessions, the time is the shortest time from a session's last turn to its end, plus the shortest
    time from a session's start to its first turn.
    """
    import pandas as pd

    starts = turns.sort_values(["session_id", "start_ns"]).groupby("session_id")["start_ns"]
    shortest = [starts.diff().min()]
    is_unfinished = np.array(
        [outcome_class(str(outcome)) == "unfinished" for outcome in sessions["outcome"]], bool
    )
    ends = sessions[~is_unfinished].drop_duplicates("session_id").set_index("session_id")
    first = starts.min().reindex(ends.index)
    last = starts.max().reindex(ends.index)
    shortest.append(
        (first - ends["start_ns"]).min() + (ends["start_ns"] + ends["ended_at_ns"] - last).min()
    )
    known = [int(duration_ns) for duration_ns in shortest if not pd.isna(duration_ns)]
    return max(1, min(known)) if known else None


def missing_entries(
    missing_workers: Sequence[MissingWorker],
    turns: pd.DataFrame,
    sessions: pd.DataFrame,
    seconds: pd.DataFrame,
) -> list[dict[str, Any]]:
    """Return the `MissingWorkerEntry` of missing workers, from the columns OF_TURNS, OF_SESSIONS
    and OF_SECONDS.
    """
    if not missing_workers:
        return []
    shortest_ns = shortest_turn_ns(turns, sessions)
    known_work = _reported(turns, seconds)
    active = seconds.groupby(["worker", "second"])["sessions_active"].sum()
    max_turns = int(sessions["turns_started"].max()) if len(sessions) else 0
    entries = []
    for missing in missing_workers:
        load = missing.load._replace(
            slots=max(missing.load.slots, int(active.max()) if len(active) else 0)
        )
        if load.turns is not None:
            load = load._replace(turns=max(load.turns, max_turns))
        record = known_work.get(missing.worker, KnownWork())
        if not record.until_utc_ns:
            record = record._replace(until_utc_ns=load.started_utc_ns)
        entry = {
            "worker": missing.worker,
            "host": missing.host,
            "since_utc_ns": record.until_utc_ns,
        }
        entry |= {"why": missing.why} if missing.why else {}
        # it reported the number of rows that it had written
        if missing.rows is not None and "turns" in missing.rows:
            entry["turns"] = max(0, missing.rows["turns"] - record.turns)
        elif load.peers is None:
            entry["turns"] = unknown_turns(record, load, shortest_ns)
        else:
            calls = unknown_calls(record, _calls_of_peers(missing, missing_workers, known_work))
            arrived = None if calls is None else record.calls + calls
            entry |= {"turns": unknown_turns(record, load, shortest_ns, arrived), "calls": calls}
        entries.append(entry)
    return entries


def _reported(turns: pd.DataFrame, seconds: pd.DataFrame) -> dict[int, KnownWork]:
    counts = turns["worker"].value_counts()
    rows: dict[int, int] = dict(zip(counts.index.tolist(), counts.tolist(), strict=True))
    # each target's row counts the calls of all targets
    calls = seconds.groupby(["worker", "target"])["calls_offered"].sum()
    turns_started = seconds.groupby("worker")["turns_started"].sum()
    # the end of a second is at least half of its duration after its start
    ends_ns = seconds["second"].astype(int) * NS_PER_S + seconds["duration_ns"].astype(int) // 2
    until_ns = ends_ns.groupby(seconds["worker"]).max()
    records = {worker: KnownWork(turns=count) for worker, count in rows.items()}
    for worker in until_ns.index.tolist():
        facts = int(turns_started[worker]), int(calls[worker].max()), int(until_ns[worker])
        records[worker] = KnownWork(rows.get(worker, 0), *facts)
    return records


def _calls_of_peers(
    missing: MissingWorker,
    missing_workers: Sequence[MissingWorker],
    known_work: Mapping[int, KnownWork],
) -> list[int]:
    """Return the number of calls of each peer of a missing worker whose data does not end before
    the run's end.
    """
    incomplete = {other.worker for other in missing_workers}
    ends_ns = missing.load.ends_utc_ns
    peers = (missing.load.peers or frozenset()) - {missing.worker}
    known = [
        (known_work[peer], ends_ns if peer in incomplete else ends_ns - NS_PER_S)
        for peer in peers
        if peer in known_work
    ]
    return [record.calls for record, min_until_ns in known if record.until_utc_ns >= min_until_ns]


def load_of(
    document: Mapping[str, Any], missing_count: int, peers: Iterable[int], ends_utc_ns: int
) -> WorkerLoad:
    """Return the planned work of each missing worker. The users of the others may have moved to
    it before.
    """
    workers = max(1, int(document.get("workers") or 1))
    target_count = len(document.get("targets") or [None]) if document.get("interleaved") else 1
    users = -(-int(document.get("concurrency") or 0) // target_count)
    sessions = document.get("sessions_planned")
    turns = [script.get("turns") for script in document.get("scripts") or []]
    return WorkerLoad(
        document["started_utc_ns"],
        ends_utc_ns,
        slots=-(-users // max(1, workers - max(0, missing_count - 1))) * target_count,
        targets=target_count,
        pairs=None if sessions is None else -(-sessions // workers),
        turns=None if None in turns or not turns else max(map(int, turns)),
        peers=frozenset(peers) if document.get("arrivals") else None,
    )
