"""100 sessions that open all the time, for 20 s, on tokens that live for 5: does any of them wait for one?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.run import folder as files
from bench.simulator.truth import read_truth
from tests.benchmark.harness import quantiles
from tests.simulator_process import quick_simulator
from tests.system.end_to_end.locust_process import only_run, run_locust, write_scenario
from tests.system.end_to_end.test_keyless import keyless, tokens_in

CALLERS, LIFE_S, LASTS_S = 100, 5, 20


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        truth = scratch / "truth.jsonl"
        with quick_simulator(scratch, "--token-lifetime", str(LIFE_S), "--ground-truth", str(truth)) as ready:
            load = ("-u", str(CALLERS), "-r", str(CALLERS), "-t", f"{LASTS_S}s", "--session-pause", "0")
            ended = run_locust(write_scenario(scratch, turns=1), scratch / "runs", *load, **keyless(ready))
        run = only_run(scratch / "runs")
        sessions = files.read_table(run, "sessions").to_pandas()
        used = {event["token"] for event in read_truth(truth) if event.get("token") is not None}
        connect_ms = (sessions["upgrade_done_at_ns"] - sessions["connect_start_at_ns"]).dropna() / 1e6
        print(f"exit {ended.returncode}; {len(sessions)} sessions: {sessions['outcome'].value_counts().to_dict()}")
        print(f"  tokens used {len(used)}; sessions that waited for one {int((sessions['auth_wait_ns'] > 0).sum())}")
        print(f"  from connect to upgrade, ms: {quantiles(connect_ms, 0.5, 0.99, 1)}")
        print(f"  files with a token: {len(tokens_in(run))}")


if __name__ == "__main__":
    main()
