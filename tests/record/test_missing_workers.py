"""Upper bounds for the work of missing workers. A bound holds for every history. It is tighter
if more is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from bench.record.missing_workers import (
    KnownWork,
    MissingWorker,
    WorkerLoad,
    missing_entries,
    unknown_calls,
    unknown_turns,
)
from tests.helpers import MS, S

SHORTEST_NS = 300 * MS
Begins = Sequence[Sequence[int]]
"""The start times of the turns in each slot of a worker, in ns after the start of the run."""


@st.composite
def histories(draw: st.DrawFn) -> Begins:
    """Draw the turns of several slots. In a slot, each turn starts at least SHORTEST_NS after
    the turn before it.
    """
    gaps = st.lists(st.integers(SHORTEST_NS, 20 * SHORTEST_NS), max_size=30)
    slots = st.lists(st.tuples(st.integers(0, 3 * S), gaps), min_size=1, max_size=5)
    return [list(accumulate(gaps, initial=first)) for first, gaps in draw(slots)]


@given(histories(), st.integers(0, 30 * S), st.integers(0, 30 * S), st.data())
def test_the_bound_of_missing_turns_holds_for_any_history_and_received_part(
    begins: Begins, until_ns: int, ends_ns: int, data: st.DataObject
) -> None:
    """Rows and counts arrive independently. Therefore more rows than counted turns may have
    arrived, or fewer.
    """
    truth = sum(at_ns <= ends_ns for slot in begins for at_ns in slot)
    begun = sum(at_ns <= min(until_ns, ends_ns) for slot in begins for at_ns in slot)
    rows = data.draw(st.integers(0, truth))
    record = KnownWork(turns=rows, turns_started=begun, until_utc_ns=until_ns)
    bound = unknown_turns(record, WorkerLoad(0, ends_ns, slots=len(begins)), SHORTEST_NS)
    assert bound is not None
    assert bound >= truth - rows


@given(histories(), st.integers(0, 30 * S), st.integers(1, 4))
def test_the_bound_by_planned_pairs_holds_for_any_history(
    begins: Begins, until_ns: int, turns: int
) -> None:
    """Each slot runs sessions of `turns` turns.

    The number of sessions is known from the plan, or from the arrived calls.
    """
    truth = sum(map(len, begins))
    pairs = sum(-(-len(slot) // turns) for slot in begins)
    begun = sum(at_ns <= until_ns for slot in begins for at_ns in slot)
    record = KnownWork(turns=begun, turns_started=begun, until_utc_ns=until_ns)
    for planned, arrived in ((pairs, None), (None, pairs)):
        load = WorkerLoad(0, 10_000 * S, slots=len(begins), pairs=planned, turns=turns)
        bound = unknown_turns(record, load, SHORTEST_NS, arrived)
        assert bound is not None
        assert truth - begun <= bound <= pairs * turns - begun


@given(st.integers(0, 60), st.integers(1, 6), st.data())
def test_the_bound_of_missing_calls_holds_for_any_missing_worker(
    arrived: int, workers: int, data: st.DataObject
) -> None:
    """The workers get the calls in rotation.

    All calls of the other workers are known. Of the missing worker, only some calls are known.
    """
    calls = [len(range(worker, arrived, workers)) for worker in range(workers)]
    missing = data.draw(st.integers(0, workers - 1))
    received = data.draw(st.integers(0, calls[missing]))
    others = [count for worker, count in enumerate(calls) if worker != missing]
    bound = unknown_calls(KnownWork(calls=received), others)
    if others:
        assert bound is not None
        assert calls[missing] - received <= bound <= calls[missing] - received + 2
    else:
        assert bound is None


def turns(*rows: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["session_id", "worker", "start_ns"])


def sessions(*rows: tuple[str, str, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(
        rows, columns=["session_id", "outcome", "start_ns", "ended_at_ns", "turns_started"]
    )


def seconds(*rows: tuple[int, int, int, int, int]) -> pd.DataFrame:
    columns = ["second", "worker", "calls_offered", "sessions_active", "turns_started"]
    return pd.DataFrame(rows, columns=columns).assign(duration_ns=S, target="service")


def test_calls_of_a_missing_worker_are_counted_with_their_turns() -> None:
    load = WorkerLoad(0, 10 * S, slots=2, turns=3, peers=frozenset({0, 1}))
    seconds_rows = seconds((0, 0, 4, 1, 4), (9, 0, 6, 1, 4), (0, 1, 4, 1, 2))
    (entry,) = missing_entries(
        [MissingWorker(1, "west", load)], turns(("a", 1, 0)), sessions(), seconds_rows
    )
    assert (entry["calls"], entry["turns"]) == (7, 11 * 3 - 1)


def test_calls_of_incomplete_workers_give_no_bound() -> None:
    load = WorkerLoad(0, 10 * S, slots=2, turns=3, peers=frozenset({0, 1}))
    seconds_rows = seconds((0, 0, 4, 1, 4), (2, 0, 6, 1, 4), (0, 1, 4, 1, 2))
    rows = turns(("a", 1, 0), ("a", 1, 5 * S))
    (entry,) = missing_entries([MissingWorker(1, "west", load)], rows, sessions(), seconds_rows)
    assert (entry["calls"], entry["turns"]) == (None, 2 * 2)
    entry, _ = missing_entries(
        [MissingWorker(n, "west", load) for n in (1, 0)], rows, sessions(), seconds_rows
    )
    assert entry["calls"] is None
