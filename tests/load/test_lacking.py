"""What is said before a run that its turns and sessions can never have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.load.planning.lacking import LACKS, _of_session, _of_turn, lacking
from bench.load.planning.plays import loaded_scripts, prepared_plays
from bench.load.planning.tasks import script
from bench.metrics import TURN_TYPES
from bench.plan.steps import Sound, SoundSettings
from bench.plan.turn_plan import Cue
from bench.protocol.openai_ga import GA
from bench.protocol.settings import TurnDetection
from bench.run.folder import SCHEMAS
from tests.helpers import MS, say
from tests.load.actors import actor, tone
from tests.test_talking import HALTING, SPEECH, VAD, Talked, converse, over_reply, recording, sound, speak

TALK = {
    "typed": lambda: converse(say(), say(output="text")),
    "spoken and committed by the client": lambda: converse(speak(*SPEECH)),
    "spoken, not transcribed": lambda: converse(speak(*SPEECH), turn_detection=VAD, input_transcription=None),
    "answered in a pause": lambda: converse(
        speak(*HALTING), speak(*SPEECH), turn_detection=TurnDetection(silence_duration_ms=200)
    ),
    "interrupted": lambda: converse(
        speak(*SPEECH), over_reply(speak(*SPEECH), Cue(after_ns=300 * MS)), speak(*SPEECH), turn_detection=VAD
    ),
    "sounds": lambda: converse(
        speak(*SPEECH),
        Sound(SoundSettings(kind="backchannel", audio=recording(sound(20, 300)), cue=Cue(after_ns=200 * MS))),
        speak(*SPEECH),
        turn_detection=VAD,
    ),
}


def scripts_lacking(folder: Path, text: str, dialect: Any = GA, *, arrives: bool = False) -> Any:
    (folder / "talk.yaml").write_text(text)
    plays = prepared_plays(loaded_scripts([actor("One", script(folder / "talk.yaml"))]), dialect)
    (repertoire,) = plays.values()
    return lacking(repertoire, arrives=arrives)


@pytest.mark.parametrize("talk", TALK.values(), ids=TALK)
def test_what_is_said_to_be_lacking_is_never_observed(talk: Any) -> None:
    talked: Talked = talk()
    assert {turn.outcome for turn in talked.turns} <= {"ok", "interrupted", "cancelled:turn_detected"}

    for prepared, turn in zip(talked.script.turns, talked.turns, strict=True):
        lacks = dict(_of_turn(talked.script, prepared))
        columns = {name for name in lacks if getattr(turn, name, None) is not None and name not in ("task_success",)}
        turn_type = {f"turn_type:{name}" for name in (turn.turn_type or "").split("+")}
        assert not lacks.keys() & (turn.instants.keys() | columns | turn_type)
    assert not dict(_of_session(talked.script, arrives=False)).keys() & talked.session.instants.keys()


def test_names_are_those_of_rows() -> None:
    known = {*SCHEMAS["turns"].names, *(f"turn_type:{name}" for name in TURN_TYPES), "gaps_ns"}

    for lack in LACKS:
        assert {name if name in known else f"{name}_at_ns" for name in lack.names} <= known, lack.why


def test_each_turn_of_a_script_says_what_it_lacks(tmp_path: Path) -> None:
    tone(tmp_path / "a.wav")
    found = scripts_lacking(tmp_path, "steps:\n  - {text: One, name: typed}\n  - {audio: a.wav, name: spoken}\n")

    typed, spoken = found["turns"]
    assert (found["name"], typed["step"], spoken["step"]) == ("talk", "typed", "spoken")
    assert typed["lacks"]["speech_end"] == "it has no voice turn (`audio`)"
    assert "speech_end" not in spoken["lacks"]
    assert spoken["lacks"]["input_transcribed"] == "no speech of a caller is transcribed (`input_transcription`)"
    assert {"first_audio", "first_text", "response_done"}.isdisjoint(typed["lacks"])
    assert {"greeting_audible", "history_start", "previous_reply_end", "idle_prompt_due", "call_arrival"} <= found[
        "session"
    ].keys()


def test_what_a_script_has_it_does_not_lack(tmp_path: Path) -> None:
    (tmp_path / "before.jsonl").write_text('{"role": "user", "text": "Hello"}\n')
    session = "{turn_detection: {type: server_vad, idle_timeout_ms: 6000}}"
    text = f"session: {session}\nhistory: before.jsonl\nrenew_after: 60\nsteps:\n  - text: One\n"
    found = scripts_lacking(tmp_path, text, arrives=True)

    assert found["session"].keys() == {"greeting_audible"}
    assert "speech_end" in found["turns"][0]["lacks"]


def test_no_reply_of_a_script_in_text_is_heard(tmp_path: Path) -> None:
    found = scripts_lacking(tmp_path, "session: {output: text}\nsteps:\n  - text: One\n")

    assert found["session"]["first_audible"] == "its replies are text (`output`)"


def test_of_a_script_that_sends_events_of_its_own_nobody_knows(tmp_path: Path) -> None:
    assert scripts_lacking(tmp_path, "steps:\n  - text: One\n  - send: {type: response.cancel}\n") is None
    assert scripts_lacking(tmp_path, "steps:\n  - text: One\n  - message: {role: user, text: Two}\n") is not None


def test_of_a_task_in_python_nobody_knows(tmp_path: Path) -> None:
    def order(caller: Any) -> None:
        caller.text("Hello")

    (repertoire,) = prepared_plays(loaded_scripts([actor("One", order)]), GA).values()

    assert lacking(repertoire, arrives=False) is None
