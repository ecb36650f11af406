"""The hosts of a run: who recorded it, with how many workers, and how late their processes were."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.cores import HYPERVISOR, OTHERS, Processors
from bench.run import folder as files
from bench.run.close import close
from bench.run.document import SCHEMA_VERSION, HostEntry
from bench.run.provenance import named_host
from bench.run.recorder import Labels, Recorder
from bench.run.spool import Spool
from tests.helpers import MS, S, build_observation, build_session

BEGAN_NS = 1_763_000_000 * S


def run_on(parent: Path, *names: str) -> Path:
    """A run that is closed, with a worker on each of these hosts; number n's event loop is n + 1 ms late."""
    folder = files.create(parent, "voice_turns", BEGAN_NS)
    files.write_document(
        folder, {"schema": SCHEMA_VERSION, "run_id": folder.name, "state": "closing", "started_utc_ns": BEGAN_NS}
    )
    for number, name in enumerate(names):
        recorder = Recorder(Spool(folder, number), BEGAN_NS, host=named_host() | {"name": name, "niceness": number})
        record = recorder.session(Labels(f"w{number}-000000", "simulator", "voice_turns", "voice_turns"))
        record.turn_began()
        record.turn_ended(build_observation())
        record.session_ended(build_session())
        for _ in range(100):
            recorder.event_loop_delay((number + 1) * MS)
        recorder.close()
    close(folder)
    return folder


def test_each_row_says_which_host_recorded_it(tmp_path: Path) -> None:
    folder = run_on(tmp_path, "red", "blue", "red")
    for table in files.SCHEMAS:
        assert files.read_table(folder, table, ["host"])["host"].to_pylist() == ["red", "blue", "red"]


def test_each_host_is_in_the_document_with_its_workers_and_the_delay_of_its_own_processes(tmp_path: Path) -> None:
    hosts = files.read_document(run_on(tmp_path, "red", "blue", "red"))["hosts"]
    delays = [
        (host["name"], host["workers"], host["niceness"], round(host["event_loop_delay_p99_ms"])) for host in hosts
    ]
    assert delays == [("blue", 1, 1, 2), ("red", 2, 0, 3)]
    assert msgspec.convert(hosts, list[HostEntry]) == hosts


def test_each_host_says_who_had_its_cores_and_a_rule_that_it_breaks_goes_by_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Processors(
        cores=4, load_start=9.0, load_end=14.0, this_run=0.1, all_programs=0.9, steal=0.1, total_max=1.0, steal_max=0.2
    )
    monkeypatch.setattr("bench.cores.CoreWatch.look", lambda _: seen)
    document = files.read_document(run_on(tmp_path, "red", "blue", "red"))

    told = {host["name"]: (host["cpu_use"]["this_run"], host["cpu_use"]["all_programs"]) for host in document["hosts"]}
    assert told == {"blue": (0.1, 0.9), "red": (0.2, 0.9)}
    assert {rule["remedy"] for rule in document["validity"]["checks"]} == {f"{OTHERS}; {HYPERVISOR}"}
