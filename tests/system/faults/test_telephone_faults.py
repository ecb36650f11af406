"""Each fault of a telephone call has the one outcome that the simulator's page names, and no
latency is wrong.

One simulator injects each fault into one call. All calls are made at the same time. One process
sends their INVITE in the order in which the sessions start, so the simulator numbers them in this
order.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from bench.record.folder import read_table
from rtbench_simulator.ground_truth_log import read_truth
from tests.faults.cells import TELEPHONE_CASES
from tests.simulator_process import AUDIO, QUICK, running_simulator
from tests.system.end_to_end.locust_process import rtbench
from tests.telephone_truth import FRAME_NS, STOPPED, reply_starts

SCRIPT = f"""
session: {{turn_detection: full_duplex}}
reply_silence_ms: 300
timeouts: {{upgrade: 60, first_delta: 12}}
steps:
  - wait_for: greeting
  - audio: {AUDIO / "order_number.wav"}
"""


class Calls:
    """The rows of all calls, and the simulator's truth. Each is a list with one entry for each
    fault.
    """

    def __init__(self, folder: Path, simulator: str, report: str) -> None:
        (run,) = (folder / "runs").iterdir()
        self.run, self.truth, self.simulator, self.report = (
            run,
            folder / "truth.jsonl",
            simulator,
            report,
        )
        self.lines = list(read_truth(self.truth))
        sessions = read_table(run, "sessions").to_pylist()
        self.sessions = dict(
            zip(TELEPHONE_CASES, sorted(sessions, key=lambda row: row["start_ns"]), strict=True)
        )
        turns = defaultdict(list)
        for row in read_table(run, "turns").to_pylist():
            turns[row["session_id"]].append(row)
        self.turns = {
            fault: turns[session["session_id"]] for fault, session in self.sessions.items()
        }

    def packets(self, fault: str) -> list[dict[str, Any]]:
        call_id = self.sessions[fault]["request_id"]
        (session,) = (line["session"] for line in self.lines if line.get("call_id") == call_id)
        return [
            line
            for line in self.lines
            if line.get("direction") == "out" and line["session"] == session
        ]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    folder = tmp_path_factory.mktemp("faults")
    (folder / "quick.yaml").write_text(QUICK, encoding="utf-8")
    (folder / "call.yaml").write_text(SCRIPT, encoding="utf-8")
    options = [
        "--profile",
        str(folder / "quick.yaml"),
        "--ground-truth",
        str(folder / "truth.jsonl"),
    ]
    for number, fault in enumerate(TELEPHONE_CASES, 1):
        options += ["--fault", f"{fault},sessions={number}"]
    count = len(TELEPHONE_CASES)
    with running_simulator(*options) as ready:
        load = ("-u", count, "--spawn-rate", count, "--sessions", count)
        done = rtbench(
            "run",
            "call.yaml",
            *load,
            "--url",
            ready.urls["agent_sip"],
            "--name",
            "faults",
            cwd=folder,
        )
    return Calls(folder, ready.output, done.stdout + done.stderr)


@pytest.mark.parametrize("fault", TELEPHONE_CASES)
def test_each_fault_has_its_expected_outcome_and_is_in_the_truth(calls: Calls, fault: str) -> None:
    number = list(TELEPHONE_CASES).index(fault) + 1
    injected = {
        line["type"]
        for line in calls.lines
        if line.get("direction") == "fault" and line["connection"] == number
    }

    assert calls.sessions[fault]["outcome"] == TELEPHONE_CASES[fault]
    assert injected == {fault.partition(",")[0]}


def test_no_fault_causes_a_traceback(calls: Calls) -> None:
    assert "Traceback" not in calls.simulator + calls.report


def test_no_fault_makes_the_start_of_a_reply_wrong(calls: Calls) -> None:
    replies = reply_starts(calls.run, calls.truth)

    assert len(replies) > len(TELEPHONE_CASES)
    assert not [reply for reply in replies if reply.is_beyond_bound]
    if not any(reply.has_truth for reply in replies):
        pytest.skip(STOPPED)


@pytest.mark.parametrize("fault", ["close", "reset", "hang"])
def test_an_utterance_is_cut_in_the_middle(calls: Calls, fault: str) -> None:
    assert calls.turns[fault][0]["first_audible_at_ns"] is not None
    assert 0 < sum(not line.get("dropped") for line in calls.packets(fault)) < 40


def test_nothing_arrives_if_the_audio_is_one_way(calls: Calls) -> None:
    session = calls.sessions["one_way"]

    assert session["rtp_expected"] == 0
    assert session["rtp_sent"] > 0


@pytest.mark.parametrize("fault", ["other_port", "new_port"])
def test_audio_from_another_port_is_heard(calls: Calls, fault: str) -> None:
    """The caller has not heard the end of the last reply when it hangs up, so its packets are
    compared with a part.
    """
    assert calls.sessions[fault]["rtp_lost"] == 0
    assert calls.sessions[fault]["rtp_expected"] > len(calls.packets(fault)) // 2


def test_dropped_packets_are_counted(calls: Calls) -> None:
    """The caller may hang up before a packet after the second gap arrives. Then it does not know
    of this gap.
    """
    dropped = sum(bool(line.get("dropped")) for line in calls.packets("drop,count=5"))

    assert dropped == 10  # five in each utterance
    assert calls.sessions["drop,count=5"]["rtp_lost"] in (5, dropped)


def test_the_silence_around_a_change_of_the_media_is_that_of_the_truth(calls: Calls) -> None:
    """Each of both replies has the fault. The last hold is longer than the call."""
    transfers = {fault: calls.sessions[fault]["rtp_transfers"] for fault in TELEPHONE_CASES}
    moved = calls.sessions["new_port"]
    sent = [line for line in calls.packets("new_port") if line.get("audible_at_byte") is not None]
    gaps_ns = [later["due_ns"] - line["due_ns"] - FRAME_NS for line, later in pairwise(sent)]
    within_ns = moved["rtp_transfer_silence_uncertainty_ns"] + FRAME_NS

    assert {fault: count for fault, count in transfers.items() if count} == {
        "hold,duration_s=1": 2,
        "new_port": 2,
    }
    assert calls.sessions["hold,duration_s=1"]["rtp_transfer_silence_ns"] is None
    assert any(abs(gap - moved["rtp_transfer_silence_ns"]) <= within_ns for gap in gaps_ns)
