"""How well turns were understood and answered: as many words as the simulator mishears, and the replies that it has."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.run import folder as files
from bench.run.replay import replay_log
from tests.helpers import row_of
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario

AUDIO = Path(__file__).parents[3] / "scenarios" / "audio"
HOURS, LATE = "Hello, when do you open on Saturday?", "My parcel is two days late."
EXPECTED = "Hello! How can I assist you today?"
PYTHON = f"""
from locust import task
from rtbench import RealtimeUser

class Caller(RealtimeUser):
    session = {{"input_transcription": "whisper-1"}}

    @task
    def talk(self):
        self.audio("opening_hours.wav", transcript="{HOURS}", expected_reply="{EXPECTED}", paced=False)
        self.audio("late_parcel.wav", transcript="{LATE}", success={{"reply_contains": ["help", "like"]}}, paced=False)
        self.request_response(success=lambda turn: "help" in turn.reply_text and turn.outcome == "ok" and turn.measures)
"""
SESSIONS = 6
WORDS = {1: 7, 2: 6}
QUALITY = ("input_words", "input_word_errors", "reply_words", "reply_word_errors", "task_success")


@pytest.fixture
def mishearing(tmp_path: Path) -> Iterator[Ready]:
    """Of thirteen words of each session it mishears two: an eighth, rounded down."""
    known = f"transcripts: {{texts: ['{HOURS}', '{LATE}'], word_error_rate: 0.2}}\n"
    with quick_simulator(tmp_path, more=known) as ready:
        yield ready


def test_rows_count_the_words_that_were_misheard_and_the_tasks_that_were_done(
    tmp_path: Path, mishearing: Ready
) -> None:
    path = write_scenario(tmp_path)
    for wav in ("opening_hours.wav", "late_parcel.wav"):
        shutil.copy(AUDIO / wav, tmp_path / wav)
    path.write_text(PYTHON)
    options = ("-u", "2", "-r", "2", "--sessions", str(SESSIONS), "--record-events", "100%")
    ended = run_locust(path, tmp_path / "runs", *options, "--url", mishearing.urls["ga"])
    run = only_run(tmp_path / "runs")
    rows = files.read_table(run, "turns").to_pylist()

    assert ended.returncode in (0, 4), ended.stderr
    assert len(rows) == 3 * SESSIONS
    for row in rows:
        told = replay_log(run / "events" / f"{row['session_id']}.jsonl").turns[row["turn"] - 1]
        again = row_of(told)
        assert {name: row[name] for name in QUALITY} == {name: again[name] for name in QUALITY}
        assert row["input_words"] == WORDS.get(row["turn"])
        assert row["input_word_errors"] == (1 if row["input_words"] else None)
        if row["turn"] == 3:
            assert (row["reply_words"], row["task_success"]) == (None, "help" in told.reply_text)
        elif row["turn"] == 1:
            assert (row["reply_words"], row["task_success"]) == (7, None)
            assert (row["reply_word_errors"] == 0) == (told.reply_text == EXPECTED)
        else:
            assert row["reply_words"] is None
            assert row["task_success"] == (" help " in told.reply_text and " like " in told.reply_text)
    assert not any(said in (run / "turns.parquet").read_bytes() for said in (b"Saturday", b"assist"))
