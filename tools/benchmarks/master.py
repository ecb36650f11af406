"""The load that a master can handle (docs/scaling.md). Simulated workers send it real parts and
heartbeats.

The workers use Locust's protocol. Each worker records the given number of turns per second, as rows
of a real run, and sends them as workers do. The master keeps up if its receipts come soon. If it
does not, parts wait on the disks of the workers, and no data are lost.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import gevent
import locust
import msgspec
import numpy as np
from locust.rpc.protocol import Message
from locust.rpc.zmqrpc import Client

from bench.load.execution.progress import ProgressReport
from bench.load.runners.messages import CHUNK, HERE, PROGRESS, host_facts
from bench.record.replica import ChunkAck, PartSource, new_key
from bench.record.spool import path_of, prepare, rows_of
from tests.system.end_to_end.locust_process import write_scenario
from tools.benchmarks.locust_runs import quantiles
from tools.peers.agents.ports import free_port

LOADS = ((25, 40), (100, 100), (200, 100), (400, 100))
"""(workers, turns per second of each)"""
LASTS_S = 20.0
TURN_BYTES = 1_000


class SimulatedWorker:
    """A worker that uses the real protocol, and sends a part that grows."""

    def __init__(self, port: int, number: int, folder: Path, turns_per_s: int) -> None:
        self._id, self._turns_per_s = f"simulated_{number}", turns_per_s
        self._client = Client("127.0.0.1", port, self._id)
        self._folder = folder
        self.waits_ms: list[float] = []
        self._run_id, self._number, self._key = "", 0, new_key()
        self._sent_ns = 0
        self._receipts: list[ChunkAck] = []

    def send(self, kind: str, data: object) -> None:
        self._client.send(Message(kind, data, self._id))

    def live(self) -> None:
        """Handle the master's messages until the process ends."""
        self.send("client_ready", locust.__version__)
        self.send(HERE, host_facts() | {"key": self._key})
        gevent.spawn(self._beat)
        while True:
            message = self._client.recv()
            if message.type == "spawn" and not self._run_id:
                handed = message.data["parsed_options"]["rtbench_run"]
                self._run_id, self._number = handed["run_id"], handed["members"][self._id]
                self.send("spawning_complete", {"user_classes_count": {}, "user_count": 0})
                gevent.spawn(self._ship)
            elif message.type == "rtbench_receipt":
                self.waits_ms.append((time.monotonic_ns() - self._sent_ns) / 1e6)
                self._receipts.append(msgspec.convert(message.data, ChunkAck))

    def _beat(self) -> None:
        while True:
            usage = {"current_cpu_usage": 10, "current_memory_usage": 1}
            self.send("heartbeat", {"state": "running" if self._run_id else "ready"} | usage)
            if self._run_id:
                self.send(PROGRESS, asdict(ProgressReport()))
            gevent.sleep(1)

    def _ship(self) -> None:
        prepare(self._folder)
        source, rows = PartSource(self._folder, self._number, self._key), np.random.default_rng(1)
        while True:
            with path_of(self._folder, self._number, rows_of("turns")).open("ab") as file:
                file.write(
                    rows.integers(0, 40, self._turns_per_s * TURN_BYTES, dtype=np.uint8).tobytes()
                )
            for chunk in source.chunks():
                self._sent_ns = time.monotonic_ns()
                self.send(
                    CHUNK,
                    {
                        "run_id": self._run_id,
                        "chunk": msgspec.to_builtins(chunk, builtin_types=(bytes,)),
                    },
                )
                while not self._receipts:
                    gevent.sleep(0.005)
                source.add(self._receipts.pop())
            gevent.sleep(1)


def main() -> None:
    print(
        f"A master and simulated workers, {TURN_BYTES} bytes of rows per turn, {LASTS_S:g} s each"
    )
    for workers, turns_per_s in LOADS:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "tools.benchmarks.master",
                    folder,
                    str(workers),
                    str(turns_per_s),
                ],
                check=True,
            )


def play(folder: Path, workers: int, turns_per_s: int) -> None:
    """Run one master with this number of workers, which are greenlets of this process."""
    port = free_port()
    with master(folder, port, workers) as process:
        gevent.sleep(2)
        crowd = [
            SimulatedWorker(port, n, _made(folder / f"part-{n}"), turns_per_s)
            for n in range(workers)
        ]
        for worker in crowd:
            gevent.spawn(worker.live)
        gevent.sleep(6 + workers / 100)
        before, taken, began = _cpu_s(process.pid), _taken(folder), time.monotonic()
        for worker in crowd:
            worker.waits_ms.clear()
        gevent.sleep(LASTS_S)
        seconds = time.monotonic() - began
        cpu = (_cpu_s(process.pid) - before) / seconds
        taken_mb_per_s = (_taken(folder) - taken) / seconds / 1e6
        waits = [wait for worker in crowd for wait in worker.waits_ms]
        formatted = quantiles(waits, 0.5, 0.99) if waits else "none"
        print(
            f"  {workers} workers × {turns_per_s} turns/s: {len(waits) / seconds:.0f} chunks/s,"
            f" {taken_mb_per_s:.1f} of {workers * turns_per_s * TURN_BYTES / 1e6:.1f} MB/s,"
            f" receipts ms {formatted}, master {100 * cpu:.0f} % of a core",
            flush=True,
        )
        process.kill()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _taken(folder: Path) -> int:
    """Return the number of bytes that the master has received."""
    return sum(path.stat().st_size for path in (folder / "runs").glob("*/spool/*"))


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def master(folder: Path, port: int, workers: int) -> Iterator[subprocess.Popen[bytes]]:
    roles = (
        "--master",
        "--master-bind-port",
        str(port),
        "--headless",
        "--expect-workers",
        str(workers),
    )
    load = ("--url", "ws://127.0.0.1:1/v1/realtime?model=m", "-u", str(workers), "-r", str(workers))
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(write_scenario(folder)),
        *roles,
        "--runs-dir",
        str(folder / "runs"),
    ]
    with (folder / "master.log").open("wb") as log:
        process = subprocess.Popen([*command, *load], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    play(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
