"""A session over a transport without a network. Time passes only while the session waits.

`tests/sessions` has the sessions with one service each.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bench.catalogue.timeouts import Timeouts
from bench.plan.prepared import PreparedScript
from bench.plan.steps import PauseStep
from bench.plan.turns import Step
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.wire.connection import SendReceipt, Transmitted
from tests.examples import thorough
from tests.helpers import (
    MS,
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
    play,
    reply,
    respond,
    say,
    seated,
    spoken,
)
from tests.memory_transport import PeerAnswer, TransmitDelays

LIMITS = Timeouts(session=2, first_delta=3, next_delta=1, response=5)


def silence(response_id: str) -> list[PeerAnswer]:
    return []


def cut_short(response_id: str) -> list[PeerAnswer]:
    return [(100 * MS, created(response_id)), (500 * MS, delta(GA, "audio", response_id))]


def endless(response_id: str) -> list[PeerAnswer]:
    audio = [(place * 400 * MS, delta(GA, "audio", response_id)) for place in range(1, 100)]
    return [(100 * MS, created(response_id)), *audio]


def failing(code: str) -> Turn:
    return lambda r: spoken([created(r), done(r, "failed", error={"code": code, "message": "No."})])


def rejecting(number: int, code: str = "invalid_value") -> Turn:
    return lambda r: spoken([error(code, f"turn-{number}-response")])


def saying(*messages: bytes) -> Turn:
    return lambda r: spoken(messages)


def hanging_up(code: int) -> Turn:
    return lambda r: [(100 * MS, created(r)), closing(200 * MS, code)]


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
