"""What recording costs, in CPU time: a value into a histogram, a histogram into the log, rows onto the disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.clock import Arrival, monotonic_ns, utc_ns
from bench.protocol.events import Event, Kind
from bench.run.histograms import Histograms, Key
from bench.run.recorder import Labels, Recorder
from bench.run.spool import spool_of
from bench.transport.base import Received
from tests.benchmark.million import observed

VALUES, ROUNDS = 50_000, 30
FILLS = (1, 1_000, 100_000)
BATCHES = (200, 2_000)
PER_SESSION = 10


def main() -> None:
    print(f"record_value: {value_us():.2f} µs")
    for count in FILLS:
        print(f"encoding a histogram of {count:,} values: {spread(encodings_ms(count))}")
    with tempfile.TemporaryDirectory() as scratch:
        recorder = recorder_in(Path(scratch))
        print(f"an event: {event_us(recorder):.1f} µs · a turn: {turn_us(recorder):.0f} µs")
        recorder.flush()
        for rows in BATCHES:
            print(f"flushing {rows:,} rows of turns: {spread(flushes_ms(recorder, rows))}")
        slices_ms = list(slices(recorder))
        print(f"histograms, in {len(slices_ms)} slices: {spread(slices_ms)} each; together {sum(slices_ms):.0f} ms")
        recorder.close()


def value_us() -> float:
    record = Histograms().recorder(Key("receive_lag", "target"))
    values = np.random.default_rng(1).lognormal(3, 1, VALUES).astype(int).tolist()
    return cpu_ms(lambda: [record(value) for value in values]) / VALUES * 1000


def encodings_ms(count: int) -> list[float]:
    histograms = Histograms()
    record = histograms.recorder(Key("delta_gap", "target"))
    for value in np.random.default_rng(1).lognormal(10, 1, count).astype(int).tolist():
        record(value)
    return [cpu_ms(lambda: list(histograms.lines(0, 1))) for _ in range(ROUNDS)]


def recorder_in(folder: Path) -> Recorder:
    (folder / "spool").mkdir()
    return Recorder(spool_of(folder, 0), utc_ns())


def event_us(recorder: Recorder) -> float:
    record = recorder.session(Labels("s", "target", "scenario", "script"))
    events, at_ns = (Event(Kind.AUDIO_DELTA, payload_bytes=12_000),), monotonic_ns()
    message = Received(b"", Arrival(at_ns), 16_000)

    def receive() -> None:
        for _ in range(VALUES):
            record.received(events, message, at_ns + 20_000)

    return cpu_ms(receive) / VALUES * 1000


def turn_us(recorder: Recorder) -> float:
    return cpu_ms(lambda: take_turns(recorder, BATCHES[-1])) / BATCHES[-1] * 1000


def take_turns(recorder: Recorder, turns: int) -> None:
    """So many, of one session."""
    record = recorder.session(Labels("s", "target", "scenario", "script"))
    for number in range(turns):
        record.turn_ended(observed(number, number % PER_SESSION + 1, monotonic_ns(), 600_000_000))


def flushes_ms(recorder: Recorder, rows: int) -> list[float]:
    found = []
    for _ in range(ROUNDS):
        take_turns(recorder, rows)
        found.append(cpu_ms(recorder.flush))
    return found


def slices(recorder: Recorder) -> Iterator[float]:
    """CPU of each step in which the histograms are written, as in a run, where others get their turn between two."""
    steps = recorder.histogram_slices()
    done = object()
    while True:
        begun = time.process_time()
        ended = next(steps, done) is done
        yield (time.process_time() - begun) * 1000
        if ended:
            return


def cpu_ms(work: Callable[[], object]) -> float:
    begun = time.process_time()
    work()
    return (time.process_time() - begun) * 1000


def spread(values_ms: list[float]) -> str:
    return f"{np.median(values_ms):.2f} ms, at most {max(values_ms):.2f} ms"


if __name__ == "__main__":
    main()
