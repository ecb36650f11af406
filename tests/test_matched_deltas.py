"""Sessions that match the deltas of a reply. They make the same decisions as sessions that
decode each message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import pytest

from bench.plan.prepared import PreparedScript
from bench.plan.steps import ExpectSettings, ExpectStep, InterruptSettings, InterruptStep
from bench.plan.turn_plan import InterruptTrigger
from bench.services.openai.dialect import GA
from bench.transport.interface import DeltaListener, OnMessage, PacedSender
from tests.compiled import needs_compiler
from tests.helpers import (
    LOUD,
    MS,
    Service,
    build_script,
    created,
    delta,
    done,
    message,
    say,
    seated,
)
from tests.memory_transport import MatchingTransport, MemoryTransport, PeerAnswer

SETUP = 2
"""The number of times for which a session sleeps until it is set up."""
EACH_TRANSPORT = pytest.mark.parametrize(
    "kind", [MemoryTransport, MatchingTransport], ids=["understood", "matched"]
)


@dataclass
class Cancellable(Service):
    """A service that ends a response when the client cancels it.

    `after` contains further answers to client events. The key is the ID of the client event.
    """

    after: dict[str, list[PeerAnswer]] = field(default_factory=dict)

    def __call__(self, data: bytes) -> Iterable[PeerAnswer]:
        event = msgspec.json.decode(data)
        if event["type"] == "response.cancel":
            response_id = f"resp_{self.requests or 1}"
            yield (
                10 * MS,
                done(response_id, "cancelled", type="cancelled", reason="client_cancelled"),
            )
        else:
            yield from self.after.get(event["event_id"], ())
            yield from super().__call__(data)


def in_words(
    response_id: str, words: list[str], ends_ns: int = 5_000 * MS, gap_ns: int = 20 * MS
) -> list[PeerAnswer]:
    """Return a reply that has 100 ms of audio for each word. By default, it ends long after its
    last delta.
    """
    answers = [(50 * MS, created(response_id))]
    for place, word in enumerate(words):
        at_ns = 100 * MS + place * gap_ns
        answers.append((at_ns, delta(GA, "audio", response_id, LOUD)))
        answers.append((at_ns, delta(GA, "transcript", response_id, f"{word} ")))
    return [*answers, (ends_ns, done(response_id))]


def interrupted_at_ms(
    script: PreparedScript, transport: MemoryTransport
) -> tuple[list[str], float | None]:
    """Run a session. Return the outcomes of its turns, and the instant in ms of its first
    `response.cancel`.

    The instant is None if the session sent no `response.cancel`.
    """
    begun_ns = transport.now_ns()
    session, _, listening = seated(script, transport)
    session.run()
    cancels = [
        at_ns
        for at_ns, data in transport.sent
        if msgspec.json.decode(data)["type"] == "response.cancel"
    ]
    return [turn.outcome for turn in listening.turns], (
        (cancels[0] - begun_ns) / MS if cancels else None
    )


def interrupt(**cue: object) -> InterruptStep:
    return InterruptStep(interrupt=InterruptSettings(cue=InterruptTrigger(**cue)))  # type: ignore[arg-type]


WORDS = ["yes", "there", "is", "one", "parcel", "for", "you"]


@EACH_TRANSPORT
def test_a_cue_word_that_arrives_with_the_expected_delta_interrupts_at_once(
    kind: type[MemoryTransport],
) -> None:
    service = Cancellable(turns=[lambda response_id: in_words(response_id, WORDS)])
    script = build_script(
        say(), ExpectStep(ExpectSettings("transcript_delta", 2)), interrupt(text="yes")
    )

    assert interrupted_at_ms(script, kind(service, service.greeting())) == (["interrupted"], 140)


@EACH_TRANSPORT
@pytest.mark.parametrize(
    "cue", [{"after_ns": 1_000 * MS}, {"text": "parcel"}], ids=["after", "text"]
)
def test_a_reply_generated_at_the_speed_of_speech_is_interrupted_at_the_cue(
    kind: type[MemoryTransport], cue: dict[str, object]
) -> None:
    def reply(response_id: str) -> list[PeerAnswer]:
        transcript = [
            (150 * MS + place * MS, delta(GA, "transcript", response_id, f"{word} "))
            for place, word in enumerate(WORDS)
        ]
        audio = [
            (100 * MS + place * 100 * MS, delta(GA, "audio", response_id, LOUD))
            for place in range(100)
        ]
        return [
            (50 * MS, created(response_id)),
            *transcript,
            *audio,
            (11_000 * MS, done(response_id)),
        ]

    service = Cancellable(turns=[reply])
    script = build_script(say(), interrupt(**cue))
    expected_ms = 1_190 if "after_ns" in cue else 194  # playback starts 50 ms after the first audio

    assert interrupted_at_ms(script, kind(service, service.greeting())) == (
        ["interrupted"],
        expected_ms,
    )


@EACH_TRANSPORT
def test_an_item_with_an_empty_first_delta_is_audible_from_its_first_sound(
    kind: type[MemoryTransport],
) -> None:
    def audio(item: str, payload: str) -> bytes:
        return message(
            "response.output_audio.delta", response_id="resp_1", item_id=item, delta=payload
        )

    came = [("first", LOUD), ("first", LOUD), ("second", ""), ("second", LOUD), ("second", LOUD)]
    deltas = [(100 * MS + number * 20 * MS, audio(*each)) for number, each in enumerate(came)]
    words = (90 * MS, delta(GA, "transcript", "resp_1", "well "))
    reply = [(50 * MS, created("resp_1")), words, *deltas, (900 * MS, done("resp_1"))]
    service = Cancellable(turns=[lambda _: reply])
    transport = kind(service, service.greeting())
    session, _, listening = seated(build_script(say()), transport)
    session.run()
    (turn,) = listening.turns

    assert turn.outcome == "ok"
    assert turn.instants["answer_audible"] > turn.instants["first_audible"]


@needs_compiler
def test_deltas_of_a_reply_are_matched_while_its_end_is_awaited() -> None:
    service = Cancellable(turns=[lambda response_id: in_words(response_id, WORDS)])
    transport = MatchingTransport(service, service.greeting())
    session, _, _ = seated(build_script(say()), transport)
    session.run()

    assert transport.matched == 2 * len(WORDS) - 2


@needs_compiler
def test_a_session_sleeps_once_from_the_request_of_a_text_turn_to_its_end() -> None:
    """A wake-up takes longer than the decoding of a message."""
    streams: list[bool] = []

    class Sleeping(MatchingTransport):
        sleeps = 0

        def receive_until(
            self,
            until_ns: int,
            on_message: OnMessage,
            reply: DeltaListener | None = None,
            sender: PacedSender | None = None,
        ) -> None:
            self.sleeps += 1
            assert reply is not None or self.sleeps <= SETUP
            if reply is not None:
                reply.on_streaming = streams.append
            super().receive_until(until_ns, on_message, reply, sender)

    service = Cancellable(turns=[lambda response_id: in_words(response_id, WORDS)] * 3)
    transport = Sleeping(service, service.greeting())
    session, _, listening = seated(build_script(say(), say(), say()), transport)
    session.run()

    assert [turn.outcome for turn in listening.turns] == ["ok"] * 3
    assert transport.sleeps == SETUP + 3
    assert streams == [True] * 3
    assert transport.matched == 3 * (2 * len(WORDS) - 2)
