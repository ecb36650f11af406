"""The truth log is one JSON object per line, readable as far as it goes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.simulator.behaviour import EventReceipt
from bench.simulator.truth import BLOCK_LINES, Served, TruthLog, read_truth
from bench.simulator.wire import ArrivalSpan, Outgoing
from tests.simulator.test_served import late


def written(path: Path) -> Path:
    log = TruthLog(path, "default", 5)
    audio, call = "response.output_audio.delta", "response.function_call_arguments.done"
    log.sent("sess_1", Outgoing(100, audio, b"{}", "resp_1", 4800, item_id="item_1"), 120, 121, 6600)
    log.sent("sess_1", Outgoing(130, audio, b"{}", "resp_1", 7200, 2400), 131, 132, 9800)
    log.sent(
        "sess_1",
        Outgoing(140, "input_audio_buffer.speech_started", b"{}", facts={"speech_at_byte": 960}),
        141,
        142,
        200,
    )
    log.sent("sess_1", Outgoing(100, "session.created", b"{}"), 120, None, 600)
    named = Outgoing(150, call, b"{}", "resp_1", item_id='an "item"', call_id="call_1")
    log.sent("sess_1", named, 151, 152, 300)
    log.received("sess_1", EventReceipt("input_audio_buffer.append", "e\n1", None, 0, 4800), ArrivalSpan(90, 80, True))
    log.received("sess_1", EventReceipt("response.create", None, "resp_1"), ArrivalSpan(95, 95, False))
    truncated = EventReceipt("conversation.item.truncate", None, item_id="item_1", audio_end_ms=0)
    log.received("sess_1", truncated, ArrivalSpan(96, 96, True))
    log.received(
        "sess_1", EventReceipt("conversation.item.create", None, item_id="i", call_id="c"), ArrivalSpan(97, 97, True)
    )
    log.ended(Served(1, 0, 0, 1.25, late(0, 2_000_000)))
    log.close()
    return path


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    assert list(read_truth(written(tmp_path / "truth.jsonl"))) == [
        {"schema": 4, "simulated": True, "profile": "default", "seed": 5},
        {
            "session": "sess_1",
            "direction": "out",
            "type": "response.output_audio.delta",
            "due_ns": 100,
            "send_start_ns": 120,
            "send_end_ns": 121,
            "response": "resp_1",
            "audio_bytes": 4800,
            "frame_bytes": 6600,
            "item": "item_1",
            "audible_at_byte": None,
        },
        {
            "session": "sess_1",
            "direction": "out",
            "type": "response.output_audio.delta",
            "due_ns": 130,
            "send_start_ns": 131,
            "send_end_ns": 132,
            "response": "resp_1",
            "audio_bytes": 7200,
            "frame_bytes": 9800,
            "audible_at_byte": 2400,
        },
        {
            "session": "sess_1",
            "direction": "out",
            "type": "input_audio_buffer.speech_started",
            "due_ns": 140,
            "send_start_ns": 141,
            "send_end_ns": 142,
            "response": None,
            "audio_bytes": 0,
            "frame_bytes": 200,
            "speech_at_byte": 960,
        },
        {
            "session": "sess_1",
            "direction": "out",
            "type": "session.created",
            "due_ns": 100,
            "send_start_ns": 120,
            "send_end_ns": None,
            "response": None,
            "audio_bytes": 0,
            "frame_bytes": 600,
        },
        {
            "session": "sess_1",
            "direction": "out",
            "type": "response.function_call_arguments.done",
            "due_ns": 150,
            "send_start_ns": 151,
            "send_end_ns": 152,
            "response": "resp_1",
            "audio_bytes": 0,
            "frame_bytes": 300,
            "item": 'an "item"',
            "call": "call_1",
        },
        {
            "session": "sess_1",
            "direction": "in",
            "type": "input_audio_buffer.append",
            "at_ns": 90,
            "earliest_ns": 80,
            "timestamp_source": "kernel",
            "event_id": "e\n1",
            "response": None,
            "from_byte": 0,
            "to_byte": 4800,
        },
        {
            "session": "sess_1",
            "direction": "in",
            "type": "response.create",
            "at_ns": 95,
            "earliest_ns": 95,
            "timestamp_source": "userspace",
            "event_id": None,
            "response": "resp_1",
        },
        {
            "session": "sess_1",
            "direction": "in",
            "type": "conversation.item.truncate",
            "at_ns": 96,
            "earliest_ns": 96,
            "timestamp_source": "kernel",
            "event_id": None,
            "response": None,
            "item": "item_1",
            "audio_end_ms": 0,
        },
        {
            "session": "sess_1",
            "direction": "in",
            "type": "conversation.item.create",
            "at_ns": 97,
            "earliest_ns": 97,
            "timestamp_source": "kernel",
            "event_id": None,
            "response": None,
            "item": "i",
            "call": "c",
        },
        {
            "direction": "end",
            "sessions": 1,
            "events": 2,
            "late_p50_ms": 0.1,
            "late_p99_ms": 2.1,
            "late_max_ms": 2.0,
            "cpu_s": 1.25,
        },
    ]


def test_a_log_that_was_cut_anywhere_reads_up_to_its_last_whole_line(tmp_path: Path) -> None:
    whole = written(tmp_path / "truth.jsonl").read_bytes()
    cut = tmp_path / "cut.jsonl"

    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        assert len(list(read_truth(cut))) == whole[:size].count(b"\n")


def test_a_log_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        TruthLog(tmp_path / "no" / "truth.jsonl", "default", 1)


@pytest.mark.parametrize("lines", [1, BLOCK_LINES - 1, BLOCK_LINES, 2 * BLOCK_LINES + 1])
def test_every_line_is_in_the_log_when_it_is_closed(tmp_path: Path, lines: int) -> None:
    log = TruthLog(tmp_path / "truth.jsonl", "default", 1)
    for number in range(lines):
        log.refused(429, str(number), number)
    log.close()

    assert [line["at_ns"] for line in read_truth(tmp_path / "truth.jsonl") if "at_ns" in line] == list(range(lines))


def test_an_older_log_of_that_name_is_replaced(tmp_path: Path) -> None:
    for seed in (1, 2):
        TruthLog(tmp_path / "truth.jsonl", "default", seed).close()

    assert [line["seed"] for line in read_truth(tmp_path / "truth.jsonl")] == [2]


def test_what_two_write_into_one_log_does_not_mix(tmp_path: Path) -> None:
    first = TruthLog(tmp_path / "truth.jsonl", "default", 1)
    second = copy.copy(first)  # as after a fork
    second._lines = []

    for number in range(2000):
        first.refused(401, "first", number)
        second.refused(402, "second", number)
    first.flush()
    second.close()

    lines = [line for line in read_truth(tmp_path / "truth.jsonl") if "at_ns" in line]
    for status in (401, 402):
        assert [line["at_ns"] for line in lines if line["status"] == status] == list(range(2000))
