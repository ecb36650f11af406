"""The requirements of each run with callers of every kind. Each requirement is a function of a
run.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from bench.base.clock import MAX_CLOCK_GAP_NS
from bench.plan.recordings import load_pcm
from bench.record import folder as files
from bench.services.openai.dialect import FORMATS
from rtbench_simulator.ground_truth_log import read_truth
from tests.system.end_to_end.bounds import speech_bounds, turn_bounds
from tests.system.end_to_end.voice_run import (
    Planned,
    VoiceRun,
    all_played,
    instants,
    unlike_their_logs,
)
from tests.system.end_to_end.voices import SESSIONS, write_callers

LOAD = (
    "-u",
    str(SESSIONS),
    "-r",
    str(SESSIONS),
    "--sessions",
    str(SESSIONS),
    "--session-pause",
    "60",
    "--record-events",
    "100%",
    "--record-transcripts",
)


NOTICED = {
    "speech_start",
    "speech_end",
    "speech_started",
    "speech_stopped",
    "committed",
    "response_created",
}


SENT = {"speech_start", "speech_end", "request_sent"}


HEARD = {"first_audio", "first_audible", "last_audio", "response_done"}


def every_claim_holds(runs: dict[str, VoiceRun]) -> None:
    for name, run in runs.items():
        for claim in CLAIMS:
            print(f"{name}: {claim.__name__}")  # if a requirement fails, its name is the last line
            claim(run)


def played(parent: Path, runs: dict[str, tuple[str, ...]]) -> dict[str, VoiceRun]:
    """Run the callers once for each name, with the dialect that the name begins with and these
    simulator options.
    """
    planned = {}
    for name, options in runs.items():
        dialect = name.split()[0]
        scenario = partial(write_callers, dialect=dialect)
        planned[name] = Planned(scenario, LOAD, dialect.replace("-", "_"), options)
    return all_played(parent, planned)


def each_turn_is_ok(run: VoiceRun) -> None:
    steps = {f"{row['script']}.{row['step']}" for row in run.turns}

    assert run.status in (0, 4), run.errors
    assert {row["outcome"] for row in (*run.turns, *run.sessions)} == {"ok"}
    assert len(run.sessions) == SESSIONS
    assert steps >= {
        "server_vad.turn_1",
        "semantic_vad.turn_1",
        "asked_for.answered_in_text",
        "asked_for.answered_aloud",
        "manual.turn_1",
        "manual.turn_2",
        "telephone.turn_1",
        "crowd.question",
        "Written.greeting",
        "Written.word",
    }


def rows_match_turns_and_responses(run: VoiceRun) -> None:
    answered = [
        line["response"] for line in read_truth(run.truth) if line.get("type") == "response.created"
    ]

    assert len(run.turns) == files.read_document(run.folder)["totals"]["turns_started"]
    assert sorted(row["response_id"] for row in run.turns) == sorted(answered)


def logs_replay_to_the_rows_of_their_session(run: VoiceRun) -> None:
    assert {path.stem for path in (run.folder / "events").iterdir()} == {
        row["session_id"] for row in run.sessions
    }
    assert not [name for name, replay in run.replayed.items() if replay.cut]
    assert unlike_their_logs(run) == {}


def log_headers_identify_their_session(run: VoiceRun) -> None:
    named = ("run_id", "session_id", "target", "scenario", "script", "variables_row")
    for row in run.sessions:
        about = run.replayed[row["session_id"]].opened.about
        assert row["event_log"]
        assert {name: about[name] for name in named} == {name: row[name] for name in named}


def instants_are_between_cause_and_effect_in_the_truth_log(run: VoiceRun) -> None:
    jitters_ms = {
        s["name"]: s["jitter_buffer_ms"] for s in files.read_document(run.folder)["scripts"]
    }
    for row in run.turns:
        known, about = run.messages[row["session_id"]], run.replayed[row["session_id"]].opened.about
        jitter_ns = round(jitters_ms[row["script"]] * 1e6)
        reply = FORMATS[about["output_format"]]
        bounds = turn_bounds(
            known, row["turn"], row["response_id"], jitter_ns=jitter_ns, reply=reply
        )
        happened, vad = instants(row), row["speech_started_at_ns"] is not None
        if "speech_end" in happened:
            speech = load_pcm(run.scenario.parent / row["audio"]).speech
            for name, sample in (("speech_start", speech.begin + 1), ("speech_end", speech.end)):
                form = FORMATS[about["input_format"]]
                bounds[name] = speech_bounds(known, row["turn"], sample, form, vad=vad)

        assert bounds.keys() >= (NOTICED if vad else {"request_sent"}) | (
            HEARD if row["audio_deltas"] else set()
        )
        for name, (low_ns, high_ns) in bounds.items():
            # Each of the two processes converts timestamps to another clock.
            apart_ns = MAX_CLOCK_GAP_NS if name in SENT else 0
            assert low_ns <= happened[name] <= high_ns + apart_ns, (
                row["script"],
                row["step"],
                name,
            )


def send_timestamps_come_from_the_kernel(run: VoiceRun) -> None:
    counted = [row for row in run.turns if row["measured_from"] is not None]
    if {row["send_timestamp_source"] for row in counted} == {"userspace"}:
        return  # this platform has no transmit timestamps

    stamped = [row for row in counted if row["send_timestamp_source"] == "kernel"]
    assert len(stamped) > len(counted) / 2  # a kernel under load may return none
    for row in stamped:
        asked = row["request_sent_at_ns"] is not None
        assert (
            (row["transmit_delay_ns"] is not None)
            == (row["request_acked_at_ns"] is not None)
            == asked
        )
        if asked:
            assert row["request_sent_at_ns"] <= row["request_acked_at_ns"] <= row["ended_at_ns"]
            assert (row["request_sent_uncertainty_ns"], row["transmit_delay_ns"] >= 0) == (0, True)


def sessions_use_the_variables_of_their_row(run: VoiceRun) -> None:
    callers = {1: "Ada", 2: "Grace", 3: "Mary"}
    crowd = [row for row in run.sessions if row["script"] == "crowd"]

    assert len(crowd) == 3
    for row in crowd:
        instructions = json.loads(row["effective_settings"])["instructions"]
        assert instructions == f"The caller is {callers[row['variables_row']]}."


def transcripts_have_the_texts_of_each_turn(run: VoiceRun) -> None:
    lines = list(map(json.loads, (run.folder / "transcripts.jsonl").read_text().splitlines()))
    rows = {(row["session_id"], row["turn"]): row for row in run.turns}

    assert len(lines) == len(rows)
    for line in lines:
        row = rows[line["session_id"], line["turn"]]
        transcribed = row["script"] in ("manual", "crowd") and row["audio"] is not None
        assert line["reply_text"]
        assert (
            (line["input_text"] is not None)
            == (row["input_transcribed_at_ns"] is not None)
            == transcribed
        )


CLAIMS = (
    each_turn_is_ok,
    rows_match_turns_and_responses,
    logs_replay_to_the_rows_of_their_session,
    log_headers_identify_their_session,
    instants_are_between_cause_and_effect_in_the_truth_log,
    send_timestamps_come_from_the_kernel,
    sessions_use_the_variables_of_their_row,
    transcripts_have_the_texts_of_each_turn,
)
