"""200 sessions of 5 turns, plain and over TLS: are the rows complete, and is `ttfa` what the simulator did?"""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.run import folder as files
from tests.benchmark.harness import quantiles, run_locust, truth_of, turns_of, with_truth
from tests.simulator_process import running_simulator
from tests.system.end_to_end.locust_process import write_scenario

SESSIONS, TURNS = 200, 5


def main() -> None:
    for transport in ("plain", "tls"):
        with tempfile.TemporaryDirectory() as scratch:
            metric(Path(scratch), transport)


def metric(scratch: Path, transport: str) -> None:
    scenario, truth_log = write_scenario(scratch, TURNS), scratch / "truth.jsonl"
    with running_simulator("--ground-truth", str(truth_log), *(["--tls"] if transport == "tls" else [])) as ready:
        load = ["-u", str(SESSIONS), "-r", "100", "--sessions", str(SESSIONS), "--url", ready.urls["ga"]]
        folder, status, _ = run_locust(
            scenario, scratch / "runs", *load, *(["--ca-file", str(ready.ca)] if ready.ca else [])
        )
    turns = turns_of(folder)
    truth, requests = truth_of(truth_log)
    joined = with_truth(turns, truth)
    document = files.read_document(folder)
    print(f"{transport}: exit {status}, valid {document['validity']['status']}")
    begun = document["totals"]["turns_started"]
    print(f"  rows {len(turns)} = turns begun {begun} = response.create in the truth log {requests}: "
          f"{len(turns) == begun == requests == SESSIONS * TURNS}")  # fmt: skip
    print(f"  ttfa, ms:                   {quantiles(joined['ttfa_ms'], 0.5, 0.99)}")
    print(f"  ttfa − truth, ms:           {quantiles(joined['error_ms'], 0.5, 0.99, 0.999, 1)}")
    print(f"  |ttfa − truth|, ms:         {quantiles(joined['error_ms'].abs(), 0.5, 0.99, 0.999, 1)}")
    print(
        f"  timestamp_uncertainty of first, ms:   {quantiles(joined['timestamp_uncertainty_ns'] / 1e6, 0.5, 0.99, 1)}"
    )
    print(f"  simulator: {ready.output.strip().splitlines()[-1]}")


if __name__ == "__main__":
    main()
