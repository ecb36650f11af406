"""A `LiveRun` in which functions take the place of services. It needs neither network
connections nor Locust.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import gevent
import pyarrow as pa
from gevent.event import Event

from bench.base.clock import monotonic_ns, utc_ns
from bench.catalogue.causes import ConnectError
from bench.catalogue.pricing import Prices
from bench.catalogue.timeouts import Timeouts
from bench.load.execution.live_run import LiveRun
from bench.load.execution.pairs import WorkerSlot
from bench.load.execution.session_registry import LocustCallbacks
from bench.load.execution.target_state import StartPacer, TargetState
from bench.load.lifecycle import (
    AskMaster,
    RunClosed,
    RunEvent,
    RunLifecycle,
    RunRefused,
    RunStarted,
    RunState,
    SignInStarted,
    UsersStopped,
    UsersStopping,
)
from bench.load.planning.load_model import CLOSED_LOOP, LoadModel
from bench.load.planning.run_options import Options
from bench.load.planning.run_plan import Concurrency, RunPlan
from bench.load.planning.tasks import SessionTask, script
from bench.load.planning.workload import load_scripts, workloads_of_targets
from bench.record import folder as files
from bench.record.spool import Spool
from bench.session.dial import Dialer
from bench.target.price_table import PriceTable
from bench.target.target import Auth, Target
from bench.target.tokens import Keyring
from bench.transport.interface import ConnectTimings, DeltaListener, OnMessage, PacedSender
from tests.helpers import Service, resolve_target
from tests.load.actors import Actor, actor
from tests.load.options import parsed
from tests.memory_transport import MemoryTransport, VirtualClock

HERE = resolve_target({}, url="ws://localhost:1/openai/v1/realtime?model=gpt-realtime")
TALK = "steps:\n  - text: One\n  - text: Two\n"
PRICES, NO_PRICES = Prices(1, 1, 1, 1, 1, 1), PriceTable("", "", (), {})


class SwitchingTransport(MemoryTransport):
    """A transport that lets other greenlets run whenever it waits, as a socket does."""

    def __init__(self, service: Service) -> None:
        super().__init__(service, service.greeting(), VirtualClock(monotonic_ns()))

    def receive_until(
        self,
        until_ns: int,
        on_message: OnMessage,
        reply: DeltaListener | None = None,
        sender: PacedSender | None = None,
    ) -> None:
        gevent.sleep(0)
        super().receive_until(until_ns, on_message, reply, sender)


def _set() -> Event:
    event = Event()
    event.set()
    return event


@dataclass
class FakeDialer:
    """A dialer that connects each session to a new service.

    It waits until `answers` is set. Then it connects, or raises `unsupported_setting` if this is
    not None.
    """

    service: Callable[[], Service] = Service
    unsupported_setting: ConnectError | None = None
    answers: Event = field(default_factory=_set)
    dialled: int = 0
    target: Target = HERE

    def open(
        self,
        limits: Timeouts,
        phases: ConnectTimings,
        offer_members: Mapping[str, Any],
        callee: object,
    ) -> SwitchingTransport:
        self.dialled += 1
        gevent.sleep(0)
        self.answers.wait()
        if self.unsupported_setting is not None:
            raise self.unsupported_setting
        return SwitchingTransport(self.service())


@dataclass
class Caller(Actor):
    """A user that can be asked to leave."""

    leaving: bool = False

    def is_leaving(self) -> bool:
        return self.leaving


class FakeRun:
    """A run with one target for each label. It records the requests that it sends to the master."""

    def __init__(
        self,
        folder: Path,
        *labels: str,
        does: Any = None,
        text: str = TALK,
        settings: Mapping[str, Any] = {},
        dialers: Mapping[str, FakeDialer] | None = None,
        sessions: int | None = None,
        warmup_s: float = 0.0,
        began_ns: int | None = None,
        workers: int = 1,
        worker: int = 0,
        prices: Prices | None = PRICES,
        auth: Auth = None,
        spool: Spool | None = None,
        load_model: LoadModel = CLOSED_LOOP,
        per_minute: float | None = None,
        run_time_s: float = math.inf,
        **given: Any,
    ) -> None:
        (folder / "talk.yaml").write_text(text)
        self.folder = files.create(folder, "talk", utc_ns())
        self.user = actor(
            "Talker", does if does is not None else script(folder / "talk.yaml"), **settings
        )
        self.task: SessionTask = self.user.declared_tasks[0]
        self.targets: list[Target] = [
            replace(HERE, label=label, prices=prices, auth=auth) for label in labels or ("here",)
        ]
        self.dialers = {target.label: FakeDialer() for target in self.targets} | dict(dialers or {})
        plays = workloads_of_targets(load_scripts([self.user]), self.targets)
        keyring, options = Keyring(self.targets), replace(Options.of(parsed()), **given)
        targets = [
            TargetState(
                target.label,
                plays[target.label],
                cast(Dialer, self.dialers[target.label]),
                StartPacer(per_minute),
            )
            for target in self.targets
        ]
        self.stopped: list[str] = []
        self.refused: list[str] = []
        self.failures: list[Exception] = []
        """The exceptions that the run has reported to Locust."""
        self.lifecycle = RunLifecycle(leads=False)
        for event in (SignInStarted(), RunStarted()):
            self.tell(event)
        callbacks = LocustCallbacks(
            self.lifecycle,
            self.tell,
            fire=lambda exception, **_: self.failures.append(exception) if exception else None,
        )
        planned = RunPlan(
            options,
            tuple(self.targets),
            plays,
            sessions,
            NO_PRICES,
            Concurrency(1, 1, 1),
            None,
            load_model=load_model,
            run_time_s=run_time_s,
        )
        slot = WorkerSlot(
            utc_ns(), monotonic_ns() if began_ns is None else began_ns, warmup_s, worker, workers
        )
        # it changes this process's garbage collector
        with patch("bench.load.execution.live_run._tune_interpreter"):
            self.live = LiveRun(
                planned, slot, targets, keyring, spool or Spool(self.folder, worker), callbacks
            )

    def tell(self, event: RunEvent) -> None:
        """Handle an event as a worker does, and record the requests to the master that result."""
        for action in self.lifecycle.apply(event):
            if isinstance(action, AskMaster):
                asked = action.request
                if isinstance(asked, RunRefused):
                    self.refused.append(asked.problem)
                else:
                    self.stopped.append(asked.reason)

    def end(self) -> None:
        """Prevent the start of further sessions and turns."""
        self.tell(UsersStopping())

    def play(self, pairs: int = 1) -> bool:
        """Let one user run this number of pairs, one after another. Return whether the last pair
        was run.
        """
        caller = Caller()
        return [self.live.run_pair(self.user, self.task, cast(Any, caller)) for _ in range(pairs)][
            -1
        ]

    def rows(self, table: files.TableName) -> list[dict[str, Any]]:
        """End the run. Return the rows that it has recorded in this table."""
        self.tell(UsersStopped())
        if self.lifecycle.state is RunState.CLOSING:
            self.live.close()
            self.tell(RunClosed())
        rows = pa.Table.from_batches(
            files.spooled_batches(self.folder, table), files.SCHEMAS[table]
        ).to_pylist()
        return sorted(rows, key=lambda row: row.get("start_ns") or 0)
