"""Tells a child process how a run stands, which sends that to an OpenTelemetry collector (`exporter.py`).

The child runs beside the sessions at low priority: what the SDK computes and what it waits for holds nobody up here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

import gevent
import msgspec
from gevent.queue import Full, Queue
from gevent.subprocess import DEVNULL, PIPE, Popen

from bench.cores import LOWERED
from bench.errors import UsageError
from bench.installation import tool_version
from bench.load.leading.tally import EXPORTED
from bench.load.planning.planned import Planned
from bench.load.playing.progress import ProgressReport
from bench.plain import one_line
from bench.spawn import KILLED_S, own_environment, python_command
from bench.target.target import Target

MOST_LINES = 1_000
"""Most lines that wait for the child; it is told no more beyond them."""
LAST_S = 10.0
"""Seconds that the child may take for what is left when the run is over."""
PROVIDERS = {"azure": "azure.ai.openai", "openai": "openai"}
NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
BEHIND = "the process that sends metrics fell behind: some are lost"


def check_installed() -> None:
    """Raises UsageError where the packages are not there that send metrics."""
    try:
        there = all(map(find_spec, NEEDED))
    except ModuleNotFoundError:  # what they stand in is not there
        there = False
    if not there:
        raise UsageError("--telemetry needs packages that are not here: install rtbench with the extra `otel`")


class Telemetry:
    """Tells the child of one run. `say` shows what the child has to say."""

    def __init__(self, run_id: str, planned: Planned, say: Callable[[str], None]) -> None:
        self._say, self._behind = say, False
        self._lines: Queue[bytes | None] = Queue(MOST_LINES)
        self._child = Popen(
            python_command("bench.load.leading.exporter"),
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=PIPE,
            env=own_environment(os.environ),
            start_new_session=True,  # Ctrl-C is not for it
        )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._child.pid, LOWERED)
        self._writes, self._hears = gevent.spawn(self._write), gevent.spawn(self._hear)
        targets = {target.label: attributes_of(target) for target in planned.targets}
        about = {"run_id": run_id, "scenario": planned.scenario, "version": tool_version(), "targets": targets}
        self._put(about)

    def tell(self, worker: int, standing: ProgressReport) -> None:
        """Tell of a process's report."""
        self._put(
            {
                "worker": worker,
                "targets": standing.targets,
                "outcomes": standing.outcomes,
                "simulated": standing.simulated,
                "times_us": {
                    label: {step: [of for of in times if of[0] in EXPORTED] for step, times in steps.items()}
                    for label, steps in standing.times_us.items()
                },
            }
        )

    def tell_harness(self, *, late: bool) -> None:
        """Tell whether the run would be invalid now."""
        self._put({"late": late})

    def _put(self, told: Mapping[str, Any]) -> None:
        if self._writes.dead:  # the child has ended, and has said why
            return
        try:
            self._lines.put_nowait(msgspec.json.encode(told) + b"\n")
        except Full:
            if not self._behind:
                self._behind = True
                self._say(BEHIND)

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # it has ended
            while (line := self._lines.get()) is not None:
                self._child.stdin.write(line)
                self._child.stdin.flush()
        with contextlib.suppress(OSError):
            self._child.stdin.close()

    def _hear(self) -> None:
        """Show what the child says."""
        for line in self._child.stderr:
            if text := line.decode(errors="replace").strip():
                self._say(f"telemetry: {one_line(text)}")

    def close(self) -> None:
        """Have the child send what is left, and end it where that takes too long."""
        with contextlib.suppress(Full), gevent.Timeout(LAST_S, Full):
            if not self._writes.dead:
                self._lines.put(None)
        with gevent.Timeout(LAST_S, False):
            self._child.wait()
        if self._child.poll() is None:
            self._child.kill()
            with gevent.Timeout(KILLED_S, False):
                self._child.wait()
        gevent.joinall([self._hears], timeout=1)
        gevent.killall([self._writes, self._hears])


def attributes_of(target: Target) -> dict[str, str]:
    """What metrics say of a target, by the names of the conventions."""
    told = {
        "gen_ai.provider.name": PROVIDERS.get(target.service, target.service),
        "gen_ai.request.model": target.model,
        "cloud.region": target.region,
        "server.address": target.host,
    }
    return {name: value for name, value in told.items() if value}
