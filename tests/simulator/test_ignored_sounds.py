"""A VAD may take short sounds, and what is said over a reply, for no speech: nothing is told, and nothing stops."""

from __future__ import annotations

from typing import Any

import pytest

from bench.simulator.behaviour import Behaviour
from bench.simulator.profile import SpeechDetection
from tests.simulator.builders import (
    AT_NS,
    COMMIT,
    CREATE,
    LATER_NS,
    SECOND,
    VAD,
    all_of,
    drain,
    listening,
    one,
    sound,
    talk,
    types,
)

DEAF = SpeechDetection(ignored_barge_in_share=1.0)
HALF = SpeechDetection(ignored_barge_in_share=0.5)


def over_a_reply(behaviour: Behaviour, audio: bytes) -> list[dict[str, Any]]:
    """A response that the client asked for, and audio that begins a second later."""
    behaviour.receive(CREATE, AT_NS)
    events = drain(behaviour, AT_NS + SECOND)
    return events + talk(behaviour, audio, AT_NS + SECOND) + drain(behaviour)


def done(events: list[dict[str, Any]]) -> list[str]:
    return [event["response"]["status"] for event in all_of(events, "response.done")]


def test_a_sound_shorter_than_speech_stops_no_reply_and_is_not_told() -> None:
    behaviour = listening(generation_speed=1.0, vad=SpeechDetection(min_speech_ms=300), delays={"first_audio": 500})

    events = over_a_reply(behaviour, sound(250, 400))

    assert done(events) == ["completed"]
    assert not [name for name in types(events) if "input_audio_buffer" in name]


def test_speech_is_told_once_it_has_lasted_and_from_its_beginning() -> None:
    behaviour = listening(vad=SpeechDetection(min_speech_ms=300), delays={"speech_started": 15})

    events = talk(behaviour, sound(0, 500, 800, 400)) + drain(behaviour)

    started = one(events, "speech_started")
    assert started["audio_start_ms"] == 200
    assert started["due_ns"] == AT_NS + 800 * 1_000_000 + 15_000_000
    assert one(events, "speech_stopped")["audio_end_ms"] == 1500


@pytest.mark.parametrize("speed", [1.0, 50.0])
@pytest.mark.parametrize("detection", [VAD, {"type": "semantic_vad"}])
def test_what_is_ignored_over_a_reply_stops_neither_its_making_nor_its_playing(speed: float, detection: Any) -> None:
    behaviour = listening(detection, generation_speed=speed, vad=DEAF, delays={"first_audio": 500})

    events = over_a_reply(behaviour, sound(300, 100, 300, 400))

    assert done(events) == ["completed"]
    assert not [name for name in types(events) if "input_audio_buffer" in name]


def test_what_is_said_when_the_reply_was_heard_is_never_ignored() -> None:
    behaviour = listening(vad=DEAF, delays={"first_audio": 500})
    over_a_reply(behaviour, sound(300, 400))

    events = talk(behaviour, sound(0, 500, 500, 400), LATER_NS) + drain(behaviour)

    assert done(events) == ["completed"]


@pytest.mark.parametrize("stop", ["truncate", "cancel"])
def test_what_is_said_once_the_client_has_stopped_the_reply_is_never_ignored(stop: str) -> None:
    behaviour = listening(
        generation_speed=50.0 if stop == "truncate" else 2.0, vad=DEAF, delays={"first_audio": 500, "cancelled": 1}
    )
    behaviour.receive(CREATE, AT_NS)
    item_id = one(drain(behaviour, AT_NS + SECOND), "output_item.added")["item"]["id"]
    truncate = {"type": "conversation.item.truncate", "item_id": item_id, "content_index": 0, "audio_end_ms": 400}
    behaviour.receive(truncate if stop == "truncate" else {"type": "response.cancel"}, AT_NS + SECOND)

    events = talk(behaviour, sound(300, 400), AT_NS + SECOND) + drain(behaviour)

    assert done(events)[-1] == "completed"


def test_so_many_are_ignored_as_the_profile_says_by_the_seed() -> None:
    def heard(seed: int) -> list[bool]:
        told = []
        for number in range(10):
            behaviour = listening(seed=seed * 100 + number, generation_speed=1.0, vad=HALF, delays={"first_audio": 500})
            told.append(len(done(over_a_reply(behaviour, sound(300, 400)))) == 2)
        return told

    assert heard(1) == heard(1) != heard(2)
    assert set(heard(1)) == {True, False}


def test_what_was_ignored_waits_for_the_next_commit() -> None:
    behaviour = listening(generation_speed=1.0, vad=DEAF, delays={"first_audio": 500})
    over_a_reply(behaviour, sound(300, 400))
    behaviour.receive(COMMIT, LATER_NS)
    behaviour.receive(CREATE, LATER_NS)

    events = drain(behaviour)

    assert one(events, "response.done")["response"]["usage"]["input_token_details"]["audio_tokens"] >= 7
    assert "error" not in types(events)


def test_an_ignored_sound_does_not_end_the_wait_for_speech() -> None:
    behaviour = listening(
        VAD | {"idle_timeout_ms": 5_000}, generation_speed=50.0, vad=DEAF, delays={"first_audio": 500}
    )

    behaviour.receive(CREATE, AT_NS)
    drain(behaviour, AT_NS + SECOND)

    talk(behaviour, sound(300, 400), AT_NS + SECOND)

    assert "input_audio_buffer.timeout_triggered" in types(drain(behaviour, AT_NS + 9 * SECOND))
