"""The parts of a response, and the due times of each part."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench_simulator.delay import DelayDrift
from rtbench_simulator.profile import FunctionCalls
from rtbench_simulator.responses.response_plan import (
    PlannedDelta,
    Planner,
    ResponseContent,
    ResponsePlan,
    ResponseRequest,
    call_schedule,
    in_bursts,
)
from rtbench_simulator.server_events import Outbox, OutgoingEvent
from rtbench_simulator.serving.connection import grouped_writes
from tests.simulator.builders import AT_NS, MS, REPLY, build_profile


def planned(
    content: ResponseContent, asked: ResponseRequest, seed: int = 1, **changes: Any
) -> ResponsePlan:
    return Planner(build_profile(**changes), np.random.default_rng(seed)).response(content, asked)


def first_ns(plan: ResponsePlan, part: int, *, audio: bool) -> int:
    """Return the due time of the first delta of a part. For audio, this is the time of the first
    block.
    """
    return next(delta.due_ns for delta in plan.parts[part].schedule.deltas if delta.audio is audio)


DRIFT = DelayDrift(0.5, 30.0, 3)


@given(seed=st.integers(0, 1000), audio=st.booleans(), at_s=st.integers(0, 10_000))
def test_drift_multiplies_the_first_delays_but_not_the_pace(
    seed: int, audio: bool, at_s: int
) -> None:
    at_ns = at_s * 1_000_000_000
    factor = DRIFT.factor(at_ns)
    content, asked = ResponseContent(audio, None, REPLY), ResponseRequest(at_ns, 0)

    still, drifting = (
        planned(content, asked, seed),
        planned(content, asked._replace(slowness=factor), seed),
    )

    first, drifted = (first_ns(plan, 0, audio=audio) for plan in (still, drifting))
    assert drifted - at_ns == pytest.approx((first - at_ns) * factor, abs=1)
    assert drifting.created_ns - at_ns == pytest.approx((still.created_ns - at_ns) * factor, abs=1)
    assert drifting.done_ns - drifted == pytest.approx(still.done_ns - first, abs=2)


# The due times of the events of one part of a response.


@pytest.mark.parametrize("burst", [1, 3])
def test_the_duration_of_a_function_call_is_one_interval_per_token(burst: int) -> None:
    profile = build_profile(
        events_per_segment=burst, functions=FunctionCalls(arguments_tokens_per_s=100.0)
    )

    schedule = call_schedule(profile, ("a", "b", "c", "d"), AT_NS)

    audio = [delta.audio for delta in schedule.deltas]
    due_ms = [(delta.due_ns - AT_NS) / MS for delta in schedule.deltas]
    assert (schedule.opening_ns, audio) == (AT_NS, [False] * 4)
    assert due_ms == ([10, 20, 30, 40] if burst == 1 else [30, 30, 30, 40])
    assert schedule.done_ns == AT_NS + 40 * MS


@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_a_burst_waits_for_its_last_event(size: int) -> None:
    deltas = [PlannedDelta(due, True) for due in range(7)]

    dues = [delta.due_ns for delta in in_bursts(deltas, size)]

    assert dues == [min(due - due % size + size - 1, 6) for due in range(7)]


# Several series of steps are merged in the order of their instants.


def due(planned: Outbox, now_ns: int) -> list[tuple[int, str]]:
    return [(event.due_ns, event.type) for event in planned.due(now_ns)]


# The events that share a write.


@given(instants=st.lists(st.integers(0, 3)).map(sorted), size=st.integers(1, 4))
def test_a_write_has_only_events_of_one_instant_up_to_its_limit(
    instants: list[int], size: int
) -> None:
    events = [OutgoingEvent(due_ns, "x", b"") for due_ns in instants]

    groups = [list(group) for group in grouped_writes(iter(events), size)]

    assert [event for group in groups for event in group] == events
    assert all(
        len({event.due_ns for event in group}) == 1 and len(group) <= size for group in groups
    )
    assert all(
        len(before) == size or before[0].due_ns != after[0].due_ns
        for before, after in pairwise(groups)
    )


@given(instants=st.lists(st.integers(0, 3)).map(sorted))
def test_a_write_limit_of_one_sends_each_event_separately(instants: list[int]) -> None:
    events = [OutgoingEvent(due_ns, "x", b"") for due_ns in instants]

    assert [list(alone) for alone in zip(events, strict=True)] == [
        list(group) for group in grouped_writes(events, 1)
    ]
