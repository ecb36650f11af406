"""A master with workers on other hosts: the master has one run folder, the same as that of a
single process.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pytest

from bench.record import folder as files
from bench.record.histograms import read
from bench.record.metric_values import all_histograms
from bench.record.spool import parts
from tests.hosted_run import PASSWORD, hosted_run
from tests.hosts import available
from tests.system.end_to_end.locust_process import ENDS_WELL, GUARD_S, write_scenario

SIGNATURE = "a-signature-of-the-upload"
pytestmark = pytest.mark.skipif(
    not available(), reason="needs root and network namespaces (apt-get install iproute2)"
)


def test_workers_on_other_hosts_make_one_run_on_the_master(tmp_path: Path) -> None:
    with hosted_run(tmp_path, ["east", "west"]) as hosted:
        hosted.lead(
            "-u",
            "4",
            "-r",
            "4",
            "--sessions",
            "12",
            "--session-pause",
            "0.1",
            "--record-events",
            "20%",
        )
        hosted.work()
        assert hosted.ended() in ENDS_WELL, hosted.log("master")
        for name in hosted.names:
            assert hosted.workers[name].wait(GUARD_S) == 0, hosted.log(name)

    turns = files.read_table(hosted.run, "turns").to_pandas()
    assert set(turns["response_id"]) == hosted.true_turns()
    assert turns["response_id"].is_unique
    assert set(turns["host"]) == {"east", "west"}
    sessions = files.read_table(hosted.run, "sessions").to_pandas()
    assert len(sessions) == 12
    assert sessions["session_id"].is_unique
    assert sorted(sessions["pair"]) == list(range(12))
    document = files.read_document(hosted.run)
    assert [host["name"] for host in document["hosts"]] == ["east", "west"]
    # same clock
    assert all(
        abs(host["clock_offset_ns"]) <= host["clock_offset_uncertainty_ns"]
        for host in document["hosts"]
    )
    logs = {path.stem for path in (hosted.run / "events").iterdir()}
    assert logs == set(sessions["session_id"][sessions["event_log"].astype(bool)])
    assert logs
    assert document["missing_workers"] == []
    remaining = [
        path for name in hosted.names for path in (hosted.folder_of(name) / "runs").glob("*")
    ]
    assert not remaining, "what the master has got is not kept twice"
    check_that_histograms_match_the_rows(hosted.run)


def check_that_histograms_match_the_rows(run: Path) -> None:
    final, again = (
        read(files.histograms_path(run)),
        all_histograms(files.row_reader(run), parts(run)),
    )
    ttfa = {key: histogram.encode() for key, histogram in final.items() if key.metric == "ttfa"}
    assert ttfa == {
        key: histogram.encode() for key, histogram in again.items() if key.metric == "ttfa"
    }
    gaps = sum(h.get_total_count() for key, h in final.items() if key.metric == "delta_gap")
    rows = files.read_table(run, "turns")
    assert (
        gaps
        == pc.sum(pc.subtract(pc.subtract(rows["audio_deltas"], 1), rows["uncertain_gaps"])).as_py()
    )


OPERATOR = (
    "--master-port=5557",
    "--autostart",
    "--autoquit",
    "1",
    "--enable-rebalancing",
    "--only-summary",
)
"""The options that the Kubernetes operator of docs/deploy gives to each master. The only change is
`--autoquit`: 1 s instead of 60 s.
"""


def test_an_autostarted_run_ends_after_its_sessions_with_its_verdict(tmp_path: Path) -> None:
    with hosted_run(tmp_path, ["east", "west"]) as hosted:
        hosted.lead(
            "-u", "4", "-r", "4", "--sessions", "8", "--session-pause", "0.1", starts=OPERATOR
        )
        hosted.work()
        status = hosted.ended()
        for name in hosted.names:
            assert hosted.workers[name].wait(GUARD_S) == 0, hosted.log(name)

    verdict = files.read_document(hosted.run)["validity"]
    assert status == (0 if verdict["status"] == "valid" else 4), hosted.log("master")
    assert len(files.read_table(hosted.run, "sessions")) == 8
    assert hosted.log("master").splitlines()[-1] == f"runs/{hosted.run.name}/report.html"


def test_a_refused_worker_ends_the_run_and_exits_with_status_0(tmp_path: Path) -> None:
    with hosted_run(tmp_path, ["east"]) as hosted:
        write_scenario(hosted.folder_of("east"), turns=3)
        hosted.lead("-u", "1", "--sessions", "1", starts=OPERATOR)
        hosted.work()

        assert hosted.ended() == 2
        assert hosted.workers["east"].wait(GUARD_S) == 0, hosted.log("east")
    assert "other scripts or targets" in hosted.log("master")


def test_no_secret_is_sent_between_master_and_workers(tmp_path: Path) -> None:
    proxy = f"http://ann:{PASSWORD}@127.0.0.1:1"
    with hosted_run(tmp_path, ["east"]) as hosted:
        capture_path = tmp_path / "heard"
        with hosted.net.listening(capture_path):
            hosted.lead(
                "-u",
                "1",
                "--sessions",
                "1",
                "--proxy",
                proxy,
                "--upload",
                f"http://127.0.0.1:1/?sig={SIGNATURE}",
            )
            hosted.work()
            status = hosted.ended()

    assert status == 2
    assert "set --proxy on this worker as well" in hosted.log("master")
    captured = capture_path.read_bytes()
    assert b"rtbench_run" in captured, "nothing was heard"
    assert PASSWORD.encode() not in captured
    assert SIGNATURE.encode() not in captured
