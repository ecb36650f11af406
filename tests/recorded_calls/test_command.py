"""The command `rtbench runs import`, and the mark of its run in the commands that read runs."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.errors import UsageError
from bench.files.sanitize import escape_control
from bench.plan.script import load_script
from bench.plan.turns import AudioTurn
from bench.recorded_calls import import_calls as import_of_calls
from bench.wire.audio import Samples
from rtbench.cli import import_calls
from tests.command_line import call_or_raise
from tests.recorded_calls.composed import composed, words
from tests.recorded_calls.constructed import Conditions, constructed_call, short_call
from tests.recorded_calls.imports import Imported, run_import, write_call

RATE_HZ = 8_000
CALLER, AGENT = short_call(RATE_HZ)


def clipped(samples: Samples) -> Samples:
    return np.clip(samples.astype(np.int32) * 40, -32_768, 32_767).astype(np.int16)


LOUD = clipped(CALLER), clipped(AGENT)
SAID = {
    "sentences": [
        {"media_channel": 1, "start_time": 0.5, "end_time": 2.4, "transcript": "Not today."},
        {"media_channel": 2, "start_time": 3.1, "end_time": 4.7, "transcript": "Sure, of course."},
    ]
}


def a_call(folder: Path, name: str = "one.wav") -> Path:
    return write_call(folder / name, CALLER, AGENT, RATE_HZ)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Return the import of a folder with three calls, and with a file that is not audio."""
    folder = tmp_path_factory.mktemp("three")
    for number in (1, 2, 3):
        call = constructed_call(number, Conditions(rate_hz=RATE_HZ, greets=number != 2), turns=2)
        write_call(folder / "calls" / f"call {number}.wav", call.caller, call.agent, RATE_HZ)
    (folder / "calls" / "notes.txt").write_text("notes")
    return run_import(folder, folder / "calls")


def test_an_import_states_what_it_wrote_and_what_to_do_next(three: Imported) -> None:
    out = three.folder / "out"

    assert three.status == 0
    assert three.err == []
    assert three.out == [
        f"{three.folder / 'calls'}: left out 1 of 4 entries, which are not audio: notes.txt",
        "Imported 3 of 3 calls, with 8\N{NO-BREAK SPACE}turns, RECORDED:",
        f"  {three.run}: what the agent did; see it with rtbench report {three.run}",
        (
            f"  {out}/*.yaml: what the callers did; play it with rtbench run {out}/*.yaml --url URL"
            " --dialect DIALECT"
        ),
    ]


def test_the_run_has_a_session_for_each_call(three: Imported) -> None:
    sessions, turns = three.rows("sessions"), three.rows("turns")

    assert [row["session_id"] for row in sessions] == ["call_1", "call_2", "call_3"]
    assert [row["service_session_id"] for row in sessions] == [
        "call 1.wav",
        "call 2.wav",
        "call 3.wav",
    ]
    assert [row["turns_ended"] for row in sessions] == [3, 2, 3]
    assert len(turns) == 8
    assert {row["outcome"] for row in (*sessions, *turns)} == {"ok"}
    assert three.document["notices"][0].startswith("RECORDED: these are recorded calls")
    assert len(three.document["notices"]) == 1
    assert three.document["validity"]["status"] == "valid"


def test_the_calls_of_a_run_follow_one_another(three: Imported) -> None:
    starts = [row["start_ns"] for row in three.rows("sessions")]

    assert starts == sorted(starts)
    assert three.document["started_utc_ns"] < three.document["ended_utc_ns"]


@pytest.mark.parametrize(
    "column",
    [
        "stall_count",
        "stall_duration_ns",
        "receive_timestamp_source",
        "delta_gap_p95_ns",
        "network_rtt_ns",
        "transmit_delay_ns",
    ],
)
def test_a_value_that_a_recording_does_not_have_is_null(three: Imported, column: str) -> None:
    assert {row[column] for row in three.rows("turns")} == {None}


@pytest.mark.parametrize(
    "column", ["connect_start_at_ns", "opened_at_ns", "close_code", "model", "region"]
)
def test_a_fact_of_a_session_that_a_recording_does_not_have_is_null(
    three: Imported, column: str
) -> None:
    assert {row[column] for row in three.rows("sessions")} == {None}


def test_a_recorded_run_is_marked_in_each_command(
    three: Imported, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(three.folder)
    (three.folder / "ci.yaml").write_text("voice_to_voice: p(50)<9s\n")
    run, badge = three.run, "◉ RECORDED"

    assert badge in call_or_raise("report", run)[1]
    assert "RECORDED" in (run / "report.html").read_text(encoding="utf-8")
    assert json.loads((run / "summary.json").read_bytes())["recorded"] is True
    assert badge in call_or_raise("runs", "runs")[1]
    (listed,) = json.loads(call_or_raise("runs", "runs", "--json")[1])["runs"]
    assert listed["recorded"] is True
    call_or_raise("check", run, "--thresholds", "ci.yaml")
    assert json.loads((run / "check.json").read_bytes())["recorded"] is True


def test_recorded_runs_are_compared(
    three: Imported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    later = run_import(tmp_path, three.folder / "calls", "--name", "recorded")

    status, out = call_or_raise("compare", three.run, later.run)

    assert status == 0
    assert "◉ RECORDED" in out
    (written,) = later.run.glob("compare*.json")
    assert json.loads(written.read_bytes())["recorded"] is True


def test_a_call_that_is_left_out_gives_status_1(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"")
    found = run_import(tmp_path, a_call(tmp_path), tmp_path / "bad.wav")

    assert found.status == 1
    assert found.err == [f"rtbench: {tmp_path / 'bad.wav'}: is empty"]
    assert "Imported 1 of 2 calls, with 1\N{NO-BREAK SPACE}turn, RECORDED:" in found.out
    assert "1 of 2 recordings could not be imported." in found.document["notices"]


@pytest.mark.parametrize(
    ("place", "error", "reason"),
    [
        (
            "measure",
            MemoryError(),
            "needs more memory than this machine has free: cut the file into parts",
        ),
        (
            "measure",
            OSError(28, "No space left on device"),
            "cannot be imported: No space left on device (temporary files are in",
        ),
        (
            "read_call",
            IndexError("list\nindex"),
            r"because of an error of rtbench: IndexError: list\nindex; please report it",
        ),
        (
            "read_call",
            RecursionError("too deep"),
            "because of an error of rtbench: RecursionError: too deep; please report it",
        ),
    ],
)
def test_any_error_of_one_call_leaves_out_only_this_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: Exception, reason: str
) -> None:
    paths = [a_call(tmp_path, f"{name}.wav") for name in ("one", "two", "three")]
    real, number = getattr(import_of_calls, place), count(1)

    def fail_second(*arguments: Any) -> Any:
        if next(number) == 2:
            raise error
        return real(*arguments)

    monkeypatch.setattr(import_of_calls, place, fail_second)
    found = run_import(tmp_path, *paths)

    assert found.status == 1
    (line,) = found.err
    assert line.startswith(f"rtbench: {paths[1]}: ")
    assert reason in line
    assert [script.stem for script in found.scripts] == ["one", "three"]
    assert not (tmp_path / "out" / "two").exists()
    assert [row["session_id"] for row in found.rows("sessions")] == ["one", "three"]


def test_an_import_of_no_call_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"")

    with pytest.raises(UsageError, match=r"bad\.wav: is empty$"):
        run_import(tmp_path, tmp_path / "bad.wav")
    assert list((tmp_path / "out").iterdir()) == []
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_without_recordings_does_not_prevent_the_import_of_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    found = run_import(tmp_path, a_call(tmp_path), tmp_path / "empty")

    assert (found.status, len(found.err)) == (1, 1)
    assert "empty: is a folder in which no recording was found; name the files" in found.err[0]


def test_other_audio_files_of_a_folder_are_named_with_a_remedy(tmp_path: Path) -> None:
    calls = a_call(tmp_path / "calls").parent
    (calls / "two.mp3").write_bytes(b"\xff\xfb" + bytes(2_000))
    (calls / ".DS_Store").write_bytes(b"")
    found = run_import(tmp_path, calls)

    (line,) = found.err
    assert f"{calls / 'two.mp3'}: is MP3; convert it to WAV: ffmpeg" in line
    assert found.out[0].endswith("left out 1 of 3 entries, which are not audio: .DS_Store")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "../x", "x" * 65, "é", "a\nb"])
def test_a_name_that_is_no_name_of_a_run_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be 1 to 64 letters, digits, and the characters"):
        run_import(tmp_path, a_call(tmp_path), "--name", name)


def test_the_name_is_that_of_the_run_and_its_scenario(tmp_path: Path) -> None:
    found = run_import(tmp_path, a_call(tmp_path), "--name", "march-calls_1.0")

    assert found.run.name.endswith("Z-march-calls_1.0")
    assert {row["scenario"] for row in found.rows("turns")} == {"march-calls_1.0"}


def test_a_second_import_adds_the_new_calls_and_changes_no_file(tmp_path: Path) -> None:
    for name, number in (("one.wav", 1), ("old/one.wav", 2)):
        call = constructed_call(number, Conditions(rate_hz=RATE_HZ), turns=2)
        write_call(tmp_path / name, call.caller, call.agent, RATE_HZ)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.yaml").write_text("mine")
    run_import(tmp_path, tmp_path / "one.wav")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    second = run_import(tmp_path, tmp_path / "one.wav", tmp_path / "old" / "one.wav")
    third = run_import(tmp_path, tmp_path / "one.wav")

    assert second.status == third.status == 0
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in out.glob("*.yaml")} == {"mine.yaml", "one.yaml", "one-2.yaml"}
    assert any("was imported before" in line for line in second.out)
    assert any("one-2.yaml" in line for line in second.out if "rtbench run" in line)
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_folder_for_scripts_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UsageError, match=r"file cannot be written: .*; name another folder with --out"
    ):
        run_import(tmp_path, a_call(tmp_path), "--out", tmp_path / "file")
    with pytest.raises(
        UsageError, match=r"cannot write runs to .*file: .*; set another folder with --runs-dir"
    ):
        run_import(tmp_path, a_call(tmp_path), "--runs-dir", tmp_path / "file")


def test_the_caller_may_be_the_second_channel(tmp_path: Path) -> None:
    path = write_call(tmp_path / "two.wav", AGENT, CALLER, RATE_HZ)
    found = run_import(tmp_path, path, "--caller", "2")
    (turn,) = found.rows("turns")

    assert found.status == 0
    assert turn["first_audible_at_ns"] - turn["speech_end_at_ns"] == pytest.approx(700e6, abs=3e6)


def test_swapped_channels_are_recognised_by_the_echo(tmp_path: Path) -> None:
    call = constructed_call(4, Conditions(rate_hz=RATE_HZ, echo_db=-20), turns=2)
    path = write_call(tmp_path / "swapped.wav", call.agent, call.caller, RATE_HZ)

    with pytest.raises(
        UsageError, match=r"so the channels seem to be swapped: add --caller 2, or --caller 1"
    ):
        run_import(tmp_path, path)
    found = run_import(tmp_path, path, "--caller", "2")
    assert found.status == 0
    assert "the caller's channel contained the agent's voice, which was removed" in found.out[0]
    assert (
        "1 of 1 calls: the caller's channel contained the agent's voice"
        in found.document["notices"][1]
    )


def test_properties_of_calls_are_stated_once_for_each_call(tmp_path: Path) -> None:
    last = composed({1: words("not_today"), 8: words("uh_huh")}, {4: words("sure")}, 10)
    late = composed({1: words("not_today")}, {4: words("sure"), 19: words("sure")}, 23)
    found = run_import(
        tmp_path,
        write_call(tmp_path / "loud.wav", *LOUD, RATE_HZ),
        write_call(tmp_path / "last.wav", last.caller, last.agent, RATE_HZ),
        write_call(tmp_path / "late.wav", late.caller, late.agent, RATE_HZ),
    )

    assert found.status == 0
    kinds = [
        "clipped",
        "clipped",
        "which the agent did not answer, are not in the script",
        "not measured (1×)",
    ]
    for line, kind in zip(found.out[:4], kinds, strict=True):
        assert kind in line
    assert len(found.document["notices"]) == 5


def test_many_lines_about_calls_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_calls, "MAX_LINES", 1)
    found = run_import(tmp_path, write_call(tmp_path / "loud.wav", *LOUD, RATE_HZ))

    assert found.out[1] == "… and 1\N{NO-BREAK SPACE}more line"


# The words of the calls.


def said_in(found: Imported) -> list[tuple[str, ...]]:
    return [
        step.transcript
        for path in found.scripts
        for step in load_script(path).steps
        if isinstance(step, AudioTurn)
    ]


def test_a_transcript_gives_the_words_of_both_sides(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text(json.dumps(SAID))
    found = run_import(tmp_path, a_call(tmp_path), "--transcript", tmp_path / "words.json")

    assert found.status == 0
    assert said_in(found) == [("Not today.",)]
    row = json.loads((found.run / "transcripts.jsonl").read_text())
    assert (row["input_text"], row["reply_text"]) == ("Not today.", "Sure, of course.")


def test_an_utterance_without_words_has_no_transcript_in_the_script(tmp_path: Path) -> None:
    said = {"sentences": [SAID["sentences"][0] | {"transcript": "…"}, SAID["sentences"][1]]}
    (tmp_path / "words.json").write_text(json.dumps(said))
    found = run_import(tmp_path, a_call(tmp_path), "--transcript", tmp_path / "words.json")

    assert found.status == 0
    assert said_in(found) == [()]


def test_a_folder_of_transcripts_has_one_for_each_call(tmp_path: Path) -> None:
    transcripts = tmp_path / "words"
    transcripts.mkdir()
    (transcripts / "one.json").write_text(json.dumps(SAID))
    (transcripts / "two.json").write_text("{")
    paths = [a_call(tmp_path, f"{name}.wav") for name in ("one", "two", "three")]
    found = run_import(tmp_path, *paths, "--transcript", transcripts)

    assert found.status == 1
    assert said_in(found) == [("Not today.",)]
    assert "two.json: is not a transcript with times" in found.err[0]
    assert (
        "three.json: no such transcript; name a JSON file, or a folder with CALL.json files"
        in found.err[1]
    )
    assert "Imported 1 of 3 calls" in found.out[0]


def test_one_transcript_is_not_that_of_several_calls(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text(json.dumps(SAID))

    with pytest.raises(
        UsageError, match=r"words\.json has the words of one call, not of 2: name a folder"
    ):
        run_import(
            tmp_path,
            a_call(tmp_path),
            a_call(tmp_path, "two.wav"),
            "--transcript",
            tmp_path / "words.json",
        )


def test_a_transcript_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "one.json").mkdir()

    with pytest.raises(
        UsageError, match=r"one\.json: the transcript cannot be read: it is not a regular file"
    ):
        run_import(tmp_path, a_call(tmp_path), "--transcript", tmp_path / "words")


def test_the_channel_of_a_transcript_is_that_of_the_recording(tmp_path: Path) -> None:
    (tmp_path / "words.json").write_text(json.dumps(SAID))
    path = write_call(tmp_path / "two.wav", AGENT, CALLER, RATE_HZ)
    found = run_import(tmp_path, path, "--caller", "2", "--transcript", tmp_path / "words.json")

    assert said_in(found) == [()]


# The sessions of the scripts.


def test_the_scripts_have_the_turn_detection_and_the_transcription_of_the_options(
    tmp_path: Path,
) -> None:
    options = ("--turn-detection", "semantic_vad", "--input-transcription", "gpt-4o-transcribe")
    found = run_import(tmp_path, a_call(tmp_path), *options)
    (path,) = found.scripts
    session = load_script(path).session

    assert session.turn_detection is not None
    assert session.turn_detection.type == "semantic_vad"
    assert "gpt-4o-transcribe" in path.read_text()


def test_agents_do_not_transcribe(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--input-transcription needs --turn-detection server_vad"):
        run_import(tmp_path, a_call(tmp_path), "--input-transcription", "whisper-1")


def test_a_caller_whom_the_tool_cannot_play_is_named_and_leaves_no_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.plan.recordings.MAX_MINUTES", 0)
    with pytest.raises(
        UsageError, match=r"one\.wav: rtbench cannot play this caller: .*the maximum is 0"
    ):
        run_import(tmp_path, a_call(tmp_path))
    assert list((tmp_path / "out").iterdir()) == []


def test_file_names_are_printed_without_control_characters(tmp_path: Path) -> None:
    path = write_call(tmp_path / "a\n::error::b.wav", *LOUD, RATE_HZ)
    found = run_import(tmp_path, path)

    assert found.out[0].startswith(
        f"{escape_control(str(path))}: channel 1, the caller's, is clipped"
    )
    assert found.err == []
