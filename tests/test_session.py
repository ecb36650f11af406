"""A session over a transport without a network, where time moves only when the session waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.measures import Limits
from bench.observe.observation import SessionObservation, TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.frames import PreparedScript
from bench.plan.turns import Expect, Pause, Step
from bench.protocol.dialects import Dialect, TurnDetection
from bench.session import Session
from bench.transport.base import Network, Sent
from bench.transport.memory import Answer
from tests.helpers import (
    MS,
    GuardedTransport,
    Listening,
    S,
    Service,
    Turn,
    base64_of,
    build_script,
    closing,
    committed,
    created,
    delta,
    done,
    error,
    message,
    play,
    reply,
    respond,
    say,
    speech_started,
    speech_stopped,
    spoken,
)

GA = Dialect.GA
GREETED_NS = 40 * MS
"""When the service of these tests has greeted a session and taken its settings."""


class Played:
    """A session that was played to its end, and everything that can be seen of it."""

    def __init__(
        self, script: PreparedScript, service: Service | None = None, ending: Callable[[int], bool] = lambda ns: False
    ) -> None:
        self.service = service or Service(script.dialect)
        self.transport = GuardedTransport(self.service)
        self.start_ns = self.transport.now_ns()
        wanted, responds = len(script.turns), script.service_responds
        self.timeline = Timeline(self.start_ns, wanted, script.limits, service_responds=responds)
        self.listening = Listening()
        self.session = Session(script, self.transport, self.timeline, self.listening, lambda: ending(self.now_ns))
        self.session.play()

    @property
    def now_ns(self) -> int:
        """Since the start."""
        return self.transport.now_ns() - self.start_ns

    @property
    def turns(self) -> list[TurnObservation]:
        return self.listening.turns

    @property
    def outcomes(self) -> list[str]:
        return [turn.outcome for turn in self.turns]

    @property
    def observation(self) -> SessionObservation:
        return self.timeline.session()

    def after_ns(self, turn: int, instant: str) -> int:
        return self.turns[turn - 1].instants[instant] - self.start_ns

    @property
    def sent(self) -> list[tuple[int, dict[str, Any]]]:
        return [(at_ns - self.start_ns, msgspec.json.decode(data)) for at_ns, data in self.transport.sent]

    def sent_types(self) -> list[str]:
        return [event["type"] for _, event in self.sent]

    def sent_at(self, type_: str) -> list[int]:
        return [at_ns for at_ns, event in self.sent if event["type"] == type_]


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
    assert (session.outcome, session.turns_begun, session.turns_good, session.lost_turns) == ("ok", 3, 3, 0)
    assert played.transport.closed is not None
    assert played.listening.began == 3


@pytest.mark.parametrize("dialect", Dialect)
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
    assert played.observation.measures_ns()["session_update"] == 900 * MS


def test_a_turn_s_latency_counts_from_its_request() -> None:
    played = Played(build_script(say()), Service(turns=[lambda r: spoken(reply(GA, r), first_ns=300 * MS)]))

    place = reply(GA, "r").index(delta(GA, "audio", "r"))
    assert played.turns[0].measures_ns()["ttfa"] == 300 * MS + place * 20 * MS


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

    def send(self, data: bytes) -> Sent | None:
        if b"append" in data:
            self.clock.now_ns += self.slow_ns
        return super().send(data)


@pytest.mark.parametrize(("slow_ms", "late"), [(0, 0), (10, 0), (11, 1)])
def test_a_chunk_is_late_beyond_a_tenth_of_its_length_and_sent_all_the_same(slow_ms: int, late: int) -> None:
    script = build_script(play(100, chunk_ms=100))
    service = Service()
    transport = SlowTransport(service)
    transport.slow_ns = slow_ms * MS
    timeline, listening = Timeline(transport.now_ns(), 1, script.limits), Listening()

    Session(script, transport, timeline, listening, lambda: False).play()

    assert listening.turns[0].late_chunks == late
    assert (listening.turns[0].outcome, slow_ms * MS in listening.lags_ns) == ("ok", True)


def test_a_late_chunk_does_not_delay_those_after_it() -> None:
    """The service's event that is handled between two chunks takes the time of one and a half."""
    script = build_script(play(400, chunk_ms=100))
    transport = SlowTransport(Service())
    timeline, listening = Timeline(transport.now_ns(), 1, script.limits), Listening()
    transport.slow_ns = 150 * MS
    Session(script, transport, timeline, listening, lambda: False).play()

    lags_ms = [lag // MS for lag in listening.lags_ns if lag is not None]
    assert lags_ms == [150, 200, 250, 300]  # 150 ms a send, and no wait between them


def test_a_pause_is_as_long_as_the_script_says() -> None:
    played = Played(build_script(say(), Pause(1_700 * MS), say()))

    first, second = played.sent_at("conversation.item.create")
    assert first == GREETED_NS
    assert second == played.after_ns(1, "ended") + 1_700 * MS


def test_what_comes_in_a_pause_is_heard() -> None:
    def with_afterthought(response_id: str) -> list[Answer]:
        return [*spoken(reply(GA, response_id)), (2 * S, message("x.y"))]

    played = Played(build_script(say(), Pause(5 * S), say()), Service(turns=[with_afterthought]))

    assert played.observation.unknown_events == {"x.y": 1}


# Deadlines.

LIMITS = Limits(session=2, first_delta=3, next_delta=1, done=5)


def silence(response_id: str) -> list[Answer]:
    return []


def cut_short(response_id: str) -> list[Answer]:
    return [(100 * MS, created(response_id)), (500 * MS, delta(GA, "audio", response_id))]


def endless(response_id: str) -> list[Answer]:
    audio = [(place * 400 * MS, delta(GA, "audio", response_id)) for place in range(1, 100)]
    return [(100 * MS, created(response_id)), *audio]


@pytest.mark.parametrize(
    ("turn", "outcome", "after_request_ns"),
    [
        (silence, "timeout:first_delta", 3 * S),
        (cut_short, "timeout:next_delta", 1_500 * MS),
        (endless, "timeout:done", 5_100 * MS),
    ],
)
def test_a_stage_that_takes_too_long_ends_the_turn_and_the_session_when_it_was_due(
    turn: Turn, outcome: str, after_request_ns: int
) -> None:
    played = Played(build_script(say(), say(), say(), limits=LIMITS), Service(turns=[turn]))

    assert played.outcomes == [outcome]
    assert played.after_ns(1, "ended") == GREETED_NS + after_request_ns == played.now_ns
    session = played.observation
    assert (session.outcome, session.turns_begun, session.lost_turns) == (outcome, 1, 2)
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
    assert (session.outcome, session.turns_begun, session.lost_turns) == ("timeout:session", 0, 2)
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
    assert (session.outcome, session.turns_ended, session.turns_good, session.lost_turns) == ("ok", 2, 1, 0)


@pytest.mark.parametrize(
    ("turn", "outcome"),
    [
        (hanging_up(1006), "closed:1006"),
        (hanging_up(1000), "closed:1000"),
        (saying(b"{"), "protocol:json"),
        (saying(delta(Dialect.PREVIEW, "audio", "resp_1")), "protocol:dialect"),
        (saying(delta(GA, "audio", "resp_1", "abc")), "protocol:base64"),
        (saying(error("session_expired")), "expired"),
    ],
)
def test_after_a_broken_connection_the_session_ends_and_the_rest_is_lost(turn: Turn, outcome: str) -> None:
    played = Played(build_script(say(), say(), say()), Service(turns=[turn]))

    assert played.outcomes == [outcome]
    session = played.observation
    assert (session.outcome, session.turns_begun, session.turns_ended, session.lost_turns) == (outcome, 1, 1, 2)
    assert played.sent_at("response.create") == [GREETED_NS]


class Refusing(Service):
    """Says why, and hangs up, right after the upgrade."""

    def greeting(self) -> list[Answer]:
        return [(MS, error("invalid_api_key")), closing(2 * MS, 3000, "invalid_request_error.invalid_api_key")]


def test_a_service_that_refuses_after_the_upgrade_gets_no_turn() -> None:
    played = Played(build_script(say(), say()), Refusing())

    session = played.observation
    assert (session.outcome, session.turns_begun, session.lost_turns) == ("refused:invalid_api_key", 0, 2)
    assert played.sent == []


def test_a_connection_that_is_lost_in_a_pause_costs_the_turns_after_it() -> None:
    def and_hangs_up(response_id: str) -> list[Answer]:
        return [*spoken(reply(GA, response_id)), closing(1_900 * MS, 1006)]

    played = Played(build_script(say(), Pause(10 * S), say()), Service(turns=[and_hangs_up]))

    assert played.outcomes == ["ok"]
    session = played.observation
    assert (session.outcome, session.turns_begun, session.lost_turns) == ("closed:1006", 1, 1)
    assert session.instants["ended"] - played.start_ns == GREETED_NS + 1_900 * MS == played.now_ns


def test_a_connection_that_is_lost_while_the_caller_speaks_ends_the_turn() -> None:
    class Impatient(Service):
        def __call__(self, data: bytes) -> Iterable[Answer]:
            if b"append-2" in data:
                return [closing(10 * MS, 1006)]
            return list(super().__call__(data))

    played = Played(build_script(play(1_000), say()), Impatient())

    assert played.outcomes == ["closed:1006"]
    assert len(played.sent_at("input_audio_buffer.append")) == 2
    assert played.after_ns(1, "ended") == GREETED_NS + 210 * MS
    assert played.observation.lost_turns == 1


def test_what_the_service_holds_of_a_broken_audio_turn_is_cleared_before_the_next() -> None:
    class Strict(Service):
        def __call__(self, data: bytes) -> Iterable[Answer]:
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
    assert (session.outcome, session.turns_begun, session.turns_wanted, session.lost_turns) == ("abandoned", 1, 3, 0)
    assert played.sent_at("response.create") == [GREETED_NS]


def test_a_run_that_ends_in_a_pause_does_not_wait_for_its_end() -> None:
    played = Played(build_script(say(), Pause(3_600 * S), say()), ending=lambda ns: ns > 5 * S)

    assert played.observation.outcome == "abandoned"
    assert played.now_ns <= 6 * S


def test_a_session_whose_script_is_over_is_ok_even_if_the_run_is_ending() -> None:
    played = Played(build_script(say()), ending=lambda ns: ns > GREETED_NS + 100 * MS)

    assert (played.outcomes, played.observation.outcome) == (["ok"], "ok")


def test_a_session_that_is_cut_abandons_the_turn_in_flight() -> None:
    script = build_script(say(), say())
    transport = GuardedTransport(Service(turns=[endless]))
    timeline, listening = Timeline(transport.now_ns(), 2, script.limits), Listening()
    session = Session(script, transport, timeline, listening, lambda: False)
    whole, left = transport.receive, 20

    def receive(until_ns: int) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return whole(until_ns)

    transport.receive = receive  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        session.play()
    session.abandon("abandoned", "the run ended")

    assert [turn.outcome for turn in listening.turns] == ["abandoned"]
    assert (timeline.session().outcome, timeline.session().lost_turns) == ("abandoned", 0)
    assert transport.closed is not None


# The way to the peer.


def test_a_turn_knows_the_way_to_the_peer_as_it_was_when_the_turn_ended() -> None:
    script = build_script(say(), Pause(S), say())
    transport = GuardedTransport(Service())
    transport.network = lambda: Network(9_000, transport.now_ns(), 4)  # type: ignore[method-assign]
    timeline, listening = Timeline(transport.now_ns(), 2, script.limits), Listening()
    Session(script, transport, timeline, listening, lambda: False).play()

    assert [turn.network_rtt_ns for turn in listening.turns] == [t.instants["ended"] for t in listening.turns]
    assert [turn.retransmits for turn in listening.turns] == [4, 0]


# A microphone that is open, and a service that finds the end of speech.

VAD = TurnDetection()
ASKED = TurnDetection(create_response=False)


@dataclass
class Hearing(Service):
    """Says what a test has written down after certain messages of ours, known by their event ids."""

    after: dict[str, list[Answer]] = field(default_factory=dict)

    def __call__(self, data: bytes) -> Iterable[Answer]:
        yield from self.after.get(msgspec.json.decode(data)["event_id"], ())
        yield from super().__call__(data)


def noticed(number: int, at_ns: int = 500 * MS) -> list[Answer]:
    """So long after the last chunk of a turn's speech the service has noticed and committed it."""
    item_id = f"item_{number}"
    return [(at_ns, speech_stopped(item_id)), (at_ns + 5 * MS, committed(item_id))]


def answered(number: int, at_ns: int = 600 * MS, audio_ms: int = 100) -> list[Answer]:
    """So long after that chunk a response begins; it is done 400 ms later."""
    response_id = f"r{number}"
    return [
        (at_ns, created(response_id)),
        (at_ns + 300 * MS, delta(GA, "audio", response_id, base64_of(48 * audio_ms))),
        (at_ns + 400 * MS, done(response_id)),
    ]


def hearing(*chunks: int, audio_ms: int = 100) -> dict[str, list[Answer]]:
    """Notices and answers turns of so many chunks each."""
    after = {}
    for number, count in enumerate(chunks, 1):
        after[f"turn-{number}-append-1"] = [(10 * MS, speech_started(f"item_{number}"))]
        after.setdefault(f"turn-{number}-append-{count}", []).extend(
            noticed(number) + answered(number, audio_ms=audio_ms)
        )
    return after


def appended(played: Played) -> list[tuple[int, str]]:
    """When what audio left; what is said between turns is "between"."""
    audio = ((at_ns, event["event_id"]) for at_ns, event in played.sent if event["type"].endswith("append"))
    return [(at_ns, "between" if event_id == "between-turns" else event_id) for at_ns, event_id in audio]


def test_an_open_microphone_sends_speech_and_silence_without_a_gap() -> None:
    script = build_script(play(250, chunk_ms=100), play(200, chunk_ms=100), turn_detection=VAD)
    played = Played(script, Hearing(after=hearing(3, 2)))

    sent = appended(played)
    assert [at_ns for at_ns, _ in sent] == [GREETED_NS + (n + 1) * 100 * MS for n in range(len(sent))]
    assert sent[0] == (GREETED_NS + 100 * MS, "between")
    assert [name for _, name in sent if name != "between"] == [
        "turn-1-append-1", "turn-1-append-2", "turn-1-append-3", "turn-2-append-1", "turn-2-append-2",
    ]  # fmt: skip
    assert played.outcomes == ["ok", "ok"]
    assert {lag for lag in played.listening.lags_ns if lag is not None} == {0}


@given(
    steps=st.lists(
        st.one_of(
            st.builds(play, st.integers(100, 900), chunk_ms=st.integers(20, 200)),
            st.builds(Pause, st.integers(0, 3 * S)),
            st.just(say()),
        ),
        min_size=1,
        max_size=6,
    ),
    noticed_ns=st.integers(0, 700 * MS),
)
def test_the_microphone_does_not_drift_by_a_nanosecond(steps: list[Step], noticed_ns: int) -> None:
    script = build_script(*steps, turn_detection=VAD)
    after = {
        f"turn-{turn.number}-append-{len(turn.speech)}": noticed(turn.number, noticed_ns)
        + answered(turn.number, noticed_ns + 40 * MS + 7)
        for turn in script.turns
    }
    played = Played(script, Hearing(after=after))

    durations = {
        message.data: message.duration_ns for turn in script.turns for message in (*turn.speech, *turn.between)
    }
    durations |= {message.data: message.duration_ns for message in script.between}
    due_ns = played.start_ns + GREETED_NS
    for at_ns, data in played.transport.sent:
        if b"input_audio_buffer.append" in data:
            due_ns += durations[data] or 0
            assert at_ns == due_ns
    assert played.outcomes == ["ok"] * len(script.turns)


def test_speech_ends_in_microphone_time_wherever_it_lies_in_its_chunk() -> None:
    played = Played(build_script(play(250, chunk_ms=200), turn_detection=VAD), Hearing(after=hearing(2)))

    assert played.sent_at("input_audio_buffer.append")[2] == GREETED_NS + 600 * MS
    assert played.after_ns(1, "speech_end") == GREETED_NS + (200 + 250) * MS  # after one chunk of silence
    assert played.turns[0].audio == "a.wav"
    assert played.turns[0].start_ns - played.start_ns == GREETED_NS + 400 * MS


def test_a_turn_is_not_begun_before_its_first_chunk_has_left() -> None:
    after = hearing(2) | {"between-turns": [(50 * MS, message("x.y"))]}
    played = Played(build_script(play(200), turn_detection=VAD), Hearing(after=after))

    assert played.turns[0].unknown_events == 0
    assert played.observation.unknown_events["x.y"] > 1


def test_a_reply_is_heard_out_before_the_caller_speaks_again() -> None:
    script = build_script(play(200), play(200), turn_detection=VAD)
    played = Played(script, Hearing(after=hearing(2, 2, audio_ms=3_000)))

    heard_ns = played.after_ns(1, "first_audio") + script.jitter_buffer_ns + 3_000 * MS
    began_ns = next(at_ns for at_ns, name in appended(played) if name == "turn-2-append-1")
    assert played.after_ns(1, "ended") < heard_ns
    assert heard_ns + 100 * MS <= began_ns <= heard_ns + 200 * MS  # after the chunk that was being recorded


def test_a_pause_counts_from_the_end_of_what_is_heard() -> None:
    script = build_script(play(200), Pause(700 * MS), say(), turn_detection=VAD)
    played = Played(script, Hearing(after=hearing(2, audio_ms=3_000)))

    (asked_ns,) = played.sent_at("conversation.item.create")
    assert asked_ns == played.after_ns(1, "first_audio") + script.jitter_buffer_ns + 3_000 * MS + 700 * MS


def test_a_manual_turn_does_not_wait_for_its_reply_to_be_played() -> None:
    def long(response_id: str) -> list[Answer]:
        audio = delta(GA, "audio", response_id, base64_of(48 * 60_000))
        return spoken([created(response_id), audio, done(response_id)])

    played = Played(build_script(say(), say()), Service(turns=[long]))

    assert played.sent_at("conversation.item.create")[1] == played.after_ns(1, "ended")


CUT_SHORT = {
    "turn-1-append-1": [(10 * MS, speech_started("item_1"))],
    "turn-1-append-3": [
        (10 * MS, speech_stopped("item_1")),
        (15 * MS, committed("item_1")),
        (20 * MS, created("r1")),
        (130 * MS, speech_started("item_1b")),
        (140 * MS, done("r1", "cancelled", type="cancelled", reason="turn_detected")),
        (1_200 * MS, speech_stopped("item_1b")),
        (1_205 * MS, committed("item_1b")),
        (1_300 * MS, created("r1b")),
        (2_900 * MS, done("r1b")),
    ],
}


def test_whoever_is_misunderstood_stops_speaking_and_the_microphone_goes_on() -> None:
    played = Played(build_script(play(2_000), Pause(S), turn_detection=VAD), Hearing(after=CUT_SHORT))

    sent = appended(played)
    assert played.outcomes == ["cancelled:turn_detected"]
    assert [name for _, name in sent[1:6]] == [*(f"turn-1-append-{n}" for n in (1, 2, 3, 4)), "between"]
    assert [at_ns for at_ns, _ in sent] == [GREETED_NS + (n + 1) * 100 * MS for n in range(len(sent))]
    assert "speech_end" not in played.turns[0].instants


def test_the_service_may_finish_what_it_misunderstood_before_the_next_turn() -> None:
    script = build_script(play(2_000), play(200), turn_detection=VAD)
    after = CUT_SHORT | {name.replace("1", "2", 1): answers for name, answers in hearing(2).items()}
    after["turn-2-append-1"] = [(10 * MS, speech_started("item_2"))]
    after["turn-2-append-2"] = noticed(2) + answered(2)
    played = Played(script, Hearing(after=after))

    settled_ns = GREETED_NS + 400 * MS + 2_900 * MS
    began_ns = next(at_ns for at_ns, name in appended(played) if name == "turn-2-append-1")
    assert settled_ns < began_ns <= settled_ns + 200 * MS
    assert played.outcomes == ["cancelled:turn_detected", "ok"]
    assert played.turns[1].response_id == "r2"
    assert played.observation.stray_commits == 0


def test_the_answer_to_the_whole_counts_where_the_answer_to_a_pause_ended_before_it() -> None:
    after = {
        "turn-1-append-1": [(10 * MS, speech_started("item_1")), *noticed(1, 20 * MS), (40 * MS, created("early"))],
        "turn-1-append-2": [(10 * MS, speech_started("item_1b"))],
        "turn-1-append-3": [
            (300 * MS, speech_stopped("item_1b")),
            (305 * MS, committed("item_1b")),
            (310 * MS, done("early")),
            *answered(1),
        ],
    }
    played = Played(build_script(play(300), turn_detection=VAD), Hearing(after=after))

    assert (played.outcomes, played.turns[0].response_id, played.turns[0].vad_splits) == (["ok"], "r1", 1)


def test_a_service_that_never_finishes_is_given_up_after_the_limit_of_a_delta() -> None:
    after = {name: answers for name, answers in CUT_SHORT.items() if name == "turn-1-append-1"}
    after["turn-1-append-3"] = CUT_SHORT["turn-1-append-3"][:5]
    after |= {"turn-2-append-2": noticed(2) + answered(2)}
    script = build_script(play(2_000), play(200), turn_detection=VAD, limits=Limits(next_delta=2))
    played = Played(script, Hearing(after=after))

    quiet_ns = GREETED_NS + 400 * MS + 140 * MS + 2 * S
    began_ns = next(at_ns for at_ns, name in appended(played) if name == "turn-2-append-1")
    assert quiet_ns < began_ns <= quiet_ns + 200 * MS
    assert played.outcomes == ["cancelled:turn_detected", "ok"]


def test_a_request_of_ours_follows_the_commit_at_once() -> None:
    after = {"turn-1-append-1": [(10 * MS, speech_started("item_1"))], "turn-1-append-2": noticed(1, 533 * MS)}
    played = Played(build_script(play(200), turn_detection=ASKED), Hearing(after=after))

    assert played.sent_at("response.create") == [played.after_ns(1, "committed")]
    assert played.sent_at("response.create") == [GREETED_NS + 300 * MS + 538 * MS]
    assert (played.outcomes, played.turns[0].origin) == (["ok"], "requested")


def test_a_request_waits_a_second_for_speech_that_the_service_may_not_have_heard_to_its_end() -> None:
    after = {"turn-1-append-1": [(1 * MS, speech_started("item_1")), *noticed(1, 10 * MS)]}
    played = Played(build_script(play(200), turn_detection=ASKED), Hearing(after=after))

    assert played.sent_at("response.create") == [GREETED_NS + 300 * MS + S]


def test_a_typed_turn_in_a_session_with_a_vad_is_asked_for_while_the_microphone_goes_on() -> None:
    script = build_script(say(), play(200), say(), turn_detection=VAD)
    played = Played(script, Hearing(after={"turn-2-append-2": noticed(2) + answered(2)}))

    assert played.outcomes == ["ok"] * 3
    assert [turn.origin for turn in played.turns] == ["requested", "speech_end", "requested"]
    assert [turn.vad_splits for turn in played.turns] == [None, 0, None]
    sent = appended(played)
    assert [at_ns for at_ns, _ in sent] == [GREETED_NS + (n + 1) * 100 * MS for n in range(len(sent))]


def test_a_vad_that_never_notices_times_the_turn_out_by_the_end_of_its_speech() -> None:
    script = build_script(play(200), play(200), turn_detection=VAD, limits=Limits(speech=3))
    played = Played(script, Hearing())

    assert (played.outcomes, played.observation.lost_turns) == (["timeout:speech"], 1)
    assert played.after_ns(1, "ended") == played.after_ns(1, "speech_end") + 3 * S == played.now_ns


# What a script insists on.


@pytest.mark.parametrize(
    ("event", "within_s", "outcome"),
    [
        ("audio_delta", 0.5, "ok"),
        ("transcript_done", 0.31, "failed:expected_transcript_done"),
        ("committed", 60, "failed:expected_committed"),
    ],
)
def test_what_a_script_expects_must_come_in_time(event: str, within_s: float, outcome: str) -> None:
    played = Played(build_script(say(), Expect(event, within_s), say()))

    assert played.outcomes == [outcome, "ok"]
    if within_s < 1 and outcome != "ok":
        assert played.after_ns(1, "ended") == GREETED_NS + round(within_s * S)


def test_a_script_may_expect_several_things_one_after_another() -> None:
    steps = (play(200), Expect("speech_stopped", 1), Expect("response_created", 1), Expect("audio_delta", 1))
    played = Played(build_script(*steps, turn_detection=VAD), Hearing(after=hearing(2)))

    assert played.outcomes == ["ok"]


def test_an_expectation_counts_from_when_the_one_before_it_was_met() -> None:
    def slow(response_id: str) -> list[Answer]:
        return [(300 * MS, created(response_id)), (450 * MS, delta(GA, "audio", response_id)), (S, done(response_id))]

    steps = (say(), Expect("response_created", 1), Expect("audio_delta", 0.2))
    played = Played(build_script(*steps), Service(turns=[slow]))

    assert played.outcomes == ["ok"]


def test_a_session_goes_on_after_what_it_expected_without_waiting_for_the_rest() -> None:
    played = Played(build_script(say(), Expect("text_delta", 2)), Service(turns=[endless]))

    assert played.outcomes == ["failed:expected_text_delta"]
    assert played.observation.outcome == "ok"


# However it is cut.


@pytest.mark.parametrize("at_ms", range(0, 2_500, 130))
@pytest.mark.parametrize("detection", [VAD, ASKED, None])
def test_a_connection_may_go_at_any_moment(at_ms: int, detection: TurnDetection | None) -> None:
    class Fragile(Hearing):
        def greeting(self) -> list[Answer]:
            return [*super().greeting(), closing(at_ms * MS, 1006)]

    script = build_script(play(300), Pause(300 * MS), say(), play(200), turn_detection=detection)
    played = Played(script, Fragile(after=hearing(3) | {"turn-3-append-2": noticed(3) + answered(3)}))

    session = played.observation
    assert session.outcome == "closed:1006"
    assert played.now_ns == at_ms * MS
    assert session.turns_begun == session.turns_ended == len(played.turns) == played.listening.began
    assert set(played.outcomes) <= {"ok", "closed:1006"}
    assert session.lost_turns == 3 - session.turns_begun


@pytest.mark.parametrize("at_ms", range(0, 6_000, 130))
@pytest.mark.parametrize("detection", [VAD, ASKED])
def test_a_run_may_end_at_any_moment(at_ms: int, detection: TurnDetection) -> None:
    script = build_script(play(300), Pause(300 * MS), play(200), play(100), turn_detection=detection)
    after = hearing(3, 2, 1, audio_ms=900)
    played = Played(script, Hearing(after=after), ending=lambda ns: ns >= at_ms * MS)

    session = played.observation
    assert session.outcome in ("ok", "abandoned")
    assert played.outcomes == ["ok"] * session.turns_begun
    assert (session.outcome == "ok") == (session.turns_begun == 3)
    assert played.now_ns < max(at_ms, 40) * MS + 2 * S  # no more than the turn in flight


@pytest.mark.parametrize("waits", range(1, 36, 3))
def test_a_session_that_talks_can_be_abandoned_at_any_moment(waits: int) -> None:
    script = build_script(play(300), play(300), turn_detection=VAD)
    transport = GuardedTransport(Hearing(after=hearing(3, 3)))
    timeline, listening = Timeline(transport.now_ns(), 2, script.limits, service_responds=True), Listening()
    session = Session(script, transport, timeline, listening, lambda: False)
    whole, left = transport.receive, waits

    def receive(until_ns: int) -> Any:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return whole(until_ns)

    transport.receive = receive  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        session.play()
    session.abandon("abandoned", "the run ended")

    assert len(listening.turns) == listening.began == timeline.session().turns_ended
    assert timeline.session().outcome == "abandoned"
    assert {turn.outcome for turn in listening.turns} <= {"ok", "abandoned"}


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
    saying(delta(Dialect.PREVIEW, "audio", "x")),
    lambda r: [(0, done("another"))],
]
STEPS = st.sampled_from([
    say(), say(output="text"), respond(), play(50), play(250), play(90, paced=False), Pause(0), Pause(300 * MS),
    Pause(9 * S),
])  # fmt: skip


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
    assert sorted(turn.turn for turn in played.turns) == list(range(1, session.turns_begun + 1))
    assert session.turns_begun == session.turns_ended == played.listening.began
    assert session.turns_wanted == len(script.turns)
    assert session.outcome
    assert session.wire_bytes_sent == played.listening.wire_sent
    assert session.wire_bytes_received == played.listening.wire_received
    assert session.audio_bytes_sent == played.listening.audio_sent == sum(t.audio_bytes_sent for t in played.turns)
    if session.outcome == "ok":
        assert session.turns_begun == session.turns_wanted
    assert played.transport.closed is not None
