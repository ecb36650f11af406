"""A Nova Sonic target against a GA target, over HTTP/2 and over WebSocket, whose services differ by
50 ms: how many runs are valid, and in how many the interval contains the true difference.

Two simulators have the same delays, except that the first audio of one has a median that is 50 ms
later. The true difference of a run's `ttfa` is thus 50 ms at the median. Each run is a pair of
targets with the same script. An interval of 90 % contains the true difference in 9 of 10 runs on
average, one of 95 % in 19 of 20. `known_difference FOLDER --runs 1` makes one run of under a
minute, and counts the runs in the folder; `--runs 0` only counts them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from bench.load.simulator_process import simulator
from bench.record import folder as files
from rtbench.evaluation import EVALUATION
from tests.simulator_process import AUDIO

RUNS = 10
DIFFERENCE_MS = 50
FIRST_AUDIO_MS = 400
SPREAD = 1.25
"""The 95th percentile of the first audio, divided by the median."""
USERS, PAIRS = 5, 40
INTERVALS = {90: 0.95, 95: 0.975}
"""The two-sided intervals in %, with the confidence of `rtbench compare` for each of their ends."""
PROFILE = """
delays_ms:
  speech_stopped: 10
  vad_committed: 5
  response_created: 20
  first_audio: {{p50: {p50}, p95: {p95}}}
generation_speed: 20
"""
SCRIPT = f"""
session: {{turn_detection: server_vad, input_format: pcm16}}
steps:
  - audio: {AUDIO}/late_parcel.wav
"""
TARGETS = """
targets:
  ga:
    url: "{ga}"
    session: {{turn_detection: {{type: server_vad, silence_duration_ms: 500}}}}
  nova: {{url: "{nova_sonic}"}}
"""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "any"}
COMMAND = (sys.executable, "-m", "rtbench.cli.app")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("build/known_difference"))
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args([] if sys.argv[0].endswith("__main__.py") else None)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for _ in range(arguments.runs):
        number = len(list(arguments.folder.iterdir()))
        _run(arguments.folder / f"{number:02}")
    hits = dict.fromkeys(INTERVALS, 0)
    folders = sorted(arguments.folder.iterdir())
    for folder in folders:
        for interval in INTERVALS:
            text, is_hit = _result(folder, interval)
            hits[interval] += is_hit
            print(f"{folder.name}: {text}")
    for interval, count in hits.items():
        print(
            f"{count} of {len(folders)} runs are valid, and their {interval} % interval contains"
            f" {DIFFERENCE_MS} ms"
        )


def _profile(folder: Path, name: str, p50_ms: float) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(PROFILE.format(p50=p50_ms, p95=p50_ms * SPREAD))
    return str(path)


def _run(folder: Path) -> None:
    folder.mkdir()
    (folder / "call.yaml").write_text(SCRIPT)
    of_ga = _profile(folder, "ga", FIRST_AUDIO_MS)
    of_nova = _profile(folder, "nova", FIRST_AUDIO_MS + DIFFERENCE_MS)
    seed = ("--seed", folder.name)
    with (
        simulator(EVALUATION.command, "--profile", of_ga, *seed) as ga,
        simulator(EVALUATION.command, "--profile", of_nova, *seed) as nova,
    ):
        urls = ga["urls"] | {"nova_sonic": nova["urls"]["nova_sonic"]}
        (folder / "targets.yaml").write_text(TARGETS.format(**urls))
        options = ["run", "call.yaml", "--targets", "ga,nova", "--runs-dir", "runs", "--yes"]
        subprocess.run(
            [*COMMAND, *options, "-u", str(USERS), "--sessions", str(PAIRS)],
            cwd=folder,
            env=os.environ | CREDENTIALS,
            check=False,
            stdout=subprocess.DEVNULL,
        )


def _result(folder: Path, interval: int) -> tuple[str, bool]:
    """Return (a line about a run, whether it is valid and its interval contains the difference)."""
    (run,) = (folder / "runs").iterdir()
    out = folder / str(interval)
    confidence = ["--confidence", str(INTERVALS[interval])]
    if not (out / "compare.json").exists():
        subprocess.run(
            [*COMMAND, "compare", f"{run}:ga", f"{run}:nova", "--out", str(out), *confidence],
            check=False,
            stdout=subprocess.DEVNULL,
        )
    compared = msgspec.json.decode((out / "compare.json").read_bytes())
    ttfa = next(each for each in compared["comparisons"] if each["title"] == "ttfa p50")
    of_ga_ms = ttfa["against"]["value"]
    low_ms, change_ms, high_ms = (ttfa[name] * of_ga_ms for name in ("low", "difference", "high"))
    is_hit = low_ms <= DIFFERENCE_MS <= high_ms
    status = compared["validity"]["status"]
    checks = files.read_document(run)["validity"]["checks"]
    values = ", ".join(
        f"{check['name']} {check['value']:.2f} of {check['limit']:.2f} {check['unit']}"
        for check in checks
        if check["limit"] is not None and check["unit"] == "ms"
    )
    values_ms = f"+{change_ms:.1f} ms ({low_ms:.1f} to {high_ms:.1f}) of {of_ga_ms:.0f} ms"
    return f"{status}, {interval} %: {values_ms}, {ttfa['value']['n']} turns; {values}", (
        is_hit and status == "valid"
    )


if __name__ == "__main__":
    main()
