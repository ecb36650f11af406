"""What stands in summary.json. Times are in ms, rates in B/s, sums of segments in ns, money in USD."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import field

from bench.money import Prices
from reports.schemas.document import Count, Figure, Known, Number, Record, Version, about

SUMMARY_VERSION = 4


class Part(Record):
    """A quantile of a group of turns; null where it is not published, or lies among failed turns."""

    value: Figure
    low: Figure
    high: Figure
    published: bool


class Quantile(Record):
    """Null where it is not published, or lies among failed turns (censored); an open end is null.

    What is not published must not be compared.
    """

    value: Figure
    low: Figure
    high: Figure
    deff: Figure
    censored: bool
    published: bool
    status: Literal["published", "failed share", "too few turns", "too few sessions", "open"]
    needs: Count | None
    successes: Figure


class Distribution(Record):
    """A measure from its histogram."""

    measure: str
    unit: str
    target: str
    step: str
    n: Count
    p50: Figure
    p90: Figure
    p95: Figure
    p99: Figure
    high: Figure = field(name="max")
    out_of_range: Count
    negative: Count


Origin = Annotated[
    Literal["requested", "speech_end"] | None, about("what the turns count from, where the measure tells it apart")
]
Traits = Annotated[Known, about("what sets the turns apart from others of their step; null of plain ones")]
Why = Annotated[Known | None, about("why the figure is not exact in this run; null where it is")]
Reached = Annotated[
    Figure | None, about("share of what was wanted that has a value; null of nothing, and in older versions")
]
Never = Annotated[Count, about("those of the failed that were wanted and never begun")]


class Figures(Record):
    """A measure of a target and step."""

    measure: str
    unit: str
    target: str
    origin: Origin
    traits: Traits
    step: str
    n: Count
    failed: Count
    censored: Count
    p50: Quantile
    p90: Quantile
    p95: Quantile
    p99: Quantile
    low: Figure = field(name="min")
    high: Figure = field(name="max")
    inexact: Why = None
    lost: Never = 0
    reached: Reached = None


class Answer(Record):
    """What callers of one target wait for, by a measure that counts from one instant: its turns and its figures."""

    target: str
    turns: Count
    sessions: Count
    turns_failed: Count
    lost_turns: Count
    turns_wanted: Count
    measure: str
    unit: str
    origin: Origin
    traits: Traits
    step: str
    n: Count
    failed: Count
    censored: Count
    p50: Quantile
    p90: Quantile
    p95: Quantile
    p99: Quantile
    low: Figure = field(name="min")
    high: Figure = field(name="max")
    inexact: Why = None
    lost: Never = 0
    reached: Reached = None


class Segment(Record):
    """From one instant to the next."""

    begin: str = field(name="from")
    end: str = field(name="to")
    name: str
    total_ns: int
    mean_ms: Figure


class Breakdown(Record):
    """The segments of turns in which the same instants happened: sums add up exactly."""

    target: str
    step: str
    traits: Traits
    turns: Count
    total_ns: int
    mean_ms: Figure
    segments: list[Segment]


class Band(Record):
    """The same of the turns around a percentile of voice_to_voice."""

    p: float
    target: str
    step: str
    traits: Traits
    turns: Count
    total_ns: int
    mean_ms: Figure
    segments: list[Segment]


class Wait(Record):
    """The main measure of one stratum and target."""

    measure: str
    origin: Known
    traits: Traits
    target: str


class Spread(Wait):
    """sigma: sd of the log of successful waits; icc: the share of its square between sessions; design effects; worth:
    so many sessions of one length tell as much, (Σn)² / Σn²."""

    sigma: Figure
    icc: Figure
    deff50: Figure
    deff95: Figure
    worth: Figure


class Drift(Wait):
    """Median of the second half of the measured phase over that of the first, with its 99 % interval; null: open."""

    suspected: bool
    ratio: Figure
    low: Figure
    high: Figure


class Rate(Record):
    """So many of a number, as a share with its 95 % interval; null of nothing."""

    count: Count
    of: Count
    value: Figure = field(name="share")
    low: Figure
    high: Figure


class Group(Wait):
    """The turns of a target that a key puts together: by their number, the age of their session when they began, the
    tokens that their first response read, the calls in progress, or the host that recorded them.
    """

    by: Literal["turn", "age", "context", "calls", "host"]
    name: str
    low: Annotated[Figure, about("from where the group reaches: a number, seconds, tokens or calls; null of hosts")] = (
        field(name="from")
    )
    high: Annotated[Figure, about("to where; null: without an end, and of hosts")] = field(name="to")
    turns: Count
    sessions: Count
    failed: Annotated[Rate, about("of the turns that the end of the run did not cut")] = field(name="turns_failed")
    unopened: Annotated[Rate | None, about("of the sessions that began here; null where that is not known")] = field(
        name="sessions_unopened"
    )
    n: Annotated[Count, about("turns with a wait, which failed ones have too")]
    p50: Part
    p95: Part


class Host(Record):
    """A host that recorded a part of the run; null: not known."""

    name: str
    workers: Count
    sessions: Count
    turns: Count
    stamp_error_p99_ms: Figure
    start_lag_p99_ms: Figure
    hub_delay_p99_ms: Figure
    send_lag_p99_ms: Figure
    clock_offset_ms: Annotated[Figure, about("how far its clock was ahead of the leader's")]
    clock_offset_error_ms: Figure
    calibrated: Annotated[Known, about("on which day")]


class Machine(Record):
    """Who had the cores of a host over the run, as shares of the time of all; null: the system does not tell."""

    host: str
    cores: Count
    load_begin: Annotated[Figure, about("average of the minute before")]
    load_end: Figure
    own: Annotated[Figure, about("this run's workers")]
    programs: Annotated[Figure, about("all programs and the kernel, this run among them")]
    others: Annotated[Figure, about("all other programs, a simulator among them")]
    stolen: Annotated[Figure, about("the hypervisor")]
    taken_most: Annotated[Figure, about("all together, in the worst stretch of some seconds")]
    stolen_most: Figure


class Counts(Record):
    """What is counted beside the measures of replies and of the network."""

    target: str
    replies: Count
    stalled: Count
    noticed: Count
    early: Count
    split: Count
    splits: Count
    watched: Count
    resent: Count
    with_resent: Count


class Throughput(Record):
    """Bytes one way."""

    measure: str
    target: str
    total_bytes: Count
    mean_bytes_per_s: Figure
    per_second: Distribution
    per_session: Distribution


class Outcomes(Record):
    """How the turns and sessions of one target ended."""

    turns: dict[str, Count]
    sessions: dict[str, Count]
    said: dict[str, str]
    turns_begun: Count
    turns_failed: Count
    turns_censored: Count
    lost_turns: Count
    turns_wanted: Count
    failures: Figure
    sessions_begun: Count
    sessions_with_failure: Count
    failures_low: Annotated[Figure | None, about("of the 95 % interval of failures; older versions have none")] = None
    failures_high: Figure | None = None


class Arm(Record, kw_only=True):
    """What a target was."""

    target: str
    address: Known | None = None
    dialect: Known | None = None
    model: Known | None = None
    region: Known | None = None
    sign_in: Known | None = None
    proxy: Known | None = None
    compression: Known | None = None
    voice: Known | None = None
    turn_detection: Known | None = None
    settings_of_its_own: Known | None = None


class Interleaving(Record):
    """Sessions of all arms that began together."""

    arms: Count
    pairs: Count
    cut: Count
    blocks: Count
    unopened: Count
    apart_ms: float


class Difference(Record):
    """A published quantile of several arms, as multiples of the first one's."""

    measure: str
    origin: Known
    traits: Traits
    p: float
    against: str
    ratios: dict[str, Figure]


class Charge(Record):
    """The tokens and minutes of one model, and their prices."""

    model: str
    turns: Count
    source: Known
    tokens: dict[str, Count]
    stray: dict[str, Count] = field(name="stray_tokens")
    minutes: Figure
    prices: Prices | None


class Waste(Record):
    """What replies that were interrupted had made, and nobody heard."""

    replies: Count
    told: Annotated[Count, about("those whose service told tokens")] = field(name="replies_with_usage")
    priced: Annotated[Count, about("those with a price")] = field(name="replies_priced")
    seconds: Figure
    tokens: Count = field(name="audio_tokens")
    usd: Figure
    per_reply: Figure = field(name="usd_per_reply")


class Cost(Record):
    """What one target's sessions cost."""

    target: str
    usd: Figure
    per_turn: Figure = field(name="usd_per_turn")
    per_session: Figure = field(name="usd_per_session")
    per_minute: Figure = field(name="usd_per_minute")
    turns: Count
    priced: Count = field(name="turns_priced")
    silent: Count = field(name="turns_without_usage")
    stray_usd: Figure
    stray_sessions: Count
    minutes: Figure
    waste: Waste
    charges: list[Charge] = field(name="models")


class PriceTable(Record):
    """The prices that the run went by."""

    table: Known = field(name="name")
    as_of: Known


class Money(Record):
    """What the run cost; null where nothing has a price."""

    usd: Figure
    turns: Count
    priced: Count = field(name="turns_priced")
    silent: Count = field(name="turns_without_usage")
    stray_usd: Figure
    stray_sessions: Count
    waste: Annotated[Waste | None, about("null where no reply was interrupted")]
    unpriced: list[str] = field(name="models_without_price")
    prices: PriceTable
    budget_usd: float | None
    estimate_usd: list[float] | None
    transcribed: bool = field(name="input_transcription_apart")
    costs: list[Cost] = field(name="targets")


class Limits(Record):
    """What the service limited, and what remained of each limit at least, as a share."""

    target: str
    turns: Count = field(name="throttled_turns")
    sessions: Count = field(name="throttled_sessions")
    waits_asked: Count
    wait_p50_s: Figure
    wait_max_s: Figure
    held_s: Figure
    least_remaining: dict[str, Figure]


class Offered(Record):
    """The load that calls were which arrived at one target, in the measured phase."""

    target: str
    offered: Count
    blocked: Annotated[Count, about("found no free slot")]
    held: Annotated[Count, about("were held back, by the service or the rate of connections")]
    started: Annotated[Count, about("those that were neither blocked nor cut; held and refused ones are among them")]
    cut: Annotated[Count, about("waited for their start when the run ended")]
    refused: Annotated[Count, about("did not open")]
    completed: Count
    length_s: Number
    per_s: Figure
    call_s: Annotated[Figure, about("how long a call lasts on average")]
    offered_erlangs: Figure
    carried_erlangs: Annotated[Figure, about("calls in progress on average")]
    slots: Count
    start_lag_p50_ms: Figure
    start_lag_p99_ms: Figure


class Arriving(Record):
    """How calls arrived."""

    pattern: str
    per_s: Annotated[Number | None, about("the rate that was asked for, where it was one")]
    think_s: Annotated[list[Number], about("what callers think in a call on average, of each script")]
    targets: list[Offered]


class Incident(Record):
    """What happened beside the measuring; `at_s` after the run began."""

    at_s: float
    worker: Count
    kind: str
    text: str


class TurnRate(Record):
    """A share of one target's turns, or words, with its 95 % interval over sessions; null where there are too few."""

    rate: str
    target: str
    events: Count
    of: Count
    trials: Literal["turns", "words"]
    sessions: Count
    value: Figure
    low: Figure
    high: Figure


class Slow(Record):
    """One of the slowest turns, with the names by which the service and the network know it."""

    measure: str
    origin: Known
    traits: Traits
    target: str
    step: str
    turn: Count
    at_s: float
    retransmits: Count | None
    session: str
    service_session: Known
    response: Known
    request: Known
    region: Known
    event_log: Known
    value: Figure = field(name="value_ms")
    ttfa: Figure = field(name="ttfa_ms")
    voice_to_voice: Figure = field(name="voice_to_voice_ms")
    created: Figure = field(name="created_ms")
    network_rtt: Figure = field(name="network_rtt_ms")


class Setup(Record):
    """Settings of the run's scripts that figures depend on."""

    jitter_buffers_ms: list[float]
    vad_chunks_ms: list[float]
    packetisation: Known
    detections: list[dict[str, Any]]


class Rule(Record):
    """A rule of validity; null: it did not apply, or had no data."""

    rule: str
    name: str
    measure: str
    figure: Figure | None
    limit: Figure | None
    unit: str
    passed: bool | None
    note: str
    remedy: str


class Inexact(Record):
    """A measure that is not exact in this run: p99 of its bound is over the limit; null: the bound has no end."""

    target: str
    measure: str
    figure: float | None
    limit: float
    unit: str
    host: Annotated[Known | None, about("on which host; null: over all")] = None


class Verdict(Record):
    """Whether the figures may be used; null: not judged."""

    valid: bool | None
    reason: str
    rules: list[Rule]
    inexact: list[Inexact] = field(default_factory=list)


class SummaryDocument(Record, kw_only=True):
    """What is said of a run."""

    schema: Literal[4]
    definitions: Version
    run_id: str | None
    scenario: str | None
    labels: Annotated[dict[str, str], about("what --label says of the run")]
    simulated: bool
    state: str | None
    began_utc_ns: int
    length_s: Number
    warmup_s: Number
    verdict: Verdict
    targets: list[str]
    main: Annotated[str, about("the measure that a caller waits for")]
    mains: Annotated[dict[str, str], about("the same by what latency counts from, and traits: requested+calls")]
    setup: Setup
    answers: list[Answer]
    heard: list[Answer]
    read: list[Answer]
    turn_measures: list[Figures]
    segments: list[Breakdown]
    segments_around: Annotated[list[Band], about("of the turns around this percentile of voice_to_voice")]
    spread: list[Spread]
    drift: list[Drift]
    groups: Annotated[list[Group], about("waits of groups of turns; those of a key that says nothing are left out")]
    hosts: Annotated[list[Host], about("those that recorded the run; empty where it was one")] = field(
        default_factory=list
    )
    machines: Annotated[list[Machine], about("who had the cores of each host; empty of an older run")] = field(
        default_factory=list
    )
    counts: list[Counts]
    rates: Annotated[list[TurnRate], about("of turns that a column says it of; empty where none does")] = field(
        default_factory=list
    )
    session_measures: list[Figures]
    events: list[Distribution] = field(name="event_measures")
    harness: list[Distribution]
    throughput: list[Throughput]
    outcomes: dict[str, Outcomes]
    arms: list[Arm]
    interleaving: Interleaving | None
    differences: list[Difference]
    money: Money
    limits: list[Limits]
    arriving: Annotated[Arriving | None, about("null in a closed loop")]
    incidents: list[Incident]
    incident_counts: dict[str, Count]
    slowest: list[Slow]
    notices: list[str]
