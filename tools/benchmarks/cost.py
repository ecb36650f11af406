"""The CPU time per event if everything is recorded, and the number of sessions that one core can
run.

If there are two cores, the load generator has one and the simulator the other. The cost of a part
is the CPU time of the real code on real frames. The total cost is the CPU time of the process per
event in the busiest seconds of a run.
"""

from __future__ import annotations

import base64
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pandas as pd
from websockets.client import ClientProtocol
from websockets.protocol import State
from websockets.uri import parse_uri

from bench.base.clock import Arrival, SendTime, monotonic_ns, utc_ns
from bench.base.cpu import pinned_to
from bench.base.units import NEVER_NS
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.observe.timeline import Timeline
from bench.plan.turn_plan import TurnPlan
from bench.record import folder as files
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import Spool
from bench.services.openai.dialect import GA
from bench.transport.parser import SocketRead
from bench.transport.websocket import WebSocket
from bench.wire.connection import NetworkMeasured, ReceivedMessage, Transmitted
from rtbench.calibrate.load_steps import PROFILE
from tests.simulator_process import running_simulator
from tests.system.end_to_end.locust_process import write_scenario
from tools.benchmarks.locust_runs import quantiles, run_locust, truth_of, turns_of, with_truth
from tools.benchmarks.watch import cores

REPEATS = 20_000
LOADS = (50, 100, 200, 300, 400, 500, 600, 700, 800, 1000)
BUZZ = b"\x40\x10" * 60 + b"\xc0\xef" * 60
# audible, like all but the first two or three deltas of a reply
DELTA = base64.b64encode(BUZZ * 50).decode()
AUDIO = (
    '{"type":"response.output_audio.delta","event_id":"event_1","response_id":"resp_1",'
    '"item_id":"item_1",'
    f'"output_index":0,"content_index":0,"delta":"{DELTA}"}}'
).encode()
TEXT = AUDIO.replace(b"output_audio", b"output_audio_transcript").replace(DELTA.encode(), b" hello")


class SilentStream:
    """A stream without events: the benchmark passes reads to the WebSocket itself."""

    def read(self, until_ns: int) -> SocketRead | None:
        return None

    heard_ns = 0

    def yield_to_loop(self) -> None:
        pass

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        return SendTime(0)

    def transmitted(self) -> list[Transmitted]:
        return []

    def network(self) -> NetworkMeasured | None:
        return None

    def close(self) -> None:
        pass


def main() -> None:
    parts()
    for transport in ("plain", "tls"):
        capacity(transport)


def parts() -> None:
    """Print the CPU time per event of each layer, for an audio delta of 250 ms and for a
    transcript delta.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name, message in (("audio delta", AUDIO), ("transcript delta", TEXT)):
            work = Path(folder) / name
            (work / "spool").mkdir(parents=True)
            costs = {title: cost_us(call) for title, call in stations(work, message).items()}
            text = " · ".join(f"{title} {cost:.1f}" for title, cost in costs.items())
            print(f"{name}, µs: {text} · together {sum(costs.values()):.1f}")


def stations(folder: Path, message: bytes) -> dict[str, Callable[[], object]]:
    socket = WebSocket(
        cast(Any, SilentStream()),
        ClientProtocol(parse_uri("ws://localhost/"), max_size=None, state=State.OPEN),
    )
    wire = frame(message)
    events = GA.decode(message)
    timeline = Timeline(SessionStart(0, 1, Timeouts()), GA)
    timeline.apply(
        inputs.TurnStarted(monotonic_ns(), TurnPlan(1, "step", "turn-1-", "turn-1-response"))
    )
    timeline.apply(inputs.Sent("response.create", monotonic_ns(), 1))
    record = Recorder(Spool(folder, 0), utc_ns()).session(
        RowContext("s", "target", "scenario", "script")
    )

    def came() -> ReceivedMessage:
        return ReceivedMessage(message, Arrival(monotonic_ns()), len(wire))

    def frames() -> None:
        now_ns = monotonic_ns()
        socket._on_read(SocketRead(wire, now_ns, now_ns - 1000, True, True))
        socket._came.clear()

    return {
        "frames": frames,
        "decode": lambda: GA.decode(message),
        "timeline": lambda: timeline.apply(inputs.Received(events, came())),
        "recorder": lambda: record.received(events, came(), monotonic_ns()),
    }


def frame(message: bytes) -> bytes:
    """Return a server's text frame (RFC 6455 §5.2)."""
    length = len(message)
    return (
        b"\x81"
        + (bytes([length]) if length < 126 else b"\x7e" + struct.pack("!H", length))
        + message
    )


def cost_us(call: Callable[[], object]) -> float:
    start_s = time.process_time()
    for _ in range(REPEATS):
        call()
    return (time.process_time() - start_s) / REPEATS * 1e6


def capacity(transport: str) -> None:
    """Increase the load until a run is invalid. Print whether the load generator or the
    simulator was the limit.
    """
    for sessions in LOADS:
        with tempfile.TemporaryDirectory() as folder:
            if not carries(Path(folder), transport, sessions):
                return


def carries(scratch: Path, transport: str, sessions: int) -> bool:
    scenario, truth_log = write_scenario(scratch, 12), scratch / "truth.jsonl"
    (scratch / "profile.yaml").write_text(PROFILE)
    tls = ["--tls"] if transport == "tls" else []
    where, served = (
        cores(),
        ("--ground-truth", str(truth_log), "--profile", str(scratch / "profile.yaml"), *tls),
    )
    with (
        pinned_to(where.simulator),
        running_simulator(*served) as ready,
        pinned_to(where.load_generator),
    ):
        load = [
            "-u",
            str(sessions),
            "-r",
            "40",
            "--sessions",
            str(sessions),
            "--url",
            ready.urls["ga"],
        ]
        ca = ["--ca-file", str(ready.ca)] if ready.ca else []
        run, _, _ = run_locust(scenario, scratch / "runs", *load, *ca)
    verdict = files.read_document(run)["validity"]
    joined = with_truth(turns_of(run), truth_of(truth_log)[0])
    busy = busiest(run)
    lateness = ready.output.strip().splitlines()[-1].removeprefix("SIMULATED: ")
    events_per_session = busy["events"] / sessions
    print(
        f"{transport}, {sessions} sessions: {verdict['status']} · {events_per_session:.0f} events/s"
        f" per session · CPU {busy['cpu'] * 100:.0f} %, {busy['cpu'] / busy['events'] * 1e6:.1f} µs"
        f" per event · |ttfa − truth| ms {quantiles(joined['error_ms'].abs(), 0.5, 0.99)}"
    )
    print(f"    simulator: {lateness}")
    return verdict["status"] == "valid"


def busiest(run: Path) -> pd.Series[float]:
    """Return the means over the third of the seconds that has the most events: all sessions are
    active in it.
    """
    seconds: pd.DataFrame = files.read_table(run, "seconds").to_pandas()
    busy_seconds = seconds.nlargest(max(1, len(seconds) // 3), "events")
    return busy_seconds[["events", "cpu"]].mean()


if __name__ == "__main__":
    main()
