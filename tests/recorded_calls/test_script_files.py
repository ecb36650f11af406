"""The script of a recorded call, and the WAVs of its caller."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from bench.base.errors import UsageError
from bench.files.yaml_file import read_yaml
from bench.plan.recordings import Channels, write_channels
from bench.plan.script import load_script
from bench.plan.steps import InterruptStep
from bench.plan.turns import AudioTurn
from bench.recorded_calls import script_files
from bench.recorded_calls.channels import RecordedCall
from bench.recorded_calls.conversation import sounds, without_greeting
from bench.recorded_calls.playback import compiled_for_call, measure
from bench.recorded_calls.script_files import recorded_utterances, write_script
from bench.wire.audio import ALL_FORMATS
from tests.recorded_calls.composed import RATE_HZ, composed, words
from tests.recorded_calls.constructed import Conditions, constructed_call, voice
from tests.recorded_calls.imports import found_utterances, recording

FULL_DUPLEX, SERVER_VAD = {"turn_detection": "full_duplex"}, {"turn_detection": "server_vad"}
SESSIONS = pytest.mark.parametrize(
    "session", [FULL_DUPLEX, SERVER_VAD], ids=["full_duplex", "server_vad"]
)


def a_call(folder: Path) -> RecordedCall:
    """Return a call with a greeting, a turn, a backchannel, an interruption and a turn."""
    reply, weather = (
        np.concatenate([words("appointment"), words("order")]),
        words("weather")[: 3 * RATE_HZ],
    )
    call = composed(
        {
            3: words("not_today"),
            8: words("uh_huh"),
            20.5: words("late_parcel"),
            30: words("opening_hours"),
        },
        {
            0.5: words("hello")[:RATE_HZ],
            6: reply,
            18: weather,
            24: words("sure"),
            34: words("sure"),
        },
        38,
    )
    return recording(call, folder)


def written(
    call: RecordedCall, folder: Path, session: dict[str, Any], spoken: dict[str, str] | None = None
) -> Path:
    talk, utterances = found_utterances(call)
    if session is SERVER_VAD:
        talk = without_greeting(talk)
    return write_script(call, talk, utterances, folder / "out", session, spoken or {})


def plain(path: Path) -> Any:
    def value(located: Any) -> Any:
        content = located.content()
        if isinstance(content, list):
            return [value(item) for item in content]
        return (
            {key: value(item) for key, item in content.items()}
            if isinstance(content, dict)
            else content
        )

    return value(read_yaml(path, "script"))


def test_the_steps_are_what_the_caller_did(tmp_path: Path) -> None:
    steps = plain(written(a_call(tmp_path), tmp_path, FULL_DUPLEX))["steps"]

    kinds = [next(iter(step)) for step in steps]
    assert kinds == ["wait_for", "audio", "sound", "interrupt", "pause", "audio"]
    assert [step["name"] for step in steps if "name" in step] == [
        "greeting",
        "turn-1",
        "interruption-3",
        "turn-4",
    ]
    greeting, first, sound, interrupt, _, _ = steps
    assert greeting == {"wait_for": "greeting", "name": "greeting"}
    assert first["audio"] == "call/turn-1.wav"
    assert sound["sound"]["kind"] == "backchannel"
    assert sound["sound"]["after"] == pytest.approx(8 - 6 - 0.2, abs=0.02)
    assert interrupt["interrupt"]["after"] == pytest.approx(20.5 - 6 - 0.2, abs=0.02)


def test_a_script_does_not_follow_a_link_of_its_name(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "call.yaml").symlink_to(tmp_path / "elsewhere")
    call = a_call(tmp_path)
    talk, utterances = found_utterances(call)
    path = write_script(call, talk, utterances, tmp_path / "out", FULL_DUPLEX, {})

    assert path.name == "call-2.yaml"
    assert not (tmp_path / "elsewhere").exists()


@SESSIONS
def test_the_script_loads_with_the_positions_of_the_speech(
    session: dict[str, Any], tmp_path: Path
) -> None:
    call = a_call(tmp_path)
    script = load_script(written(call, tmp_path, session))
    _, utterances = found_utterances(call)

    speech = {recorded.name: recorded.speech for recorded in utterances}
    spoken = [step for step in script.steps if isinstance(step, AudioTurn | InterruptStep)]
    assert [step.name for step in spoken] == ["turn-1", "interruption-3", "turn-4"]
    for step in spoken:
        (pcm,), found = step.recordings, speech[str(step.name)]
        lead = round(0.2 * RATE_HZ)
        assert pcm.speech.begin == pytest.approx(3 * lead, abs=3)
        assert pcm.speech.end - pcm.speech.begin == pytest.approx(
            3 * (found.end - found.start), abs=3
        )


def test_a_script_of_the_realtime_api_does_not_wait_for_a_greeting(tmp_path: Path) -> None:
    steps = plain(written(a_call(tmp_path), tmp_path, SERVER_VAD))["steps"]

    assert [next(iter(step)) for step in steps] == ["audio", "sound", "interrupt", "pause", "audio"]


def test_a_wav_has_the_sound_of_its_utterance_and_its_quiet_edges(tmp_path: Path) -> None:
    call = a_call(tmp_path)
    path = written(call, tmp_path, FULL_DUPLEX)
    _, utterances = found_utterances(call)

    for recorded in utterances:
        samples, rate_hz = soundfile.read(
            path.with_suffix("") / f"{recorded.name}.wav", always_2d=True
        )
        length = recorded.utterance.end - recorded.utterance.start
        assert (rate_hz, samples.shape[1]) == (24_000, 1)
        assert len(samples) == pytest.approx(3 * (length + 0.4 * RATE_HZ), abs=3)
    assert len(list(path.with_suffix("").iterdir())) == len(utterances) == 4


def test_a_caller_who_speaks_too_long_for_a_turn_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = a_call(tmp_path)
    monkeypatch.setattr(script_files, "MAX_MINUTES", 0.01)

    with pytest.raises(
        UsageError, match=r"speaks for 0\.0 minutes without an answer, the maximum is 0.01"
    ):
        found_utterances(call)


def test_the_pause_before_a_turn_does_not_contain_the_silence_that_ends_the_reply(
    tmp_path: Path,
) -> None:
    call = composed(
        {1: words("not_today"), 10: words("not_today")}, {4: words("sure"), 13: words("sure")}, 17
    )
    document = plain(written(read := recording(call, tmp_path), tmp_path, FULL_DUPLEX))

    reply_end_s = read.agent_sounds[1].end / RATE_HZ
    (pause,) = [step["pause"] for step in document["steps"] if "pause" in step]
    assert pause + document["reply_silence_ms"] / 1_000 + 0.2 == pytest.approx(
        10 - reply_end_s, abs=0.02
    )


def test_a_caller_who_answers_at_once_has_no_pause(tmp_path: Path) -> None:
    call = composed(
        {1: words("not_today"), 8: words("not_today")}, {4: words("sure"), 12: words("sure")}, 16
    )

    assert not [
        step
        for step in plain(written(recording(call, tmp_path), tmp_path, FULL_DUPLEX))["steps"]
        if "pause" in step
    ]


def test_the_words_of_the_caller_are_the_transcripts(tmp_path: Path) -> None:
    spoken = {"turn-1": "Not today: #1, “thanks”", "interruption-3": "late", "turn-4": ""}
    path = written(a_call(tmp_path), tmp_path, FULL_DUPLEX, spoken)

    turns = [step for step in load_script(path).steps if isinstance(step, AudioTurn)]
    assert [turn.transcript for turn in turns] == [("Not today: #1, “thanks”",), ()]


def test_wavs_do_not_overlap_and_do_not_start_within_the_reply_before_a_turn(
    tmp_path: Path,
) -> None:
    call = constructed_call(7, Conditions(rate_hz=RATE_HZ, overlaps=True), turns=4)
    _, utterances = found_utterances(recording(call, tmp_path))

    end = 0
    for recorded in utterances:
        assert end <= recorded.start <= recorded.speech.start < recorded.speech.end <= recorded.end
        end = recorded.end
        if recorded.utterance.kind == "turn" and recorded.utterance.reply_end is not None:
            assert recorded.start >= recorded.utterance.reply_end


def test_a_script_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = a_call(tmp_path)
    (tmp_path / "out").mkdir()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.recorded_calls.script_files.yaml_text", full)
    with pytest.raises(
        UsageError,
        match=r"call\.yaml cannot be written: No space left on device; name another folder",
    ):
        written(call, tmp_path, FULL_DUPLEX)
    assert os.listdir(tmp_path / "out") == []

    monkeypatch.undo()
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UsageError, match=r"turn-1\.wav: cannot be written"):
        written(call, tmp_path, FULL_DUPLEX)
    assert os.listdir(tmp_path / "out") == []


def test_a_wav_on_a_full_disk_is_one_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"/dev/full: cannot be written .*No space left on device"):
        write_channels(Path("/dev/full"), Channels(np.zeros((80_000, 2), np.int16), RATE_HZ))
    assert capfd.readouterr() == ("", "")


GAPS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 3)), min_size=1, max_size=5)


# a smaller example takes minutes
@settings(max_examples=15, phases=(Phase.explicit, Phase.generate))
@example([(2, 1), (5, 1)], [(1, 1), (5, 1), (5, 1)], FULL_DUPLEX)
@example([(2, 1), (18, 1)], [(1, 1), (5, 1), (8, 1), (5, 1)], FULL_DUPLEX)
@given(GAPS, GAPS, st.sampled_from([FULL_DUPLEX, SERVER_VAD]))
def test_any_call_becomes_a_script_and_a_turn_for_each_utterance(
    tmp_path_factory: pytest.TempPathFactory,
    caller: list[tuple[int, int]],
    agent: list[tuple[int, int]],
    session: dict[str, Any],
) -> None:
    """The sounds have random pauses of 0.1 to 3 s between them, and lengths of 0.4, 0.8 or 1.2
    s.
    """
    length = 100 * RATE_HZ // 4
    near, far = np.zeros(length, np.int16), np.zeros(length, np.int16)
    for samples, gaps in ((near, caller), (far, agent)):
        at = 0
        for tenths, units in gaps:
            at += tenths * RATE_HZ // 10
            piece = voice("not_today", RATE_HZ)[RATE_HZ // 2 :][: round(units * 0.4 * RATE_HZ)]
            samples[at : at + len(piece)] = piece
            at += len(piece)
    heard, spoken = (tuple(sounds(samples, RATE_HZ)) for samples in (near, far))
    call = RecordedCall(Path("call.wav"), ALL_FORMATS["pcm16@8000"], near, far, heard, spoken, ())
    talk, utterances = found_utterances(call)
    if not utterances:
        return
    if session is SERVER_VAD:
        talk = without_greeting(talk)
        utterances = recorded_utterances(call, talk)
    path = write_script(call, talk, utterances, tmp_path_factory.mktemp("any"), session, {})

    script = load_script(path)
    names = [step.name for step in script.steps if isinstance(step, AudioTurn | InterruptStep)]
    assert names == [
        recorded.name for recorded in utterances if recorded.utterance.kind != "backchannel"
    ]
    prepared = compiled_for_call(script, call).prepare_session(0, 0)
    turns = sorted(measure(call, utterances, prepared, 0).turns, key=lambda turn: turn.turn)
    assert [turn.step for turn in turns] == ["greeting"] * talk.greets + names
    assert {turn.outcome for turn in turns} <= {"ok", "interrupted", "timeout:first_delta"}
