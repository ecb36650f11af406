"""The CPU time of a turn's end, by part (docs/decisions/0037-delta-matching.md)."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from bench.base.clock import Arrival, utc_ns
from bench.catalogue.pricing import Prices, PricingTerms
from bench.load.execution.progress import CostMeter, ProgressCounter
from bench.load.execution.session_registry import LocustCallbacks, RunListener
from bench.load.execution.target_state import StartPacer, TargetState
from bench.load.lifecycle import RunLifecycle
from bench.load.runners.live_totals import LiveTotals
from bench.observe import inputs
from bench.observe.observation import TurnObservation
from bench.record.recorder import Recorder, RowContext
from bench.record.spool import Spool
from bench.services.openai.dialect import GA
from bench.target.tokens import Keyring
from bench.wire.connection import ReceivedMessage
from tests.helpers import MS, Talk, at, reply, resolve_target

ROUNDS = 30
TOGETHER = 40
"""The number of turns that end between two flushes, half a second apart, if 400 callers have
turns of five seconds."""
DELTAS = 12


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        parts_us = turn_end_us(Path(scratch))
    text = " · ".join(f"{name} {cost_us:.1f}" for name, cost_us in parts_us.items())
    print(f"the end of a turn, {TOGETHER} turns per flush: {sum(parts_us.values()):.1f} µs: {text}")


class Spender:
    """A stand-in for `Sessions` of a run without a budget."""

    ending = spent = False
    locust_metrics = ()

    def __init__(self, progress: ProgressCounter, hide: Callable[[str], str]) -> None:
        self.progress, self.redact = progress, hide
        self.callbacks = LocustCallbacks(
            RunLifecycle(), apply=lambda _: None, fire=lambda **_: None
        )

    def enforce_budget(self) -> None:
        pass

    def end_if_refused(self, *_: object) -> None:
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


def cpu_ms(work: Callable[[], object]) -> float:
    start_s = time.process_time()
    work()
    return (time.process_time() - start_s) * 1000


if __name__ == "__main__":
    main()
