"""The load model of a run.

In a closed loop, users call again and again. In an open loop, calls arrive at planned instants,
however long other callers wait. The instants are drawn once per run, from its seed. All processes
draw the same instants and take them in turn, so the service receives a single arrival process. The
rate counts calls and not turns, because a caller speaks only after the reply. Each process has a
fixed share of the slots for calls: if processes shared their slots, each call would need a message
between hosts.

Gaps are drawn for a rate of one call per second, and then rescaled to the real rate, which may
change. The n-th call arrives when the integral of the rate reaches the sum of the first n gaps
(time-rescaling, Çinlar 1975; exact for Poisson processes).
"""

import hashlib
import math
from argparse import Namespace
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.errors import ScriptError, UsageError
from bench.base.units import NS_PER_S
from bench.load.planning.run_options import Options
from bench.load.planning.stages import LoadSchedule, load_schedule
from bench.load.planning.tasks import file_of

# A process takes each n-th instant of the one sequence that all of them draw. So no process waits
# for another one, a process that dies takes its calls with it, and the others keep their instants.
# The seed is the only thing that they have in common.
#
# The head start gives all processes the time to be ready for the first arrival. Otherwise the first
# calls would be late, and the load would begin with a burst.
POISSON = "poisson"
CONSTANT = "constant"
GAMMA = "gamma"
PATTERNS = "poisson, constant, gamma:SHAPE, or a file of instants"
MIN_SHAPE = 0.01
MAX_SHAPE = 10_000.0
ARRIVALS = 3
"""A component of the seed. With it, arrivals are independent of orders and of choices of
recordings."""
SAMPLES_PER_BATCH = 256
HEAD_START_S = 1.0
WORKERS_HEAD_START_S = 3.0
"""The seconds until all users are ready for the first arrival, in a run with one process, and
with several."""
MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class ArrivalPattern:
    """The distribution of the gaps between calls.

    `shape` is that of a gamma distribution: the squared coefficient of variation of the gaps is
    1/shape.
    """

    name: str
    shape: float | None = None

    def __str__(self) -> str:
        return self.name if self.shape is None else f"{self.name}:{self.shape:g}"

    def sums(self, seed: int) -> Iterator[float]:
        """Yield the instants of calls, in seconds, at a mean rate of one call per second. The
        iterator has no end.
        """
        generator = np.random.default_rng([seed, 0, ARRIVALS])
        total = 0.0
        if self.name == CONSTANT:
            yield total
        while True:
            for gap in self._gaps(generator).tolist():
                total += gap
                yield total

    def _gaps(self, generator: np.random.Generator) -> Any:
        if self.name == CONSTANT:
            return np.ones(SAMPLES_PER_BATCH)
        if self.shape is None:
            return generator.standard_exponential(SAMPLES_PER_BATCH)
        return generator.standard_gamma(self.shape, SAMPLES_PER_BATCH) / self.shape


def pattern_of(text: str) -> ArrivalPattern | None:
    """Return the pattern that a text such as `gamma:2` names, if any. Raise UsageError if the
    shape is invalid.
    """
    name, colon, shape = text.partition(":")
    if name in (POISSON, CONSTANT) and not colon:
        return ArrivalPattern(name)
    if name != GAMMA:
        return None
    try:
        number = float(shape)
    except ValueError:
        number = math.nan
    if not MIN_SHAPE <= number <= MAX_SHAPE:
        raise UsageError(
            f"--arrival-pattern gamma:SHAPE must have a shape from {MIN_SHAPE:g} to {MAX_SHAPE:g},"
            f" such as gamma:0.5 for bursts, not {text!r:.100}"
        )
    return ArrivalPattern(GAMMA, number)


@dataclass(frozen=True)
class RecordedArrivals:
    """Arrival instants from a file: its seconds, or seconds after its first time. `digest` is
    its SHA-256, in hex.
    """

    path: Path
    digest: str
    instants_s: tuple[float, ...]


@dataclass(frozen=True)
class Arrivals:
    """The arrivals of calls. `slots` is the maximum number of concurrent calls; further calls
    are blocked.
    """

    seed: int
    slots: int
    pattern: ArrivalPattern = ArrivalPattern(POISSON)
    per_s: float | None = None
    schedule: LoadSchedule | None = None
    recorded: RecordedArrivals | None = None

    @property
    def duration_s(self) -> float | None:
        """The time during which calls arrive, in seconds; None if it is not limited."""
        if self.recorded is not None:
            return self.recorded.instants_s[-1]
        return self.schedule.duration_s if self.schedule else None

    def instants_s(self) -> Iterator[float]:
        """Yield the instants at which calls arrive, in seconds after the first instant at which
        a call may arrive.
        """
        if self.recorded is not None:
            return iter(self.recorded.instants_s)
        sums = self.pattern.sums(self.seed)
        per_s = self.per_s or 0.0
        return (
            arrival_instants(sums, self.schedule)
            if self.schedule
            else (total / per_s for total in sums)
        )

    def share_ns(self, worker: int, workers: int) -> Iterator[int]:
        """Yield the instants at which the calls of one process arrive, in ns after the start of
        the run.
        """
        own_instants_s = islice(self.instants_s(), worker % workers, None, workers)
        return (round((head_start(workers) + at_s) * NS_PER_S) for at_s in own_instants_s)

    def facts(self, started_utc_ns: int, workers: int) -> dict[str, Any]:
        return {
            "pattern": str(self.recorded.path.name if self.recorded else self.pattern),
            "per_s": self.per_s,
            "stages": None if self.schedule is None else schedule_facts(self.schedule),
            "digest": self.recorded.digest if self.recorded else None,
            "max_concurrent": self.slots,
            "started_utc_ns": started_utc_ns + round(head_start(workers) * NS_PER_S),
            "duration_s": self.duration_s,
        }


def schedule_facts(schedule: LoadSchedule) -> list[dict[str, float]]:
    """Return the entry of a load schedule in run.json. Each stage has its duration and its first
    and last level.
    """
    return [
        {"duration_s": duration_s, "from": first, "to": last}
        for _, duration_s, first, last in schedule.parts()
    ]


def head_start(workers: int) -> float:
    return WORKERS_HEAD_START_S if workers > 1 else HEAD_START_S


def arrival_instants(sums: Iterator[float], schedule: LoadSchedule) -> Iterator[float]:
    """Yield the instants at which calls arrive if the rate follows a schedule: when its integral
    reaches their sum.

    `sums` are the instants of the same calls at a rate of one call per second.
    """
    parts = schedule.parts()
    arrived = 0.0
    latest_s = 0.0
    start_s, duration_s, first, last = next(parts)
    for total in sums:
        while total - arrived > (calls := (first + last) / 2 * duration_s):
            arrived += calls
            following = next(parts, None)
            if following is None:
                return
            start_s, duration_s, first, last = following
        # the instant at which the rate, linear from `first` to `last`, has produced the remaining
        # calls
        remaining = total - arrived
        steepness = (last - first) / duration_s if duration_s else 0.0
        speed = first + math.sqrt(max(0.0, first * first + 2 * steepness * remaining))
        at_s = start_s + min(2 * remaining / speed if speed else 0.0, duration_s)
        # the error of rounding may be larger than the difference of two sums
        latest_s = max(latest_s, at_s)
        yield latest_s


def load_recorded(path: Path) -> RecordedArrivals:
    """Read arrival instants from a file. Each line contains seconds, an ISO 8601 time, or nothing
    but a # comment.

    Raise ScriptError for an invalid line, and UsageError if the file cannot be read or is too
    large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"--arrival-pattern {path} cannot be read: {reason}; it is one of {PATTERNS}"
        ) from None
    if len(content) > MAX_BYTES:
        raise UsageError(f"--arrival-pattern {path} is larger than {MAX_BYTES >> 20} MiB")
    instants: list[float] = []
    kind = None
    for number, line in enumerate(content.decode("utf-8-sig", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        seconds, this_kind = _instant(path, number, text)
        if kind not in (None, this_kind):
            raise ScriptError(
                path, number, f"must be {kind}, like the lines before it, not {text!r:.60}"
            )
        kind = this_kind
        if instants and seconds < instants[-1]:
            raise ScriptError(
                path, number, "is earlier than the line before it: sort the file by time"
            )
        instants.append(seconds)
    if not instants:
        raise ScriptError(
            path,
            None,
            "has no instants: write one per line, in seconds or as 2026-11-01T09:00:00.250Z",
        )
    first = instants[0] if kind == "a time" else 0.0
    return RecordedArrivals(
        path, hashlib.sha256(content).hexdigest(), tuple(at_s - first for at_s in instants)
    )


def _instant(path: Path, number: int, text: str) -> tuple[float, str]:
    try:
        seconds = float(text)
    except ValueError:
        pass
    else:
        if 0 <= seconds < math.inf:
            return seconds, "seconds"
        raise ScriptError(path, number, f"must be seconds, 0 or more, not {text!r:.60}")
    try:
        date_time = datetime.fromisoformat(text)
    except ValueError:
        expected = "must be seconds, such as 12.5, or a time, such as 2026-11-01T09:00:00.250Z"
        raise ScriptError(path, number, f"{expected}, not {text!r:.60}") from None
    return (date_time if date_time.tzinfo else date_time.replace(tzinfo=UTC)).timestamp(), "a time"


IN_SCENARIO = ("arrival_rate", "arrival_pattern", "max_concurrent", "stages")
"""The options that a user class may set by attributes of the same names."""


@dataclass(frozen=True)
class LoadModel:
    """An open loop with `arrivals`; without, a closed loop, in which `schedule` may change the
    number of users.
    """

    arrivals: Arrivals | None = None
    schedule: LoadSchedule | None = None

    @property
    def duration_s(self) -> float | None:
        """The duration that the load model sets, in seconds; None if it sets none."""
        limited = self.arrivals or self.schedule
        return limited.duration_s if limited else None

    @property
    def calls(self) -> int | None:
        """The number of arriving calls, if they were recorded; else None."""
        recorded = self.arrivals and self.arrivals.recorded
        return len(recorded.instants_s) if recorded else None

    @property
    def users(self) -> int | None:
        """The maximum number of users; None if the option --users sets it."""
        if self.arrivals is not None:
            return self.arrivals.slots
        return None if self.schedule is None else round(self.schedule.peak)

    @property
    def concurrency_option(self) -> str:
        """The option that sets the maximum number of users."""
        if self.arrivals is not None:
            return "--max-concurrent"
        return "--users" if self.schedule is None else "--stages"

    @property
    def changes(self) -> bool:
        """True if the planned load changes during the run."""
        return self.schedule is not None or (
            self.arrivals is not None and self.arrivals.schedule is not None
        )


CLOSED_LOOP = LoadModel()
"""A closed loop. The option --users sets the number of users."""


def with_scenario_defaults(parsed: Any, user_classes: Collection[Any]) -> Namespace:
    """Return the parsed options, with the user classes' attributes in place of options IN_SCENARIO
    that are not given.

    A relative path starts at the folder of the class's file. Raise UsageError if classes have
    different values.
    """
    defaults: dict[str, Any] = {}
    for user in user_classes:
        for name in IN_SCENARIO:
            if value := getattr(user, name, None):
                is_path = name == "stages" or (
                    name == "arrival_pattern" and pattern_of(str(value)) is None
                )
                value = str(file_of(user).parent / str(value)) if is_path else value
                if defaults.setdefault(name, value) != value:
                    raise UsageError(
                        f"the user classes have different values of `{name}`: {defaults[name]} and"
                        f" {value}"
                    )
    if parsed.arrival_rate or parsed.stages:
        defaults = {
            name: value
            for name, value in defaults.items()
            if name not in ("arrival_rate", "stages")
        }
    return Namespace(
        **vars(parsed)
        | {name: value for name, value in defaults.items() if not getattr(parsed, name)}
    )


def load_model_of(options: Options, parsed: Any, user_classes: Collection[Any]) -> LoadModel:
    """Return the load model that the options set. Raise UsageError if they contradict each
    other.
    """
    schedule = load_schedule(options.stages) if options.stages else None
    if schedule is not None and getattr(parsed, "run_time", None):
        raise UsageError(
            f"{options.stages} sets the duration of the run, {schedule.duration_s:g} s: omit"
            " --run-time"
        )
    pattern_text = options.arrival_pattern or POISSON
    pattern = pattern_of(pattern_text)
    recorded = None
    if pattern is None:
        if not Path(pattern_text).exists():
            raise UsageError(
                f"--arrival-pattern must be {PATTERNS}, but there is no file {pattern_text:.200}"
            )
        recorded = load_recorded(Path(pattern_text))
    if recorded is not None and (options.arrivals_per_s or schedule is not None):
        also = "--arrival-rate" if options.arrivals_per_s else "--stages"
        raise UsageError(
            f"--arrival-pattern {recorded.path} sets the instant of each call: omit {also}"
        )
    if (
        options.arrivals_per_s is None
        and recorded is None
        and (schedule is None or schedule.kind == "sessions")
    ):
        return _closed_loop(options, schedule, parsed)
    names = sorted(user.__name__ for user in user_classes)
    # Locust distributes classes freely: a call might find no user of its class in its process
    if len(names) > 1:
        raise UsageError(
            f"an arrival rate needs one user class, but there are {', '.join(names)}: name one of"
            " them, or set all scripts as the `tasks` of one class, with weights"
        )
    slots = _slots(options, parsed)
    pattern = pattern or ArrivalPattern(POISSON)
    return LoadModel(
        Arrivals(options.seed, slots, pattern, options.arrivals_per_s, schedule, recorded)
    )


def _slots(options: Options, parsed: Any) -> int:
    """Return the maximum of concurrent calls. In the web UI, the default is the number of users."""
    users = getattr(parsed, "num_users", None)
    slots = options.max_concurrent or (None if getattr(parsed, "headless", True) else users)
    if slots is None:
        raise UsageError(
            "calls at an arrival rate need --max-concurrent N, the maximum of concurrent calls"
        )
    if users not in (None, slots):
        raise UsageError(
            f"--users {users} contradicts --max-concurrent {slots}: omit --users, because"
            " --max-concurrent limits the calls in progress"
        )
    return slots


def _closed_loop(options: Options, schedule: LoadSchedule | None, parsed: Any) -> LoadModel:
    """Return the model of a closed loop. Raise UsageError if an option is given that needs an
    arrival rate.
    """
    if options.max_concurrent is not None:
        raise UsageError(
            "--max-concurrent needs an arrival rate: add --arrival-rate 30/min, or use --users N"
            " instead"
        )
    if options.arrival_pattern is not None:
        raise UsageError("--arrival-pattern needs an arrival rate: add --arrival-rate 30/min")
    users = getattr(parsed, "num_users", None)
    if schedule is not None and users not in (None, round(schedule.peak)):
        raise UsageError(
            f"--users {users} contradicts --stages, which set the number of sessions: omit --users"
        )
    return LoadModel(schedule=schedule)
