"""The simulator that `--simulator` calls: the one that runs on its usual port, or one that ends
with the command.

A command that starts other processes of this tool names its simulator to them in the environment
variable `ADDRESS`.
"""

# `--simulator` calls the first of three: the one whose address a parent command passes on in
# `ADDRESS`, so that all runs of a search have the same; the one that already runs on the usual
# port, unless a profile is requested; or one that is started here, on a free port, and ends with
# the command.

import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from bench.base.clock import monotonic_ns
from bench.base.errors import UsageError
from bench.base.installation import child_environment, last_line, terminate
from bench.base.units import NS_PER_S
from bench.files.safe_io import JsonError, read_json
from bench.plan.script import Script
from bench.services.names import NAMES
from bench.target.target import Target
from bench.target.target_settings import OPTIONS, SIMULATOR_PORT, ServiceOptions
from bench.wire.dialect import SIMULATOR_HEADER
from bench.wire.settings import FULL_DUPLEX

T = TypeVar("T")
ToolCommand = Callable[..., list[str]]
"""What returns the command of this tool with these words (`Evaluation.command`)."""
ADDRESS = "RTBENCH_SIMULATOR"
"""The environment variable with the host and the port of the simulator that `--simulator` calls."""
START_S = 60.0
ENDS_S = 30.0
POLL_S = 0.02
ANSWER_S = 2.0
LOG_LINES = 300
LOOPBACK = "127.0.0.1"
CONFLICTING = ("url", "targets", "target_file")
AGENT = "agent_"
"""The start of the names of simulated agents in the ready file."""


class CalledSimulator(NamedTuple):
    """A simulator to call. `notice` is to be shown before the first call; "" if another process
    shows it.
    """

    address: str
    notice: str


@contextmanager
def simulator_to_call(profile: str | None, command: ToolCommand) -> Iterator[CalledSimulator]:
    """Yield the simulator of `--simulator`, which plays `profile` if it is not None.

    If none runs on the usual port, or if a profile is named, start one by `command`, which ends
    with the block.
    """
    if address := os.environ.get(ADDRESS):
        yield CalledSimulator(address, "")
    elif profile is None and serves(SIMULATOR_PORT):
        what = f"the `rtbench simulate` that already runs on port {SIMULATOR_PORT} of this machine"
        yield CalledSimulator(f"{LOOPBACK}:{SIMULATOR_PORT}", f"SIMULATED: the service is {what}")
    else:
        with simulator(command, *(() if profile is None else ("--profile", profile))) as ready:
            what = (
                f"`rtbench simulate` on port {ready['port']} of this machine, with the profile"
                f" {ready['profile']}"
            )
            yield CalledSimulator(
                f"{LOOPBACK}:{ready['port']}", f"SIMULATED: the service is {what}"
            )


class Served(msgspec.Struct):
    """The answer of a simulator to a request without a path: the URLs of its services, by name."""

    urls: dict[str, str]


def _answer_at(address: str) -> bytes | None:
    """Return what the simulator at an address answers to a request without a path; None if none
    answers without TLS.
    """
    with (
        suppress(OSError, http.client.HTTPException),
        closing(http.client.HTTPConnection(address, timeout=ANSWER_S)) as connection,
    ):
        connection.request("GET", "/")
        answer = connection.getresponse()
        if answer.getheader(SIMULATOR_HEADER) is not None:
            return answer.read()
    return None


def serves(port: int) -> bool:
    """Return whether a simulator without TLS serves this port of this machine."""
    return _answer_at(f"{LOOPBACK}:{port}") is not None


def urls_at(address: str) -> dict[str, str]:
    """Return the URLs of the services of the simulator at an address. Raise UsageError if none
    answers, or one of an earlier version, which does not name them.
    """
    with suppress(JsonError):
        if answer := _answer_at(address):
            served: Served = read_json(answer, Served)
            return served.urls
    raise UsageError(
        f"no simulator of this version answers at {address}: start it with `rtbench simulate`"
    )


def is_simulator(target: Target) -> bool:
    """Return whether a target is a simulator on this machine that answers without TLS."""
    return target.loopback and not target.tls and serves(target.port)


def with_simulator(
    options: ServiceOptions, address: str, scripts: Iterable[Script] = ()
) -> ServiceOptions:
    """Return the options with the URL of the simulated service in place of `--simulator`.

    It is the service of the option `--dialect`, or else an agent if a script is full duplex. Raise
    UsageError if the options name another service, too, or a dialect that is not simulated, or if
    the simulator does not answer.
    """
    if other := next((name for name in CONFLICTING if getattr(options, name)), None):
        raise UsageError(
            f"--simulator and {OPTIONS[other].flag} both set the target: omit one of them"
        )
    named = urls_at(address)
    urls = simulated_dialects(named)
    simulated = [name for name in NAMES if name in urls]
    agent = next(name.removeprefix(AGENT) for name in named if name.startswith(AGENT))
    detections = [script.session.turn_detection for script in scripts]
    needs_agent = any(
        detection is not None and detection.type == FULL_DUPLEX for detection in detections
    )
    dialect = options.dialect or (agent if needs_agent else simulated[0])
    if dialect not in simulated:
        raise UsageError(
            f"--simulator has no service with --dialect {dialect}; it has {', '.join(simulated)}"
        )
    called = replace(options, simulator=False, simulator_profile=None)
    return replace(called, url=urls[dialect], dialect=dialect, proxy=options.proxy or "none")


def simulated_dialects(urls: Mapping[str, str]) -> dict[str, str]:
    """Return the URLs of a ready file by the names of their dialects."""
    return {name.removeprefix(AGENT).replace("_", "-"): url for name, url in urls.items()}


@contextmanager
def simulator(command: ToolCommand, *options: str) -> Iterator[dict[str, Any]]:
    """Run `rtbench simulate` in its own process, on a free port. Yield the content of its ready
    file.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ready = Path(scratch) / "ready.json"
        log = Path(scratch) / "simulator.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command("simulate", "--port", "0", "--ready-file", str(ready), *options),
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=child_environment(os.environ),
            )
        try:
            wait_until(ready.exists, process, "the simulator", log)
            yield json.loads(ready.read_bytes())
        finally:
            process.send_signal(signal.SIGTERM)
            terminate(process, ENDS_S)


def wait_until(
    check: Callable[[], T | None], process: subprocess.Popen[bytes], name: str, log: Path | None
) -> T:
    """Return the first result of `check`. Raise UsageError about `name` if the process ends, or
    after `START_S`.
    """
    until_ns = monotonic_ns() + int(START_S * NS_PER_S)
    while not (result := check()):
        if process.poll() is not None or monotonic_ns() > until_ns:
            raise UsageError(f"{name} did not start: {last_lines(log)}")
        time.sleep(POLL_S)
    return result


def last_lines(printed: str | Path | None) -> str:
    """Return the end of the last line that a process printed, or that is in its log; "" if there
    is none.
    """
    text = (
        printed.read_text(encoding="utf-8", errors="replace")
        if isinstance(printed, Path)
        else printed
    )
    return last_line(text or "")[-LOG_LINES:]
