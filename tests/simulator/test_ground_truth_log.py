"""The truth log has one JSON object per line. A log that is not complete can be read, too."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from rtbench_simulator.ground_truth_log import (
    BLOCK_LINES,
    GroundTruthLog,
    LatenessCounts,
    ServedCounts,
    read_truth,
    summary,
)
from rtbench_simulator.server_events import ArrivalSpan, OutgoingEvent
from rtbench_simulator.serving.connection import _SimulatedProtocol
from rtbench_simulator.simulated_session import EventReceipt
from tests.simulator.builders import late


def receipt(
    type: str, event_id: str | None = None, response: str | None = None, **more: Any
) -> EventReceipt:
    return EventReceipt(type=type, event_id=event_id, response=response, **more)


def written(path: Path) -> Path:
    log = GroundTruthLog(path, "quiet", 5)
    audio, call = "response.output_audio.delta", "response.function_call_arguments.done"
    log.sent(
        "sess_1", OutgoingEvent(100, audio, b"{}", "resp_1", 4800, item_id="item_1"), 120, 121, 6600
    )
    log.sent("sess_1", OutgoingEvent(130, audio, b"{}", "resp_1", 7200, 2400), 131, 132, 9800)
    log.sent(
        "sess_1",
        OutgoingEvent(
            140, "input_audio_buffer.speech_started", b"{}", facts={"speech_at_byte": 960}
        ),
        141,
        142,
        200,
    )
    log.sent("sess_1", OutgoingEvent(100, "session.created", b"{}"), 120, None, 600)
    named = OutgoingEvent(150, call, b"{}", "resp_1", item_id='an "item"', call_id="call_1")
    log.sent("sess_1", named, 151, 152, 300)
    log.received(
        "sess_1",
        receipt("input_audio_buffer.append", "e\n1", from_byte=0, to_byte=4800),
        ArrivalSpan(90, 80, True),
    )
    log.received(
        "sess_1", receipt("response.create", response="resp_1"), ArrivalSpan(95, 95, False)
    )
    truncated = receipt("conversation.item.truncate", item="item_1", audio_end_ms=0)
    log.received("sess_1", truncated, ArrivalSpan(96, 96, True))
    log.received(
        "sess_1", receipt("conversation.item.create", item="i", call="c"), ArrivalSpan(97, 97, True)
    )
    log.ended(ServedCounts(1, 0, 0, 1.25, late(0, 2_000_000)))
    log.close()
    return path


def out(
    type: str, due_ns: int, start_ns: int, end_ns: int | None, frame: int, **more: Any
) -> dict[str, Any]:
    """Return the log line of an event that the simulator sent."""
    line = {
        "session": "sess_1",
        "direction": "out",
        "type": type,
        "due_ns": due_ns,
        "send_start_ns": start_ns,
        "send_end_ns": end_ns,
        "response": None,
        "audio_bytes": 0,
        "frame_bytes": frame,
    }
    return line | more


def received(type: str, at_ns: int, source: str = "kernel", **more: Any) -> dict[str, Any]:
    """Return the log line of an event that the simulator received."""
    line = {
        "session": "sess_1",
        "direction": "in",
        "type": type,
        "at_ns": at_ns,
        "earliest_ns": at_ns,
        "timestamp_source": source,
        "event_id": None,
        "response": None,
    }
    return line | more


def test_written_lines_are_read_back(tmp_path: Path) -> None:
    audio, call = "response.output_audio.delta", "response.function_call_arguments.done"
    assert list(read_truth(written(tmp_path / "truth.jsonl"))) == [
        {"schema": 4, "simulated": True, "profile": "quiet", "seed": 5},
        out(
            audio,
            100,
            120,
            121,
            6600,
            response="resp_1",
            audio_bytes=4800,
            item="item_1",
            audible_at_byte=None,
        ),
        out(audio, 130, 131, 132, 9800, response="resp_1", audio_bytes=7200, audible_at_byte=2400),
        out("input_audio_buffer.speech_started", 140, 141, 142, 200, speech_at_byte=960),
        out("session.created", 100, 120, None, 600),
        out(call, 150, 151, 152, 300, response="resp_1", item='an "item"', call="call_1"),
        received(
            "input_audio_buffer.append",
            90,
            earliest_ns=80,
            event_id="e\n1",
            from_byte=0,
            to_byte=4800,
        ),
        received("response.create", 95, "userspace", response="resp_1"),
        received("conversation.item.truncate", 96, item="item_1", audio_end_ms=0),
        received("conversation.item.create", 97, item="i", call="c"),
        {
            "direction": "end",
            "sessions": 1,
            "events": 2,
            "late_p50_ms": 0.1,
            "late_p99_ms": 2.1,
            "late_max_ms": 2.0,
            "cpu_s": 1.25,
            "rtp_dropped": 0,
        },
    ]


def test_a_truncated_log_is_read_up_to_its_last_complete_line(tmp_path: Path) -> None:
    whole = written(tmp_path / "truth.jsonl").read_bytes()
    cut = tmp_path / "cut.jsonl"

    for size in range(len(whole)):
        cut.write_bytes(whole[:size])
        assert len(list(read_truth(cut))) == whole[:size].count(b"\n")


def test_an_unwritable_log_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        GroundTruthLog(tmp_path / "no" / "truth.jsonl", "quiet", 1)


@pytest.mark.parametrize("lines", [1, BLOCK_LINES - 1, BLOCK_LINES, 2 * BLOCK_LINES + 1])
def test_every_line_is_in_the_log_when_it_is_closed(tmp_path: Path, lines: int) -> None:
    log = GroundTruthLog(tmp_path / "truth.jsonl", "quiet", 1)
    for number in range(lines):
        log.refused(429, str(number), number)
    log.close()

    assert [
        line["at_ns"] for line in read_truth(tmp_path / "truth.jsonl") if "at_ns" in line
    ] == list(range(lines))


def test_lines_of_two_writers_do_not_mix(tmp_path: Path) -> None:
    first = GroundTruthLog(tmp_path / "truth.jsonl", "quiet", 1)
    second = copy.copy(first)  # a copy, as a fork makes one
    second._lines = []

    for number in range(2000):
        first.refused(401, "first", number)
        second.refused(402, "second", number)
    first.flush()
    second.close()

    lines = [line for line in read_truth(tmp_path / "truth.jsonl") if "at_ns" in line]
    for status in (401, 402):
        assert [line["at_ns"] for line in lines if line["status"] == status] == list(range(2000))


# The simulator reports its own lateness.


def served(
    lateness: LatenessCounts, *, sessions: int = 1, refused: int = 0, struck: int = 0
) -> ServedCounts:
    return ServedCounts(sessions, refused, struck, 0.5, lateness)


def test_a_late_simulator_prints_a_warning() -> None:
    assert "WARN" in summary([served(late(*[0] * 980, *[6_000_000] * 20))])


def test_an_idle_simulator_prints_no_warning() -> None:
    assert "WARN" not in summary([served(late())])


@pytest.mark.parametrize(("late_ms", "expected"), [(4.0, None), (29.3, "29.4")])
def test_responses_have_a_lateness_header_if_the_simulator_is_late(
    late_ms: float, expected: str | None
) -> None:
    protocol = _SimulatedProtocol(late(round(late_ms * 1_000_000)))
    response = protocol.reject(404, "")

    protocol.send_response(response)

    assert response.headers.get("x-rtbench-simulator-late-ms") == expected
