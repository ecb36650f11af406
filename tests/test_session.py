"""A session over a transport without a network, where time moves only when the session waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.limits import Limits
from bench.observe.observation import TurnObservation
from bench.plan.steps import Expect, ExpectSettings, Pause
from bench.plan.turns import Step
from bench.protocol.base import Dialect
from bench.protocol.events import Event
from bench.protocol.openai_ga import GA
from bench.protocol.openai_preview import PREVIEW
from bench.transport.interface import Network, SendReceipt
from bench.transport.received import Received
from tests.examples import thorough
from tests.helpers import (
    GREETED_NS,
    MS,
    REALTIME,
    GuardedTransport,
    Listening,
    Played,
    S,
    Service,
    Turn,
    build_script,
    closing,
    created,
    delta,
    done,
    error,
    interrupt_after,
    message,
    play,
    reply,
    respond,
    say,
    seated,
    session_created,
    session_updated,
    spoken,
)
from tests.memory_transport import MemoryTransport, PeerAnswer


def test_a_session_greets_plays_its_turns_and_closes() -> None:
    played = Played(build_script(say("hello"), respond("assist"), play(250)))

    assert played.sent_types() == [
        "session.update",
        "conversation.item.create",
        "response.create",
        "response.create",
        *["input_audio_buffer.append"] * 3,
        "input_audio_buffer.commit",
        "response.create",
    ]
    assert played.outcomes == ["ok"] * 3
    assert [turn.step for turn in played.turns] == ["hello", "assist", "play"]
    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_succeeded, session.turns_not_started) == (
        "ok",
        3,
        3,
        0,
    )
    assert played.transport.closed is not None
    assert played.listening.began == 3


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
@pytest.mark.parametrize("acknowledges", [False, True])
def test_nothing_waits_for_an_acknowledgement(dialect: Dialect, acknowledges: bool) -> None:
    script = build_script(say(), play(100), dialect=dialect)
    played = Played(script, Service(dialect, acknowledges=acknowledges))

    (item_ns,), (commit_ns,) = played.sent_at("conversation.item.create"), played.sent_at("input_audio_buffer.commit")
    assert played.outcomes == ["ok", "ok"]
    assert played.sent_at("response.create") == [item_ns, commit_ns]


def test_the_first_turn_waits_until_the_session_is_greeted_and_its_settings_are_taken() -> None:
    played = Played(build_script(say()), Service(greeting_ns=700 * MS, settings_ns=900 * MS))

    assert played.sent_at("session.update") == [700 * MS]
    assert played.sent_at("conversation.item.create") == [1_600 * MS]
    assert played.observation.metrics_ns()["session_update"] == 900 * MS


def test_a_turn_s_latency_counts_from_its_request() -> None:
    played = Played(build_script(say()), Service(turns=[lambda r: spoken(reply(GA, r), first_ns=300 * MS)]))

    place = reply(GA, "r").index(delta(GA, "audio", "r"))
    assert played.turns[0].metrics_ns()["ttfa"] == 300 * MS + place * 20 * MS


@pytest.mark.parametrize("chunk_ms", [20, 100, 130, 200])
def test_paced_chunks_leave_exactly_when_they_are_due(chunk_ms: int) -> None:
    played = Played(build_script(play(330, chunk_ms=chunk_ms)))

    dues = [min(330, (place + 1) * chunk_ms) * MS for place in range(-(-330 // chunk_ms))]
    assert played.sent_at("input_audio_buffer.append") == [GREETED_NS + due for due in dues]
    assert played.sent_at("input_audio_buffer.commit") == played.sent_at("response.create") == [GREETED_NS + dues[-1]]
    assert played.turns[0].start_ns - played.start_ns == GREETED_NS + dues[0]
    assert played.turns[0].late_chunks == 0
    assert [lag for lag in played.listening.lags_ns if lag is not None] == [0] * len(dues)
    assert played.turns[0].audio_bytes_sent == played.listening.audio_sent == 48 * 330


def test_audio_that_is_not_paced_leaves_at_once() -> None:
    played = Played(build_script(play(330, paced=False)))

    assert set(played.sent_at("input_audio_buffer.append")) == {GREETED_NS}
    assert set(played.listening.lags_ns) == {None}


class SlowTransport(GuardedTransport):
    """Hands messages to the kernel some time after it was asked to."""

    slow_ns = 0

    def send(self, data: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if b"append" in data:
            self.clock.now_ns += self.slow_ns
        return super().send(data, stamped=stamped)


@pytest.mark.parametrize(("slow_ms", "late"), [(0, 0), (10, 0), (11, 1)])
def test_a_chunk_is_late_beyond_a_tenth_of_its_length_and_sent_all_the_same(slow_ms: int, late: int) -> None:
    transport = SlowTransport(Service())
    transport.slow_ns = slow_ms * MS
    session, _, listening = seated(build_script(play(100, chunk_ms=100)), transport)
    session.play()

    assert listening.turns[0].late_chunks == late
    assert (listening.turns[0].outcome, slow_ms * MS in listening.lags_ns) == ("ok", True)


def test_a_late_chunk_does_not_delay_those_after_it() -> None:
    """The service's event that is handled between two chunks takes the time of one and a half."""
    transport = SlowTransport(Service())
    transport.slow_ns = 150 * MS
    session, _, listening = seated(build_script(play(400, chunk_ms=100)), transport)
    session.play()

    lags_ms = [lag // MS for lag in listening.lags_ns if lag is not None]
    assert lags_ms == [150, 200, 250, 300]  # 150 ms a send, and no wait between them


def test_a_pause_is_as_long_as_the_script_says() -> None:
    played = Played(build_script(say(), Pause(1.7), say()))

    first, second = played.sent_at("conversation.item.create")
    assert first == GREETED_NS
    assert second == played.after_ns(1, "ended") + 1_700 * MS


def test_what_comes_in_a_pause_is_heard() -> None:
    def with_afterthought(response_id: str) -> list[PeerAnswer]:
        return [*spoken(reply(GA, response_id)), (2 * S, message("x.y"))]

    played = Played(build_script(say(), Pause(5), say()), Service(turns=[with_afterthought]))

    assert played.observation.unknown_events == {"x.y": 1}


# Deadlines.

LIMITS = Limits(session=2, first_delta=3, next_delta=1, response=5)


class Dawdling(Listening):
    """Takes 300 ms of its transport's time for every message."""

    def __init__(self, transport: MemoryTransport) -> None:
        super().__init__()
        self._clock = transport.clock

    def received(self, events: Sequence[Event], message: Received, handled_ns: int) -> None:
        super().received(events, message, handled_ns)
        self._clock.now_ns += 300 * MS


@pytest.mark.parametrize(("updated_ms", "outcome"), [(1_980, "ok"), (2_001, "timeout:session")])
def test_settings_that_left_late_have_what_was_left_of_the_limit_when_the_service_greeted(
    updated_ms: int, outcome: str
) -> None:
    """The process does not run for an hour, from the greeting on, which came 10 ms after the start."""
    service = Service(settings_ns=updated_ms * MS)
    transport = GuardedTransport(service)

    class Stopped(Listening):
        def received(self, events: Sequence[Event], message: Received, handled_ns: int) -> None:
            super().received(events, message, handled_ns)
            if len(self.events) == 1:
                transport.clock.now_ns += 3_600 * S

    session, timeline, _ = seated(build_script(say(), limits=Limits(session=2)), transport, Stopped())
    session.play()

    assert timeline.session().outcome == outcome


@pytest.mark.parametrize(("updated_ms", "outcome"), [(1_900, "ok"), (10_001, "timeout:session")])
def test_a_greeting_that_arrived_in_time_counts_however_late_it_is_handled(updated_ms: int, outcome: str) -> None:
    noise = [(place * 100 * MS, message("x.y")) for place in range(10)]
    greeting = [(50 * MS, session_created()), (updated_ms * MS, session_updated())]
    transport = MemoryTransport(Service(settings_ns=None), [*noise, *greeting])
    session, timeline, _ = seated(build_script(say(), limits=LIMITS), transport, Dawdling(transport))
    session.play()

    assert timeline.session().outcome == outcome


def silence(response_id: str) -> list[PeerAnswer]:
    return []


def cut_short(response_id: str) -> list[PeerAnswer]:
    return [(100 * MS, created(response_id)), (500 * MS, delta(GA, "audio", response_id))]


def endless(response_id: str) -> list[PeerAnswer]:
    audio = [(place * 400 * MS, delta(GA, "audio", response_id)) for place in range(1, 100)]
    return [(100 * MS, created(response_id)), *audio]


@pytest.mark.parametrize(
    ("turn", "outcome", "after_request_ns"),
    [
        (silence, "timeout:first_delta", 3 * S),
        (cut_short, "timeout:next_delta", 1_500 * MS),
        (endless, "timeout:response", 5_100 * MS),
    ],
)
def test_a_stage_that_takes_too_long_ends_the_turn_and_the_session_when_it_was_due(
    turn: Turn, outcome: str, after_request_ns: int
) -> None:
    played = Played(build_script(say(), say(), say(), limits=LIMITS), Service(turns=[turn]))

    assert played.outcomes == [outcome]
    assert played.after_ns(1, "ended") == GREETED_NS + after_request_ns == played.now_ns
    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_not_started) == (outcome, 1, 2)
    assert session.instants["ended"] == played.turns[0].instants["ended"]


@pytest.mark.parametrize(
    ("greeting_ns", "settings_ns", "missing"), [(None, 1, "session.created"), (1, None, "session.updated")]
)
def test_a_service_that_does_not_get_ready_ends_the_session_when_that_was_due(
    greeting_ns: int | None, settings_ns: int | None, missing: str
) -> None:
    script = build_script(say(), say(), limits=LIMITS)
    played = Played(script, Service(greeting_ns=greeting_ns, settings_ns=settings_ns))

    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_not_started) == ("timeout:session", 0, 2)
    assert session.instants["ended"] - played.start_ns == 2 * S == played.now_ns
    assert missing in session.detail


# What goes wrong, and whether the session goes on.


def failing(code: str) -> Turn:
    return lambda r: spoken([created(r), done(r, "failed", error={"code": code, "message": "No."})])


def rejecting(number: int, code: str = "invalid_value") -> Turn:
    return lambda r: spoken([error(code, f"turn-{number}-response")])


def saying(*messages: bytes) -> Turn:
    return lambda r: spoken(messages)


def hanging_up(code: int) -> Turn:
    return lambda r: [(100 * MS, created(r)), closing(200 * MS, code)]


@pytest.mark.parametrize(
    ("turn", "outcome"),
    [
        (failing("server_error"), "failed:server_error"),
        (failing("rate_limit_exceeded"), "throttled:response"),
        (rejecting(1), "failed:invalid_value"),
        (rejecting(1, "rate_limit_exceeded"), "throttled:error"),
        (lambda r: spoken([created(r), done(r)]), "failed:no_audio"),
        (lambda r: spoken([created(r), done(r, "cancelled", reason="turn_detected")]), "cancelled:turn_detected"),
        (lambda r: spoken([done(r, "incomplete", reason="content_filter")]), "incomplete:content_filter"),
    ],
)
def test_after_a_turn_that_failed_the_session_goes_on(turn: Turn, outcome: str) -> None:
    played = Played(build_script(say(), say()), Service(turns=[turn]))

    assert played.outcomes == [outcome, "ok"]
    session = played.observation
    assert (session.outcome, session.turns_ended, session.turns_succeeded, session.turns_not_started) == ("ok", 2, 1, 0)


@pytest.mark.parametrize(
    ("turn", "outcome"),
    [
        (hanging_up(1006), "closed:1006"),
        (hanging_up(1000), "closed:1000"),
        (saying(b"{"), "protocol_error:json"),
        (saying(delta(PREVIEW, "audio", "resp_1")), "protocol_error:dialect"),
        (saying(delta(GA, "audio", "resp_1", "abc")), "protocol_error:base64"),
        (saying(error("session_expired")), "session_expired"),
    ],
)
def test_after_a_broken_connection_the_session_ends_and_the_rest_is_lost(turn: Turn, outcome: str) -> None:
    played = Played(build_script(say(), say(), say()), Service(turns=[turn]))

    assert played.outcomes == [outcome]
    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_ended, session.turns_not_started) == (
        outcome,
        1,
        1,
        2,
    )
    assert played.sent_at("response.create") == [GREETED_NS]


class Refusing(Service):
    """Says why, and hangs up, right after the upgrade."""

    def greeting(self) -> list[PeerAnswer]:
        return [(MS, error("invalid_api_key")), closing(2 * MS, 3000, "invalid_request_error.invalid_api_key")]


def test_a_service_that_refuses_after_the_upgrade_gets_no_turn() -> None:
    played = Played(build_script(say(), say()), Refusing())

    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_not_started) == (
        "connect_failed:invalid_api_key",
        0,
        2,
    )
    assert played.sent == []


class Throttling(Service):
    """Takes no more sessions for now, and says so before it has taken the settings."""

    def greeting(self) -> list[PeerAnswer]:
        return [*super().greeting(), (50 * MS, error("rate_limit_exceeded")), closing(60 * MS, 4000, "Slow down.")]


def test_a_service_that_throttles_a_session_before_its_first_turn_says_so() -> None:
    played = Played(build_script(say(), say()), Throttling(settings_ns=None))

    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_not_started) == ("throttled:error", 0, 2)


def test_a_connection_that_is_lost_in_a_pause_costs_the_turns_after_it() -> None:
    def and_hangs_up(response_id: str) -> list[PeerAnswer]:
        return [*spoken(reply(GA, response_id)), closing(1_900 * MS, 1006)]

    played = Played(build_script(say(), Pause(10), say()), Service(turns=[and_hangs_up]))

    assert played.outcomes == ["ok"]
    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_not_started) == ("closed:1006", 1, 1)
    assert session.instants["ended"] - played.start_ns == GREETED_NS + 1_900 * MS == played.now_ns


def test_a_connection_that_is_lost_while_the_caller_speaks_ends_the_turn() -> None:
    class Impatient(Service):
        def __call__(self, data: bytes) -> Iterable[PeerAnswer]:
            if b"append-2" in data:
                return [closing(10 * MS, 1006)]
            return list(super().__call__(data))

    played = Played(build_script(play(1_000), say()), Impatient())

    assert played.outcomes == ["closed:1006"]
    assert len(played.sent_at("input_audio_buffer.append")) == 2
    assert played.after_ns(1, "ended") == GREETED_NS + 210 * MS
    assert played.observation.turns_not_started == 1


def test_what_the_service_holds_of_a_broken_audio_turn_is_cleared_before_the_next() -> None:
    class Strict(Service):
        def __call__(self, data: bytes) -> Iterable[PeerAnswer]:
            if b"append-2" in data:
                return [(10 * MS, error("invalid_value", "turn-1-append-2"))]
            return list(super().__call__(data))

    played = Played(build_script(play(1_000), say()), Strict())

    assert played.outcomes == ["failed:invalid_value", "ok"]
    types = played.sent_types()
    assert types.count("input_audio_buffer.append") == 2
    assert types.index("input_audio_buffer.clear") < types.index("conversation.item.create")
    assert "input_audio_buffer.commit" not in types


# Late transcriptions.


def test_a_late_transcription_does_not_hold_up_the_next_turn() -> None:
    script = build_script(play(100), say(), input_transcription="whisper-1")
    played = Played(script, Service(transcript_ns=900 * MS))

    first = next(turn for turn in played.turns if turn.turn == 1)
    assert played.sent_at("conversation.item.create") == [first.instants["ended"] - played.start_ns]
    assert first.instants["input_transcribed"] > first.instants["ended"]
    assert played.outcomes == ["ok", "ok"]


def test_a_turn_is_handed_out_as_soon_as_its_late_transcription_came() -> None:
    script = build_script(play(100), play(5_000), input_transcription="whisper-1")
    transport = GuardedTransport(Service(transcript_ns=900 * MS))
    transport.network = lambda: Network(9_000, transport.now_ns(), 4)  # type: ignore[method-assign]
    handed_out = {}

    class Clocked(Listening):
        def turn_ended(self, turn: TurnObservation) -> None:
            handed_out[turn.turn] = transport.now_ns(), turn

    seated(script, transport, Clocked())[0].play()

    (first_ns, first), (second_ns, second) = handed_out[1], handed_out[2]
    assert first_ns == first.instants["input_transcribed"] < second.instants["request_sent"]
    assert second_ns == second.instants["input_transcribed"]
    assert [turn.network_rtt_ns for turn in (first, second)] == [t.instants["ended"] for t in (first, second)]
    assert [turn.retransmits for turn in (first, second)] == [4, 0]


def test_the_session_s_end_waits_for_a_late_transcription_but_not_for_ever() -> None:
    script = build_script(play(100), input_transcription="whisper-1")
    in_time, never = Played(script, Service(transcript_ns=3 * S)), Played(script, Service())

    assert "input_transcribed" in in_time.turns[0].instants
    assert in_time.now_ns == GREETED_NS + 100 * MS + 3 * S
    assert "input_transcribed" not in never.turns[0].instants
    assert never.now_ns == never.after_ns(1, "ended") + 5 * S
    assert (in_time.observation.outcome, never.observation.outcome) == ("ok", "ok")


# The end of the run.


def test_when_the_run_ends_the_turn_in_flight_is_finished_and_no_new_one_begins() -> None:
    played = Played(build_script(say(), say(), say()), ending=lambda ns: ns > GREETED_NS + 100 * MS)

    assert played.outcomes == ["ok"]
    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_planned, session.turns_not_started) == (
        "unfinished",
        1,
        3,
        0,
    )
    assert played.sent_at("response.create") == [GREETED_NS]


def test_a_run_that_ends_in_a_pause_does_not_wait_for_its_end() -> None:
    played = Played(build_script(say(), Pause(3_600), say()), ending=lambda ns: ns > 5 * S)

    assert played.observation.outcome == "unfinished"
    assert played.now_ns <= 6 * S


def test_a_session_whose_script_is_over_is_ok_even_if_the_run_is_ending() -> None:
    played = Played(build_script(say()), ending=lambda ns: ns > GREETED_NS + 100 * MS)

    assert (played.outcomes, played.observation.outcome) == (["ok"], "ok")


def test_a_session_that_is_cut_abandons_the_turn_in_flight() -> None:
    transport = GuardedTransport(Service(turns=[endless]))
    session, timeline, listening = seated(build_script(say(), say()), transport)
    interrupt_after(transport, 20)
    with pytest.raises(KeyboardInterrupt):
        session.play()
    session.abandon("unfinished", "the run ended")

    assert [turn.outcome for turn in listening.turns] == ["unfinished"]
    assert (timeline.session().outcome, timeline.session().turns_not_started) == ("unfinished", 0)
    assert transport.closed is not None


# The way to the peer.


def test_a_turn_knows_the_way_to_the_peer_as_it_was_when_the_turn_ended() -> None:
    transport = GuardedTransport(Service())
    transport.network = lambda: Network(9_000, transport.now_ns(), 4)  # type: ignore[method-assign]
    session, _, listening = seated(build_script(say(), Pause(1), say()), transport)
    session.play()

    assert [turn.network_rtt_ns for turn in listening.turns] == [t.instants["ended"] for t in listening.turns]
    assert [turn.retransmits for turn in listening.turns] == [4, 0]


# What a script insists on.


@pytest.mark.parametrize(
    ("event", "within_s", "outcome"),
    [
        ("audio_delta", 0.5, "ok"),
        ("transcript_done", 0.31, "failed:missing_transcript_done"),
        ("committed", 60, "failed:missing_committed"),
    ],
)
def test_what_a_script_expects_must_come_in_time(event: str, within_s: float, outcome: str) -> None:
    played = Played(build_script(say(), Expect(ExpectSettings(event, within_s)), say()))

    assert played.outcomes == [outcome, "ok"]
    if within_s < 1 and outcome != "ok":
        assert played.after_ns(1, "ended") == GREETED_NS + round(within_s * S)


def test_an_expectation_counts_from_when_the_one_before_it_was_met() -> None:
    def slow(response_id: str) -> list[PeerAnswer]:
        return [(300 * MS, created(response_id)), (450 * MS, delta(GA, "audio", response_id)), (S, done(response_id))]

    steps = (say(), Expect(ExpectSettings("response_created", 1)), Expect(ExpectSettings("audio_delta", 0.2)))
    played = Played(build_script(*steps), Service(turns=[slow]))

    assert played.outcomes == ["ok"]


def test_a_session_goes_on_after_what_it_expected_without_waiting_for_the_rest() -> None:
    played = Played(build_script(say(), Expect(ExpectSettings("text_delta", 2))), Service(turns=[endless]))

    assert played.outcomes == ["failed:missing_text_delta"]
    assert played.observation.outcome == "ok"


# Whatever a script and a service do.

TURNS: list[Turn] = [
    lambda r: spoken(reply(GA, r)),
    lambda r: spoken(reply(GA, r, "text")),
    lambda r: spoken(reply(GA, r), first_ns=0, gap_ns=0),
    lambda r: spoken(reply(GA, r)[:-2]),
    lambda r: spoken([*reply(GA, r), *reply(GA, r)]),
    lambda r: spoken(reversed(reply(GA, r))),
    silence,
    cut_short,
    endless,
    failing("x"),
    failing("rate_limit_exceeded"),
    rejecting(1),
    rejecting(2),
    hanging_up(1000),
    hanging_up(1006),
    lambda r: [closing(0, 1011)],
    saying(b"\xff"),
    saying(error("benign"), error("session_expired")),
    saying(delta(PREVIEW, "audio", "x")),
    lambda r: [(0, done("another"))],
]
STEPS = st.sampled_from([
    say(), say(output="text"), respond(), play(50), play(250), play(90, paced=False), Pause(0), Pause(0.3),
    Pause(9),
])  # fmt: skip


@thorough
@given(
    steps=st.lists(STEPS, min_size=1, max_size=5),
    turns=st.lists(st.sampled_from(TURNS), max_size=5),
    greeting_ns=st.sampled_from([0, 10 * MS, 5 * S, None]),
    settings_ns=st.sampled_from([0, 30 * MS, 5 * S, None]),
    transcript_ns=st.sampled_from([None, 0, 900 * MS, 8 * S]),
    ends_ns=st.sampled_from([1 << 62, 0, 200 * MS, 4 * S]),
)
def test_a_session_comes_to_an_end_with_one_outcome_a_turn_whatever_the_service_does(
    steps: list[Step],
    turns: list[Turn],
    greeting_ns: int | None,
    settings_ns: int | None,
    transcript_ns: int | None,
    ends_ns: int,
) -> None:
    script = build_script(*steps, limits=LIMITS, input_transcription="whisper-1")
    service = Service(
        turns=turns, greeting_ns=greeting_ns, settings_ns=settings_ns, transcript_ns=transcript_ns, acknowledges=True
    )
    played = Played(script, service, lambda ns: ns > ends_ns)

    session = played.observation
    assert sorted(turn.turn for turn in played.turns) == list(range(1, session.turns_started + 1))
    assert session.turns_started == session.turns_ended == played.listening.began
    assert session.turns_planned == len(script.turns)
    assert session.outcome
    assert session.wire_bytes_sent == played.listening.wire_sent
    assert session.wire_bytes_received == played.listening.wire_received
    assert session.audio_bytes_sent == played.listening.audio_sent == sum(t.audio_bytes_sent for t in played.turns)
    if session.outcome == "ok":
        assert session.turns_started == session.turns_planned
    assert played.transport.closed is not None
