"""What a response is made of, and when each part is due."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.simulator.answering.function_calls import ModelCall
from bench.simulator.answering.plan import Asked, Planner, ResponseContent, ResponsePlan
from bench.simulator.delay import DelayDrift
from bench.simulator.profile import FunctionCalls
from tests.simulator.builders import AT_NS, MS, REPLY, build_profile

CALLS = [ModelCall("f", ("{", "}")), ModelCall("g", ("{}",))]
CONTENTS = st.builds(
    ResponseContent,
    st.booleans(),
    st.sampled_from([None, REPLY]),
    st.just(REPLY),
    st.sampled_from([(), CALLS[:1], CALLS]),
)
REASONING_NS = 700_000_000


def planned(content: ResponseContent, asked: Asked, seed: int = 1, **changes: Any) -> ResponsePlan:
    return Planner(build_profile(**changes), np.random.default_rng(seed)).response(content, asked)


def first_ns(plan: ResponsePlan, part: int, *, audio: bool) -> int:
    """When the first delta of a part is due; of audio, its first block."""
    return next(delta.due_ns for delta in plan.parts[part].schedule.deltas if delta.audio is audio)


@given(
    content=CONTENTS,
    seed=st.integers(0, 1000),
    late_ns=st.integers(0, 3_000_000_000),
    burst=st.integers(1, 8),
    reasoning_ns=st.sampled_from([0, REASONING_NS]),
)
def test_instants_never_run_backwards(
    content: ResponseContent, seed: int, late_ns: int, burst: int, reasoning_ns: int
) -> None:
    plan = planned(
        content,
        Asked(AT_NS, AT_NS + late_ns, reading_ns=1_000, reasoning_ns=reasoning_ns),
        seed,
        events_per_segment=burst,
    )

    dues = [AT_NS + late_ns, plan.created_ns]
    for part in plan.parts:
        deltas = [delta.due_ns for delta in part.schedule.deltas]
        dues += [part.schedule.opening_ns, *deltas, part.schedule.done_ns]
    assert [*dues, plan.done_ns] == sorted([*dues, plan.done_ns])
    assert len(plan.parts) == (content.commentary is not None) + (len(content.calls) or 1)


DRIFT = DelayDrift(0.5, 30.0, 3)


@given(seed=st.integers(0, 1000), audio=st.booleans(), at_s=st.integers(0, 10_000))
def test_drift_multiplies_the_first_delays_and_no_pace(seed: int, audio: bool, at_s: int) -> None:
    at_ns = at_s * 1_000_000_000
    factor = DRIFT.factor(at_ns)
    content, asked = ResponseContent(audio, None, REPLY), Asked(at_ns, 0)

    still, drifting = planned(content, asked, seed), planned(content, asked._replace(slowness=factor), seed)

    first, drifted = (first_ns(plan, 0, audio=audio) for plan in (still, drifting))
    assert drifted - at_ns == pytest.approx((first - at_ns) * factor, abs=1)
    assert drifting.created_ns - at_ns == pytest.approx((still.created_ns - at_ns) * factor, abs=1)
    assert drifting.done_ns - drifted == pytest.approx(still.done_ns - first, abs=2)


@pytest.mark.parametrize("audio", [True, False])
def test_reasoning_comes_ahead_of_the_answer_and_behind_a_commentary(audio: bool) -> None:
    plain, alone = (
        planned(ResponseContent(audio, None, REPLY), Asked(AT_NS, 0, reasoning_ns=ns)) for ns in (0, REASONING_NS)
    )
    parts, reasoned = (
        planned(ResponseContent(audio, REPLY, REPLY), Asked(AT_NS, 0, reasoning_ns=ns)) for ns in (0, REASONING_NS)
    )

    assert first_ns(alone, 0, audio=audio) - first_ns(plain, 0, audio=audio) == REASONING_NS
    assert first_ns(reasoned, 0, audio=audio) == first_ns(parts, 0, audio=audio) == first_ns(plain, 0, audio=audio)
    assert first_ns(reasoned, 1, audio=audio) - first_ns(parts, 1, audio=audio) == REASONING_NS


def test_reasoning_comes_ahead_of_the_calls() -> None:
    content = ResponseContent(True, None, REPLY, CALLS)

    plain, reasoned = (planned(content, Asked(AT_NS, 0, reasoning_ns=ns)) for ns in (0, REASONING_NS))

    assert reasoned.parts[0].schedule.opening_ns - plain.parts[0].schedule.opening_ns == REASONING_NS


@pytest.mark.parametrize(
    "content",
    [
        ResponseContent(True, REPLY, REPLY),
        ResponseContent(False, None, REPLY),
        ResponseContent(True, None, REPLY, CALLS),
    ],
)
def test_reading_comes_ahead_of_all(content: ResponseContent) -> None:
    quick, slow = (planned(content, Asked(AT_NS, 0, reading_ns=ns)) for ns in (0, REASONING_NS))

    assert slow.created_ns == quick.created_ns
    for place in range(len(quick.parts)):
        first, later = (plan.parts[place].schedule.deltas[0].due_ns for plan in (quick, slow))
        assert later - first == REASONING_NS


def test_calls_follow_one_another_by_a_token_and_the_response_is_done_behind_the_last() -> None:
    profile = build_profile(functions=FunctionCalls(arguments_tokens_per_s=100.0))
    planner = Planner(profile, np.random.default_rng(1))

    plan = planner.response(ResponseContent(True, None, REPLY, CALLS * 2), Asked(AT_NS, 0))

    ends = [part.schedule.done_ns for part in plan.parts]
    assert [part.schedule.opening_ns for part in plan.parts[1:]] == [done_ns + 10 * MS for done_ns in ends[:-1]]
    assert plan.done_ns > ends[-1]
