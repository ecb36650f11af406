"""A session asks the kernel when its messages leave: of which ones, and when it looks for the answer."""

from __future__ import annotations

import msgspec

from bench.plan.prepared import PreparedScript
from bench.transport.interface import SendReceipt, TransmitStamp
from tests.helpers import (
    MS,
    GuardedTransport,
    Listening,
    Service,
    build_script,
    created,
    delta,
    done,
    play,
    say,
    seated,
)
from tests.memory_transport import TransmitDelays

LEFT_NS, ACKNOWLEDGED_NS = 3_000, 20 * MS


class StampingTransport(GuardedTransport):
    """Notes what is sent stamped, and how often somebody looks for the kernel's word."""

    def __init__(self, service: Service, delays: TransmitDelays | None) -> None:
        super().__init__(service)
        self.transmit = delays
        self.stamped: list[bytes] = []
        self.looks = 0

    def send(self, message: bytes, *, stamped: bool = False) -> SendReceipt | None:
        if stamped:
            self.stamped.append(message)
        return super().send(message, stamped=stamped)

    def transmitted(self) -> list[TransmitStamp]:
        self.looks += 1
        return super().transmitted()


def played(
    script: PreparedScript, delays: TransmitDelays | None, service: Service | None = None
) -> tuple[StampingTransport, Listening]:
    transport = StampingTransport(service or Service(script.dialect), delays)
    session, _, listening = seated(script, transport)
    session.play()
    return transport, listening


def test_only_the_request_and_the_chunk_that_ends_speech_are_sent_stamped() -> None:
    transport, _ = played(build_script(play(250), say()), TransmitDelays())

    stamped = [msgspec.json.decode(data)["type"] for data in transport.stamped]
    assert stamped == ["input_audio_buffer.append", "response.create", "response.create"]
    appends = [data for _, data in transport.sent if b"append" in data]
    assert transport.stamped[0] == appends[-1]


def test_turns_are_measured_from_what_the_kernel_says() -> None:
    script = build_script(play(250), say())
    _, by_clock = played(script, None)
    _, by_kernel = played(script, TransmitDelays(LEFT_NS, ACKNOWLEDGED_NS))

    for clock, kernel in zip(by_clock.turns, by_kernel.turns, strict=True):
        moved = {"request_sent", "speech_end"} & clock.instants.keys()
        assert kernel.instants == (
            dict(clock.instants)
            | {name: clock.instants[name] + LEFT_NS for name in moved}
            | {"request_acked": clock.instants["request_sent"] + ACKNOWLEDGED_NS}
        )
        assert (clock.send_timestamp_source, kernel.send_timestamp_source) == ("userspace", "kernel")
        assert kernel.transmit_delay_ns == LEFT_NS


def test_what_is_known_when_the_send_call_returns_is_noted_at_once() -> None:
    service = Service(turns=[lambda response_id: [(0, created(response_id)), (0, done(response_id, "incomplete"))]])
    _, listening = played(build_script(say()), TransmitDelays(), service)
    (turn,) = listening.turns

    assert (turn.send_timestamp_source, turn.instants["request_acked"]) == ("kernel", turn.instants["request_sent"])


def test_an_acknowledgement_that_comes_after_the_turn_is_not_waited_for() -> None:
    script = build_script(say())
    transport, listening = played(script, TransmitDelays(LEFT_NS, 3_600_000 * MS))
    _, without = played(script, None)

    assert "request_acked" not in listening.turns[0].instants
    assert listening.turns[0].instants["ended"] == without.turns[0].instants["ended"]
    assert transport.closed is not None


def test_nobody_looks_for_the_kernel_s_word_where_none_is_due() -> None:
    """A reply of many deltas is one look at the send, one at its acknowledgement, however many come after."""

    def looks(deltas: int) -> int:
        def turn(response_id: str) -> list[tuple[int, bytes]]:
            said = [created(response_id), *[delta(script.dialect, "audio", response_id)] * deltas, done(response_id)]
            return [((place + 2) * ACKNOWLEDGED_NS, data) for place, data in enumerate(said)]

        return played(script, TransmitDelays(0, ACKNOWLEDGED_NS), Service(turns=[turn]))[0].looks

    script = build_script(say())
    assert looks(2) == looks(40) > 0
    assert played(script, None)[0].looks == 0
