"""Searches for a capacity with real levels."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rtbench
from bench.catalogue.outcomes import remedy_of
from bench.load.lifecycle import SEARCH_ENDED
from bench.record import folder as files
from tests import forked
from tests.simulator_process import QUICK, quick_simulator, running_simulator
from tests.system.end_to_end.locust_process import GUARD_S, write_scenario
from tools.peers.agents.ports import free_port

SCRIPT = "session: {output: audio}\nsteps:\n  - text: Hello\n  - pause: 0.5\n  - text: Bye\n"
"""A script that pauses, because callers that never wait would use a core for the whole search."""
OPTIONS = ("--thresholds", "ttfa: med<5s", "--from", "4", "--to", "4", "--max-time", "60s")


@contextmanager
def capacity(scenario: Path, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """Start `rtbench capacity` on a scenario."""
    command = [
        sys.executable,
        "-m",
        "rtbench.cli.app",
        "capacity",
        str(scenario),
        "-o",
        str(out),
        *options,
    ]
    process = forked.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"NO_COLOR": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def document_of(out: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((out / "capacity.json").read_text())
    return document


def test_a_decided_level_ends_early_and_is_a_run_with_a_report(tmp_path: Path) -> None:
    with quick_simulator(tmp_path) as simulator:
        options = (*OPTIONS, "--url", simulator.urls["ga"])
        with capacity(
            write_scenario(tmp_path, script=SCRIPT), tmp_path / "found", *options
        ) as process:
            output, errors = process.communicate(timeout=GUARD_S)

    found = document_of(tmp_path / "found")
    first, *_ = found["levels"]
    (share,) = first["violations"]
    document = files.read_document(tmp_path / "found" / "levels" / first["run"])
    assert errors == ""
    assert found["simulated"]
    assert found["headline"][1:] in " ".join(output.split())
    assert first["result"] in ("pass", "not_evaluated")  # the machine that runs a test may be busy
    value = share["value"]
    assert (value["value"], value["count"], value["failed"]) == (0.0, 0, 0)
    assert value["high"] < 0.5
    assert first["duration_s"] < found["plan"]["time_s"]
    assert (document["settings"]["num_users"], document["stop_reason"]) == (4, SEARCH_ENDED)
    assert (tmp_path / "found" / "levels" / first["run"] / "report.html").exists()
    assert document["warmup_s"] > 5
    assert process.returncode == found["exit_status"]


def test_a_search_without_an_open_call_ends_after_its_first_level_with_one_line(
    tmp_path: Path,
) -> None:
    with quick_simulator(tmp_path, "--key", "right") as simulator:
        url = simulator.urls["ga"]
        with capacity(
            write_scenario(tmp_path), tmp_path / "found", *OPTIONS, "--url", url
        ) as process:
            _, errors = process.communicate(timeout=GUARD_S)

    assert process.returncode == 2
    (line,) = errors.splitlines()
    assert re.match(
        rf"rtbench: none of \d+ calls to {re.escape(url)} opened: connect_failed:401: ", line
    )
    assert remedy_of("connect_failed:401") in line
    assert len(list((tmp_path / "found" / "levels").iterdir())) == 1


def test_a_search_at_a_closed_port_ends_before_its_first_level(tmp_path: Path) -> None:
    port = free_port()
    url = f"ws://127.0.0.1:{port}/v1/realtime?model=any"
    with capacity(write_scenario(tmp_path), tmp_path / "found", *OPTIONS, "--url", url) as process:
        _, errors = process.communicate(timeout=GUARD_S)

    assert process.returncode == 2
    assert (
        errors == f"rtbench: no server listens on 127.0.0.1 port {port}: start it, or check --url\n"
    )
    assert not (tmp_path / "found" / "levels").exists()


def test_a_quick_search_answers_in_a_sentence_and_prints_the_command_of_a_verified_answer(
    tmp_path: Path,
) -> None:
    """The search runs a YAML script, too."""
    options = ("--quick", "--max-time", "60s", "--to", "8", "--thresholds", "ttfa: p(95)<5s")
    script = write_scenario(tmp_path, script=SCRIPT).with_name("script.yaml")
    with quick_simulator(tmp_path, more="max_sessions: 3") as simulator:
        service = ("--url", simulator.urls["ga"])
        with capacity(script, tmp_path / "found", *options, *service) as process:
            output, errors = process.communicate(timeout=GUARD_S)

    found = document_of(tmp_path / "found")
    rough = found["estimate"]["numbers"]
    assert errors == ""
    assert found["headline"][1:] in " ".join(output.split())
    if found["exit_status"] == 4:  # the machine that runs a test may be busy
        return
    passes = rough["low"]
    assert passes <= 3 < (rough["high"] or 9)
    if found["estimate"]["code"] == "crossed":  # otherwise the machine was too slow for the ramp
        assert "above it, calls fail: connect_failed:503" in found["headline"]
    *_, verify = found["notes"]
    command = verify["numbers"]["command"]
    assert f"  {command}" in output.splitlines()
    assert f"--from {max(1, passes)} --to " in command
    assert "--max-time 30m" in command
    assert "--quick" not in command


def test_an_impossible_limit_ends_a_quick_search_before_an_answer_does(tmp_path: Path) -> None:
    """Each answer takes half a minute; the search does not wait for the end of one."""
    options = ("--quick", "--thresholds", "ttfa: p(95)<1")
    profile = tmp_path / "slow.yaml"
    profile.write_text(QUICK.replace("generation_speed: 100", "generation_speed: 0.1"))
    with running_simulator("--profile", str(profile)) as simulator:
        service = ("--url", simulator.urls["ga"])
        with capacity(write_scenario(tmp_path), tmp_path / "found", *options, *service) as process:
            process.communicate(timeout=GUARD_S)

    found = document_of(tmp_path / "found")
    if found["exit_status"] == 4:  # the machine that runs a test may be busy
        return
    (ramp,) = (tmp_path / "found" / "levels").glob("*/run.json")
    assert found["estimate"]["code"] == "fails_at_first"
    assert set(rtbench.load(ramp.parent).turns["outcome"]) == {"unfinished"}
