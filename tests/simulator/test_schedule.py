"""When the events of an answer are due."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.drift import DelayDrift
from bench.simulator.schedule import Delta, audio_schedule, in_bursts, text_schedule
from tests.simulator.builders import AT_NS, REPLY, build_profile


@given(seed=st.integers(0, 1000), late_ns=st.integers(0, 3_000_000_000), burst=st.integers(1, 8), audio=st.booleans())
def test_instants_never_run_backwards(seed: int, late_ns: int, burst: int, audio: bool) -> None:
    make = audio_schedule if audio else text_schedule
    profile = build_profile(events_per_segment=burst)

    schedule = make(profile, REPLY, AT_NS, AT_NS + late_ns, np.random.default_rng(seed))

    dues = [schedule.created_ns, schedule.opening_ns, *(delta.due_ns for delta in schedule.deltas), schedule.done_ns]
    assert dues == sorted(dues)
    assert dues[0] >= AT_NS + late_ns
    assert [delta.place for delta in schedule.deltas if not delta.audio] == list(range(len(REPLY.tokens)))


DRIFT = DelayDrift(0.5, 30.0, 3)


@given(seed=st.integers(0, 1000), audio=st.booleans(), at_s=st.integers(0, 10_000))
def test_drift_multiplies_the_first_delays_and_no_pace(seed: int, audio: bool, at_s: int) -> None:
    make = audio_schedule if audio else text_schedule
    at_ns = at_s * 1_000_000_000
    factor = DRIFT.factor(at_ns)

    still = make(build_profile(), REPLY, at_ns, 0, np.random.default_rng(seed))
    drifting = make(build_profile(drift=DRIFT), REPLY, at_ns, 0, np.random.default_rng(seed))

    first, drifted = (next(d for d in s.deltas if d.audio is audio) for s in (still, drifting))
    assert drifted.due_ns - at_ns == pytest.approx((first.due_ns - at_ns) * factor, abs=1)
    assert drifting.created_ns - at_ns == pytest.approx((still.created_ns - at_ns) * factor, abs=1)
    assert drifting.done_ns - drifted.due_ns == pytest.approx(still.done_ns - first.due_ns, abs=2)


@pytest.mark.parametrize("size", [1, 3, 5, 100])
def test_a_burst_waits_for_its_last_event(size: int) -> None:
    deltas = [Delta(due, True, due) for due in range(7)]

    dues = [delta.due_ns for delta in in_bursts(deltas, size)]

    assert dues == [min(due - due % size + size - 1, 6) for due in range(7)]
