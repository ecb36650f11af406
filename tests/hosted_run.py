"""A run on several hosts (`tests.hosts`). The simulator and the master are on a hub; each worker
is on its own host.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rtbench_simulator.ground_truth_log import read_truth
from tests.hosts import Hosts, hosts, started
from tests.simulator_process import QUICK, ROOT
from tests.system.end_to_end.locust_process import GUARD_S, only_run, write_scenario

PORT = 8765
PASSWORD = "a-password-of-the-proxy"


class HostedRun:
    """The processes and files of a run on several hosts.

    The master and each worker have their own folder, and a log next to this folder.
    """

    def __init__(self, folder: Path, net: Hosts, names: Sequence[str]) -> None:
        self.folder, self.net, self.names = folder, net, names
        self.master_folder = folder / "master"
        self.master: subprocess.Popen[bytes] | None = None
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._options: list[str] = []

    def folder_of(self, name: str) -> Path:
        return self.folder / name

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def serve(self) -> subprocess.Popen[bytes]:
        """Start the simulator. Return when it listens."""
        (self.folder / "quick.yaml").write_text(QUICK)
        ready, ca = self.folder / "ready.json", self.folder / "ca.pem"
        served = (
            "--host",
            self.net.service_address,
            "--port",
            str(PORT),
            "--tls",
            "--ca-out",
            str(ca),
        )
        logs = (
            "--ground-truth",
            str(self.truth),
            "--ready-file",
            str(ready),
            "--profile",
            str(self.folder / "quick.yaml"),
        )
        command = [
            sys.executable,
            "-W",
            "error",
            "-m",
            "rtbench.cli.app",
            "simulate",
            *served,
            *logs,
        ]
        process = started(self.net.of_hub, command, ROOT, self.folder / "simulator.log")
        until = time.monotonic() + GUARD_S
        while not (ready.exists() and ready.read_text()):
            assert time.monotonic() < until, self.log("simulator")
            time.sleep(0.05)
        url = re.sub(
            r"//[^/]+", f"//simulator.test:{PORT}", json.loads(ready.read_text())["urls"]["ga"]
        )
        self._options = [
            "--url",
            url,
            "--resolve",
            self.net.service_address,
            "--ca-file",
            str(ca),
            "--yes",
        ]
        return process

    def lead(self, *options: str, starts: Sequence[str] = ("--headless",)) -> None:
        """Start the master, which waits for one worker per host. `starts` contains the options
        that start the load.
        """
        address = self.net.hub_address
        roles = (
            "--master",
            "--master-bind-host",
            address,
            *starts,
            "--expect-workers",
            str(len(self.names)),
        )
        command = [
            sys.executable,
            "-m",
            "locust",
            "-f",
            "scenario.py",
            *roles,
            "--runs-dir",
            "runs",
            *self._options,
        ]
        self.master = started(
            self.net.of_hub, [*command, *options], self.master_folder, self.folder / "master.log"
        )

    def work(self, *options: str, through: str = "") -> None:
        """Start a worker on each host.

        If `through` is given, workers connect to this address instead of the master's address.
        """
        for name in self.names:
            self.start(name, *options, through=through)

    def start(self, name: str, *options: str, through: str = "") -> None:
        """Start a worker on a host, for the first time or in place of a worker that has ended."""
        role = ("--worker", "--master-host", through or self.net.hub_address)
        command = [sys.executable, "-m", "locust", "-f", "scenario.py", *role, "--yes", *options]
        self.workers[name] = started(
            self.net.of(name), command, self.folder_of(name), self.folder / f"{name}.log"
        )

    def ended(self) -> int:
        """Wait until the master ends, and return its exit status."""
        assert self.master is not None
        return self.master.wait(GUARD_S)

    @property
    def runs(self) -> Path:
        return self.master_folder / "runs"

    @property
    def run(self) -> Path:
        return only_run(self.runs)

    @property
    def truth(self) -> Path:
        return self.folder / "truth.jsonl"

    def true_turns(self) -> set[str]:
        """Return the IDs of all responses that the simulator completed."""
        ended = (
            e
            for e in read_truth(self.truth)
            if e.get("direction") == "out" and e["type"] == "response.done"
        )
        return {event["response"] for event in ended}


@contextmanager
def hosted_run(folder: Path, names: Sequence[str]) -> Iterator[HostedRun]:
    """Start a simulator, and create the folders of the master and of the workers.

    At the end of the block, end all processes.
    """
    for name in ("master", *names):
        (folder / name).mkdir()
        write_scenario(folder / name)
    with hosts(names, folder / "master") as net:
        run = HostedRun(folder, net, names)
        simulator = run.serve()
        try:
            yield run
        finally:
            for process in (run.master, *run.workers.values()):
                if process is not None and process.poll() is None:
                    process.kill()
                    process.wait()
            simulator.send_signal(signal.SIGINT)
            simulator.wait(GUARD_S)
