"""Rows, histograms and reports separate the warm-up from the measurement."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from bench.record import folder as files
from bench.record.histograms import HistogramKey, read
from tests.simulator_process import Ready
from tests.system.end_to_end.locust_process import GUARD_S, locust, only_run, wait_for_phase, write_scenario

WARMUP_S = 4  # on a busy machine, workers need two seconds to start


def test_sessions_that_start_early_belong_to_the_warmup(tmp_path: Path, simulator: Ready) -> None:
    load = ("-u", "2", "-r", "2", "--processes", "2", "--url", simulator.urls["ga"], "--warmup", f"{WARMUP_S}s")
    with locust(write_scenario(tmp_path), tmp_path / "runs", *load) as process:
        wait_for_phase(tmp_path / "runs", "measurement")
        process.send_signal(signal.SIGINT)
        errors = process.communicate(timeout=GUARD_S)[1]

    folder = only_run(tmp_path / "runs")
    document = files.read_document(folder)
    assert process.returncode in (130, 4), errors
    assert document["warmup_s"] == WARMUP_S
    sessions = files.read_table(folder, "sessions").to_pandas()
    began_s = (sessions["start_utc_ns"] - document["started_utc_ns"]) / 1e9
    assert set(sessions["phase"][began_s < WARMUP_S]) == {"warmup"}
    # the phase of a pair is set just before the pair begins
    assert (began_s[sessions["phase"] == "measurement"] >= WARMUP_S).all()
    turns = files.read_table(folder, "turns").to_pandas()
    assert turns["phase"].tolist() == sessions.set_index("session_id")["phase"].loc[turns["session_id"]].tolist()
    histograms = read(files.histograms_path(folder))
    for phase in ("warmup", "measurement"):
        delays = histograms.get(HistogramKey("event_loop_delay", "all", phase=phase))
        assert delays is not None
        assert delays.get_total_count() > 0
    assert {key.phase for key, _ in histograms.items() if key.metric == "ttfa"} == {"warmup", "measurement"}
    assert json.loads((folder / "summary.json").read_text())["warmup_s"] >= WARMUP_S
