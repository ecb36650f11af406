"""Voice turns of real processes that do not go well: a VAD that hears too little or too soon, signals, a kill."""

from __future__ import annotations

import json
from pathlib import Path

from bench.errors import INVALID_STATUS
from bench.run import folder as files
from bench.simulator.truth import read_truth
from tests.simulator_process import QUICK, Ready, running_simulator
from tests.system.end_to_end.locust_process import (
    GUARD_S,
    locust,
    only_run,
    rtbench,
    run_locust,
    wait_for_file,
    wait_for_rows,
    write_scenario,
)
from tests.system.end_to_end.voice_run import Row, VoiceRun, unlike_their_logs
from tests.system.end_to_end.voices import silence, tone, write_sound

SLOW = QUICK.replace("first_audio: {p50: 20, p95: 40}", "first_audio: {p50: 2000, p95: 2000}")
"""Time enough for a caller to go on after a pause of a second, before the reply begins."""
SCRIPTS = {
    "whisper": """
session: {turn_detection: server_vad}
timeouts: {end_of_turn: 0.3}
steps: [{audio: whisper.wav}, {audio: word.wav}]
""",
    "deaf": """
session: {turn_detection: {type: server_vad, threshold: 1.0}}
timeouts: {end_of_turn: 0.3}
steps: [{audio: word.wav}, {audio: word.wav}]
""",
    "hesitant": """
session: {turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps: [{audio: hesitant.wav}, {audio: word.wav}]
""",
    "typed": """
session: {output: text}
steps:
  - text: Hello.
  - expect: {event: text_delta, within: 0.001}
  - text: Hello again.
""",
    "impatient": """
session: {turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps:
  - audio: word.wav
  - expect: {event: speech_started, within: 60}
  - expect: {event: audio_delta, within: 0.05}
  - audio: word.wav
""",
}
CALLER = """

class {name}(RealtimeUser):
    fixed_count = 1
    script = "{script}.yaml"
"""
CALL = """
session: {input_transcription: whisper-1, turn_detection: {type: server_vad, silence_duration_ms: 200}}
steps: [SPEECH, SPEECH, SPEECH, SPEECH]
"""
LOGGED = ("--record-events", "100%", "--record-transcripts")


def write_words(folder: Path) -> None:
    write_sound(folder / "word.wav", tone(0.3, 0.05))
    write_sound(folder / "speech.wav", tone(2.0, 0.05))
    write_sound(folder / "whisper.wav", tone(0.3, 0.002))
    write_sound(folder / "hesitant.wav", tone(0.3), silence(1.0), tone(0.3))


def test_turns_that_do_not_go_well_fail_alone_and_are_rows_too(tmp_path: Path) -> None:
    run = run_of_all(tmp_path)

    for script in ("whisper", "deaf"):
        a_vad_that_never_notices_ends_the_session_at_the_limit_of_speech(run, script)
    a_reply_that_the_service_takes_back_because_the_caller_goes_on_fails_that_turn_alone(run)
    for script, event in (("typed", "text_delta"), ("impatient", "audio_delta")):
        a_turn_that_does_not_get_what_the_script_expects_fails_alone(run, script, event)
    failures_are_rows_too_and_their_logs_give_them_again(run)


def run_of_all(folder: Path) -> VoiceRun:
    """A session of each script, with a service that takes its time."""
    write_words(folder)
    for name, script in SCRIPTS.items():
        (folder / f"{name}.yaml").write_text(script)
    callers = "".join(CALLER.format(name=name.title(), script=name) for name in SCRIPTS)
    (folder / "callers.py").write_text("from rtbench import RealtimeUser\n" + callers)
    (folder / "slow.yaml").write_text(SLOW)
    truth, count = folder / "truth.jsonl", str(len(SCRIPTS))
    with running_simulator("--profile", str(folder / "slow.yaml"), "--ground-truth", str(truth)) as ready:
        load = ("-u", count, "-r", count, "--sessions", count, "--session-pause", "60", "--url", ready.urls["ga"])
        ended = run_locust(folder / "callers.py", folder / "runs", *LOGGED, *load)
    return VoiceRun(folder / "callers.py", only_run(folder / "runs"), truth, ended.returncode, ended.stderr)


def turns_of(run: VoiceRun, script: str) -> list[Row]:
    return sorted((row for row in run.turns if row["script"] == script), key=lambda row: int(row["turn"]))


def a_vad_that_never_notices_ends_the_session_at_the_limit_of_speech(run: VoiceRun, script: str) -> None:
    (turn,) = turns_of(run, script)
    (session,) = [row for row in run.sessions if row["script"] == script]

    assert turn["outcome"] == session["outcome"] == "timeout:end_of_turn"
    assert turn["ended_at_ns"] == turn["speech_end_at_ns"] + 300_000_000
    assert turn["speech_started_at_ns"] is None
    assert session["turns_not_started"] == 1


def a_reply_that_the_service_takes_back_because_the_caller_goes_on_fails_that_turn_alone(run: VoiceRun) -> None:
    first, second = turns_of(run, "hesitant")

    assert (first["outcome"], second["outcome"]) == ("cancelled:turn_detected", "ok")
    assert second["vad_splits"] == 0
    assert second["response_id"] not in (None, first["response_id"])


def a_turn_that_does_not_get_what_the_script_expects_fails_alone(run: VoiceRun, script: str, event: str) -> None:
    first, second = turns_of(run, script)

    assert (first["outcome"], second["outcome"]) == (f"failed:missing_{event}", "ok")
    assert second["response_id"] not in (None, first["response_id"])


def failures_are_rows_too_and_their_logs_give_them_again(run: VoiceRun) -> None:
    responses = {line["response"] for line in read_truth(run.truth) if line.get("type") == "response.created"}

    valid = files.read_document(run.folder)["validity"]["status"] == "valid"
    assert run.status == (1 if valid else INVALID_STATUS), run.errors  # tests share a slow machine
    assert "Traceback" not in run.errors
    assert len(run.turns) == files.read_document(run.folder)["totals"]["turns_started"] == 8
    assert {row["response_id"] for row in run.turns if row["outcome"] == "ok"} <= responses
    assert unlike_their_logs(run) == {}


def test_a_kill_leaves_voice_turns_transcripts_and_logs_that_read(tmp_path: Path, simulator: Ready) -> None:
    write_words(tmp_path)
    scenario = write_scenario(tmp_path, script=CALL.replace("SPEECH", "{audio: word.wav}"))
    load = ("-u", "3", "-r", "3", "--url", simulator.urls["ga"])
    with locust(scenario, tmp_path / "runs", *LOGGED, *load) as process:
        folder = wait_for_rows(tmp_path / "runs", "turns", 1)
        wait_for_file(folder / "spool" / "transcripts-0.jsonl")
        process.kill()
        process.communicate(timeout=GUARD_S)
    written = sum(len(batch) for batch in files.spooled_batches(folder, "turns"))
    reported = rtbench("report", folder)

    run = VoiceRun(scenario, folder, tmp_path, process.returncode, "")
    said = list(map(json.loads, (folder / "transcripts.jsonl").read_text().splitlines()))
    ended = {(row["session_id"], row["turn"]) for row in run.turns}
    assert reported.returncode == 0, reported.stderr
    assert "voice_to_voice" in reported.stdout
    assert reported.stdout.splitlines()[-1] == str(folder / "report.html")
    document = files.read_document(folder)
    assert document["state"] == "killed"
    assert len(run.turns) == sum(document["totals"]["turns"].values()) == written
    assert {row["outcome"] for row in run.turns} == {"ok"}
    assert said
    assert {(line["session_id"], line["turn"]) for line in said} <= ended  # rows are written before
    assert all(line["input_text"] and line["reply_text"] for line in said)
    assert all(told.cut for told in run.replayed.values())
    assert unlike_their_logs(run) == {}
