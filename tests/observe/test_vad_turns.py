"""Properties of the timeline of a session whose service detects the end of speech."""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import (
    DeliverTurn,
    MeasureNetwork,
    ReportUsage,
    RequestResponse,
    SessionStart,
)
from bench.observe.timeline import Timeline
from bench.services.openai.dialect import GA
from bench.session import session as waits
from bench.wire.connection import NetworkMeasured
from bench.wire.events import TokenUsage
from tests.examples import thorough
from tests.helpers import (
    AT_NS,
    LOUD,
    USAGE,
    Talk,
    at,
    build_turn,
    committed,
    created,
    delta,
    done,
    error,
    idle_timeout,
    message,
    reply,
    session_created,
    session_updated,
    speech_started,
    speech_stopped,
    transcribed,
    usage,
)

CANCELLED = {"status": "cancelled", "type": "cancelled", "reason": "turn_detected"}
SPENT = usage(audio_out=0)


# The network path.


def test_network_metrics_are_measured_at_each_turn_s_end_and_retransmits_since_the_last() -> None:
    talk, asked = Talk(wanted=4), []
    networks = (
        NetworkMeasured(900, 700, 2),
        NetworkMeasured(800, 600, 5),
        None,
        NetworkMeasured(700, 600, None),
    )
    for number, network in enumerate(networks, 1):
        asked.append(bool(talk.work(1_000 * number - 1, MeasureNetwork)))
        talk.ask(1_000 * number, number)
        talk.hear(1_000 * number + 10, *reply(GA, f"r{number}"))
        due = talk.timeline.due_actions(at(1_000 * number + 20))
        asked.append(
            isinstance(next(due)[0], ReportUsage) and isinstance(next(due)[0], MeasureNetwork)
        )
        if network is not None:
            talk.timeline.apply(network)
        talk.taken += [work.turn for work in next(due) if isinstance(work, DeliverTurn)]

    assert asked == [False, True] * 4
    assert [(t.network_rtt_ns, t.network_rtt_smoothed_ns, t.retransmits) for t in talk.taken] == [
        (700, 900, 2),
        (600, 800, 3),
        (None, None, None),
        (600, 700, None),
    ]


# Arbitrary events.

EVENTS = [
    *(
        make(f"item_{n}")
        for n in (1, 2, 3)
        for make in (speech_started, speech_stopped, committed, transcribed)
    ),
    *(
        data
        for n in (1, 2, 3)
        for data in (
            created(f"r{n}"),
            delta(GA, "audio", f"r{n}", LOUD),
            done(f"r{n}", usage=SPENT),
            done(f"r{n}", **CANCELLED),
        )
    ),
    idle_timeout("item_3"),
    error("conversation_already_has_active_response"),
    error("x", "turn-1-append-1"),
    error("rate_limit_exceeded"),
    message("unknown.event"),
]
STEPS = st.one_of(
    st.sampled_from(EVENTS),
    st.sampled_from(["begin", "end", "ask", "expect", "expire", "take", "give up", "type"]),
)
SCENES = st.lists(st.tuples(STEPS, st.sampled_from([0, 1, 40, 900, 2_500])), max_size=40)


LIMITS: dict[str, Any] = {
    "end_of_turn": 3.0,
    "first_delta": 3.0,
    "next_delta": 2.0,
    "response": 4.0,
}


def perform(talk: Talk, step: bytes | str, now_ms: int, number: int) -> bool:
    """Run one step of the client or of the service at the instant `now_ms`.

    Return whether the step begins turn `number`.
    """
    timeline = talk.timeline
    if isinstance(step, bytes):
        talk.hear(now_ms, step)
    else:  # before a client sends, it has waited until this instant
        timeline.expire(at(now_ms))
        assert timeline.next_deadline_ns > at(now_ms)
    begins = step in ("begin", "type") and timeline.turns.are_all_over and not timeline.is_over
    if begins and step == "begin":
        talk.begin_speech(now_ms, number, transcription_due=True)
    elif begins:
        timeline.apply(inputs.TurnStarted(at(now_ms), build_turn(number)))
        talk.send(now_ms, "response.create")
    elif step == "end" and not timeline.turns.are_all_over:
        talk.end_speech(now_ms)
    elif step == "ask" and talk.work(now_ms, RequestResponse):
        talk.send(now_ms, "response.create")
        assert not talk.work(now_ms, RequestResponse)
    elif step == "expect":
        timeline.apply(inputs.EventExpected("audio_delta", at(now_ms + 900)))
    elif step == "take":
        talk.take(now_ms)
    elif step == "give up":
        timeline.apply(inputs.StoppedWaiting())
        assert waits.until_service_idle(timeline, 0) is None or not talk.service_responds
    return begins


@thorough
@given(responds=st.booleans(), steps=SCENES)
def test_every_turn_ends_once_and_every_token_is_counted_once_for_any_vad_behaviour(
    responds: bool, steps: list[tuple[bytes | str, int]]
) -> None:
    talk, now_ms, begun = Talk(service_responds=responds, **LIMITS), 0, 0
    timeline = talk.timeline
    for step, gap_ms in steps:
        now_ms += gap_ms
        begun += perform(talk, step, now_ms, begun + 1)
        assert (
            timeline.turns.next_timeout(timeline.limits) is None
            or timeline.turns.are_all_over is False
        )
    timeline.apply(inputs.SessionFailed("unfinished", at(now_ms)))
    talk.take(now_ms)

    session = timeline.session()
    spent = [session.stray_usage, *(turn.usage for turn in talk.taken)]
    reported = {
        step for step, _ in steps if isinstance(step, bytes) and b"output_token_details" in step
    }
    assert sum(filter(None, spent), TokenUsage()) == sum(
        [replace(USAGE, audio_out=0)] * len(reported), TokenUsage()
    )
    assert sorted(turn.turn for turn in talk.taken) == list(range(1, begun + 1))
    assert session.turns_ended == session.turns_started == begun
    for turn in talk.taken:
        came = {
            name: at_ns
            for name, at_ns in turn.instants.items()
            if name not in ("first_audible", "answer_audible", "input_transcribed")
        }
        assert max(came.values()) == turn.instants["ended"]
        assert turn.start_ns <= min(came.values())
        assert len(turn.gaps_ns) + turn.uncertain_gaps <= max(0, turn.audio_deltas - 1), (
            "none from item to item"
        )
        assert ("first_audio" in came) == (turn.audio_deltas > 0) == (turn.stall_count is not None)


class Anxious(Timeline):
    """A timeline that computes its deadline again at every event."""

    @property
    def next_deadline_ns(self) -> int:
        due = self.turns.next_timeout(self.limits)
        return due[0][0] if due else 1 << 62


@example(responds=True, steps=[("begin", 0), ("end", 900)], done_s=4.0)
@example(responds=False, steps=[("type", 0), (created("r1"), 40)], done_s=1.0)
@example(responds=False, steps=[("type", 0), ("expect", 40)], done_s=4.0)
@given(responds=st.booleans(), steps=SCENES, done_s=st.sampled_from([1.0, 4.0]))
def test_a_lazily_computed_deadline_is_never_missed(
    responds: bool, steps: list[tuple[bytes | str, int]], done_s: float
) -> None:
    limits = LIMITS | {"response": done_s}
    talk, anxious = (Talk(service_responds=responds, **limits) for _ in range(2))
    anxious.timeline = Anxious(SessionStart(AT_NS, 2, Timeouts(**limits), responds), GA)
    anxious.hear(0, session_created(), session_updated())
    now_ms, begun = 0, 0
    for step, gap_ms in steps:
        now_ms += gap_ms
        perform(anxious, step, now_ms, begun + 1)
        begun += perform(talk, step, now_ms, begun + 1)
        due = talk.deadline()
        assert due is None or talk.timeline.next_deadline_ns <= due[0]

    for each in (talk, anxious):
        each.timeline.apply(inputs.SessionFailed("unfinished", at(now_ms)))
        each.take(now_ms)
    assert talk.taken == anxious.taken
    assert talk.timeline.session() == anxious.timeline.session()
