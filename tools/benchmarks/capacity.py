"""Capacity searches of simulated services with a known breaking point
(docs/decisions/0044-capacity.md).

Twelve services slow down slowly or abruptly above a load, or refuse calls. An impossible limit and
a closed port must end the search early. The simulator and the search share this machine, so turns
are typed and short.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulator_process import QUICK, running_simulator
from tests.system.end_to_end.locust_process import write_scenario
from tools.peers.agents.ports import free_port

P50_MS, P95_MS, LIMIT_MS = 300.0, 450.0, 800.0
SLOWER = LIMIT_MS / P95_MS - 1
"""The increase of the delays at which p95 is the limit."""
MINUTES = 3.0
SCRIPT = """session: {output: text}
steps:
  - pause: {median: 1, sigma: 0.4}
  - {text: Hello, name: a}
  - pause: {median: 1, sigma: 0.4}
  - {text: And more, name: b}
  - pause: {median: 1, sigma: 0.4}
  - {text: Goodbye, name: c}
"""
PROFILE = QUICK.replace(
    "first_text: {p50: 10, p95: 20}", f"first_text: {{p50: {P50_MS:g}, p95: {P95_MS:g}}}"
).replace("text_tokens_per_s: 1000", "text_tokens_per_s: 100000")


@dataclass(frozen=True)
class Service:
    """A service that passes up to `truth` calls. `more` is its profile in addition to `PROFILE`."""

    kind: str
    truth: int
    more: str


def slow(truth: int) -> Service:
    """Return a service that becomes slower from half of its breaking point on."""
    begin = truth // 2
    return Service(
        "slow",
        truth,
        f"slowdown: {{sessions: {begin}, per_session: {SLOWER / (truth + 0.5 - begin):.5f}}}",
    )


def abrupt(truth: int) -> Service:
    return Service("abrupt", truth, f"slowdown: {{sessions: {truth}, per_session: 4}}")


def refusing(truth: int) -> Service:
    return Service("refusing", truth, f"max_sessions: {truth}")


SERVICES = [
    make(truth)
    for make, truths in (
        (slow, (5, 12, 28, 60)),
        (abrupt, (7, 16, 36, 50)),
        (refusing, (6, 20, 32, 45)),
    )
    for truth in truths
]


def main() -> None:
    print(f"{'service':<10}{'truth':>6}{'range':>14}{'covers':>8}{'min':>6}  answer", flush=True)
    found = [measured(service) for service in SERVICES]
    known = [covers for covers in found if covers is not None]
    print(
        f"{sum(known)} of {len(known)} ranges contain the truth; {len(found) - len(known)} have no"
        " range"
    )
    impossible()
    closed_port()


def measured(service: Service) -> bool | None:
    """Print a line for a search. Return whether its range contains the truth; None if it has
    none.
    """
    document, spent_s, _ = searched(service.more, f"ttft: p(95)<{LIMIT_MS:g}")
    found = document["estimate"]["numbers"]
    low, high = found.get("low", 0), found.get("high")
    has_range = document["exit_status"] != 4
    covers = low <= service.truth <= (high or service.truth) if has_range else None
    shown = f"{low} to {high or 'more'}"
    line = f"{service.kind:<10}{service.truth:>6}{shown:>14}{covers!s:>8}{spent_s / 60:>6.1f}"
    print(f"{line}  {document['headline']}", flush=True)
    return covers


def impossible() -> None:
    document, spent_s, _ = searched("", "ttft: p(95)<50")
    print(f"impossible limit: {spent_s:.0f} s; {document['headline']}", flush=True)


def closed_port() -> None:
    _, spent_s, output = searched(
        "", "ttft: p(95)<800", url=f"ws://127.0.0.1:{free_port()}/v1/realtime?model=any"
    )
    print(f"closed port: {spent_s:.0f} s; {output.strip().splitlines()[-1]}")


def searched(more: str, *thresholds: str, url: str = "") -> tuple[dict[str, Any], float, str]:
    """Search. Return capacity.json (empty if there is none), the duration in seconds,
    and the output.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "profile.yaml").write_text(PROFILE + more)
        scenario = write_scenario(folder, script=SCRIPT)
        with running_simulator("--profile", str(folder / "profile.yaml")) as simulator:
            options: Sequence[str] = [
                word for threshold in thresholds for word in ("--thresholds", threshold)
            ]
            command = [
                sys.executable,
                "-m",
                "rtbench.cli.app",
                "capacity",
                str(scenario),
                *options,
            ]
            places = [
                "--url",
                url or simulator.urls["ga"],
                "-o",
                str(folder / "found"),
                "--",
                "--priority",
            ]
            start_s = time.monotonic()
            done = subprocess.run([*command, *places], capture_output=True, text=True, check=False)
            spent_s = time.monotonic() - start_s
        file = folder / "found" / "capacity.json"
        document = json.loads(file.read_text()) if file.exists() else {}
        return document, spent_s, re.sub(r"\n+", "\n", done.stdout + done.stderr)
