"""How long a silence the service waits for: semantic VAD and the idle timeout."""

from __future__ import annotations

from typing import Any

import pytest

from bench.simulator.behaviour import Behaviour
from bench.simulator.caller_turns import semantic_silence_ms
from bench.simulator.wire import AZURE_GA, AZURE_PREVIEW, WireDialect
from tests.simulator.builders import (
    AT_NS,
    CREATE,
    MS,
    SECOND,
    VAD,
    done,
    drain,
    hearing,
    listening,
    one,
    sound,
    talk,
    types,
    without_deltas,
)

DIALECTS = (AZURE_GA, AZURE_PREVIEW)


# Semantic VAD


@pytest.mark.parametrize(
    ("drawn_ms", "eagerness", "silence_ms"),
    [
        (600, "auto", 600),
        (600, "medium", 600),
        (600, "low", 1200),
        (600, "high", 300),
        (9000, "low", 8000),
        (9000, "auto", 4000),
        (9000, "medium", 4000),
        (9000, "high", 2000),
    ],
)
def test_eagerness_scales_the_silence_up_to_its_cap(drawn_ms: float, eagerness: str, silence_ms: float) -> None:
    assert semantic_silence_ms(drawn_ms, eagerness) == silence_ms


@pytest.mark.parametrize("dialect", DIALECTS)
def test_semantic_vad_waits_for_its_drawn_silence(dialect: WireDialect) -> None:
    behaviour = listening({"type": "semantic_vad"}, dialect=dialect, delays={"semantic_end": 700})

    events = talk(behaviour, sound(0, 500, 800, 600, 300, 900)) + drain(behaviour)

    assert one(events, "speech_started")["audio_start_ms"] == 200
    assert one(events, "speech_stopped")["audio_end_ms"] == 500 + 800 + 600 + 300 + 700
    assert done(events)["status"] == "completed"


def test_each_utterance_draws_its_own_silence() -> None:
    behaviour = listening({"type": "semantic_vad", "create_response": False})

    events = talk(behaviour, sound(*[200, 4300] * 4))

    ends_ms = [event["audio_end_ms"] % 4500 for event in events if event["type"].endswith("speech_stopped")]
    assert len(set(ends_ms)) == 4


# Idle timeout

IDLE = VAD | {"idle_timeout_ms": 5_000}


def answered(behaviour: Behaviour) -> tuple[list[dict[str, Any]], float]:
    """A response that the client asked for; and when, in ms, its audio will have been played."""
    behaviour.receive(CREATE, AT_NS)
    events = drain(behaviour, AT_NS + 4 * SECOND)
    first_ns = next(event["due_ns"] for event in events if event["type"].endswith("audio.delta"))
    return events, (first_ns - AT_NS) / MS + 2000


def test_the_service_speaks_up_after_its_idle_timeout() -> None:
    behaviour = listening(IDLE)
    _, played_ms = answered(behaviour)

    events = drain(behaviour, AT_NS + 10 * SECOND)

    assert without_deltas(events)[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
    assert (events[0]["due_ns"] - AT_NS) / MS == pytest.approx(played_ms + 5000)
    assert events[0]["item_id"] == events[1]["item_id"]


def test_the_timeout_tells_what_audio_passed_meanwhile() -> None:
    behaviour = listening(IDLE)
    _, played_ms = answered(behaviour)

    events = talk(behaviour, sound(0, 6000), AT_NS + 4 * SECOND) + drain(behaviour, AT_NS + 10 * SECOND)

    timeout = one(events, "timeout_triggered")
    due_ms = (timeout["due_ns"] - AT_NS) // MS
    assert timeout["audio_end_ms"] == (due_ms - 4000) // 100 * 100
    assert timeout["audio_start_ms"] == max(0, (played_ms - 4000) // 100 * 100)


def test_speech_ends_the_wait() -> None:
    behaviour = listening(IDLE | {"create_response": False})
    _, played_ms = answered(behaviour)

    events = talk(behaviour, sound(300, 400), AT_NS + 4 * SECOND) + drain(behaviour, AT_NS + 60 * SECOND)

    assert played_ms < 4000 + 5000
    assert "input_audio_buffer.timeout_triggered" not in types(events)
    assert "input_audio_buffer.committed" in types(events)


def test_nobody_speaks_up_once_the_timeout_was_taken_back() -> None:
    behaviour = listening(IDLE)
    answered(behaviour)

    behaviour.receive(hearing(AZURE_GA, VAD), AT_NS + 4 * SECOND)

    assert types(drain(behaviour)) == ["session.updated"]


def test_no_timeout_interrupts_a_response() -> None:
    behaviour = listening(IDLE | {"idle_timeout_ms": 500}, generation_speed=0.2)
    behaviour.receive(CREATE, AT_NS)
    drain(behaviour, AT_NS + SECOND)
    behaviour.receive({"type": "response.cancel"}, AT_NS + SECOND)
    drain(behaviour, AT_NS + SECOND + 200 * MS)
    behaviour.receive(CREATE, AT_NS + SECOND + 200 * MS)

    events = drain(behaviour, AT_NS + 4 * SECOND)

    assert "input_audio_buffer.timeout_triggered" not in types(events)
    assert "error" not in types(events)
