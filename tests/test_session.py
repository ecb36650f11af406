"""A session over a transport without a network. Time passes only while the session waits.

The tests cover the start, the turns, the other messages, the end, and the messages that have
transmit timestamps.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.timeouts import Timeouts
from bench.plan.conversation import History
from bench.plan.prepared import PreparedScript
from bench.plan.steps import ExpectSettings, ExpectStep, MessageStep, PauseStep, SendStep
from bench.plan.turns import Step
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.connection import ConnectionClosed, SendReceipt, Transmitted
from bench.wire.dialect import Dialect
from tests.examples import thorough
from tests.helpers import (
    GREETED_NS,
    LOUD,
    MS,
    REALTIME,
    GuardedTransport,
    Listening,
    Played,
    S,
    Service,
    Turn,
    build_message,
    build_script,
    closing,
    created,
    delta,
    done,
    error,
    message,
    play,
    reply,
    respond,
    say,
    seated,
    session_created,
    spoken,
)
from tests.memory_transport import MemoryTransport, PeerAnswer, TransmitDelays


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
@pytest.mark.parametrize("acknowledges", [False, True])
def test_a_turn_does_not_wait_for_acknowledgements(dialect: Dialect, acknowledges: bool) -> None:
    script = build_script(say(), play(100), dialect=dialect)
    played = Played(script, Service(dialect, acknowledges=acknowledges))

    (item_ns,), (commit_ns,) = (
        played.sent_at("conversation.item.create"),
        played.sent_at("input_audio_buffer.commit"),
    )
    assert played.outcomes == ["ok", "ok"]
    assert played.sent_at("response.create") == [item_ns, commit_ns]


def test_the_first_turn_waits_for_session_created_and_session_updated() -> None:
    played = Played(build_script(say()), Service(greeting_ns=700 * MS, settings_ns=900 * MS))

    assert played.sent_at("session.update") == [700 * MS]
    assert played.sent_at("conversation.item.create") == [1_600 * MS]
    assert played.observation.metrics_ns()["session_update"] == 900 * MS


@pytest.mark.parametrize("chunk_ms", [20, 100, 130, 200])
def test_paced_chunks_are_sent_exactly_when_they_are_due(chunk_ms: int) -> None:
    played = Played(build_script(play(330, chunk_ms=chunk_ms)))

    dues = [min(330, (place + 1) * chunk_ms) * MS for place in range(-(-330 // chunk_ms))]
    assert played.sent_at("input_audio_buffer.append") == [GREETED_NS + due for due in dues]
    assert (
        played.sent_at("input_audio_buffer.commit")
        == played.sent_at("response.create")
        == [GREETED_NS + dues[-1]]
    )
    assert played.turns[0].start_ns - played.start_ns == GREETED_NS + dues[0]
    assert played.turns[0].late_chunks == 0
    assert [lag for lag in played.listening.lags_ns if lag is not None] == [0] * len(dues)
    assert played.turns[0].audio_bytes_sent == played.listening.audio_sent == 48 * 330


# Deadlines.

LIMITS = Timeouts(session=2, first_delta=3, next_delta=1, response=5)


def silence(response_id: str) -> list[PeerAnswer]:
    return []


def cut_short(response_id: str) -> list[PeerAnswer]:
    return [(100 * MS, created(response_id)), (500 * MS, delta(GA, "audio", response_id))]


def endless(response_id: str) -> list[PeerAnswer]:
    audio = [(place * 400 * MS, delta(GA, "audio", response_id)) for place in range(1, 100)]
    return [(100 * MS, created(response_id)), *audio]


@pytest.mark.parametrize(
    ("greeting_ns", "settings_ns", "missing"),
    [(None, 1, "session.created"), (1, None, "session.updated")],
)
def test_a_service_that_is_not_ready_in_time_ends_the_session_at_the_deadline(
    greeting_ns: int | None, settings_ns: int | None, missing: str
) -> None:
    script = build_script(say(), say(), limits=LIMITS)
    played = Played(script, Service(greeting_ns=greeting_ns, settings_ns=settings_ns))

    session = played.observation
    assert (session.outcome, session.turns_started, session.turns_not_started) == (
        "timeout:session",
        0,
        2,
    )
    assert session.instants["ended"] - played.start_ns == 2 * S == played.now_ns
    assert missing in session.detail


# Failures, and whether the session continues.


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
        (rejecting(1, "rate_limit_exceeded"), "throttled:error"),
    ],
)
def test_a_session_continues_after_a_failed_turn(turn: Turn, outcome: str) -> None:
    played = Played(build_script(say(), say()), Service(turns=[turn]))

    assert played.outcomes == [outcome, "ok"]
    session = played.observation
    assert (
        session.outcome,
        session.turns_ended,
        session.turns_succeeded,
        session.turns_not_started,
    ) == ("ok", 2, 1, 0)


@pytest.mark.parametrize(
    ("turn", "outcome"),
    [
        (hanging_up(1006), "closed:1006"),
        (saying(b"{"), "protocol_error:json"),
    ],
)
def test_a_broken_connection_ends_the_session_and_later_turns_are_not_started(
    turn: Turn, outcome: str
) -> None:
    played = Played(build_script(say(), say(), say()), Service(turns=[turn]))

    assert played.outcomes == [outcome]
    session = played.observation
    assert (
        session.outcome,
        session.turns_started,
        session.turns_ended,
        session.turns_not_started,
    ) == (
        outcome,
        1,
        1,
        2,
    )
    assert played.sent_at("response.create") == [GREETED_NS]


@pytest.mark.parametrize(
    ("greeting", "outcome"),
    [
        (
            [
                (MS, error("invalid_api_key")),
                closing(2 * MS, 3000, "invalid_request_error.invalid_api_key"),
            ],
            "connect_failed:invalid_api_key",
        ),
        ([(MS, error("insufficient_quota"))], "connect_failed:insufficient_quota"),
        (
            [
                (MS, session_created()),
                (5 * MS, error("rate_limit_exceeded")),
                closing(6 * MS, 4000, "Slow down."),
            ],
            "throttled:error",
        ),
    ],
    ids=["refused right after the upgrade", "no credit", "throttled before the settings are taken"],
)
def test_a_rejected_session_has_the_service_s_reason_and_starts_no_turn(
    greeting: list[PeerAnswer], outcome: str
) -> None:
    transport = MemoryTransport(Service(settings_ns=None), greeting)
    session, timeline, listening = seated(build_script(say(), say()), transport)
    session.run()

    observation = timeline.session()
    assert (observation.outcome, observation.turns_started, observation.turns_not_started) == (
        outcome,
        0,
        2,
    )
    assert listening.began == 0


def test_the_input_buffer_of_a_failed_audio_turn_is_cleared_before_the_next_turn() -> None:
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


# The service's rate limits.


def throttled(words: str) -> Turn:
    """Return a response that fails immediately because of a rate limit."""
    refused = {"type": "requests", "code": "rate_limit_exceeded", "message": words}
    return lambda r: [
        (5 * MS, created(r)),
        (6 * MS, done(r, "failed", type="failed", error=refused)),
    ]


def test_a_session_does_not_wait_after_its_last_turn() -> None:
    played = Played(build_script(say()), Service(turns=[throttled("Please try again in 20s.")]))

    assert played.now_ns < S
    assert played.observation.outcome == "ok"


def test_a_session_that_waits_after_throttling_ends_with_the_run() -> None:
    service = Service(turns=[throttled("Please try again in 20s.")])
    played = Played(build_script(say(), say()), service, ending=lambda ns: ns > 2 * S)

    assert played.outcomes == ["throttled:response"]
    assert played.observation.outcome == "unfinished"
    assert played.now_ns < 3 * S


# The end of the run.


# Expected events of a script.


@pytest.mark.parametrize(
    ("event", "within_s", "outcome"),
    [
        ("audio_delta", 0.5, "ok"),
        ("transcript_done", 0.31, "failed:missing_transcript_done"),
        ("committed", 60, "failed:missing_committed"),
    ],
)
def test_an_expected_event_must_arrive_within_its_timeout(
    event: str, within_s: float, outcome: str
) -> None:
    played = Played(build_script(say(), ExpectStep(ExpectSettings(event, within_s)), say()))

    assert played.outcomes == [outcome, "ok"]
    if within_s < 1 and outcome != "ok":
        assert played.after_ns(1, "ended") == GREETED_NS + round(within_s * S)


def test_the_timeout_of_an_expectation_starts_when_the_previous_one_is_met() -> None:
    def slow(response_id: str) -> list[PeerAnswer]:
        return [
            (300 * MS, created(response_id)),
            (450 * MS, delta(GA, "audio", response_id)),
            (S, done(response_id)),
        ]

    steps = (
        say(),
        ExpectStep(ExpectSettings("response_created", 1)),
        ExpectStep(ExpectSettings("audio_delta", 0.2)),
    )
    played = Played(build_script(*steps), Service(turns=[slow]))

    assert played.outcomes == ["ok"]


# Any script with any service.

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
STEPS = st.sampled_from(
    [
        say(),
        say(output="text"),
        respond(),
        play(50),
        play(250),
        play(90, paced=False),
        PauseStep(0),
        PauseStep(0.3),
        PauseStep(9),
    ]
)


@thorough
@given(
    steps=st.lists(STEPS, min_size=1, max_size=5),
    turns=st.lists(st.sampled_from(TURNS), max_size=5),
    greeting_ns=st.sampled_from([0, 10 * MS, 5 * S, None]),
    settings_ns=st.sampled_from([0, 30 * MS, 5 * S, None]),
    transcript_ns=st.sampled_from([None, 0, 900 * MS, 8 * S]),
    ends_ns=st.sampled_from([1 << 62, 0, 200 * MS, 4 * S]),
)
def test_a_session_ends_and_every_turn_has_one_outcome_for_any_service_behaviour(
    steps: list[Step],
    turns: list[Turn],
    greeting_ns: int | None,
    settings_ns: int | None,
    transcript_ns: int | None,
    ends_ns: int,
) -> None:
    script = build_script(*steps, limits=LIMITS, input_transcription="whisper-1")
    service = Service(
        turns=turns,
        greeting_ns=greeting_ns,
        settings_ns=settings_ns,
        transcript_ns=transcript_ns,
        acknowledges=True,
    )
    played = Played(script, service, lambda ns: ns > ends_ns)

    session = played.observation
    assert sorted(turn.turn for turn in played.turns) == list(range(1, session.turns_started + 1))
    assert session.turns_started == session.turns_ended == played.listening.began
    assert session.turns_planned == len(script.turns)
    assert session.outcome
    assert session.wire_bytes_sent == played.listening.wire_sent
    assert session.wire_bytes_received == played.listening.wire_received
    assert (
        session.audio_bytes_sent
        == played.listening.audio_sent
        == sum(t.audio_bytes_sent for t in played.turns)
    )
    if session.outcome == "ok":
        assert session.turns_started == session.turns_planned
    assert played.transport.closed is not None


ITEM, REQUEST = "conversation.item.create", "response.create"
PIPELINED = {"pipelined": True}


def with_history(*texts: str, dialect: Dialect = GA, **keys: bool) -> PreparedScript:
    history = History(Path("h.jsonl"), "d2", tuple(build_message(text) for text in texts))
    return build_script(say(), dialect=dialect, keys={"history": history} | keys)


# History.


@pytest.mark.parametrize("dialect", REALTIME.values(), ids=REALTIME)
def test_the_history_is_acknowledged_before_the_first_turn_begins(dialect: Dialect) -> None:
    played = Played(
        with_history("One", "Two", dialect=dialect), Service(dialect, acknowledges=True)
    )

    texts = [
        event["item"]["content"][0]["text"] for _, event in played.sent if event["type"] == ITEM
    ]
    assert texts == ["One", "Two", "Hello"]
    instants = played.observation.instants
    assert instants["history_acked"] - instants["history_start"] == 5 * MS
    assert played.turns[0].start_ns == instants["history_acked"]
    assert played.observation.metrics_ns()["history_load"] == 5 * MS
    assert played.outcomes == ["ok"]


class Slow(Service):
    """A service that acknowledges one item per second."""

    items = 0

    def __call__(self, data: bytes) -> list[PeerAnswer]:
        if ITEM.encode() in data:
            self.items += 1
            return [
                (
                    self.items * S,
                    message("conversation.item.added", item={"id": f"item_{self.items}"}),
                )
            ]
        return list(super().__call__(data))


def test_history_is_awaited_as_long_as_acknowledgements_continue() -> None:
    played = Played(with_history("One", "Two", "Three", "Four"), Slow())

    assert played.observation.metrics_ns()["history_load"] == 4 * S
    assert played.turns[0].start_ns == played.observation.instants["history_acked"]


@pytest.mark.parametrize(
    "script",
    [
        with_history("By the way"),
        build_script(MessageStep(build_message("By the way")), PauseStep(1), say()),
    ],
    ids=["history", "a message"],
)
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (error("invalid_value", "session-message"), "failed:invalid_value"),
        (ConnectionClosed(1006, 0), "closed:1006"),
    ],
)
def test_a_refused_message_or_history_fails_the_session(
    script: PreparedScript, answer: bytes | ConnectionClosed, outcome: str
) -> None:
    class Failing(Service):
        def __call__(self, data: bytes) -> list[PeerAnswer]:
            return [(MS, answer)] if b"By the way" in data else [*super().__call__(data)]

    played = Played(script, Failing())

    assert (played.observation.outcome, played.outcomes, played.observation.turns_not_started) == (
        outcome,
        [],
        1,
    )


# Messages.


@pytest.mark.parametrize("role", ["system", "assistant", "user"])
def test_a_message_is_sent_when_the_previous_turn_is_over(role: str) -> None:
    played = Played(
        build_script(say(), MessageStep(build_message("By the way", role)), say("later"))  # type: ignore[arg-type]
    )

    types = [event["type"] for _, event in played.sent][1:]
    assert types == [ITEM, REQUEST, ITEM, ITEM, REQUEST]
    at_ns, item = [(at_ns, event["item"]) for at_ns, event in played.sent if event["type"] == ITEM][
        1
    ]
    assert (item["role"], item["content"][0]["text"]) == (role, "By the way")
    assert at_ns == played.after_ns(1, "ended")
    assert played.outcomes == ["ok", "ok"]


def test_a_user_message_before_an_audio_turn_makes_one_turn_of_text_and_audio() -> None:
    played = Played(build_script(MessageStep(build_message("My number is 4711.")), play(250)))

    assert [event["type"] for _, event in played.sent][1:] == [
        ITEM,
        *["input_audio_buffer.append"] * 3,
        "input_audio_buffer.commit",
        REQUEST,
    ]
    assert played.outcomes == ["ok"]


# Events that the script sends.


def ask_aside(**response: object) -> SendStep:
    return SendStep({"type": REQUEST, "response": response})


def test_a_script_s_event_is_sent_at_once_and_unchanged() -> None:
    event = {"type": "conversation.item.retrieve", "item_id": "item_1"}
    played = Played(build_script(say(), SendStep(event), say("later")))

    (at_ns, sent), *_ = [
        (at_ns, sent) for at_ns, sent in played.sent if sent["type"] == event["type"]
    ]
    assert sent == event | {"event_id": "script-1-conversation.item.retrieve"}
    assert at_ns == played.after_ns(1, "request_sent")
    assert played.outcomes == ["ok", "ok"]


def test_a_response_requested_by_a_script_s_event_belongs_to_no_turn() -> None:
    service = Service(
        turns=[
            lambda _: spoken(reply(GA, "mine")),
            lambda _: spoken(reply(GA, "out_of_band", deltas=9), first_ns=310 * MS),
            lambda _: spoken(reply(GA, "next")),
        ]
    )
    played = Played(build_script(say(), ask_aside(conversation="none"), say("later")), service)

    assert [(turn.response_id, turn.audio_deltas, turn.outcome) for turn in played.turns] == [
        ("mine", 3, "ok"),
        ("next", 3, "ok"),
    ]
    assert played.observation.stray_usage is not None


def test_a_refused_request_of_a_script_s_event_does_not_take_the_response_of_a_turn() -> None:
    service = Service(
        turns=[
            lambda response_id: spoken(reply(GA, response_id)),
            lambda _: [
                (MS, error("conversation_already_has_active_response", "script-1-response.create"))
            ],
        ]
    )
    played = Played(build_script(say(), ask_aside(), say("later")), service)

    assert [turn.response_id for turn in played.turns] == ["resp_1", "resp_3"]
    assert played.outcomes == ["ok", "ok"]
    assert played.observation.service_errors == 1


# Responses out of band.


def test_an_out_of_band_response_is_requested_with_its_input_and_an_identifying_name() -> None:
    asked = respond(
        conversation="none", input=(build_message("Is this rude?"),), metadata={"topic": "tone"}
    )
    played = Played(build_script(asked, say()))

    request = next(event for _, event in played.sent if event["type"] == REQUEST)
    assert request["response"] == {
        "conversation": "none",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Is this rude?"}],
            }
        ],
        "metadata": {"topic": "tone", "rtbench_request": "turn-1-response"},
    }
    assert played.outcomes == ["ok", "ok"]


def test_a_response_may_be_requested_with_empty_input() -> None:
    played = Played(build_script(respond(conversation="none", input=())))

    assert played.sent[-1][1]["response"]["input"] == []


# A pipelined start.


def test_a_pipelined_start_sends_settings_and_the_first_turn_before_session_created() -> None:
    played = Played(
        build_script(say(), say("later"), keys=PIPELINED),
        Service(greeting_ns=200 * MS, settings_ns=300 * MS),
    )

    assert [(at_ns, event["type"]) for at_ns, event in played.sent][:3] == [
        (0, "session.update"),
        (0, ITEM),
        (0, REQUEST),
    ]
    session = played.observation
    assert played.outcomes == ["ok", "ok"]
    assert session.metrics_ns()["session_ready"] == 200 * MS
    assert session.metrics_ns()["session_update"] == 300 * MS
    assert session.caller_time_ns == 0


def test_a_turn_of_a_pipelined_session_that_is_refused_has_an_outcome() -> None:
    service = Service(
        greeting_ns=None, settings_ns=None, turns=[lambda _: [closing(MS, 3000, "no")]]
    )
    played = Played(build_script(say(), keys=PIPELINED), service)

    assert (played.observation.outcome, played.outcomes) == ("closed:3000", ["closed:3000"])


# Greetings.


# The first reply.


@pytest.mark.parametrize("dialect", [GA, PREVIEW], ids=["ga", "preview"])
def test_connect_to_first_audible_is_session_setup_plus_voice_to_voice_of_the_first_turn(
    dialect: Dialect,
) -> None:
    loud = [(300 * MS, created("r1")), (400 * MS, delta(dialect, "audio", "r1", LOUD))]
    service = Service(
        dialect, turns=[lambda _: [*loud, *spoken(reply(dialect, "r1")[2:], 500 * MS)]]
    )
    played = Played(build_script(play(1_000), dialect=dialect), service)

    metrics = played.observation.metrics_ns()
    ready_ns = played.observation.instants["session_updated"] - played.start_ns
    assert (
        metrics["connect_to_first_audible"]
        == ready_ns + played.turns[0].metrics_ns()["voice_to_voice"]
    )


LEFT_NS, ACKNOWLEDGED_NS = 3_000, 20 * MS


class StampingTransport(GuardedTransport):
    """A transport that records the messages with timestamps, and counts the polls for transmit
    timestamps.
    """

    def __init__(self, service: Service, delays: TransmitDelays | None) -> None:
        super().__init__(service)
        self.transmit = delays
        self.stamped: list[bytes] = []
        self.looks = 0

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if stamped:
            self.stamped.append(message)
        return super().send(message, stamped=stamped)

    def transmitted(self) -> list[Transmitted]:
        self.looks += 1
        return super().transmitted()


def played_with_timestamps(
    script: PreparedScript, delays: TransmitDelays | None, service: Service | None = None
) -> tuple[StampingTransport, Listening]:
    transport = StampingTransport(service or Service(script.dialect), delays)
    session, _, listening = seated(script, transport)
    session.run()
    return transport, listening


def test_turns_are_measured_from_kernel_transmit_timestamps() -> None:
    script = build_script(play(250), say())
    _, by_clock = played_with_timestamps(script, None)
    _, by_kernel = played_with_timestamps(script, TransmitDelays(LEFT_NS, ACKNOWLEDGED_NS))

    for clock, kernel in zip(by_clock.turns, by_kernel.turns, strict=True):
        moved = {"request_sent", "speech_end"} & clock.instants.keys()
        assert kernel.instants == (
            dict(clock.instants)
            | {name: clock.instants[name] + LEFT_NS for name in moved}
            | {"request_acked": clock.instants["request_sent"] + ACKNOWLEDGED_NS}
        )
        assert (clock.send_timestamp_source, kernel.send_timestamp_source) == (
            "userspace",
            "kernel",
        )
        assert kernel.transmit_delay_ns == LEFT_NS


def test_an_acknowledgement_after_the_turn_is_not_awaited() -> None:
    script = build_script(say())
    transport, listening = played_with_timestamps(script, TransmitDelays(LEFT_NS, 3_600_000 * MS))
    _, without = played_with_timestamps(script, None)

    assert "request_acked" not in listening.turns[0].instants
    assert listening.turns[0].instants["ended"] == without.turns[0].instants["ended"]
    assert transport.closed is not None
