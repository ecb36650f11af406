"""Scripts with a target's own session settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from bench.plan.script import Script, load_script, varied
from bench.protocol.settings import TurnDetection
from tests.load.actors import tone

VAD = "session: {voice: alloy, turn_detection: {type: server_vad, threshold: 0.4, silence_duration_ms: 700}}\n"
SAY = "steps:\n  - text: Hello\n"
PLAY = "steps:\n  - audio: a.wav\n"


def script_of(folder: Path, text: str) -> Script:
    tone(folder / "a.wav")
    (folder / "rows.csv").write_text("name\nAda\n")
    (folder / "talk.yaml").write_text(text)
    return load_script(folder / "talk.yaml")


def variant(script: Script, **session: Any) -> Script:
    return varied(script, session, "targets.yaml:7")


def test_without_settings_the_script_is_itself(tmp_path: Path) -> None:
    script = script_of(tmp_path, VAD + SAY)

    assert variant(script) is script


def test_given_settings_replace_and_the_others_stay(tmp_path: Path) -> None:
    session = variant(script_of(tmp_path, VAD + SAY), voice="verse", instructions="Be brief.").session

    assert (session.voice, session.instructions) == ("verse", "Be brief.")
    assert session.turn_detection == TurnDetection(threshold=0.4, silence_duration_ms=700)


def test_given_keys_of_turn_detection_replace_and_its_type_stays(tmp_path: Path) -> None:
    session = variant(script_of(tmp_path, VAD + SAY), turn_detection={"silence_duration_ms": 200}).session

    assert session.turn_detection == TurnDetection(threshold=0.4, silence_duration_ms=200)


def test_another_type_of_turn_detection_takes_nothing_of_the_script(tmp_path: Path) -> None:
    script = script_of(tmp_path, VAD + SAY)

    assert variant(script, turn_detection="semantic_vad").session.turn_detection == TurnDetection(type="semantic_vad")
    table = {"type": "semantic_vad", "eagerness": "low"}
    expected = TurnDetection(type="semantic_vad", eagerness="low")
    assert variant(script, turn_detection=table).session.turn_detection == expected


def test_given_keys_of_extra_replace_and_the_others_stay(tmp_path: Path) -> None:
    own = "session: {extra: {tool_choice: none, audio: {input: {noise_reduction: {type: near_field}}}}}\n"
    given = {"tool_choice": "auto", "audio": {"output": {"speed": 1.5}}}

    assert variant(script_of(tmp_path, own + SAY), extra=given).session.extra == {
        "tool_choice": "auto",
        "audio": {"input": {"noise_reduction": {"type": "near_field"}}, "output": {"speed": 1.5}},
    }
    assert variant(script_of(tmp_path, own + SAY), voice="verse").session.extra["tool_choice"] == "none"


def test_effort_and_truncation_are_what_variants_differ_in(tmp_path: Path) -> None:
    own = "session: {reasoning: {effort: low}, truncation: auto}\n"
    changed = variant(script_of(tmp_path, own + SAY), reasoning={"effort": "high"}).session

    assert (changed.reasoning, changed.truncation) == ({"effort": "high"}, "auto")


def test_turn_detection_can_be_switched_off(tmp_path: Path) -> None:
    assert variant(script_of(tmp_path, VAD + PLAY), turn_detection="none").session.turn_detection is None


@pytest.mark.parametrize(
    ("text", "session", "problem"),
    [
        (SAY, {"voic": "alloy"}, "session has an unknown key 'voic'; did you mean voice?"),
        (SAY, {"max_output_tokens": 0}, "max_output_tokens must be"),
        (SAY, {"extra": {"a": {1, 2}}}, "a must be what JSON has"),
        (SAY, {"turn_detection": {"threshold": 0.3}}, "turn_detection needs `type`"),
        (VAD + SAY, {"turn_detection": {"eagerness": "low"}}, "eagerness needs semantic_vad"),
        (PLAY + "    paced: false\n", {"turn_detection": "server_vad"}, "paced must be true with turn detection"),
        (VAD + PLAY + "  - expect: {event: speech_started, within: 1}\n", {"turn_detection": "none"},
         "event speech_started can never come"),
        (SAY + "  - expect: {event: audio_delta, within: 1}\n", {"output": "text"},
         "event audio_delta can never come"),
        ("variables: rows.csv\n" + SAY, {"instructions": "Call me ${nme}."}, "instructions has ${nme}"),
    ],
)  # fmt: skip
def test_what_a_script_could_not_say_is_refused_with_the_line_of_the_variant(
    text: str, session: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    script = script_of(tmp_path, text)

    with pytest.raises(UsageError) as refused:
        variant(script, **session)
    assert str(refused.value).startswith(f"targets.yaml:7: talk: {problem}")
