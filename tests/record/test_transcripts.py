"""The transcripts of a run. They have one line per turn after a clean end, and also after a
kill.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench.record.finalize import finalize
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import Spool
from tests.helpers import build_observation, build_session
from tests.record.builders import BEGAN_NS, build_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder, _ = build_run(tmp_path, 0)
    return folder


def recorder(folder: Path, worker: int = 0, *, transcripts: bool = True) -> Recorder:
    return Recorder(
        Spool(folder, worker),
        BEGAN_NS,
        lambda text: text.replace("s3cret", "***"),
        transcripts=transcripts,
    )


def talk(recorder: Recorder, session_id: str, *said: str) -> None:
    """Record a session that has one turn for each of these utterances of the caller."""
    record = recorder.session(RowContext(session_id, "simulator", "voice", "dialogue"))
    record.service_session_id = "sess_1"
    for number, words in enumerate(said, 1):
        record.turn_ended(
            build_observation(turn=number, input_text=words, reply_text=f"You said {words}.")
        )
    record.session_ended(build_session())
    recorder.flush()


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_complete_lines_of_a_killed_run_are_kept(folder: Path) -> None:
    talk(recorder(folder), "w0-000001", "one", "two")
    talk(recorder(folder, 1), "w1-000001", "three")
    spooled = folder / "spool" / "transcripts-0.jsonl"
    spooled.write_bytes(spooled.read_bytes()[:-20])

    assert finalize(folder)["state"] == "killed"
    assert [line["input_text"] for line in read(folder / "transcripts.jsonl")] == ["one", "three"]


def test_a_secret_in_a_transcript_is_hidden(folder: Path) -> None:
    one = recorder(folder)
    talk(one, "w0-000001", "my key is s3cret")
    one.close()
    finalize(folder)

    text = (folder / "transcripts.jsonl").read_text()
    assert "s3cret" not in text
    assert "my key is ***" in text


def test_without_the_option_no_transcripts_are_written(folder: Path) -> None:
    one = recorder(folder, transcripts=False)
    talk(one, "w0-000001", "one")
    one.close()

    assert not list((folder / "spool").glob("transcripts*"))
    finalize(folder)
    assert not (folder / "transcripts.jsonl").exists()


def test_after_a_full_disk_the_lines_are_written_at_the_next_flush(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = recorder(folder)
    talk(one, "w0-000001", "one")
    with monkeypatch.context() as patch:
        patch.setattr("bench.files.safe_io.os.write", no_room(os.write))
        with pytest.raises(OSError, match="No space"):
            talk(one, "w0-000002", "two")
    one.flush()

    assert [line["input_text"] for line in read(folder / "spool" / "transcripts-0.jsonl")] == [
        "one",
        "two",
    ]


def no_room(write: Any) -> Any:
    """Return a write function like that of a disk that has room for only three bytes."""
    left = [3]

    def cut(file: int, data: memoryview) -> int:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(write(file, data[: left.pop()]))

    return cut


def test_a_transcript_line_has_the_texts_of_caller_and_reply(folder: Path) -> None:
    one = recorder(folder)
    talk(one, "w0-000001", "grüezi")
    one.close()
    finalize(folder)

    assert read(folder / "transcripts.jsonl") == [
        {
            "session_id": "w0-000001",
            "service_session_id": "sess_1",
            "turn": 1,
            "step": "greeting",
            "response_id": "resp_1",
            "item_id": "item_1",
            "input_text": "grüezi",
            "reply_text": "You said grüezi.",
        }
    ]
