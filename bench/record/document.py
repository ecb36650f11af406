"""The structure of run.json, both of active and of finalized runs; `docs/run-folder.md` describes
it.

A key is NotRequired if only some runs have it, or only finalized runs.
"""

# The types have three uses. mypy checks the modules that write a document, the published JSON
# schema is made of them, and documents from other people are checked with them before a merge. A
# reader must ignore keys that it does not know. So a new key is no new version, unless a program
# could misread the document without it.

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from msgspec import Meta, Struct

from bench.base.cpu import CpuUsage
from bench.catalogue.pricing import Prices
from bench.catalogue.turn_detection import DetectorName
from bench.services.names import AgentName

SCHEMA_VERSION = 6
"""The version of the format of run.json and of the tables of a run."""

Count = Annotated[int, Meta(ge=0)]
UtcNs = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""An instant in ns since 1970 UTC, as far as the columns of the tables have them."""
KILLED = "killed: rows and counts after the last flush are missing"
"""The stop reason of a run whose process was killed."""
GIVEN_UP = "do not use these results: "
"""The first words of the stop reason of a run that was aborted as invalid. The cause follows
them."""
INTERRUPTED = "interrupted"
"""The stop reason of a run that a signal ended, or that the user stopped although it had
--until-decided."""
# Stop reasons are sentences for users, so their kinds are known by the first words.
ORDINARY_ENDS = (
    "all sessions are done",
    "its time was over, or its users were stopped",
    "killed: ",
)
"""The first words of stop reasons that need no remark.

They are for runs that reached their planned end, and for killed runs. For a killed run, run.json
has a separate notice.
"""


RECORDING = "recording"
"""The `service` of a target whose calls were recorded and then imported."""


def is_recorded(document: Mapping[str, Any]) -> bool:
    """Return whether a run consists of recorded calls."""
    targets = document.get("targets")
    return isinstance(targets, list) and any(
        isinstance(target, dict) and target.get("service") == RECORDING for target in targets
    )


class TargetEntry(TypedDict):
    """A target, without secrets."""

    name: str
    url: str
    dialect: str
    protocol: NotRequired[dict[str, Any]]
    """The content of the user's file that describes the dialect."""
    service: str
    loopback: bool
    region: NotRequired[str | None]
    auth: NotRequired[str | None]
    proxy: NotRequired[str | None]
    address: NotRequired[str | None]
    model: NotRequired[str | None]
    variant_of: NotRequired[str | None]
    varied: NotRequired[dict[str, Any]]
    deflate: NotRequired[bool]
    srtp: NotRequired[bool | None]
    full_duplex: NotRequired[bool]
    connect_rate: NotRequired[float | None]
    prices: NotRequired[Prices | None]
    session: NotRequired[dict[str, Any]]


class PlannedTurnEntry(TypedDict):
    """A turn of a script, as planned."""

    step: str
    measured_from: Annotated[
        Literal["request_sent", "speech_end"],
        Meta(
            description=(
                "the instant from which its latency is measured, unless the service decides"
                " otherwise"
            )
        ),
    ]
    greeting: Annotated[bool, Meta(description="true if the service speaks first in this turn")]


class ScriptEntry(TypedDict):
    """A script with the settings with which it is run at one target."""

    name: str
    scenario: str
    digest: str
    turns: Annotated[Count | None, Meta(description="null if a task in Python has no end")]
    plan: NotRequired[
        Annotated[
            list[PlannedTurnEntry] | None,
            Meta(description="its turns; null if a task in Python chooses them"),
        ]
    ]
    think_s: NotRequired[
        Annotated[
            float | None,
            Meta(
                description=(
                    "total duration of a session's pauses; a random pause counts with its mean"
                )
            ),
        ]
    ]
    chunk_ms: float | None
    output: Literal["audio", "text", "transcript"]
    timeouts: NotRequired[dict[str, float]]
    target: str
    dialect: NotRequired[str]
    input_format: NotRequired[str]
    output_format: NotRequired[str]
    turn_detection: NotRequired[Literal["none"] | DetectorName]
    turn_detection_settings: NotRequired[dict[str, Any] | None]
    extra: NotRequired[dict[str, Any]]
    requested_settings: NotRequired[
        Annotated[
            dict[str, Any],
            Meta(
                description=(
                    "the settings of its sessions in the form in which the service confirms them,"
                    " without texts and functions; empty if it confirms none"
                )
            ),
        ]
    ]
    fillers: NotRequired[dict[str, Any] | None]
    jitter_buffer_ms: NotRequired[float | None]
    reply_silence_ms: NotRequired[float | None]
    answer_min_ms: NotRequired[float | None]
    recorded_call: NotRequired[
        Annotated[bool, Meta(description="the script plays the caller of a recorded call")]
    ]
    background_snr_db: NotRequired[float | None]
    variables: NotRequired[Count | None]


class ToolEntry(TypedDict):
    """The program that wrote the run."""

    name: str
    version: str


class WriterEntry(TypedDict):
    """The process that writes the run."""

    host: str
    pid: int


class MachineEntry(TypedDict):
    """The machine, and the packages that affect the measured values."""

    kernel: str
    python: str
    cpus: Count | None
    packages: dict[str, str]
    machine: NotRequired[str]
    cpu: NotRequired[str | None]


class CalibrationEntry(TypedDict):
    """The part of this machine's calibration that applies to the kind of sessions of the run."""

    date: str
    kind: Literal["text", "voice", AgentName]
    sessions: Count
    exact_sessions: Count
    events_per_s: float
    tls: bool
    file: str
    stale: list[str]
    ended: NotRequired[str]


class ReaderEntry(TypedDict):
    """What reads the sockets of WebSocket sessions.

    `reason` is why it is not io_uring; "" if it is.
    """

    name: Literal["io_uring", "epoll"]
    reason: str


class HostEntry(MachineEntry):
    """A machine whose workers recorded the run.

    `clock_offset_ns` is by how much its clock was ahead of the leader's clock.
    """

    name: str
    workers: Count
    calibration: NotRequired[CalibrationEntry | None]
    niceness: NotRequired[int]
    reader: NotRequired[ReaderEntry]
    cpu_use: NotRequired[CpuUsage]
    clock_offset_ns: int | None
    clock_offset_uncertainty_ns: int | None
    event_loop_delay_p99_ms: NotRequired[float | None]
    send_delay_p99_ms: NotRequired[float | None]


class RunPrices(TypedDict):
    """The prices that the run uses."""

    as_of: str
    name: str
    models: dict[str, Prices]


class SequentialPlanEntry(TypedDict):
    """The plan of a run that may end early."""

    pairs: Count
    bootstrap_samples: Count
    analyses: list[Count]
    primary_metrics: dict[str, list[str]]
    alpha: float
    spending: str
    notices: NotRequired[list[str]]


StageEntry = TypedDict("StageEntry", {"duration_s": float, "from": float, "to": float})
"""A stage of a load profile.

`duration_s` is its duration. `from` and `to` are the load at its start and at its end: calls per
second, or sessions.
"""


class ArrivalsEntry(TypedDict):
    """The arrivals of calls.

    `pattern` is poisson, constant, gamma:SHAPE, or the name of the file with the arrival times.
    """

    pattern: str
    per_s: float | None
    stages: list[StageEntry] | None
    digest: str | None
    max_concurrent: Count
    started_utc_ns: int
    duration_s: float | None


class TotalsEntry(TypedDict):
    """Counts over all rows."""

    sessions: dict[str, Count]
    turns: dict[str, Count]
    unknown_events: dict[str, Count]
    out_of_range: dict[str, Count]
    negative: dict[str, Count]
    turns_planned: Count
    turns_started: Count
    turns_not_started: Count
    events: Count
    timestamp_fallbacks: Count
    incident_counts: NotRequired[dict[str, Count]]
    warmup_turns: NotRequired[Count]


class IncidentEntry(TypedDict):
    """An event outside the measurements that may explain them. `late_ms` is how late a simulator
    was.
    """

    at_utc_ns: int
    worker: Count
    kind: str
    text: str
    late_ms: NotRequired[float]


TimestampCheck = Literal["timestamp_uncertainty", "rtp_stream"]
RowCheck = Literal[TimestampCheck, "own_limits"]
"""The checks of rows, which a part of a run has, too. The others are about the whole run."""
CheckName = Literal[
    RowCheck, "event_loop_delay", "send_delay", "start_delay", "dropped_packets", "missing_data"
]
ValidityStatus = Literal["valid", "invalid", "no_verdict"]


class Check(Struct, frozen=True):
    """A validity check: a value, its limit, and what to do if the value is over the limit.

    `result` is `not_evaluated` if the check does not apply, or if it has no data. `note` then
    states which of the two it is.
    """

    name: CheckName
    value: float | None
    limit: float | None
    result: Literal["pass", "fail", "not_evaluated"]
    note: str
    remedy: str
    unit: str = "ms"

    @property
    def used(self) -> float:
        """The value as a share of the limit; 0 if the value is unknown or there is no limit."""
        return self.value / self.limit if self.value is not None and self.limit else 0.0


class UncertainMetric(Struct, frozen=True, omit_defaults=True):
    """A metric that is uncertain in this run.

    `value` is the p99 of the metric's uncertainty, which is over the limit; it is null if the
    uncertainty has no bound. If `reason` is `early_replies`, `value` is instead the share of
    replies that started before the end of their question, in percent. Without a `reason`,
    timestamps are too uncertain. Without a `host`, it applies to all hosts.
    """

    target: str
    metric: str
    value: float | None
    limit: float
    unit: str
    host: str | None = None
    reason: str | None = None


class Validity(Struct, frozen=True):
    """The verdict on whether the values of a run may be used, with the reasons.

    For an invalid run, `reasons` are the checks that failed. For a run without a verdict, they are
    the checks that have no data, or `no_data` if nothing was measured.
    """

    status: ValidityStatus
    reasons: list[str] = []
    checks: list[Check] = []
    uncertain_metrics: list[UncertainMetric] = []


class OverloadEntry(TypedDict):
    """The settings of a load with a peak, and the instants at which its parts began and its callers
    had started.
    """

    load: Count
    peak: Count
    margin: Annotated[float, Meta(ge=0)]
    spacing_s: Annotated[float, Meta(ge=0)]
    probes: list[str]
    begun_utc_ns: UtcNs
    peak_utc_ns: NotRequired[UtcNs]
    reached_utc_ns: NotRequired[UtcNs]
    after_utc_ns: NotRequired[UtcNs]


class EventEntry(TypedDict):
    """An event of a run, such as a deploy; when it was planned, or marked, after the start of the
    load; and when it happened, null if the run ended before it.

    An event with a command has the exit status of it (null if the end of the run ended it), how
    long it took, the end of its output, and the size of its whole output.
    """

    name: str
    planned_s: Annotated[float, Meta(ge=0)]
    at_utc_ns: UtcNs | None
    status: NotRequired[int | None]
    took_s: NotRequired[Annotated[float, Meta(ge=0)]]
    output: NotRequired[str]
    output_bytes: NotRequired[Count]


# A run is `running` from its first run.json on. The process that leads it sets `closing` when it
# has stopped, and `ended` when the final files are complete. If the writer is gone before that, the
# next reader finalizes the folder. A run that was `running` is then `killed`: rows that were
# flushed before the kill count, and what is missing is reported. A run that was `closing` lacked
# only its final files, and is `ended` if all of its workers had finished.
StoredState = Literal["running", "closing", "ended", "killed"]


class RunEntry(TypedDict):
    """The keys that a run and a run that was merged into it have in common."""

    run_id: str
    state: StoredState
    started_utc_ns: int
    ended_utc_ns: int | None
    labels: NotRequired[Annotated[dict[str, str], Meta(description="the values of --label")]]
    arrivals: NotRequired[ArrivalsEntry]
    stages: NotRequired[
        Annotated[
            list[StageEntry],
            Meta(description="the stages of the number of sessions, in a closed loop"),
        ]
    ]
    overload: NotRequired[
        Annotated[
            OverloadEntry,
            Meta(description="of a load with a peak: its settings, and when each part began"),
        ]
    ]
    events: NotRequired[
        Annotated[
            list[EventEntry],
            Meta(description="the values of --event and the marks, and when they were"),
        ]
    ]


class PartEntry(RunEntry):
    """A run that was merged into this run.

    `worker_offset` is the number that the merge added to the worker numbers of that run, also in
    its session names.

    `excluded_because` is the reason why none of the run's rows are in the merged run; it is null if
    they are in it. If it is set, `sessions` and `turns` are the numbers of missing sessions and
    turns, or null if these are unknown.
    """

    host: str
    workers: list[Count]
    worker_offset: Count
    stop_reason: str
    sessions: Count | None
    turns: Count | None
    validity: ValidityStatus
    failed_checks: list[Check]
    excluded_because: str | None


class RemoteWorkerEntry(TypedDict):
    """A worker on another host than its master."""

    worker: Count
    host: str


class MissingWorkerEntry(TypedDict):
    """A worker whose data is incomplete.

    `turns` and `calls` are the maximum numbers of its turns and calls without a row; null if there
    is no bound. `since_utc_ns` is the time of the worker's last report in this folder. `why` is the
    damage to its part of the run.
    """

    worker: Count
    host: str
    turns: Count | None
    calls: NotRequired[Count | None]
    since_utc_ns: NotRequired[int]
    why: NotRequired[str]


class InterimAnalysesEntry(TypedDict):
    """The interim analyses during a run. `made` is their number. `stopped` is true if one of
    them ended the run.
    """

    made: Count
    stopped: bool


class AbortAnalysisEntry(TypedDict):
    """An interim analysis of thresholds with `abort`.

    `sessions` is the number of its sessions with each target. `share` is the share of the run that
    was over.
    """

    sessions: Count
    share: float


class AbortReasonEntry(TypedDict):
    """Why thresholds with `abort` stopped the run: the code of the reason, and its numbers."""

    code: str
    numbers: dict[str, Any]


class AbortEntry(TypedDict):
    """The thresholds that stop the run if they fail, and the interim analyses that were made.

    `alpha` is the nominal share of runs that are stopped although all values are exactly at their
    limits. `sessions` is the maximum number of sessions with each target. `reason` is null if no
    analysis stopped the run.
    """

    thresholds: dict[str, list[str]]
    alpha: float
    spending: str
    analyses: Count
    sessions: NotRequired[Count | None]
    made: list[AbortAnalysisEntry]
    reason: AbortReasonEntry | None


# The required keys are written when the run starts (`opening_document`), and have no result. Those
# that finalization adds describe what happened, and `CLOSED` requires them of a run that is over.
class RunDocument(RunEntry):
    """run.json of a run folder of Realtime Bench."""

    schema: Annotated[int, Meta(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)]
    definitions_version: Annotated[
        int, Meta(ge=1, description="version of the metrics' definitions")
    ]
    tool: ToolEntry
    scenario: str
    simulated: Annotated[bool | None, Meta(description="null until the run has ended")]
    writer: WriterEntry
    settings: dict[str, Any]
    command: NotRequired[
        Annotated[
            list[str],
            Meta(description="the command that starts such a run again, as a list of words"),
        ]
    ]
    targets: list[TargetEntry]
    scripts: list[ScriptEntry]
    host: Annotated[MachineEntry, Meta(description="the machine that leads the run")]
    hosts: NotRequired[
        Annotated[list[HostEntry], Meta(description="the machines that recorded the run")]
    ]
    workers: Count
    notices: list[str]
    part_of: NotRequired[Annotated[str | None, Meta(description="the value of --part-of")]]
    planned_load: NotRequired[
        Annotated[
            dict[str, float],
            Meta(description="the planned load of a part of a run, or of all parts"),
        ]
    ]
    whole_run: NotRequired[
        Annotated[dict[str, float], Meta(description="the values of --whole-run")]
    ]
    parts: NotRequired[Annotated[list[PartEntry], Meta(description="the parts of a merged run")]]
    remote: NotRequired[list[RemoteWorkerEntry]]
    missing_workers: NotRequired[list[MissingWorkerEntry]]
    concurrency: NotRequired[
        Annotated[Count, Meta(description="the planned maximum of open sessions")]
    ]
    sessions_planned: NotRequired[
        Annotated[
            Count | None,
            Meta(description="the planned maximum of sessions with each target; null: no limit"),
        ]
    ]
    stopping_utc_ns: NotRequired[
        Annotated[int, Meta(description="the instant from which no turn was started")]
    ]
    interleaved: NotRequired[bool]
    calibration: NotRequired[CalibrationEntry | None]
    prices: NotRequired[RunPrices]
    budget_usd: NotRequired[float | None]
    estimate_usd: NotRequired[Annotated[list[float], Meta(min_length=2, max_length=2)] | None]
    start_delays_s: NotRequired[dict[str, float]]
    warmup_s: NotRequired[float | None]
    sequential_plan: NotRequired[SequentialPlanEntry]
    interim_analyses: NotRequired[InterimAnalysesEntry]
    abort: NotRequired[AbortEntry]
    thresholds: NotRequired[
        Annotated[dict[str, list[str]], Meta(description="the thresholds of the run, by metric")]
    ]
    niceness: NotRequired[
        Annotated[int, Meta(description="the niceness of the load processes, as in setpriority(2)")]
    ]
    reader: NotRequired[ReaderEntry]
    stop_reason: NotRequired[str]
    refused: NotRequired[
        Annotated[str, Meta(description="what the user must fix before the run can start")]
    ]
    aborted_because: NotRequired[
        Annotated[str, Meta(description="why the run was ended early as invalid")]
    ]
    receive_timestamp_source: NotRequired[Literal["kernel", "userspace", "mixed"] | None]
    totals: NotRequired[TotalsEntry]
    incidents: NotRequired[list[IncidentEntry]]
    validity: NotRequired[Validity]


CLOSED: dict[str, Any] = {
    "if": {"properties": {"state": {"enum": ["ended", "killed"]}}},
    "then": {
        "required": ["stop_reason", "totals", "validity"],
        "properties": {"simulated": {"type": "boolean"}, "ended_utc_ns": {"type": "integer"}},
    },
}
