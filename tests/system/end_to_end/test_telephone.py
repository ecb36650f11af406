"""Calls by telephone to the simulator: the values equal the simulator's ground truth within
their bounds.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from bench.base.units import NS_PER_MS
from bench.record.folder import read_table
from tests.simulator_process import AUDIO, QUICK, running_simulator
from tests.system.end_to_end.locust_process import ENDS_WELL, rtbench
from tests.telephone_truth import STOPPED, reply_starts

SCRIPT = f"""
session: {{turn_detection: full_duplex}}
reply_silence_ms: 300
steps:
  - wait_for: greeting
  - send: {{type: dtmf, digit: "5"}}
  - audio: {AUDIO / "order_number.wav"}
    name: number
  - interrupt: {{audio: {AUDIO / "order_number.wav"}, after: 0.5}}
    name: again
"""


PATHS = {
    "clean": ("", 4),
    "lossy": ("rtp: {loss: 0.03, jitter_ms: 20, reorder: 0.02, duplicate: 0.02}\n", 2),
}
"""The keys of the profile for each network path, and the number of calls."""
TURNS = 3
Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return a function that returns a folder with a run over a network path, and the simulator's
    ground truth.
    """
    return cache(lambda path: played(tmp_path_factory.mktemp("telephone"), *PATHS[path]))


@pytest.fixture(scope="module")
def folder(folders: Folders) -> Path:
    return folders("clean")


def played(folder: Path, profile: str, calls: int, script: str = SCRIPT) -> Path:
    (folder / "quick.yaml").write_text(QUICK + profile, encoding="utf-8")
    (folder / "call.yaml").write_text(script, encoding="utf-8")
    options = (
        "--profile",
        str(folder / "quick.yaml"),
        "--ground-truth",
        str(folder / "truth.jsonl"),
    )
    with running_simulator(*options) as ready:
        load = ("-u", calls, "--sessions", calls)
        result = rtbench(
            "run",
            "call.yaml",
            *load,
            "--url",
            ready.urls["agent_sip"],
            "--name",
            "calls",
            cwd=folder,
        )
        assert result.returncode in ENDS_WELL, result.stderr
    return folder


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def rows(folder: Path) -> pd.DataFrame:
    return read_table(run_of(folder), "turns").to_pandas()


def truth(folder: Path) -> list[dict[str, object]]:
    return [
        json.loads(line)
        for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.parametrize("path", PATHS)
def test_the_start_of_each_reply_is_that_of_the_ground_truth_within_its_bound(
    folders: Folders, path: str
) -> None:
    replies = reply_starts(run_of(folders(path)), folders(path) / "truth.jsonl")

    assert len(replies) == TURNS * PATHS[path][1]
    assert not [reply for reply in replies if reply.is_beyond_bound]
    if not any(reply.has_truth for reply in replies):
        pytest.skip(STOPPED)


def test_a_lossy_path_drops_and_delays_packets_as_its_ground_truth_states(folders: Folders) -> None:
    sent = [line for line in truth(folders("lossy")) if line.get("direction") == "out"]
    dropped = [line for line in sent if line.get("dropped")]
    delays_ns = [int(str(line.get("delay_ns", 0))) for line in sent]
    end = truth(folders("lossy"))[-1]

    assert 0 < len(dropped) < len(sent) // 5
    in_order_ns = [delay_ns for delay_ns in delays_ns if delay_ns <= 20 * NS_PER_MS]
    assert max(in_order_ns) > 15 * NS_PER_MS
    assert 50 * NS_PER_MS in delays_ns
    # A packet keeps its order behind one that left later, if a stopped simulator answers in the past.
    left_ns = Counter(
        (line["session"], int(str(line["due_ns"])) + delay_ns)
        for line, delay_ns in zip(sent, delays_ns, strict=True)
    )
    for line, delay_ns in zip(sent, delays_ns, strict=True):
        if delay_ns > 20 * NS_PER_MS and delay_ns != 50 * NS_PER_MS:
            assert left_ns[line["session"], int(str(line["due_ns"])) + delay_ns] > 1
    assert int(str(end["rtp_dropped"])) > len(dropped)  # also packets of the callers
    for line in sent:
        ends_ns = line["send_end_ns"]
        assert (ends_ns is None) == bool(line.get("dropped"))
        assert ends_ns is None or int(str(ends_ns)) >= int(str(line["due_ns"])) + int(
            str(line.get("delay_ns", 0))
        )


def test_the_packets_that_a_lossy_path_drops_are_counted(folders: Folders) -> None:
    sessions = read_table(run_of(folders("lossy")), "sessions").to_pandas()
    sent = [line for line in truth(folders("lossy")) if line.get("direction") == "out"]
    dropped = sum(bool(line.get("dropped")) for line in sent)

    # a packet is not counted if no later one arrives
    unknown = len(sent) - sessions["rtp_expected"].sum()
    assert dropped - unknown <= sessions["rtp_lost"].sum() <= dropped
    assert (sessions["rtp_jitter_ns"] > 2 * NS_PER_MS).all()


def test_a_telephone_call_rings_before_it_is_answered(folder: Path) -> None:
    sessions = read_table(run_of(folder), "sessions").to_pandas()

    assert set(sessions["outcome"]) == {"ok"}
    assert (sessions["ringing_at_ns"] <= sessions["opened_at_ns"]).all()
    assert sessions["request_id"].nunique() == 4


def test_the_packets_of_a_call_are_counted_in_both_directions(folder: Path) -> None:
    sessions = read_table(run_of(folder), "sessions").to_pandas()
    of_simulator = Counter(
        line["session"] for line in truth(folder) if line.get("direction") == "out"
    )

    assert (sessions["rtp_expected"] > 0).all()
    assert (sessions["rtp_expected"] <= max(of_simulator.values())).all()
    assert (sessions["rtp_lost"] + sessions["rtp_late"] < sessions["rtp_expected"]).all()
    assert (sessions["rtp_sent"] > 0).all()
    assert (sessions["peer_rtp_lost"] == 0).all()
    assert sessions["peer_rtp_expected"].between(1, sessions["rtp_sent"]).all()
    assert sessions[["rtp_jitter_ns", "peer_rtp_jitter_ns"]].notna().all(axis=None)


def test_the_simulator_reports_which_packets_of_a_caller_its_path_dropped(folders: Folders) -> None:
    lines = truth(folders("lossy"))
    sessions = read_table(run_of(folders("lossy")), "sessions").to_pandas()
    of_callers = int(str(lines[-1]["rtp_dropped"])) - sum(
        bool(line.get("dropped")) for line in lines
    )

    assert 0 < sessions["peer_rtp_lost"].sum() <= of_callers
