"""CPU time of recording (docs/accuracy.md, 0037): a turn's end, values and encoding of
histograms, and flushed rows.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.base.clock import Arrival, monotonic_ns, utc_ns
from bench.catalogue.pricing import Prices, PricingTerms
from bench.load.execution.progress import CostMeter, ProgressCounter
from bench.load.execution.session_registry import LocustCallbacks, RunListener
from bench.load.execution.target_state import StartPacer, TargetState
from bench.load.lifecycle import RunLifecycle
from bench.load.runners.live_totals import LiveTotals
from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.record.histograms import HistogramKey, Histograms
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import Spool
from bench.services.openai.dialect import GA
from bench.target.tokens import Keyring
from bench.wire.connection import ReceivedMessage
from bench.wire.events import EventKind, ServerEvent
from tests.helpers import MS, Talk, at, reply, resolve_target
from tools.benchmarks.million import observed

VALUES, ROUNDS = 50_000, 30
FILLS = (1, 1_000, 100_000)
BATCHES = (200, 2_000)
PER_SESSION = 10
TOGETHER = 40
"""The number of turns that end between two flushes, half a second apart, if 400 callers have
turns of five seconds."""
DELTAS = 12


def main() -> None:
    print(f"record_value: {value_us():.2f} µs")
    for count in FILLS:
        print(f"encoding a histogram of {count:,} values: {spread(encodings_ms(count))}")
    with tempfile.TemporaryDirectory() as scratch:
        recorder = recorder_in(Path(scratch))
        print(f"recording an event: {event_us(recorder):.1f} µs")
        for rows in BATCHES:
            print(f"flushing {rows:,} rows of turns: {spread(flushes_ms(recorder, rows))}")
        slices_ms = list(slices(recorder))
        print(
            f"histograms, in {len(slices_ms)} slices: {spread(slices_ms)} each; together"
            f" {sum(slices_ms):.0f} ms"
        )
        recorder.close()
    with tempfile.TemporaryDirectory() as scratch:
        parts_us = turn_end_us(Path(scratch))
        text = " · ".join(f"{name} {cost_us:.1f}" for name, cost_us in parts_us.items())
        print(
            f"the end of a turn, {TOGETHER} turns per flush: {sum(parts_us.values()):.1f} µs:"
            f" {text}"
        )


def value_us() -> float:
    record = Histograms().recorder(HistogramKey("receive_delay", "target"))
    values = np.random.default_rng(1).lognormal(3, 1, VALUES).astype(int).tolist()
    return cpu_ms(lambda: [record(value) for value in values]) / VALUES * 1000


def encodings_ms(count: int) -> list[float]:
    histograms = Histograms()
    record = histograms.recorder(HistogramKey("delta_gap", "target"))
    for value in np.random.default_rng(1).lognormal(10, 1, count).astype(int).tolist():
        record(value)
    return [cpu_ms(lambda: list(histograms.lines(0, 1))) for _ in range(ROUNDS)]


def recorder_in(folder: Path) -> Recorder:
    (folder / "spool").mkdir()
    return Recorder(Spool(folder, 0), utc_ns())


def event_us(recorder: Recorder) -> float:
    record = recorder.session(RowContext("s", "target", "scenario", "script"))
    events, at_ns = (ServerEvent(EventKind.AUDIO_DELTA, payload_bytes=12_000),), monotonic_ns()
    message = ReceivedMessage(b"", Arrival(at_ns), 16_000)

    def receive() -> None:
        for _ in range(VALUES):
            record.received(events, message, at_ns + 20_000)

    return cpu_ms(receive) / VALUES * 1000


class Spender:
    """A stand-in for `Sessions` of a run without a budget."""

    ending = spent = False

    def __init__(self, progress: ProgressCounter, hide: Callable[[str], str]) -> None:
        self.progress, self.redact = progress, hide
        self.callbacks = LocustCallbacks(
            RunLifecycle(), apply=lambda _: None, fire=lambda **_: None
        )

    def enforce_budget(self) -> None:
        pass

    def note_ended(self, *_: object) -> None:
        pass


def turn_end_us(folder: Path) -> dict[str, float]:
    """Return the median CPU time of a turn's end by part: its observation, the listeners, its
    row, and the progress.
    """
    target = resolve_target({}, url="ws://localhost:1/openai/v1/realtime?model=gpt-realtime")
    keyring, terms = Keyring([target]), {target.label: PricingTerms(own=Prices(1, 1, 1, 1, 1, 1))}
    (folder / "spool").mkdir()
    recorder, progress = (
        Recorder(Spool(folder, 0), utc_ns(), hide=keyring.redact),
        ProgressCounter(CostMeter({}, terms)),
    )
    total = LiveTotals()
    target_state = TargetState(target.label, cast(Any, None), cast(Any, None), StartPacer(None))
    talks, listeners = [Talk() for _ in range(TOGETHER)], []
    for number, talk in enumerate(talks):
        talk.timeline.apply(inputs.Connected({"opened": at(0)}, {}))
        record = recorder.session(
            RowContext(f"w0-{number:06d}", target.label, "scenario", "script", pair=number)
        )
        listeners.append(
            RunListener(
                record, talk.timeline, target_state, cast(Any, Spender(progress, keyring.redact))
            )
        )
    costs_us: dict[str, list[float]] = {
        "observation": [],
        "listeners": [],
        "flush": [],
        "progress": [],
    }

    def metric(stage: str, work: Callable[[], object]) -> None:
        costs_us[stage].append(cpu_ms(work) / TOGETHER * 1000)

    for number in range(1, ROUNDS + 1):
        for talk in talks:
            play_turn(talk, number)
        now_ns, taken = at(1000 * number + 900), list[TurnObservation]()
        metric("observation", partial(take_all, talks, now_ns, taken))
        metric("listeners", partial(tell_all, listeners, taken))
        metric("flush", recorder.flush)
        if number % 2 == 0:
            metric(
                "progress",
                lambda: total.add(0, progress.report(recorder.histograms, recorder.traffic)),
            )
    recorder.close()
    return {
        stage: float(np.median(costs)) * len(costs) / ROUNDS for stage, costs in costs_us.items()
    }


def play_turn(talk: Talk, number: int) -> None:
    """Run a text turn that is answered completely, with the network values from the kernel."""
    talk.ask(1000 * number, number)
    talk.timeline.apply(inputs.NetworkMeasured(3 * MS, 2 * MS, 0, "service"))
    for index, data in enumerate(reply(GA, f"resp_{number}", deltas=DELTAS)):
        arrival = Arrival(at(1000 * number + 100 + 10 * index), 1000)
        talk.timeline.apply(
            inputs.Received(GA.decode(data), ReceivedMessage(data, arrival, len(data)))
        )


def take_all(talks: list[Talk], now_ns: int, taken: list[TurnObservation]) -> None:
    for talk in talks:
        taken += talk.timeline.pop_turns(now_ns)


def tell_all(listeners: list[RunListener], turns: list[TurnObservation]) -> None:
    for listener, turn in zip(listeners, turns, strict=True):
        listener.turn_ended(turn)


def take_turns(recorder: Recorder, turns: int) -> None:
    """Record this number of turns of one session."""
    record = recorder.session(RowContext("s", "target", "scenario", "script"))
    for number in range(turns):
        record.turn_ended(observed(number, number % PER_SESSION + 1, monotonic_ns(), 600_000_000))


def flushes_ms(recorder: Recorder, rows: int) -> list[float]:
    times_ms = []
    for _ in range(ROUNDS):
        take_turns(recorder, rows)
        times_ms.append(cpu_ms(recorder.flush))
    return times_ms


def slices(recorder: Recorder) -> Iterator[float]:
    """Yield the CPU time of each step that writes the histograms; a run yields to other
    greenlets between steps.
    """
    steps = recorder.histogram_slices()
    done = object()
    while True:
        start_s = time.process_time()
        ended = next(steps, done) is done
        yield (time.process_time() - start_s) * 1000
        if ended:
            return


def cpu_ms(work: Callable[[], object]) -> float:
    start_s = time.process_time()
    work()
    return (time.process_time() - start_s) * 1000


def spread(values_ms: list[float]) -> str:
    return f"{np.median(values_ms):.2f} ms, at most {max(values_ms):.2f} ms"


if __name__ == "__main__":
    main()
