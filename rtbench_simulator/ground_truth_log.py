"""The ground-truth log: the actions of the simulator and their instants (docs/simulator.md, "The
ground-truth log").

Each process writes its lines at least once a second, in blocks of whole lines. So the lines of
several workers do not mix, but a later line may describe an earlier event. If a simulator is
killed, the last line may be incomplete. `read_truth` omits such a line.
"""

# The log is the truth that the load generator's values are compared with, so it states what this
# process did and not what it planned: `due_ns` is the plan, `send_start_ns` and `send_end_ns`
# enclose the call that passed the bytes to the kernel. Their distance from `due_ns` is the
# lateness. A log whose p99 of lateness is above `LATE_MS` is no reference, because the plan then
# says nothing about the wire.
#
# All instants are on CLOCK_MONOTONIC, which processes of one machine share. Byte positions count
# the audio of a session, so a reader can find the end of the caller's speech in what the client
# sent.
#
# Lines are collected and written in blocks. A write for each delta would make the deltas late that
# the log is about.

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from bench.base.errors import UsageError
from bench.base.standard_streams import StatusLine, StatusPart, fitted
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.files.safe_io import JsonError, read_json
from bench.wire.dialect import SIMULATOR_HEADER, SIMULATOR_LATE_HEADER
from rtbench_simulator.faults.injection import FaultEntry
from rtbench_simulator.overload import OverloadPeriod
from rtbench_simulator.server_events import ArrivalSpan, OutgoingEvent
from rtbench_simulator.simulated_session import EventReceipt, NonNegative

SCHEMA: Literal[4] = 4
BLOCK_LINES = 256


class TruthHead(msgspec.Struct, frozen=True):
    """The first line of the log."""

    schema: Literal[4]
    simulated: Annotated[bool, msgspec.Meta(extra_json_schema={"const": True})]
    profile: str
    seed: int


class SentEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that was sent. `GroundTruthLog.sent` formats its line without this class."""

    session: str
    direction: Literal["out"]
    type: str
    due_ns: int
    send_start_ns: int
    send_end_ns: int | None
    response: str | None
    audio_bytes: NonNegative
    frame_bytes: NonNegative
    item: str = ""
    call: str = ""
    audible_at_byte: NonNegative | None = None
    speech_at_byte: NonNegative = 0
    echo_of: str = ""
    audio_to_byte: NonNegative = 0
    status: str = ""
    input_tokens: NonNegative = 0
    cached_tokens: NonNegative = 0
    output_tokens: NonNegative = 0
    utterance: Literal["greeting", "filler", "answer", "message", ""] = ""
    delegation: str = ""
    event: str = ""
    delay_ns: NonNegative = 0
    dropped: bool = False
    duplicated: bool = False


class ReceivedEvent(EventReceipt, frozen=True):
    """An event that was received."""

    session: str
    direction: Literal["in"]
    at_ns: int
    earliest_ns: int
    timestamp_source: Literal["kernel", "userspace"]


class OpenedSession(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session that was opened. `token`: the number of the client's token; null if the client used
    a key.

    `call_id`: the Call-ID of a telephone call. `caller`: the URI in its From.
    """

    session: str
    direction: Literal["open"]
    at_ns: int
    token: NonNegative | None
    call_id: str | None = None
    caller: str = ""


class RefusedSession(msgspec.Struct, frozen=True):
    """A session that was refused. `status`: the HTTP status, or the close code."""

    direction: Literal["refused"]
    at_ns: int
    status: int
    code: str


class WorkerEnd(msgspec.Struct, frozen=True):
    """The last line of a worker. The values `late_…` describe the lateness of the sent events."""

    direction: Literal["end"]
    sessions: NonNegative
    events: NonNegative
    late_p50_ms: float
    late_p99_ms: float
    late_max_ms: float
    cpu_s: float
    rtp_dropped: NonNegative = 0


TRUTH_LINES = (
    TruthHead,
    SentEvent,
    ReceivedEvent,
    OpenedSession,
    RefusedSession,
    FaultEntry,
    OverloadPeriod,
    WorkerEnd,
)
"""The types of the lines of a log."""


class GroundTruthLog:
    """The writer of the log. The constructor raises UsageError if the file cannot be created."""

    def __init__(self, path: Path, profile: str, seed: int) -> None:
        try:
            self._file = open(  # noqa: SIM115
                path,
                "wb",
                buffering=0,
                # Workers write to one file. With O_APPEND, the kernel puts each block at the end as
                # a whole.
                opener=lambda name, flags: os.open(name, flags | os.O_APPEND, 0o666),
            )
        except OSError as error:
            raise UsageError(
                f"{path}: the ground-truth log cannot be written: {error.strerror}"
            ) from error
        self._lines: list[str] = []
        self._write(TruthHead(SCHEMA, True, profile, seed))
        self.flush()  # once, before workers fork

    def sent(
        self,
        session: str,
        event: OutgoingEvent,
        send_start_ns: int,
        send_end_ns: int | None,
        wire_bytes: int,
    ) -> None:
        # For speed, the line is formatted without a JSON encoder, because every delta is logged.
        # Only ids that clients chose may need escaping.
        response = f'"{event.response_id}"' if event.response_id else "null"
        self._add(
            f'{{"session":"{session}","direction":"out","type":"{event.type}","due_ns":'
            f'{event.due_ns},"send_start_ns":{send_start_ns},'
            f'"send_end_ns":{"null" if send_end_ns is None else send_end_ns},"response":{response},'
            f'"audio_bytes":{event.audio_bytes},"frame_bytes":{wire_bytes}{_further(event)}}}\n'
        )

    def received(self, session: str, event: EventReceipt, arrival: ArrivalSpan) -> None:
        source: Literal["kernel", "userspace"] = "kernel" if arrival.is_kernel else "userspace"
        fields = msgspec.structs.asdict(event)
        self._write(ReceivedEvent(session, "in", arrival.at_ns, arrival.since_ns, source, **fields))

    def opened(
        self,
        session: str,
        token: int | None,
        at_ns: int,
        call_id: str | None = None,
        caller: str = "",
    ) -> None:
        self._write(OpenedSession(session, "open", at_ns, token, call_id, caller))

    def refused(self, status: int, code: str, at_ns: int) -> None:
        self._write(RefusedSession("refused", at_ns, status, code))

    def struck(self, fault: FaultEntry) -> None:
        self._write(fault)

    def overloaded(self, period: OverloadPeriod) -> None:
        self._write(period)

    def ended(self, counts: ServedCounts) -> None:
        lateness = counts.lateness
        p50_ms = lateness.quantile_ms(0.5)
        p99_ms = lateness.quantile_ms(0.99)
        max_ms = lateness.max_ns / NS_PER_MS
        cpu_s = round(counts.cpu_s, 3)
        end = WorkerEnd(
            "end",
            counts.sessions,
            lateness.count,
            p50_ms,
            p99_ms,
            max_ms,
            cpu_s,
            counts.rtp_dropped,
        )
        self._write(end)
        self.flush()

    def _write(self, line: msgspec.Struct) -> None:
        self._add(msgspec.json.encode(line).decode() + "\n")

    def _add(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) == BLOCK_LINES:
            self.flush()

    def flush(self) -> None:
        block = "".join(self._lines).encode()
        self._lines = []
        while block:  # one write, unless the disk is full
            block = block[self._file.write(block) :]

    def close(self) -> None:
        self.flush()
        self._file.close()


def _further(event: OutgoingEvent) -> str:
    item = f',"item":{msgspec.json.encode(event.item_id).decode()}' if event.item_id else ""
    call = f',"call":{msgspec.json.encode(event.call_id).decode()}' if event.call_id else ""
    if event.audio_bytes:
        item = (
            f'{item},"audible_at_byte":'
            f"{'null' if event.audible_byte is None else event.audible_byte}"
        )
    nested = f',"event":"{event.nested}"' if event.nested else ""
    return (
        item
        + call
        + nested
        + (f",{msgspec.json.encode(event.facts).decode()[1:-1]}" if event.facts else "")
    )


def read_truth(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of the log, including the first. Omit the last line if it is incomplete.

    Raise UsageError for a line that is not a JSON object.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield read_json(line, dict[str, Any])
            except JsonError as error:
                raise UsageError(f"{path}:{number}: this line is damaged: {error}") from None


STEP_NS = 100_000
STEPS = 10_000  # the last step counts all events that are 1 s or more late
LATE_MS = 1.0
"""The highest p99 lateness at which the log is a valid reference. It equals the permitted
measurement error."""
WARN_MS = 5.0
"""The p99 lateness above which the simulator warns. This limit is higher than `LATE_MS`, because
simulated delays of 100 ms and more tolerate more lateness."""


# Fixed steps instead of stored values: a run has millions of events, and the merge of workers is a
# sum.
class LatenessCounts:
    """A histogram of the lateness of all sent events, in steps of 0.1 ms.

    The lateness is the time from the due instant of an event until its write started.
    """

    def __init__(self) -> None:
        self._counts = [0] * (STEPS + 1)
        self.count = 0
        self.max_ns = 0

    def add(self, late_ns: int) -> None:
        self._counts[min(late_ns // STEP_NS, STEPS)] += 1
        self.count += 1
        if late_ns > self.max_ns:
            self.max_ns = late_ns

    def merge(self, other: LatenessCounts) -> None:
        self._counts = [
            count + other_count
            for count, other_count in zip(self._counts, other._counts, strict=True)
        ]
        self.count += other.count
        self.max_ns = max(self.max_ns, other.max_ns)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of each response: the mark of the simulator, and its lateness while it
        warns.
        """
        headers = {SIMULATOR_HEADER: "1"}
        if (late_ms := self.quantile_ms(0.99)) > WARN_MS:
            headers[SIMULATOR_LATE_HEADER] = f"{late_ms:.1f}"
        return headers

    def quantile_ms(self, share: float) -> float:
        """Return the quantile `share` of the lateness in ms, rounded up to the end of its step of
        0.1 ms.

        Return 0 if there are no events.
        """
        rank = share * self.count
        cumulative = 0
        for step, count in enumerate(self._counts):
            cumulative += count
            if count and cumulative >= rank:
                return (step + 1) * STEP_NS / NS_PER_MS
        return 0.0


@dataclass(frozen=True)
class ServedCounts:
    """The counts of one process. `faults`: the number of injected faults.

    `cpu_s`: the CPU time of the process, in seconds, since the process started to listen.
    `rtp_dropped`: the number of RTP packets that the profile's path dropped, and that arrived while
    the process was stopped and had no room for them.
    """

    sessions: int
    refused: int
    faults: int
    cpu_s: float
    lateness: LatenessCounts
    rtp_dropped: int = 0


def summary(processes: Sequence[ServedCounts]) -> str:
    """Return the last line that a simulator prints, from the counts of all its processes."""
    lateness = LatenessCounts()
    for process in processes:
        lateness.merge(process.lateness)
    sessions = sum(process.sessions for process in processes)
    refused = sum(process.refused for process in processes)
    faults = sum(process.faults for process in processes)
    dropped = sum(process.rtp_dropped for process in processes)
    rarities = ((refused, "refused"), (faults, "faults"), (dropped, "RTP packets dropped"))
    rare = "".join(f"{count} {name}, " for count, name in rarities if count)
    counts = f"{sessions} sessions, {rare}{lateness.count} events sent"
    p50_ms = lateness.quantile_ms(0.5)
    p99_ms = lateness.quantile_ms(0.99)
    worst_ms = max(process.lateness.quantile_ms(0.99) for process in processes)
    worst = (
        f" (latest of {len(processes)} workers: p99 ≤ {worst_ms:.1f} ms)"
        if len(processes) > 1
        else ""
    )
    warning = (
        "WARN: the simulator was late, so latencies exceed its profile: "
        if worst_ms > WARN_MS
        else ""
    )
    lateness_text = (
        f"sent − due: p50 ≤ {p50_ms:.1f} ms, p99 ≤ {p99_ms:.1f} ms{worst}, max"
        f" {lateness.max_ns / NS_PER_MS:.1f} ms"
    )
    return f"SIMULATED: {counts}, {warning}{lateness_text}"


REDRAW_NS = 500_000_000


@dataclass(frozen=True)
class ServerProgress:
    """The progress of one process. `open`: the number of sessions that are open now.

    The other values count from the time when the process started to listen.
    """

    open: int
    sessions: int
    responses: int
    events: int
    late_p99_ms: float


class LiveView:
    """The status line of the simulator, with the sums over all processes."""

    def __init__(self, line: StatusLine) -> None:
        self._line = line
        self._progress: dict[int, ServerProgress] = {}
        self._events = 0
        self._shown_ns = 0

    def update(self, worker: int, progress: ServerProgress, now_ns: int) -> None:
        """Update the progress of a process, and draw the status line if it is due. `now_ns`:
        CLOCK_MONOTONIC.
        """
        self._progress[worker] = progress
        since_ns = now_ns - self._shown_ns
        if since_ns < REDRAW_NS or not self._line.can_write():
            return
        events = sum(process.events for process in self._progress.values())
        per_s = (events - self._events) * NS_PER_S / since_ns if self._shown_ns else 0.0
        self._events = events
        self._shown_ns = now_ns
        parts = live_parts(self._progress.values(), per_s)
        self._line.draw(fitted(parts, self._line.width, colour=self._line.colour))


def live_parts(processes: Collection[ServerProgress], events_per_s: float) -> Iterator[StatusPart]:
    """Yield the parts of the status line.

    The displayed lateness is that of the process with the highest lateness, as in the warning of
    `summary`.
    """
    sessions = sum(process.sessions for process in processes)
    open_ = sum(process.open for process in processes)
    responses = sum(process.responses for process in processes)
    late_ms = max(process.late_p99_ms for process in processes)
    yield StatusPart(3, ("SIMULATED",), "sim")
    yield StatusPart(1, (f"{open_} open of {sessions} sessions", f"{open_} open"))
    yield StatusPart(4, (f"{responses} responses",))
    yield StatusPart(2, (f"{events_per_s:.0f} events/s",))
    if any(process.events for process in processes):
        p99_text = f"p99 ≤ {late_ms:.1f} ms"
        yield StatusPart(
            0, (f"sent − due {p99_text}", f"late {p99_text}"), "bad" if late_ms > WARN_MS else ""
        )
