"""`load_script`: the objects that it builds from a script."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import ScriptError, UsageError
from bench.plan.random_choices import LogNormalTimes, RecordedTimes
from bench.plan.script import Script, load_script, with_target_settings
from bench.plan.steps import PauseStep
from bench.wire.settings import TurnDetection
from tests.load.actors import tone

SCENARIOS = Path(__file__).parents[2] / "scenarios"
WAV = SCENARIOS / "audio" / "late_parcel.wav"


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """Return the path of a script that a test writes. The script's folder contains `a.wav`."""
    shutil.copy(WAV, tmp_path / "a.wav")
    return tmp_path / "talk.yaml"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_extra_settings_are_not_filled_with_variables(script: Path) -> None:
    write(script.parent / "rows.csv", "name\nAda\n")
    text = (
        "variables: rows.csv\nsession: {extra: {prompt: {instructions: '${city}', n:"
        " 2}}}\nsteps:\n- text: Hi ${name}\n"
    )

    assert load_script(write(script, text)).session.extra == {
        "prompt": {"instructions": "${city}", "n": 2}
    }


def test_a_pause_is_fixed_drawn_or_from_a_file(script: Path) -> None:
    write(script.with_name("times.txt"), "1.5\n0.5\n")
    pauses = (
        "2.5",
        "{median: 2, sigma: 0.5}",
        "{median: 2, sigma: 0.5, max: 20}",
        "{file: times.txt}",
    )
    loaded = load_script(
        write(script, "steps:\n- text: hi\n" + "".join(f"- pause: {pause}\n" for pause in pauses))
    )

    *others, last = loaded.steps[1:]
    assert others == [
        PauseStep(2.5),
        PauseStep(LogNormalTimes(2.0, 0.5, 3_600.0)),
        PauseStep(LogNormalTimes(2.0, 0.5, 20.0)),
    ]
    assert isinstance(last, PauseStep)
    assert isinstance(last.pause, RecordedTimes)
    assert last.pause.seconds == (1.5, 0.5)
    assert loaded.think_s == pytest.approx(2.5 + 2 * 2 * math.exp(0.125) + 1)


@pytest.mark.parametrize(
    "name", ["talk.yaml", "a.wav", "b.wav", "room.wav", "rows.csv", "times.txt"]
)
def test_the_digest_changes_with_every_file_of_a_script(script: Path, name: str) -> None:
    for wav in ("b.wav", "room.wav"):
        shutil.copy(WAV, script.with_name(wav))
    write(script.with_name("rows.csv"), "name\nAda\n")
    write(script.with_name("times.txt"), "1.5\n")
    steps = "- audio: [a.wav, b.wav]\n- pause: {file: times.txt}\n"
    write(
        script,
        f"variables: rows.csv\nbackground_noise: {{file: room.wav, snr_db: 9}}\nsteps:\n{steps}",
    )
    before = load_script(script).digest
    changed = script.with_name(name)
    if changed.suffix == ".wav":
        shutil.copy(SCENARIOS / "audio" / "goodbye.wav", changed)
    else:
        write(changed, changed.read_text(encoding="utf-8") + "\n")

    assert load_script(script).digest != before
    assert len(bytes.fromhex(before)) == 32


@pytest.mark.parametrize(
    "path", sorted((SCENARIOS / "scripts").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_included_scripts_load(path: Path) -> None:
    assert load_script(path).steps


@pytest.mark.parametrize(
    "text",
    [
        "thresholds: {ttfa: p(95)<800}\nsteps:\n- audio: a.wav\n",
        (
            "thresholds:\n  ttfa:\n    - p(95)<800\n\n  failure_rate: rate<1%\nsteps:\n- audio:"
            " a.wav\n"
        ),
        "steps:\n- audio: a.wav\n\nthresholds:\n  ttfa: p(95)<800\n",
        "steps:\n- audio: a.wav\nthresholds: {ttfa: [p(95)<800, med<500]}",
    ],
)
def test_thresholds_are_not_part_of_the_digest(script: Path, text: str) -> None:
    write(script, "steps:\n- audio: a.wav\n")
    before = load_script(script)
    write(script, text)
    after = load_script(script)

    assert after.digest == before.digest
    assert after.thresholds is not None
    assert after.thresholds["ttfa"][0] == "p(95)<800"
    assert before.thresholds is None


@pytest.mark.parametrize(
    ("thresholds", "problem"),
    [
        ("p(95)<800", "thresholds must be a table (`metric: threshold`), as in ttfa: p(95)<800"),
        ("{}", "thresholds must be a table (`metric: threshold`)"),
        ("{ttfa: 800}", "ttfa must be a threshold, such as p(95)<800, not 800"),
        ("{ttfa: []}", "ttfa must not be an empty list"),
    ],
)
def test_invalid_thresholds_are_refused_with_their_position(
    script: Path, thresholds: str, problem: str
) -> None:
    write(script, f"thresholds: {thresholds}\nsteps:\n- audio: a.wav\n")

    with pytest.raises(ScriptError, match=f":1:.*{re.escape(problem)}"):
        load_script(script)


# Scripts to which a target adds its own session settings.


VAD = (
    "session: {voice: alloy, turn_detection: {type: server_vad, threshold: 0.4,"
    " silence_duration_ms: 700}}\n"
)
SAY = "steps:\n  - text: Hello\n"
PLAY = "steps:\n  - audio: a.wav\n"


def script_of(folder: Path, text: str) -> Script:
    tone(folder / "a.wav")
    (folder / "rows.csv").write_text("name\nAda\n")
    (folder / "talk.yaml").write_text(text)
    return load_script(folder / "talk.yaml")


def variant(script: Script, **session: Any) -> Script:
    return with_target_settings(script, session, "targets.yaml:7")


def test_a_variant_without_settings_is_the_script_itself(tmp_path: Path) -> None:
    script = script_of(tmp_path, VAD + SAY)

    assert variant(script) is script


EXTRA = (
    "session: {extra: {tool_choice: none, audio: {input: {noise_reduction: {type: near_field}}}}}\n"
)
OWN = TurnDetection(threshold=0.4, silence_duration_ms=700)
VARIED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    # (script, given settings, settings of the variant)
    "given settings replace the script's and others stay": (
        VAD,
        {"voice": "verse", "instructions": "Be brief."},
        {"voice": "verse", "instructions": "Be brief.", "turn_detection": OWN},
    ),
    "given keys of turn detection replace the script's and its type stays": (
        VAD,
        {"turn_detection": {"silence_duration_ms": 200}},
        {"voice": "alloy", "turn_detection": TurnDetection(threshold=0.4, silence_duration_ms=200)},
    ),
    "another type of turn detection takes no keys from the script": (
        VAD,
        {"turn_detection": "semantic_vad"},
        {"turn_detection": TurnDetection(type="semantic_vad")},
    ),
    "another type with keys takes no keys from the script": (
        VAD,
        {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}},
        {"turn_detection": TurnDetection(type="semantic_vad", eagerness="low")},
    ),
    "turn detection can be switched off": (
        VAD,
        {"turn_detection": "none"},
        {"turn_detection": None},
    ),
    "given keys of extra replace the script's and others stay": (
        EXTRA,
        {"extra": {"tool_choice": "auto", "audio": {"output": {"speed": 1.5}}}},
        {
            "extra": {
                "tool_choice": "auto",
                "audio": {
                    "input": {"noise_reduction": {"type": "near_field"}},
                    "output": {"speed": 1.5},
                },
            }
        },
    ),
    "effort and truncation can be changed": (
        "session: {reasoning: {effort: low}, truncation: auto}\n",
        {"reasoning": {"effort": "high"}},
        {"reasoning": {"effort": "high"}, "truncation": "auto"},
    ),
}


@pytest.mark.parametrize(("own", "given", "settings"), VARIED.values(), ids=VARIED)
def test_a_variant_overrides_only_the_given_settings(
    own: str, given: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    session = variant(script_of(tmp_path, own + SAY), **given).session

    assert {name: getattr(session, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("text", "session", "problem"),
    [
        (SAY, {"voic": "alloy"}, "session has an unknown key 'voic'; did you mean voice?"),
        (SAY, {"max_output_tokens": 0}, "max_output_tokens must be"),
        (SAY, {"extra": {"a": {1, 2}}}, "a must be a JSON value"),
        (SAY, {"turn_detection": {"threshold": 0.3}}, "turn_detection needs `type`"),
        (VAD + SAY, {"turn_detection": {"eagerness": "low"}}, "eagerness needs semantic_vad"),
        (
            PLAY + "    paced: false\n",
            {"turn_detection": "server_vad"},
            "paced must be true with turn detection",
        ),
        (
            VAD + PLAY + "  - expect: {event: speech_started, within: 1}\n",
            {"turn_detection": "none"},
            "event speech_started can never be received",
        ),
        (
            SAY + "  - expect: {event: audio_delta, within: 1}\n",
            {"output": "text"},
            "event audio_delta can never be received",
        ),
        (
            "variables: rows.csv\n" + SAY,
            {"instructions": "Call me ${nme}."},
            "instructions contains ${nme}",
        ),
    ],
)
def test_an_invalid_setting_of_a_variant_is_refused_with_its_line(
    text: str, session: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    script = script_of(tmp_path, text)

    with pytest.raises(UsageError) as refused:
        variant(script, **session)
    assert str(refused.value).startswith(f"targets.yaml:7: talk: {problem}")
