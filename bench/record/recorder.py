"""The recorder of a worker process in a run: rows of observations, and histograms of events and of
the load generator.

Histograms of the times of turns and sessions are computed from rows (`bench.record.metric_values`).
Rows are in the spool within a second (`flush`), and histograms within ten seconds
(`histogram_slices`), even if the process is killed.
"""

# A value has one of three ways to the disk. Turns, sessions and seconds become rows. Values of each
# message (uncertainty, delays, gaps) become counts in histograms, because a row per message would
# be too large. Everything else is in the facts, a small document. All of it happens in the
# process's event loop, so no lock is needed, and each step must be short: `BatchWriter` makes
# batches of 200 rows, and `histogram_slices` yields between histograms.
#
# Nothing here may fail because of what a service sent. A value that its column cannot hold becomes
# null, and an incident; a second that cannot be recorded becomes an incident. A full disk raises
# OSError to the caller, and the rows stay in memory until the next attempt.

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast

import msgspec

from bench.base.clock import monotonic_ns, utc_ns
from bench.base.cpu import CpuMonitor
from bench.base.units import NS_PER_S, NS_PER_US
from bench.catalogue.outcomes import is_throttled, outcome_class
from bench.files.sanitize import escape_control
from bench.observe.observation import SessionObservation, TurnObservation
from bench.record import folder as files
from bench.record.document import HostEntry, IncidentEntry
from bench.record.histograms import MEASURED, WARMUP, HistogramKey, Histograms, header
from bench.record.provenance import named_host
from bench.record.rows import (
    IDENTITY,
    SecondCounts,
    TextSanitizer,
    session_row,
    transcript_line,
    turn_columns,
    turn_row,
)
from bench.record.spool import (
    FACTS,
    HISTOGRAMS,
    OPEN_TURNS,
    TRANSCRIPT,
    BatchWriter,
    PartFacts,
    Spool,
    columns_of,
    rows_of,
)
from bench.transport.impairment.line import NetworkCounts
from bench.wire.connection import MatchedDelta, ReceivedMessage
from bench.wire.dialect import is_simulated, simulator_late_ms
from bench.wire.events import EventKind, ServerEvent, limits_in

AUDIO_DELTA = EventKind.AUDIO_DELTA
SESSION_CREATED = EventKind.SESSION_CREATED
RATE_LIMITS = EventKind.RATE_LIMITS
"""The event kinds with which every event is compared, because access to a member of an
enumeration is slow."""
UNKNOWN_NAMES = 200
SIMULATOR_OVERLOADED = (
    "{}: since its start (restart it to reset this value), 99 % of the simulator's events were at"
    " most {:.1f} ms late"
)
INCIDENTS = 100
SHOWN_SESSIONS = 100
"""The maximum number of sessions whose turns in progress are shown. A turn takes 40 µs, in which
the event loop waits."""
OpenTurns = Callable[[int], Sequence[TurnObservation]]
"""`Timeline.open_turns`: the turns in progress of a session, at an instant."""


@dataclass(frozen=True)
class RowContext:
    """The values that identify a session. Each row of the session and of its turns contains
    them.
    """

    session_id: str
    target: str
    scenario: str
    script: str
    block: int | None = None
    pair: int | None = None
    phase: str | None = None
    variables_row: int | None = None
    event_log: bool = False
    after_return: bool = False
    network: NetworkCounts = field(default_factory=NetworkCounts, compare=False)


class Traffic(NamedTuple):
    """The counts of one target's traffic, in both directions."""

    events_received: int = 0
    events_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0


NO_TRAFFIC = Traffic()


@dataclass
class _Target:
    """The counts of one target in this process. `past` is the traffic up to the end of the last
    recorded second.
    """

    second: SecondCounts = field(default_factory=SecondCounts)
    active: int = 0
    simulated: bool = False
    simulator_late_ms: float = 0.0
    events_sent: int = 0
    past: Traffic = NO_TRAFFIC

    @property
    def traffic(self) -> Traffic:
        past = self.past
        second = self.second
        return Traffic(
            past.events_received + second.events,
            self.events_sent,
            past.bytes_received + second.wire_bytes_received,
            past.bytes_sent + second.wire_bytes_sent,
        )


class Recorder:
    """The recorder of one process in a run. It writes into the process's `spool`.

    `hide` removes secrets from the service's messages. `transcripts` is true if transcripts are
    also stored. `warm_until_ns` is the end of the warm-up (CLOCK_MONOTONIC) for seconds and the
    event-loop delay; the phase of a session is in its `RowContext`. `host` has the facts of
    `named_host` and possibly others. `ahead_ns` is by how much this machine's UTC clock is ahead of
    the run's clock. With `show_open_turns`, each flush also writes the turns in progress.
    """

    def __init__(
        self,
        spool: Spool,
        started_utc_ns: int,
        hide: Callable[[str], str] = str,
        *,
        transcripts: bool = False,
        warm_until_ns: int = 0,
        ahead_ns: int = 0,
        host: Mapping[str, Any] | None = None,
        show_open_turns: bool = False,
    ) -> None:
        self._redact = hide
        self._host = named_host() if host is None else dict(host)
        self._host_name = str(self._host["name"])
        self._run_id = spool.run_id
        self._worker = spool.worker
        self._started_utc_ns = started_utc_ns
        self.histograms = Histograms()
        self._words = TextSanitizer(hide)
        self._spool = spool
        self._tables: dict[files.TableName, BatchWriter] = {
            table: BatchWriter(
                spool.stream(rows_of(table)),
                schema,
                partial(turn_columns, sanitizer=self._words) if table == "turns" else columns_of,
                partial(self._refused, table),
            )
            for table, schema in files.SCHEMAS.items()
        }
        self._transcript = spool.stream(TRANSCRIPT) if transcripts else None
        self._transcripts: list[str] = []
        self._targets = defaultdict[str, _Target](_Target)
        self._shows_open_turns = show_open_turns
        self.open: dict[SessionRecorder, OpenTurns] = {}
        """The turns in progress of each session that shows them, until it ends."""
        self.calls: Counter[str] = Counter()
        """The counts of calls since the start, by their columns of `seconds`. Each call is one
        of all targets."""
        self._event_loop_delay_max_ns = 0
        self._record_event_loop_delay = {
            phase: self.histograms.recorder(HistogramKey("event_loop_delay", "all", phase=phase))
            for phase in (WARMUP, MEASURED)
        }
        self._cpu = CpuMonitor()
        self._cpu_s = time.process_time()
        self._second_start_ns = monotonic_ns()
        self._ahead_ns = ahead_ns
        self._utc_offset_ns = utc_ns() - ahead_ns - monotonic_ns()
        self._warm_until_ns = warm_until_ns
        counts = self.histograms.out_of_range, self.histograms.negative
        self._facts = PartFacts(pid=os.getpid(), out_of_range=counts[0], negative=counts[1])
        self._write_facts(done=False)

    # Methods for sessions.

    def count_calls(self, targets: Iterable[str], **counts: int) -> None:
        """Add counts of calls to the current second of each target. The names of `counts` are
        columns of `seconds`.
        """
        seconds = [self._targets[label].second for label in targets]
        for name, count in counts.items():
            # True becomes 1; `update` of an empty counter would keep True
            self.calls[name] += count
            for second in seconds:
                setattr(second, name, getattr(second, name) + count)

    def back_off(self, targets: Iterable[str], *, starts: bool) -> None:
        """Count the start or the end of a back-off: a delay of a call, because its caller's last
        call was refused.
        """
        self.count_calls(targets, calls_backed_off=starts)
        self.calls["callers_backing_off"] += 1 if starts else -1

    def session(self, labels: RowContext) -> SessionRecorder:
        """Start the record of a session that will connect next."""
        target = self._targets[labels.target]
        target.second.session_starts += 1
        target.active += 1
        return SessionRecorder(self, labels, target)

    def add_turn(self, labels: RowContext, service_session_id: str, turn: TurnObservation) -> None:
        """Record a turn that ended, with its transcript if transcripts are stored."""
        self._tables["turns"].append(
            turn_row(self._identity(labels, service_session_id), turn, self._utc_offset_ns)
        )
        if self._transcript is not None:
            line = transcript_line(labels.session_id, service_session_id, turn)
            self._transcripts.append(
                json.dumps(self._words.clean_row(line), ensure_ascii=False) + "\n"
            )

    def add_session(
        self, labels: RowContext, service_session_id: str, session: SessionObservation
    ) -> None:
        """Record a session that ended, and the events that it received and that this version
        does not know.
        """
        facts = self._facts
        for raw_name, count in session.unknown_events.items():
            name = escape_control(self._redact(raw_name))
            known = name in facts.unknown_events or len(facts.unknown_events) < UNKNOWN_NAMES
            counted_name = name if known else "other"
            facts.unknown_events[counted_name] = facts.unknown_events.get(counted_name, 0) + count
        facts.timestamp_fallbacks += session.timestamp_fallbacks
        row = session_row(session, self._utc_offset_ns, self._redact)
        row |= {"variables_row": labels.variables_row, "event_log": labels.event_log}
        row |= {f"network_{name}": count for name, count in asdict(labels.network).items()}
        row |= dict(zip(IDENTITY, self._identity(labels, service_session_id), strict=True))
        self._tables["sessions"].append(self._words.clean_row(row))

    def _identity(self, labels: RowContext, service_session_id: str) -> tuple[Any, ...]:
        """Return the values of the columns IDENTITY, as far as they are known now."""
        return (
            self._run_id,
            labels.session_id,
            service_session_id or None,
            labels.target,
            labels.block,
            labels.pair,
            labels.phase,
            labels.scenario,
            labels.script,
            self._worker,
            self._host_name,
            self._targets[labels.target].simulated,
            labels.after_return,
        )

    # Methods that are called rarely.

    def incident(self, kind: str, text: str, late_ms: float | None = None) -> None:
        """Record an incident that may explain results: count it, and store the first 100.

        `kind` is the name of its kind, such as `value_dropped`. `late_ms` is how late a simulator
        was, if it was.
        """
        facts = self._facts
        facts.incident_counts[kind] = facts.incident_counts.get(kind, 0) + 1
        if len(facts.incidents) < INCIDENTS:
            clean_text = self._words.clean("close_reason", text)
            incident: IncidentEntry = {
                "at_utc_ns": utc_ns(),
                "worker": self._worker,
                "kind": kind,
                "text": clean_text,
            }
            facts.incidents.append(
                incident if late_ms is None else {**incident, "late_ms": late_ms}
            )

    def _refused(
        self, table: files.TableName, column: str, row: Mapping[str, Any], reason: str
    ) -> None:
        """Record an incident for a value that its column cannot hold, such as a number beyond 64
        bits.
        """
        session_text = f" of session {row['session_id']}" if "session_id" in row else ""
        self.incident("value_dropped", f"{column} in {table}{session_text}, null there: {reason}")

    def event_loop_delay(self, delay_ns: int) -> None:
        """Record by how much a 10 ms timer of the event loop was late."""
        self._record_event_loop_delay[self._phase(monotonic_ns())](max(0, delay_ns) // NS_PER_US)
        self._event_loop_delay_max_ns = max(self._event_loop_delay_max_ns, delay_ns)

    def _phase(self, at_ns: int) -> str:
        return WARMUP if at_ns < self._warm_until_ns else MEASURED

    def end_second(self) -> None:
        """End the current second: append one row for each target.

        A failure becomes an incident, and counting continues: the rows of turns and sessions must
        still reach the disk.
        """
        try:
            self._append_seconds()
        except Exception as error:
            self.incident("second_dropped", f"{type(error).__name__}: {error}")

    def _append_seconds(self) -> None:
        now_ns = monotonic_ns()
        cpu_s = time.process_time()
        duration_ns = max(1, now_ns - self._second_start_ns)
        cpu = (cpu_s - self._cpu_s) / (duration_ns / NS_PER_S)
        phase = self._phase(self._second_start_ns)
        second = (self._second_start_ns + duration_ns // 2 + self._utc_offset_ns) // NS_PER_S
        self._cpu_s = cpu_s
        self._second_start_ns = now_ns
        # UTC may be adjusted during a run. Only the starts of rows depend on it: all other instants
        # of a row are differences on CLOCK_MONOTONIC.
        self._utc_offset_ns = utc_ns() - self._ahead_ns - now_ns
        common = {
            "run_id": self._run_id,
            "second": second,
            "duration_ns": duration_ns,
            "phase": phase,
            "worker": self._worker,
            "host": self._host_name,
            "callers_backing_off": self.calls["callers_backing_off"],
            "event_loop_delay_max_ns": self._event_loop_delay_max_ns,
            "cpu": cpu,
        }
        for label, target in self._targets.items():
            self._tables["seconds"].append(
                common
                | {"target": label, "simulated": target.simulated, "sessions_active": target.active}
                | vars(target.second)
            )
            target.past = target.traffic
            target.second = SecondCounts()
        self._event_loop_delay_max_ns = 0

    def flush(self) -> None:
        """Write the buffered rows into the spool.

        Raise OSError if the spool accepts no more rows. The rows then stay buffered for the next
        attempt.
        """
        if self._shows_open_turns:
            now_ns = monotonic_ns()
            shown = self.open if len(self.open) <= SHOWN_SESSIONS else {}
            rows = [
                turn_row(
                    self._identity(session.labels, session.service_session_id),
                    turn,
                    self._utc_offset_ns,
                )
                for session, open_turns in shown.items()
                for turn in open_turns(now_ns)
            ]
            self._spool.replace(OPEN_TURNS, self._tables["turns"].alone(rows))
        for table in self._tables.values():
            table.flush()
        if self._transcript is not None:
            self._transcript.append("".join(self._transcripts).encode())
            self._transcripts.clear()

    @property
    def unwritten_rows(self) -> int:
        return sum(map(len, self._tables.values()))

    @property
    def simulated(self) -> bool:
        """True if the recorder has seen a session with the simulator."""
        return any(target.simulated for target in self._targets.values())

    @property
    def traffic(self) -> dict[str, Traffic]:
        return {label: target.traffic for label, target in self._targets.items()}

    def histogram_slices(self) -> Iterator[None]:
        """Write the histograms and facts. Yield after every histogram, so that other greenlets
        can run.
        """
        log = [header(self._started_utc_ns, simulated=self.simulated)]
        for line in self.histograms.lines(self._started_utc_ns, utc_ns()):
            log.append(line)
            yield
        self._spool.replace(HISTOGRAMS, "".join(log).encode())
        self._write_facts(done=False)

    def close(self) -> None:
        """Write the last rows, histograms and facts. Raise OSError if the spool accepts no more
        data.
        """
        self.end_second()
        self.flush()
        for _ in self.histogram_slices():
            pass
        for table in self._tables.values():
            table.close()
        if self._transcript is not None:
            self._transcript.close()
        self._write_facts(done=True)

    def _write_facts(self, *, done: bool) -> None:
        facts = msgspec.structs.replace(
            self._facts,
            done=done,
            simulated=self.simulated,
            hosts=[cast("HostEntry", self._host | {"workers": 1, "cpu_use": self._cpu.sample()})],
            rows={table: rows.written for table, rows in self._tables.items()} if done else {},
        )
        self._spool.replace(FACTS, msgspec.json.encode(facts))


class SessionRecorder:
    """The recorder of one session; a `bench.session.session_io.SessionListener`.

    It counts events in the current second of the target, and passes what ended to the `Recorder`,
    which has the files.
    """

    def __init__(self, recorder: Recorder, labels: RowContext, target: _Target) -> None:
        self._recorder = recorder
        self.labels = labels
        self.target = target
        self.service_session_id = ""
        self.phase = labels.phase or MEASURED
        self._errors, self._lags, self._send_delays, self._gaps = (
            HistogramKey(metric, labels.target, phase=self.phase)
            for metric in ("timestamp_uncertainty", "receive_delay", "send_delay", "delta_gap")
        )
        self._record_error, self._record_lag = map(
            recorder.histograms.recorder, (self._errors, self._lags)
        )

    def connected(self, headers: Mapping[str, str], call_id: str = "") -> None:
        """Record the headers of the response to the upgrade, of any status. `call_id` is that of
        an agent's call.
        """
        self.service_session_id = call_id
        self._set_simulated(headers, {})
        # much later than at the last incident that was recorded
        if (late_ms := simulator_late_ms(headers)) > 2 * self.target.simulator_late_ms:
            self.target.simulator_late_ms = late_ms
            text = SIMULATOR_OVERLOADED.format(self.labels.target, late_ms)
            self._recorder.incident("simulator_late", text, late_ms)
        self.target.second.add(limits_in(headers))

    def _set_simulated(self, headers: Mapping[str, str], session: Mapping[str, Any]) -> None:
        self.target.simulated = self.target.simulated or is_simulated(headers, session)

    def received(
        self, events: Sequence[ServerEvent], message: ReceivedMessage, handled_ns: int
    ) -> None:
        second = self.target.second
        _, (at_ns, uncertainty_ns, kernel), wire_bytes = message
        second.wire_bytes_received += wire_bytes
        second.events += len(events)
        for event in events:
            kind = event.kind
            if kind is AUDIO_DELTA:
                if event.payload_bytes > 0:
                    second.audio_bytes_received += event.payload_bytes
            elif kind is SESSION_CREATED:
                self.service_session_id = event.session_id or self.service_session_id
                self._set_simulated({}, event.session or {})
            elif kind is RATE_LIMITS:
                second.add(event.limits)
        self._record_error(uncertainty_ns // NS_PER_US)
        if kernel:
            lag_ns = handled_ns - at_ns
            if lag_ns > second.receive_delay_max_ns:
                second.receive_delay_max_ns = lag_ns
            self._record_lag(lag_ns // NS_PER_US)

    def received_deltas(self, deltas: Sequence[MatchedDelta]) -> None:
        second = self.target.second
        histograms = self._recorder.histograms
        errors_us = []
        lags_us = []
        for event, _, error_ns, lag_ns, payload_bytes, wire_bytes, _ in deltas:
            second.wire_bytes_received += wire_bytes
            if event.kind is AUDIO_DELTA:
                second.audio_bytes_received += payload_bytes
            if lag_ns > second.receive_delay_max_ns:
                second.receive_delay_max_ns = lag_ns
            errors_us.append(error_ns // NS_PER_US)
            lags_us.append(lag_ns // NS_PER_US)
        second.events += len(deltas)
        histograms.record_several(self._errors, errors_us)
        histograms.record_several(self._lags, lags_us)

    def sent(self, wire_bytes: int, audio_bytes: int, lags_ns: Sequence[int | None]) -> None:
        second = self.target.second
        if wire_bytes:  # otherwise only messages leave that were counted when the session sent them
            self.target.events_sent += len(lags_ns)
        second.wire_bytes_sent += wire_bytes
        second.audio_bytes_sent += audio_bytes
        delays_us = [
            lag_ns // NS_PER_US if lag_ns > 0 else 0 for lag_ns in lags_ns if lag_ns is not None
        ]
        self._recorder.histograms.record_several(self._send_delays, delays_us)

    def turn_started(self) -> None:
        self.target.second.turns_started += 1

    def turn_ended(self, turn: TurnObservation) -> None:
        second = self.target.second
        second.turns_ended += 1
        if outcome_class(turn.outcome) == "failed":
            second.turns_failed += 1
            second.throttled += is_throttled(turn.outcome)
        self._recorder.histograms.record_several(
            self._gaps, [gap_ns // NS_PER_US for gap_ns in turn.gaps_ns]
        )
        self._recorder.add_turn(self.labels, self.service_session_id, turn)

    def session_ended(self, session: SessionObservation) -> None:
        self._recorder.open.pop(self, None)
        self.target.active -= 1
        self.target.second.throttled += is_throttled(session.outcome)
        self._recorder.add_session(self.labels, self.service_session_id, session)
