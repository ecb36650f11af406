"""When the events of a part of a response are due."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.answering.plan import Delta, audio_schedule, call_schedule, in_bursts, text_schedule
from bench.simulator.profile import FunctionCalls
from tests.simulator.builders import AT_NS, MS, REPLY, build_profile


@given(seed=st.integers(0, 1000), late_ns=st.integers(0, 3_000_000_000), burst=st.integers(1, 8), audio=st.booleans())
def test_instants_of_a_message_never_run_backwards(seed: int, late_ns: int, burst: int, audio: bool) -> None:
    make = audio_schedule if audio else text_schedule
    profile = build_profile(events_per_segment=burst)

    schedule = make(profile, REPLY, AT_NS, AT_NS + late_ns, np.random.default_rng(seed))

    dues = [AT_NS, schedule.opening_ns, *(delta.due_ns for delta in schedule.deltas), schedule.done_ns]
    assert dues == sorted(dues)
    assert [delta.place for delta in schedule.deltas if not delta.audio] == list(range(len(REPLY.tokens)))


@pytest.mark.parametrize("burst", [1, 3])
def test_a_call_takes_a_token_s_time_for_each_token(burst: int) -> None:
    profile = build_profile(events_per_segment=burst, functions=FunctionCalls(arguments_tokens_per_s=100.0))

    schedule = call_schedule(profile, ("a", "b", "c", "d"), AT_NS)

    places = [delta.place for delta in schedule.deltas]
    due_ms = [(delta.due_ns - AT_NS) / MS for delta in schedule.deltas]
    assert (schedule.opening_ns, places) == (AT_NS, [0, 1, 2, 3])
    assert due_ms == ([10, 20, 30, 40] if burst == 1 else [30, 30, 30, 40])
    assert schedule.done_ns == AT_NS + 40 * MS


@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_a_burst_waits_for_its_last_event(size: int) -> None:
    deltas = [Delta(due, True, due) for due in range(7)]

    dues = [delta.due_ns for delta in in_bursts(deltas, size)]

    assert dues == [min(due - due % size + size - 1, 6) for due in range(7)]
