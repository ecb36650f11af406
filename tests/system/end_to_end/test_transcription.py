"""A run of sessions that only transcribe, against the simulator's process: instants, lag, words
and the report.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.record import folder as files
from rtbench_simulator.ground_truth_log import read_truth
from tests import forked
from tests.load.actors import tone
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import GUARD_S, only_run

FAMILY = "conversation.item.input_audio_transcription"
WORDS, SECONDS, SESSIONS = 12, 6, 8
HEARD = ["word"] * WORDS
SAID = ["word"] * (WORDS - 3) + ["ward", "lord"]
"""The reference has 11 words: two substitutions and an insertion are three errors."""

BYTES_PER_S = 48_000
PROFILE = f"""
transcripts: {{texts: ["{" ".join(HEARD)}"], words_per_s: {WORDS / SECONDS}}}
"""
SCRIPT = f"""
session: {{input_transcription: {{model: gpt-live-transcribe, languages: [en]}}}}
steps:
  - audio: speech.wav
    transcript: "{" ".join(SAID)}"
"""


@dataclass(frozen=True)
class TranscribedRun:
    """A completed run, and the simulator's log."""

    folder: Path
    truth: list[dict[str, Any]]
    status: int
    output: str

    @cached_property
    def turns(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = files.read_table(self.folder, "turns").to_pylist()
        return rows

    @cached_property
    def sent(self) -> dict[str, list[dict[str, Any]]]:
        """The simulator's events of each item."""
        lines = defaultdict(list)
        for line in self.truth:
            if line.get("direction") == "out" and line.get("item"):
                lines[line["item"]].append(line)
        return lines


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TranscribedRun:
    """Run sessions that only transcribe."""
    folder = tmp_path_factory.mktemp("transcription")
    tone(folder / "speech.wav", seconds=SECONDS)
    (folder / "mine.yaml").write_text(SCRIPT)
    truth = folder / "truth.jsonl"
    with quick_simulator(folder, "--ground-truth", str(truth), more=PROFILE) as simulator:
        url = simulator.urls["openai"].partition("?")[0] + "?intent=transcription"
        command = [sys.executable, "-m", "rtbench.run_process", "mine.yaml", "--url", url]
        command += ["-u", str(SESSIONS), "-r", str(SESSIONS), "--sessions", str(SESSIONS)]
        process = forked.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        output, errors = process.communicate(timeout=GUARD_S)
    return TranscribedRun(
        only_run(folder / "runs"), list(read_truth(truth)), process.returncode, output + errors
    )


def test_every_turn_is_transcribed(run: TranscribedRun) -> None:
    assert run.status in (0, 4), run.output
    assert [turn["outcome"] for turn in run.turns] == ["ok"] * SESSIONS
    assert {turn["input_transcript_deltas"] for turn in run.turns} == {WORDS}


@pytest.mark.parametrize(
    ("instant", "name"),
    [
        ("first_input_transcript", f"{FAMILY}.delta"),
        ("input_transcribed", f"{FAMILY}.completed"),
        ("committed", "input_audio_buffer.committed"),
    ],
)
def test_the_reported_instants_equal_the_truth(
    instant: str, name: str, run: TranscribedRun
) -> None:
    """An arrival is not before the send, and the median of the difference is the time on the
    loopback.
    """
    late_ns = []
    for turn in run.turns:
        line = next(line for line in run.sent[turn["item_id"]] if line["type"] == name)
        late_ns.append(turn["start_ns"] + turn[f"{instant}_at_ns"] - line["send_start_ns"])
        assert late_ns[-1] >= 0

    assert median(late_ns) < NS_PER_MS


def test_the_lag_equals_that_of_the_simulator_s_positions(run: TranscribedRun) -> None:
    """The simulator logs the position of each word in the audio. The tool assumes an even pace.

    The pace is even, except if a busy machine delays chunks of the audio or words of the
    transcript.
    """
    for turn in run.turns:
        speech_ns = turn["start_ns"] + turn["speech_start_at_ns"]
        deltas = [line for line in run.sent[turn["item_id"]] if line["type"] == f"{FAMILY}.delta"]
        lags_ns = [
            line["send_start_ns"] - speech_ns - line["audio_to_byte"] * NS_PER_S // BYTES_PER_S
            for line in deltas
        ]
        (session,) = {line["session"] for line in deltas}
        chunks = [line for line in run.truth if line.get("to_byte") and line["session"] == session]
        paces_ns = [line["at_ns"] - line["to_byte"] * NS_PER_S // BYTES_PER_S for line in chunks]
        late_ns = (
            max(paces_ns)
            - min(paces_ns)
            + max(line["send_start_ns"] - line["due_ns"] for line in deltas)
        )
        error_ns = 5 * NS_PER_MS + late_ns
        assert turn["transcript_lag_ns"] == pytest.approx(median(lags_ns), abs=error_ns)
        assert turn["transcript_lag_max_ns"] == pytest.approx(
            max(lags_ns), abs=error_ns + max(lags_ns) // 20
        )


def test_word_errors_are_exact(run: TranscribedRun) -> None:
    assert {(turn["input_words"], turn["input_word_errors"]) for turn in run.turns} == {
        (len(SAID), 3)
    }


def test_the_report_begins_with_the_transcript(run: TranscribedRun) -> None:
    summary = json.loads((run.folder / "summary.json").read_text())

    assert summary["main_metric"] == "input_transcript_total"
    assert {result["metric"] for result in summary["transcripts"]} == {
        "input_transcript_first",
        "transcript_lag",
    }
    transcription = {value["metric"]: value["value"] for value in summary["transcription"]}
    assert (transcription["turns_transcribed"], transcription["turns_without_deltas"]) == (
        SESSIONS,
        0,
    )
    assert transcription["audio_s"] == pytest.approx(SESSIONS * SECONDS, rel=0.02)
    page = (run.folder / "report.md").read_text().replace("\\", "")
    assert "to the finished transcript" in page
    assert "voice_to_voice" not in page.partition("\n## ")[0]
    assert "of audio per second" in page
