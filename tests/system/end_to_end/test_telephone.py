"""Calls by telephone to the simulator: the values equal the simulator's ground truth within their bounds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import scenarios
from bench.run.folder import read_table
from bench.units import NEVER_NS, NS_PER_MS, NS_PER_S
from tests.simulator_process import QUICK, running_simulator

AUDIO = Path(str(scenarios.__file__)).parent / "audio"
JITTER_BUFFER_NS = 50 * NS_PER_MS
SAMPLE_NS = NS_PER_S // 8_000
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of two calls at a time, and the ground truth of the simulator."""
    folder = tmp_path_factory.mktemp("telephone")
    (folder / "quick.yaml").write_text(QUICK, encoding="utf-8")
    (folder / "call.yaml").write_text(SCRIPT, encoding="utf-8")
    options = ("--profile", str(folder / "quick.yaml"), "--ground-truth", str(folder / "truth.jsonl"))
    with running_simulator(*options) as ready:
        command = [sys.executable, "-m", "rtbench.cli.app", "run", "call.yaml", "-u", "2", "--sessions", "4"]
        result = subprocess.run(
            [*command, "--url", ready.urls["agent_sip"], "--name", "calls"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(Path(str(scenarios.__file__)).parents[1])},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode in (0, 4), result.stderr  # a busy machine makes the run invalid, not its rows
    return folder


def run_of(folder: Path) -> Path:
    (run,) = (folder / "runs").iterdir()
    return run


def rows(folder: Path) -> pd.DataFrame:
    return read_table(run_of(folder), "turns").to_pandas()


def truth(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_turn_of_a_telephone_call_is_answered(folder: Path) -> None:
    turns = rows(folder)

    assert len(turns) == 12
    assert set(turns["outcome"]) <= {"ok", "interrupted"}
    assert turns["first_audible_at_ns"].notna().all()


def test_the_start_of_each_reply_is_that_of_the_ground_truth_within_its_bound(folder: Path) -> None:
    """A telephone plays a frame at its media time, after the delay of the fastest packet of the call.

    The simulator's media time is the instant at which a frame is due. It may send every packet late.
    """
    turns, audible_ns = rows(folder), list[int]()
    late_ns, is_start = dict[object, int](), dict[object, bool]()
    for line in truth(folder):
        if line.get("direction") != "out":
            continue
        session, due_ns = line["session"], int(str(line["due_ns"]))
        late_ns[session] = min(late_ns.get(session, NEVER_NS), int(str(line["send_end_ns"])) - due_ns)
        is_start[session] = is_start.get(session, False) or bool(line.get("utterance"))
        if is_start[session] and line.get("audible_at_byte") is not None:
            audible_ns.append(due_ns + late_ns[session] + int(str(line["audible_at_byte"])) * SAMPLE_NS)
            is_start[session] = False
    starts_ns = (turns["start_ns"] + turns["first_audible_at_ns"]).to_numpy() - JITTER_BUFFER_NS
    errors_ns = np.abs(starts_ns[:, None] - np.array(audible_ns)[None, :]).min(axis=1)

    assert len(audible_ns) == len(turns)
    assert (errors_ns <= turns["first_audible_uncertainty_ns"].to_numpy() + 2 * SAMPLE_NS).all()


def test_a_telephone_call_rings_before_it_is_answered(folder: Path) -> None:
    sessions = read_table(run_of(folder), "sessions").to_pandas()

    assert set(sessions["outcome"]) == {"ok"}
    assert (sessions["ringing_at_ns"] <= sessions["opened_at_ns"]).all()
    assert sessions["request_id"].nunique() == 4


def test_the_packets_of_a_call_are_counted_in_both_directions(folder: Path) -> None:
    """The simulator sends no RTCP, so what it received is unknown."""
    sessions = read_table(run_of(folder), "sessions").to_pandas()
    of_simulator = Counter(line["session"] for line in truth(folder) if line.get("direction") == "out")

    assert (sessions["rtp_expected"] > 0).all()
    assert (sessions["rtp_expected"] <= max(of_simulator.values())).all()
    assert (sessions["rtp_lost"] + sessions["rtp_late"] < sessions["rtp_expected"]).all()
    assert (sessions["rtp_sent"] > 0).all()
    assert sessions["rtp_jitter_ns"].notna().all()
    assert sessions[["peer_rtp_lost", "peer_rtp_jitter_ns"]].isna().all(axis=None)


def test_the_run_of_a_telephone_call_to_the_simulator_is_marked(folder: Path) -> None:
    document = json.loads((run_of(folder) / "run.json").read_text(encoding="utf-8"))

    assert document["simulated"] is True
    assert document["targets"][0]["url"].startswith("sip:agent@")


def test_a_phone_key_arrives_once(folder: Path) -> None:
    keys = [line for line in truth(folder) if line.get("type") == "dtmf"]

    assert [line["event_id"] for line in keys] == ["5"] * 4
