"""`prepare`: what a session will send, and when."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import ScriptError
from bench.measures import Limits
from bench.plan.audio import Pcm
from bench.plan.frames import PreparedTurn, prepare
from bench.plan.script import AskTurn, Pause, Script, Step, TextTurn, WavTurn, load_script
from bench.protocol.dialects import Dialect, ResponseSettings, SessionSettings

PLAIN = ResponseSettings()


def build_script(*steps: Step, **session: Any) -> Script:
    return Script("talk", Path("talk.yaml"), SessionSettings(**session), Limits(done=7), steps, "d1")


def build_wav(samples: int = 6_000, *, chunk_ms: int = 100, paced: bool = True) -> WavTurn:
    pcm = Pcm(Path("a.wav"), "", np.arange(samples, dtype=np.uint16).tobytes())
    return WavTurn("words", pcm, chunk_ms, paced, PLAIN)


def prepared_turn(step: Step, **session: Any) -> PreparedTurn:
    (turn,) = prepare(build_script(step, **session), Dialect.GA).turns
    return turn


def decoded(data: bytes) -> dict[str, Any]:
    message: dict[str, Any] = msgspec.json.decode(data)
    return message


def sent(turns: Sequence[PreparedTurn]) -> list[dict[str, Any]]:
    return [decoded(message.data) for turn in turns for message in (*turn.inputs, turn.request)]


def test_a_text_turn_is_an_item_and_a_request() -> None:
    turn = prepared_turn(TextTurn("greeting", "Hello", ResponseSettings(max_output_tokens=9)))

    assert (turn.number, turn.label, turn.kind, turn.chunk_ns) == (1, "greeting", "text", None)
    (item,) = turn.inputs
    assert (item.name, item.due_ns, item.audio_bytes) == ("conversation.item.create", None, 0)
    assert decoded(item.data)["item"]["content"] == [{"type": "input_text", "text": "Hello"}]
    assert (turn.request.name, turn.request.due_ns) == ("response.create", None)
    assert decoded(turn.request.data)["response"] == {"max_output_tokens": 9}


def test_a_turn_without_input_is_a_request_alone() -> None:
    turn = prepared_turn(AskTurn("assist", ResponseSettings(instructions="Help.")))

    assert (turn.kind, turn.inputs) == ("none", ())
    assert decoded(turn.request.data)["response"] == {"instructions": "Help."}


def test_a_paced_wav_is_due_chunk_by_chunk_and_then_committed() -> None:
    turn = prepared_turn(build_wav(6_000, chunk_ms=100))

    assert (turn.kind, turn.chunk_ns) == ("audio", 100_000_000)
    *appends, commit = turn.inputs
    assert [message.name for message in appends] == ["input_audio_buffer.append"] * 3
    assert [message.due_ns for message in appends] == [100_000_000, 200_000_000, 250_000_000]
    assert [message.audio_bytes for message in appends] == [4_800, 4_800, 2_400]
    assert (commit.name, commit.due_ns, commit.audio_bytes) == ("input_audio_buffer.commit", None, 0)
    assert decoded(commit.data)["type"] == "input_audio_buffer.commit"


def test_a_wav_that_is_not_paced_has_nothing_due() -> None:
    turn = prepared_turn(build_wav(paced=False))

    assert turn.chunk_ns is None
    assert {message.due_ns for message in turn.inputs} == {None}


@given(samples=st.integers(1, 20_000), chunk_ms=st.integers(20, 200))
def test_the_appends_hold_the_whole_wav(samples: int, chunk_ms: int) -> None:
    wav = build_wav(samples, chunk_ms=chunk_ms)
    *appends, _ = prepared_turn(wav).inputs
    pieces = [base64.b64decode(decoded(message.data)["audio"]) for message in appends]

    assert b"".join(pieces) == wav.audio.data
    assert [len(piece) for piece in pieces] == [message.audio_bytes for message in appends]


@pytest.mark.parametrize(
    ("session", "turn", "wanted"),
    [("audio", None, True), ("text", None, False), ("audio", "text", False), ("text", "audio", True)],
)
def test_a_turn_s_own_output_wins_over_the_session_s(session: str, turn: Any, wanted: bool) -> None:
    assert prepared_turn(TextTurn("a", "b", ResponseSettings(output=turn)), output=session).wants_audio is wanted


def test_turns_are_numbered_across_pauses_which_stay_in_their_place() -> None:
    pause = Pause(5)
    prepared = prepare(build_script(TextTurn("a", "b", PLAIN), pause, AskTurn("c", PLAIN)), Dialect.GA)

    first, second, third = prepared.steps
    assert second == pause
    assert prepared.turns == (first, third)
    assert [turn.number for turn in prepared.turns] == [1, 2]


def test_every_event_id_is_its_own_and_tells_its_turn() -> None:
    turns = prepare(build_script(*(build_wav() for _ in range(11))), Dialect.GA).turns
    ids = [message["event_id"] for message in sent(turns)]

    assert len(set(ids)) == len(ids)
    for turn in turns:
        own = [message["event_id"] for message in sent([turn])]
        assert [event_id for event_id in ids if event_id.startswith(turn.event_prefix)] == own


@pytest.mark.parametrize("dialect", Dialect)
def test_the_session_is_said_in_the_dialect(dialect: Dialect) -> None:
    prepared = prepare(build_script(AskTurn("a", ResponseSettings(output="text")), voice="alloy"), dialect)
    session = decoded(prepared.session_update)["session"]
    voice = session["voice"] if dialect is Dialect.PREVIEW else session["audio"]["output"]["voice"]
    response = decoded(prepared.turns[0].request.data)["response"]

    assert voice == "alloy"
    assert response == {"modalities" if dialect is Dialect.PREVIEW else "output_modalities": ["text"]}
    assert (prepared.name, prepared.digest, prepared.dialect, prepared.limits.done) == ("talk", "d1", dialect, 7)
    assert not any(turn.event_prefix in decoded(prepared.session_update)["event_id"] for turn in prepared.turns)


def test_temperature_is_sent_in_preview_and_refused_in_ga() -> None:
    script = replace(build_script(AskTurn("a", PLAIN), temperature=0.8), temperature_line=4)

    assert decoded(prepare(script, Dialect.PREVIEW).session_update)["session"]["temperature"] == 0.8
    with pytest.raises(ScriptError, match=r"^talk\.yaml:4: temperature is a setting of the preview dialect"):
        prepare(script, Dialect.GA)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("name", ["text_turns", "voice_turns"])
def test_the_scripts_that_come_with_the_tool_can_be_said_in_both_dialects(name: str, dialect: Dialect) -> None:
    script = load_script(Path(__file__).parents[2] / "scenarios" / "scripts" / f"{name}.yaml")
    turns = prepare(script, dialect).turns

    assert 3 <= len(turns) <= 5
    assert all(turn.wants_audio for turn in turns)
    assert len({turn.label for turn in turns}) == len(turns)
