"""A session with an open microphone, whose service detects the end of speech. The transport has
no network.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from operator import le

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.timeouts import Timeouts
from bench.observe.timeline import Timeline
from bench.plan.steps import PauseStep
from bench.plan.turns import Step
from bench.services.openai.dialect import GA
from bench.transport.interface import SLOT_NS
from bench.wire.connection import ConnectionClosed, SendReceipt
from bench.wire.settings import TurnDetection
from tests.examples import thorough
from tests.helpers import (
    GREETED_NS,
    MS,
    GuardedTransport,
    Listening,
    Played,
    S,
    Service,
    base64_of,
    build_script,
    committed,
    created,
    delta,
    done,
    interrupt_after,
    play,
    say,
    seated,
    speech_started,
    speech_stopped,
)
from tests.memory_transport import PeerAnswer

VAD = TurnDetection()
ASKED = TurnDetection(create_response=False)


@dataclass
class Hearing(Service):
    """A service with additional answers.

    The key in `after` is the ID of the client event to which the service sends them.
    """

    after: dict[str, list[PeerAnswer]] = field(default_factory=dict)

    def __call__(self, data: bytes) -> Iterable[PeerAnswer]:
        yield from self.after.get(msgspec.json.decode(data)["event_id"], ())
        yield from super().__call__(data)


def noticed(number: int, at_ns: int = 500 * MS) -> list[PeerAnswer]:
    """Return the end of speech of a turn, and the commit of the speech.

    The service reports the end of speech `at_ns` after it received the last chunk of speech.
    """
    item_id = f"item_{number}"
    return [(at_ns, speech_stopped(item_id)), (at_ns + 5 * MS, committed(item_id))]


def answered(number: int, at_ns: int = 600 * MS, audio_ms: int = 100) -> list[PeerAnswer]:
    """Return the response to a turn. It begins `at_ns` after the last chunk of speech, and is
    done 400 ms later.
    """
    response_id = f"r{number}"
    return [
        (at_ns, created(response_id)),
        (at_ns + 300 * MS, delta(GA, "audio", response_id, base64_of(48 * audio_ms))),
        (at_ns + 400 * MS, done(response_id)),
    ]


def hearing(*chunks: int, audio_ms: int = 100) -> dict[str, list[PeerAnswer]]:
    """Return the answers to several turns. Each turn gets its detected speech and a response.

    `chunks` contains the number of chunks of each turn.
    """
    after: dict[str, list[PeerAnswer]] = {}
    for number, count in enumerate(chunks, 1):
        after[f"turn-{number}-append-1"] = [(10 * MS, speech_started(f"item_{number}"))]
        after.setdefault(f"turn-{number}-append-{count}", []).extend(
            noticed(number) + answered(number, audio_ms=audio_ms)
        )
    return after


@thorough
@given(
    steps=st.lists(
        st.one_of(
            st.builds(play, st.integers(100, 900), chunk_ms=st.integers(20, 200)),
            st.builds(PauseStep, st.floats(0, 3)),
            st.just(say()),
        ),
        min_size=1,
        max_size=6,
    ),
    noticed_ns=st.integers(0, 700 * MS),
)
def test_the_microphone_sends_audio_without_any_drift(steps: list[Step], noticed_ns: int) -> None:
    script = build_script(*steps, turn_detection=VAD)
    after = {
        f"turn-{turn.plan.number}-append-{len(turn.speech)}": (
            noticed(turn.plan.number, noticed_ns)
            + answered(turn.plan.number, noticed_ns + 40 * MS + 7)
        )
        for turn in script.turns
    }
    played = Played(script, Hearing(after=after))

    durations = {
        message.data: message.duration_ns
        for turn in script.turns
        for message in (*turn.speech, *turn.silence_chunks)
    }
    durations |= {message.data: message.duration_ns for message in script.silence_chunks}
    due_ns = played.start_ns + GREETED_NS
    for at_ns, data in played.transport.sent:
        if b"input_audio_buffer.append" in data:
            due_ns += durations[data] or 0
            assert at_ns == due_ns
    assert played.outcomes == ["ok"] * len(script.turns)


@pytest.mark.parametrize("detection", [VAD, None])
@pytest.mark.parametrize("late_ns", [1, SLOT_NS - 1, SLOT_NS])
def test_a_microphone_opens_at_the_next_common_instant(
    detection: TurnDetection | None, late_ns: int
) -> None:
    """So the chunks of many sessions are due together."""
    service = Hearing(settings_ns=30 * MS + late_ns, after=hearing(2))
    played = Played(build_script(play(200, chunk_ms=100), turn_detection=detection), service)

    assert played.sent_at("input_audio_buffer.append")[0] == GREETED_NS + SLOT_NS + 100 * MS


@pytest.mark.parametrize("clock", [False, True])
def test_endless_noise_delays_the_next_turn_by_at_most_the_response_timeout(clock: bool) -> None:
    """Each noise gets a reply, and the next noise interrupts this reply."""
    after, cancelled = hearing(2), {"type": "cancelled", "reason": "turn_detected"}
    for number in range(40):
        began_ms, name, answer = 700 + 2_500 * number, f"n{number}", f"rn{number}"
        where = (
            ({"audio_start_ms": began_ms + 400}, {"audio_end_ms": began_ms + 1_100})
            if clock
            else ({}, {})
        )
        after["turn-1-append-2"] += [
            (began_ms * MS, speech_started(name, **where[0])),
            ((began_ms + 700) * MS, speech_stopped(name, **where[1])),
            ((began_ms + 701) * MS, committed(name)),
            ((began_ms + 800) * MS, created(answer)),
            ((began_ms + 2_510) * MS, done(answer, "cancelled", **cancelled)),
        ]
    script = build_script(
        play(200), play(200), turn_detection=VAD, limits=Timeouts(response=20, end_of_turn=3)
    )
    played = Played(script, Hearing(after=after))

    first, second = played.turns
    assert (first.outcome, first.response_id, first.vad_splits) == ("ok", "r1", 0)
    heard_ns = first.instants["first_audio"] + script.jitter_buffer_ns + 100 * MS
    settled_ns = max(first.instants["ended"], heard_ns) + 20 * S
    assert settled_ns < second.start_ns <= settled_ns + 200 * MS
    assert second.outcome != "ok"
    assert played.observation.unattributed_commits >= 8


# Lost connections, expected events, and ends of the run.


@pytest.mark.parametrize("detection", [VAD, ASKED])
def test_every_turn_has_an_outcome_if_the_run_ends_at_any_moment(detection: TurnDetection) -> None:
    script = build_script(play(300), PauseStep(0.3), play(200), play(100), turn_detection=detection)
    after = hearing(3, 2, 1, audio_ms=900)
    for end_ns in range(0, 6 * S, 130 * MS):
        played = Played(script, Hearing(after=after), ending=partial(le, end_ns))

        session = played.observation
        assert session.outcome in ("ok", "unfinished")
        assert played.outcomes == ["ok"] * session.turns_started
        assert (session.outcome == "ok") == (session.turns_started == 3)
        assert session.turns_not_started == 0
        assert played.now_ns < max(end_ns, 40 * MS) + 2 * S  # at most the turn in progress


class Full(GuardedTransport):
    """A transport that accepts `takes` − 1 chunks immediately.

    The next chunk is sent 7 ms after it was offered. If `goes`, the connection breaks instead.
    """

    def __init__(self, service: Service, takes: int, *, goes: bool = False) -> None:
        super().__init__(service)
        self._left, self._goes = takes, goes
        self._pending: bytes | None = None

    def try_send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        assert self._pending is None, "what is offered must be finished first"
        self._left -= 1
        if self._left:
            return super().try_send(message, stamped=stamped)
        self._pending = message
        return None

    def flush(self) -> SendReceipt | None:
        message, self._pending = self._pending, None
        assert message is not None
        self.clock.now_ns += 7 * MS
        if self._goes:
            self.closed = ConnectionClosed(
                1006, self.clock.now_ns, "the connection broke while sending"
            )
        return self.send(message)


def full(takes: int, *, goes: bool = False) -> tuple[Full, Timeline, Listening]:
    script = build_script(play(300, chunk_ms=100), turn_detection=VAD)
    transport = Full(Hearing(after=hearing(3)), takes, goes=goes)
    session, timeline, listening = seated(script, transport)
    session.run()
    return transport, timeline, listening


@pytest.mark.parametrize("takes", [1, 2, 3, 4, 6])
def test_only_a_chunk_that_cannot_be_sent_at_once_is_sent_late(takes: int) -> None:
    transport, timeline, listening = full(takes)
    sent = [(at_ns, data) for at_ns, data in transport.sent if b"append" in data]
    begun_ns = sent[0][0] - (7 * MS if takes == 1 else 0)
    lags_ns = [lag_ns for lag_ns in listening.lags_ns if lag_ns is not None]

    assert timeline.session().outcome == "ok"
    assert [at_ns - begun_ns for at_ns, _ in sent] == [
        place * 100 * MS + (7 * MS if place == takes - 1 else 0) for place in range(len(sent))
    ]
    assert lags_ns == [7 * MS if place == takes - 1 else 0 for place in range(len(sent))]


def test_a_connection_that_closes_while_a_chunk_is_sent_ends_the_session() -> None:
    _, timeline, listening = full(3, goes=True)

    assert timeline.session().outcome == "closed:1006"
    assert [turn.outcome for turn in listening.turns] == ["closed:1006"]


@pytest.mark.parametrize("abandoned", [False, True])
def test_a_finished_session_leaves_no_reference_cycles(abandoned: bool) -> None:
    """A garbage collection that finds reference cycles of a session would delay all sessions of
    the process.
    """
    script = build_script(play(300), say(), turn_detection=VAD)
    transport = GuardedTransport(Hearing(after=hearing(3)))
    session = seated(script, transport)[0]
    gone = [weakref.ref(one) for one in (session, transport)]
    gc.disable()
    try:
        if abandoned:
            session.open()
            session.run_step(script.steps[0])
            session.abort("unfinished", "the run ended")
        else:
            session.run()
        del session, transport
        assert [one() for one in gone] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize("waits", range(1, 36, 3))
def test_a_session_with_open_microphone_can_be_abandoned_at_any_moment(waits: int) -> None:
    script = build_script(play(300), play(300), turn_detection=VAD)
    transport = GuardedTransport(Hearing(after=hearing(3, 3)))
    session, timeline, listening = seated(script, transport)
    interrupt_after(transport, waits)
    with pytest.raises(KeyboardInterrupt):
        session.run()
    session.abort("unfinished", "the run ended")

    assert len(listening.turns) == listening.began == timeline.session().turns_ended
    assert timeline.session().outcome == "unfinished"
    assert timeline.session().turns_not_started == 0
    assert {turn.outcome for turn in listening.turns} <= {"ok", "unfinished"}
    assert transport.closed is not None
