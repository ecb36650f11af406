"""Upper bounds for the work of missing workers. A bound holds for every history. It is tighter if more is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.record.missing_workers import (
    KnownWork,
    MissingWorker,
    WorkerLoad,
    load_of,
    missing_entries,
    shortest_turn_ns,
    unknown_calls,
    unknown_turns,
)
from tests.helpers import MS, S

SHORTEST_NS = 300 * MS
Begins = Sequence[Sequence[int]]
"""The start times of the turns in each slot of a worker, in ns after the start of the run."""


@st.composite
def histories(draw: st.DrawFn) -> Begins:
    """Draw the turns of several slots. In a slot, each turn starts at least SHORTEST_NS after the turn before it."""
    gaps = st.lists(st.integers(SHORTEST_NS, 20 * SHORTEST_NS), max_size=30)
    slots = st.lists(st.tuples(st.integers(0, 3 * S), gaps), min_size=1, max_size=5)
    return [list(accumulate(gaps, initial=first)) for first, gaps in draw(slots)]


@given(histories(), st.integers(0, 30 * S), st.integers(0, 30 * S), st.data())
def test_the_bound_of_missing_turns_holds_for_any_history_and_received_part(
    begins: Begins, until_ns: int, ends_ns: int, data: st.DataObject
) -> None:
    """Rows and counts arrive independently. Therefore more rows than counted turns may have arrived, or fewer."""
    truth = sum(at_ns <= ends_ns for slot in begins for at_ns in slot)
    begun = sum(at_ns <= min(until_ns, ends_ns) for slot in begins for at_ns in slot)
    rows = data.draw(st.integers(0, truth))
    record = KnownWork(turns=rows, turns_started=begun, until_utc_ns=until_ns)
    bound = unknown_turns(record, WorkerLoad(0, ends_ns, slots=len(begins)), SHORTEST_NS)
    assert bound is not None
    assert bound >= truth - rows


@given(histories(), st.integers(0, 30 * S), st.integers(1, 4))
def test_the_bound_by_planned_pairs_holds_for_any_history(begins: Begins, until_ns: int, turns: int) -> None:
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


@pytest.mark.parametrize(
    ("silent_ms", "most"), [(-5, 0), (0, 0), (1, 2), (100, 2), (101, 4), (1_000, 20)], ids=lambda value: str(value)
)
def test_the_bound_is_the_number_of_turns_that_fit_into_the_slots(silent_ms: int, most: int) -> None:
    assert unknown_turns(KnownWork(until_utc_ns=0), WorkerLoad(0, silent_ms * MS, slots=2), 100 * MS) == most


def test_without_a_shortest_turn_there_is_no_bound() -> None:
    silent = KnownWork(until_utc_ns=5 * S)
    assert unknown_turns(silent, WorkerLoad(0, 9 * S, slots=3), None) is None
    assert unknown_turns(silent, WorkerLoad(0, 5 * S, slots=3), None) == 0
    assert unknown_turns(silent, WorkerLoad(0, 9 * S, slots=3, pairs=4, turns=2), None) == 8


def turns(*rows: tuple[str, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["session_id", "worker", "start_ns"])


def sessions(*rows: tuple[str, str, int, int, int]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["session_id", "outcome", "start_ns", "ended_at_ns", "turns_started"])


def seconds(*rows: tuple[int, int, int, int, int]) -> pd.DataFrame:
    columns = ["second", "worker", "calls_offered", "sessions_active", "turns_started"]
    return pd.DataFrame(rows, columns=columns).assign(duration_ns=S, target="service")


def test_the_shortest_turn_is_found_within_and_between_sessions() -> None:
    of_one = turns(("a", 0, 1 * S), ("a", 0, 3 * S), ("a", 0, 7 * S))
    none = sessions()
    assert shortest_turn_ns(of_one, none) == 2 * S
    two = turns(("a", 0, 1 * S), ("a", 0, 3 * S), ("b", 0, 9 * S))
    ended = sessions(("a", "ok", 0, 3 * S + 5, 2), ("b", "ok", 9 * S - 7, S, 1))
    assert shortest_turn_ns(two, ended) == 12
    cut = sessions(("a", "unfinished", 0, 3 * S + 5, 2))
    assert shortest_turn_ns(two, cut) == 2 * S
    assert shortest_turn_ns(turns(("a", 0, 1 * S)), none) is None


def document(**changes: Any) -> dict[str, Any]:
    shared = {"started_utc_ns": 0, "workers": 3, "concurrency": 7, "scripts": [{"turns": 2}], "targets": [{}]}
    return shared | changes


def test_the_slots_of_a_worker_include_those_of_workers_lost_earlier() -> None:
    assert load_of(document(), 1, [0, 1, 2], 9).slots == 3
    assert load_of(document(), 2, [0, 1, 2], 9).slots == 4
    both = document(interleaved=True, targets=[{}, {}], concurrency=14, settings={"sessions": 10}, arrivals={"x": 1})
    assert load_of(both, 1, [0, 2], 9) == WorkerLoad(0, 9, 6, targets=2, pairs=4, turns=2, peers=frozenset({0, 2}))
    assert load_of(document(scripts=[{"turns": None}]), 1, [], 9).turns is None


def test_missing_turns_of_a_silent_worker_are_counted_to_the_end_of_the_run() -> None:
    rows = turns(("a", 1, 0), ("a", 1, 2 * S), ("b", 0, 0))
    seconds_rows = seconds((0, 1, 0, 2, 2), (1, 1, 0, 2, 1), (8, 0, 0, 1, 1))
    (entry,) = missing_entries(
        [MissingWorker(1, "west", WorkerLoad(0, 7 * S + S // 2, slots=2))], rows, sessions(), seconds_rows
    )
    # 3 turns had begun, of which 2 have rows; in 6 s two slots begin a turn of 2 s three times each
    assert entry == {"worker": 1, "host": "west", "since_utc_ns": S + S // 2, "turns": 1 + 6}


def test_a_finished_worker_lacks_the_rows_that_are_not_readable() -> None:
    missing = MissingWorker(0, "west", WorkerLoad(0, 99 * S, slots=2), rows={"turns": 5}, why="turns.arrows: torn")
    (entry,) = missing_entries([missing], turns(("a", 0, 0), ("a", 0, S)), sessions(), seconds((0, 0, 0, 1, 9)))
    assert (entry["turns"], entry["why"]) == (3, "turns.arrows: torn")


def test_calls_of_a_missing_worker_are_counted_with_their_turns() -> None:
    load = WorkerLoad(0, 10 * S, slots=2, turns=3, peers=frozenset({0, 1}))
    seconds_rows = seconds((0, 0, 4, 1, 4), (9, 0, 6, 1, 4), (0, 1, 4, 1, 2))
    (entry,) = missing_entries([MissingWorker(1, "west", load)], turns(("a", 1, 0)), sessions(), seconds_rows)
    assert (entry["calls"], entry["turns"]) == (7, 11 * 3 - 1)


def test_calls_of_incomplete_workers_give_no_bound() -> None:
    load = WorkerLoad(0, 10 * S, slots=2, turns=3, peers=frozenset({0, 1}))
    seconds_rows = seconds((0, 0, 4, 1, 4), (2, 0, 6, 1, 4), (0, 1, 4, 1, 2))
    rows = turns(("a", 1, 0), ("a", 1, 5 * S))
    (entry,) = missing_entries([MissingWorker(1, "west", load)], rows, sessions(), seconds_rows)
    assert (entry["calls"], entry["turns"]) == (None, 2 * 2)
    (entry, _) = missing_entries([MissingWorker(n, "west", load) for n in (1, 0)], rows, sessions(), seconds_rows)
    assert entry["calls"] is None
