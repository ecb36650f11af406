"""The audio of a track belongs to the responses that the events name, and a response ends with
its audio.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence

import msgspec
import pytest

from bench.record.replay import LoggedMessage, logged_events
from bench.services.openai.track import GA_NARROW_TRACK, MAX_FADING_FRAMES
from bench.wire.dialect import BinaryMessage, decoder_of
from bench.wire.events import EventKind, ServerEvent
from bench.wire.settings import SessionSettings, TurnDetection

FRAME = BinaryMessage(b"\xff" * 160)
Step = bytes | tuple[str, str]
"""A message, or (the type, the id of the response) of one."""


def message(kind: str, response_id: str, status: str = "completed") -> bytes:
    if kind == "response.created":
        return msgspec.json.encode(
            {"type": kind, "response": {"id": response_id, "status": "in_progress"}}
        )
    if kind == "response.done":
        usage = {"total_tokens": 2, "input_tokens": 1, "output_tokens": 1}
        return msgspec.json.encode(
            {"type": kind, "response": {"id": response_id, "status": status, "usage": usage}}
        )
    fields = {"item_id": "item_1", "delta": "word"} if kind.endswith(".delta") else {}
    return msgspec.json.encode({"type": kind, "response_id": response_id, **fields})


def decoded(*steps: Step) -> list[ServerEvent]:
    decode = decoder_of(GA_NARROW_TRACK)
    return [
        event
        for step in steps
        for event in decode(step if isinstance(step, bytes) else message(*step))
    ]


def owners(events: Sequence[ServerEvent]) -> list[str]:
    return [event.response_id for event in events if event.kind is EventKind.AUDIO_DELTA]


SPOKEN = "response.output_audio_transcript.delta"
STARTED, STOPPED, CLEARED = (
    f"output_audio_buffer.{end}" for end in ("started", "stopped", "cleared")
)


def test_the_audio_belongs_to_a_response_from_its_creation_to_the_end_of_its_audio() -> None:
    found = decoded(
        FRAME,
        ("response.created", "a"),
        FRAME,
        (SPOKEN, "a"),
        (STARTED, "a"),
        FRAME,
        ("response.done", "a"),
        FRAME,
        (STOPPED, "a"),
        FRAME,
    )

    assert owners(found) == ["a", "a", "a"]
    assert [event.name for event in found if event.kind is EventKind.RESPONSE_DONE] == [
        "response.done"
    ]
    assert [event.name for event in found[-2:]] == [STOPPED, "response.done"]
    assert found[-1].usage is not None  # counted once
    assert sum(event.usage is not None for event in found) == 1


def test_the_audio_of_a_response_that_follows_is_that_of_the_one_that_is_played() -> None:
    found = decoded(
        ("response.created", "a"),
        (STARTED, "a"),
        ("response.done", "a"),
        ("response.created", "b"),
        FRAME,
        (SPOKEN, "b"),
        (STOPPED, "a"),
        FRAME,
        (STARTED, "b"),
        FRAME,
        ("response.done", "b"),
        (STOPPED, "b"),
        FRAME,
    )

    assert owners(found) == ["a", "b", "b"]
    assert [event.response_id for event in found if event.kind is EventKind.RESPONSE_DONE] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize(
    ("end", "status"), [(STOPPED, ("completed", "")), (CLEARED, ("cancelled", "turn_detected"))]
)
def test_a_complete_response_whose_audio_is_dropped_is_cancelled(
    end: str, status: tuple[str, str]
) -> None:
    done = decoded(("response.created", "a"), (STARTED, "a"), ("response.done", "a"), (end, "a"))[
        -1
    ]

    assert (done.kind, done.status, done.reason) == (EventKind.RESPONSE_DONE, *status)


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_audio_that_is_dropped_before_its_response_ends_delays_no_end(status: str) -> None:
    """The words of a cancelled response may follow the report that its audio was dropped."""
    steps = [
        ("response.created", "a"),
        (SPOKEN, "a"),
        (STARTED, "a"),
        (CLEARED, "a"),
        (SPOKEN, "a"),
    ]
    done = decoded(*steps, message("response.done", "a", status))[-1]

    assert (done.kind, done.status) == (EventKind.RESPONSE_DONE, "cancelled")


def test_a_response_that_never_began_ends_when_a_later_one_begins() -> None:
    found = decoded(
        ("response.created", "a"),
        (SPOKEN, "a"),
        ("response.done", "a"),
        ("response.created", "b"),
        (STARTED, "b"),
    )

    ends = [
        (event.response_id, event.status)
        for event in found
        if event.kind is EventKind.RESPONSE_DONE
    ]
    assert ends == [("a", "cancelled")]


def test_the_last_audio_of_a_dropped_response_may_follow_the_report() -> None:
    sound, begun = (
        BinaryMessage(b"\x00" * 160),
        [("response.created", "a"), (STARTED, "a"), ("response.done", "a")],
    )

    assert owners(decoded(*begun, (CLEARED, "a"), sound, sound, FRAME, sound)) == ["a"] * 3
    assert owners(decoded(*begun, (CLEARED, "a"), *[sound] * 20)) == ["a"] * MAX_FADING_FRAMES
    assert owners(decoded(*begun, (STOPPED, "a"), sound)) == []


def test_a_response_without_audio_ends_at_once() -> None:
    found = decoded(("response.created", "a"), FRAME, ("response.done", "a"), FRAME)

    assert found[-1].kind is EventKind.RESPONSE_DONE
    assert owners(found) == ["a"]


@pytest.mark.parametrize(("starts", "ends_at_once"), [([], True), ([(STARTED, "a")], False)])
def test_a_cancelled_response_that_was_never_played_ends_at_once(
    starts: list[Step], ends_at_once: bool
) -> None:
    found = decoded(
        ("response.created", "a"),
        (SPOKEN, "a"),
        *starts,
        message("response.done", "a", "cancelled"),
    )

    assert (found[-1].kind is EventKind.RESPONSE_DONE) is ends_at_once


def test_audio_in_events_is_that_of_the_track() -> None:
    """A service may send its deltas on the data channel of a call, too."""
    found = decoded(("response.created", "a"), ("response.output_audio.delta", "a"))

    assert found[-1].kind is EventKind.NOTED


def test_a_log_without_audio_gives_the_same_responses() -> None:
    steps: list[Step] = [
        FRAME,
        ("response.created", "a"),
        FRAME,
        (STARTED, "a"),
        FRAME,
        ("response.done", "a"),
        (STOPPED, "a"),
    ]
    decode, found = decoder_of(GA_NARROW_TRACK), decoded(*steps)
    stored = [
        GA_NARROW_TRACK.without_audio(step if isinstance(step, bytes) else message(*step))
        for step in steps
    ]
    again = [
        event
        for each in stored
        for event in logged_events(LoggedMessage(0, 0, event=msgspec.Raw(each)), decode)
    ]

    assert [(event.kind, event.response_id) for event in again] == [
        (event.kind, event.response_id) for event in found
    ]
    recorded = msgspec.json.encode({"binary": base64.b64encode(FRAME).decode()})
    whole = decoded(("response.created", "a"), recorded)[-1]
    assert whole.payload_bytes == len(FRAME)


def test_the_settings_have_no_audio_formats() -> None:
    """The offer and the answer determine them."""
    session = GA_NARROW_TRACK.session(
        SessionSettings(turn_detection=TurnDetection(type="server_vad"), voice="alloy")
    )

    assert session["audio"]["output"] == {"voice": "alloy"}
    assert list(session["audio"]["input"]) == ["turn_detection"]
