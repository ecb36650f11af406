"""What becomes of a response when the caller speaks."""

from __future__ import annotations

from typing import Any

from bench.simulator.behaviour import Behaviour
from tests.simulator.builders import (
    AT_NS,
    BY_CLIENT,
    CREATE,
    LENIENT,
    SECOND,
    VAD,
    done,
    drain,
    listening,
    one,
    sound,
    talk,
    types,
)


def spoken_over(behaviour: Behaviour, audio: bytes) -> list[dict[str, Any]]:
    """A response that the client asked for, and audio that begins a second later."""
    behaviour.receive(CREATE, AT_NS)
    events = drain(behaviour, AT_NS + SECOND)
    return events + talk(behaviour, audio, AT_NS + SECOND)


def test_speech_closes_the_response_with_what_was_said() -> None:
    behaviour = listening(BY_CLIENT, generation_speed=1.0, delays={"first_audio": 500})

    events = spoken_over(behaviour, sound(300)) + drain(behaviour)

    names = types(events)
    assert names[names.index("input_audio_buffer.speech_started") :] == [
        "input_audio_buffer.speech_started",
        *[name for name in names[names.index("input_audio_buffer.speech_started") :] if name.endswith(".delta")],
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
        "rate_limits.updated",
    ]
    response = done(events)
    assert response["status"] == "cancelled"
    assert response["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    said = "".join(event["delta"] for event in events if event["type"].endswith("transcript.delta"))
    assert response["output"][0]["content"][0]["transcript"] == said
    assert response["output"][0]["status"] == "incomplete"


def test_a_response_that_is_not_announced_yet_is_announced_and_cancelled() -> None:
    behaviour = listening(delays={"response_created": 700, "first_audio": 900, "speech_started": 15})

    events = talk(behaviour, sound(0, 100, 500, 250, 500)) + drain(behaviour)

    responses = [name for name in types(events) if name.startswith("response.") or name.endswith("speech_started")]
    assert responses == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_started",
        "response.created",
        "response.done",
    ]
    assert done(events)["status_details"]["reason"] == "turn_detected"


def test_the_next_turn_is_answered_after_an_interruption() -> None:
    behaviour = listening(generation_speed=1.0, delays={"first_audio": 500})

    events = spoken_over(behaviour, sound(300, 400)) + drain(behaviour)

    statuses = [event["response"]["status"] for event in events if event["type"] == "response.done"]
    names = types(events)
    assert statuses == ["cancelled", "completed"]
    assert names.index("response.done") < names.index("response.created", names.index("response.created") + 1)


def test_audio_that_comes_all_at_once_is_answered_in_order() -> None:
    behaviour = listening(
        VAD | {"silence_duration_ms": 0}, generation_speed=1.0, delays={"first_audio": 500, "cancelled": 500}
    )
    behaviour.receive(CREATE, AT_NS)
    events = drain(behaviour, AT_NS + SECOND)

    events += talk(behaviour, sound(300, 300), AT_NS + SECOND, chunk_ms=1000) + drain(behaviour)

    order = [name.removeprefix("response.") for name in types(events) if name in ("response.created", "response.done")]
    assert order == ["created", "done", "created", "done"]
    assert "error" not in types(events)


def test_a_response_that_must_not_be_interrupted_goes_on_and_the_turn_gets_none() -> None:
    behaviour = listening(LENIENT, generation_speed=0.5, delays={"first_audio": 500})

    events = spoken_over(behaviour, sound(300, 400)) + drain(behaviour)

    response, error = done(events), one(events, "error")["error"]
    assert response["status"] == "completed"
    assert error["code"] == "conversation_already_has_active_response"
    assert error["event_id"] is None
    assert response["id"] in error["message"]
    assert one(events, "committed")["item_id"]


def test_speech_after_the_end_of_a_response_interrupts_nothing() -> None:
    behaviour = listening(generation_speed=100)

    events = spoken_over(behaviour, sound(300, 400)) + drain(behaviour)

    assert [event["response"]["status"] for event in events if event["type"] == "response.done"] == ["completed"] * 2


def test_a_response_that_the_client_is_cancelling_is_done_once() -> None:
    behaviour = listening(BY_CLIENT, generation_speed=1.0, delays={"cancelled": 2_000})
    behaviour.receive(CREATE, AT_NS)
    behaviour.receive({"type": "response.cancel"}, AT_NS + SECOND)

    events = talk(behaviour, sound(300), AT_NS + SECOND) + drain(behaviour)

    assert done(events)["status_details"]["reason"] == "client_cancelled"
