"""Which events share a write."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.serving.connection import grouped_writes
from bench.simulator.wire import Outgoing


@given(instants=st.lists(st.integers(0, 3)).map(sorted), size=st.integers(1, 4))
def test_only_events_of_one_instant_share_a_write_and_no_more_than_are_allowed(instants: list[int], size: int) -> None:
    events = [Outgoing(due_ns, "x", b"") for due_ns in instants]

    groups = [list(group) for group in grouped_writes(iter(events), size)]

    assert [event for group in groups for event in group] == events
    assert all(len({event.due_ns for event in group}) == 1 and len(group) <= size for group in groups)
    assert all(len(before) == size or before[0].due_ns != after[0].due_ns for before, after in pairwise(groups))


@given(instants=st.lists(st.integers(0, 3)).map(sorted))
def test_events_that_go_out_alone_are_those_that_share_a_write_of_one(instants: list[int]) -> None:
    events = [Outgoing(due_ns, "x", b"") for due_ns in instants]

    assert [list(alone) for alone in zip(events, strict=True)] == [list(group) for group in grouped_writes(events, 1)]
