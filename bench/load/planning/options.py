"""Adds our options to Locust's own: on its command line, in locust.conf, in the environment, some in its web UI."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

from bench.cores import core_count
from bench.errors import UsageError
from bench.load.planning.stages import A_SPAN, MOST_PER_S, RATES, rate_per_s, span_s
from bench.target.options import OPTIONS, ServiceOptions

LOOK_EVERY = 50
MOST_PAIRS = 500
"""Pairs of a run that says no other number and ends once it is decided."""
MOST, MOST_USERS, MOST_S = 1_000_000_000, 10_000_000, 366 * 86_400
"""Limits of what a run is asked for: larger numbers are slips, and some break what counts with them."""
LEAST_TIMEOUT_S = 10.0
MOST_SEED = (1 << 63) - 1
LOOPBACK = "127.0.0.1"
SHAPE = frozenset(
    {
        *("sessions", "arrivals", "max_sessions", "warmup", "until_decided", "look_every"),
        *("connect_rate", "session_pause", "seed"),
    }
)
"""What shapes the load, and may be chosen in the web UI. Whatever names a target, a key, a file or a folder, what is
kept, and what caps the cost is chosen by who starts the process; see `bench.load.leading.web_ui`."""


class Environment(Protocol):
    """Locust's `Environment`, of one process. `runner` is Locust's, too: local, a master's or a worker's.

    `shape_class`: its load shape, which is an object; None where --users and --run-time say what is played.
    """

    runner: Any
    events: Any
    parsed_options: Any
    user_classes: Collection[Any]
    shape_class: Any
    web_ui: Any
    stop_timeout: float | None
    process_exit_code: int | None


def stay_on_loopback(parser: Any) -> None:
    """Have Locust's web UI and its master listen there, unless they are told otherwise."""
    parser.set_defaults(web_host=LOOPBACK, master_bind_host=LOOPBACK)


def fork_for_allowed_cores(parser: Any) -> None:
    """Have `--processes -1` mean the cores that the run may use: Locust counts those of the machine."""

    def whole_number(text: str) -> int:
        return core_count() if int(text) == -1 else int(text)

    (processes,) = (action for action in parser._actions if action.dest == "processes")
    processes.type = whole_number


def add_options(parser: Any) -> None:
    """Register our options with Locust's parser; each can be `LOCUST_<NAME>` too."""

    def add(name: str, **settings: Any) -> None:
        option = name[2:].replace("-", "_")
        parser.add_argument(name, env_var=f"LOCUST_{option.upper()}", include_in_web_ui=option in SHAPE, **settings)

    def valued(name: str, metavar: str, note: str, **settings: Any) -> None:
        add(name, metavar=metavar, help=note, **settings)

    def switch(name: str, note: str) -> None:
        add(name, action="store_true", help=note)

    for option in OPTIONS.values():
        told = {"metavar": option.metavar, "choices": option.words, "type": int if option.kind is int else None}
        add(option.flag, help=option.note, **{name: value for name, value in told.items() if value})
    valued(
        "--sessions",
        "N",
        "end the run after N sessions with each target, those of the warm-up included",
        type=_positive,
    )
    valued(
        "--arrivals",
        "RATE",
        "let calls arrive at this rate, each as a session, whether or not others are answered: 30/min, 2/s, 100/h",
    )
    valued(
        "--arrival-pattern",
        "PATTERN",
        "how calls arrive: poisson, constant, gamma:SHAPE, or a file of their instants (default: poisson)",
    )
    valued(
        "--max-sessions",
        "N",
        "most calls in progress at a time; a call beyond them is blocked and counted",
        type=_positive,
    )
    valued("--stages", "FILE", "play the load of this YAML file, in arrivals or in sessions: ramps, holds and steps")
    valued(
        "--warmup",
        "S",
        "keep sessions that start so early out of the figures: 90s, 2m, 0 for none "
        "(default: none, in runs of ten minutes or more the ramp-up and a session, a minute at least)",
    )
    switch("--until-decided", "compare two targets, and end the run once that is decided")
    valued("--thresholds", "FILE", "file with the relative thresholds that --until-decided decides")
    valued("--look-every", "N", "pairs between two looks of --until-decided (default: 50)", type=_positive)
    valued(
        "--connect-rate",
        "N",
        "most connections that are opened in a minute, 0 for no limit (Azure preview: 30)",
        type=float,
    )
    valued("--session-pause", "S", "seconds between a user's sessions (default: 1)", type=float, default=1.0)
    valued("--history", "FILE", "file of messages (.jsonl) that every session begins with, as if they had been said")
    valued("--budget", "USD", "end the run once its responses have cost this many USD")
    valued("--seed", "N", "seed by which recordings and pauses are drawn for each session (default: 1)", default="1")
    valued("--record-events", "P%%", "keep the event log of this share of the sessions, e.g. 1%%")
    switch("--keep-audio", "keep the audio in event logs; without this it is cut")
    switch("--transcripts", "keep the words of both sides, in transcripts.jsonl")
    valued("--name", "NAME", "name of the run, of its folder and of its baselines (default: the Locust file's name)")
    valued("--part-of", "NAME", "name of the run that this one is a part of, if several machines play it")
    valued(
        "--label", "KEY=VALUE", "label that identifies the run, such as commit=1a2b3c; may be repeated", action="append"
    )
    valued(
        "--upload",
        "URL",
        "upload the run's folder to this URL when it is reported: Azure Blob Storage, or an HTTPS server",
    )
    valued("--runs", "FOLDER", "make run folders in this folder (default: runs)", default="runs")
    switch("--locust-tables", "show Locust's tables without the web UI, too, instead of our line")
    switch("--live", "show a table below our line, with a row for each target, on a terminal")
    switch("--telemetry", "send metrics to an OpenTelemetry collector, at OTEL_EXPORTER_OTLP_ENDPOINT (extra: otel)")
    valued(
        "--worker-timeout",
        "S",
        "a worker that its master does not hear from for so long is lost, and has ended by itself (default: 30)",
        default="30",
    )
    switch("--priority", "ask for a higher priority of the processes that play (niceness -10)")
    switch("--yes", "allow over 20 sessions against a host that is not loopback")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


@dataclass(frozen=True)
class Options:
    """Our options as given. `service_options`: what they say of the services, and their prices."""

    service_options: ServiceOptions
    sessions: int | None
    arrivals_per_s: float | None
    """The rate at which calls arrive; None where no rate says so."""
    arrival_pattern: str | None
    max_sessions: int | None
    stages: Path | None
    warmup_s: float | None
    """None: as long as the run calls for; see `bench.load.planning.planned`."""
    until_decided: bool
    thresholds: Path | None
    look_every: int
    connect_rate: float | None
    session_pause_s: float
    history: Path | None
    """What every session begins with, instead of what its script says; None: what that says."""
    budget_usd: float | None
    seed: int
    record_events: Fraction
    """The share of pairs of sessions whose events are logged, 0 to 1."""
    keep_audio: bool
    transcripts: bool
    name: str
    """What the run is called; "" for the name of its scenario."""
    part_of: str
    """The run that this one is a part of; "" where it is none."""
    labels: Mapping[str, str]
    runs: Path
    worker_timeout_s: float
    """After so long a silence a master takes a worker for lost; by then a worker has ended that lost its master."""
    priority: bool
    yes: bool

    @property
    def asked_sessions(self) -> int | None:
        """How many sessions a run has with each target, as far as they say; None for no limit."""
        return self.sessions or (MOST_PAIRS if self.until_decided else None)

    @staticmethod
    def of(parsed: Any) -> Options:
        """Read Locust's parsed options, or what its web UI made of them. Raises UsageError for what cannot be."""
        record_events = _share(parsed.record_events, "--record-events")
        if parsed.keep_audio and not record_events:
            raise UsageError("--keep-audio needs event logs, and none are kept: add --record-events 1%")
        for idle, given in {"--thresholds": parsed.thresholds, "--look-every": parsed.look_every}.items():
            if given and not parsed.until_decided:
                raise UsageError(f"{idle} needs --until-decided: add it, or leave {idle} out")
        if parsed.arrivals and parsed.stages:
            raise UsageError("--arrivals and --stages both set the rate of calls: leave one out")
        # Locust's own options, and the fields of its web UI, are to ask for what a run can be
        users_of(getattr(parsed, "num_users", None))
        _seconds(getattr(parsed, "run_time", None), "--run-time")
        if _number(getattr(parsed, "spawn_rate", None), "--spawn-rate") == 0:
            raise UsageError("--spawn-rate must be more than 0 users a second")
        of_services = {name: getattr(parsed, name) for name in OPTIONS}
        return Options(
            service_options=ServiceOptions.of({name: None if of == "" else of for name, of in of_services.items()}),
            sessions=_whole(parsed.sessions, "--sessions", 1),
            arrivals_per_s=_rate(parsed.arrivals),
            arrival_pattern=parsed.arrival_pattern or None,
            max_sessions=_whole(parsed.max_sessions, "--max-sessions", 1, MOST_USERS),
            stages=_path(parsed.stages),
            warmup_s=_seconds(parsed.warmup, "--warmup"),
            until_decided=bool(parsed.until_decided),
            thresholds=_path(parsed.thresholds),
            look_every=_whole(parsed.look_every, "--look-every", 1) or LOOK_EVERY,
            connect_rate=_number(parsed.connect_rate, "--connect-rate"),
            session_pause_s=_number(parsed.session_pause, "--session-pause") or 0.0,
            history=_path(parsed.history),
            budget_usd=_budget(parsed.budget),
            seed=_whole(parsed.seed, "--seed", 0, MOST_SEED) or 0,
            record_events=record_events,
            keep_audio=bool(parsed.keep_audio),
            transcripts=bool(parsed.transcripts),
            name=_name(parsed.name, "--name"),
            part_of=_name(parsed.part_of, "--part-of"),
            labels=_labels(parsed.label or []),
            runs=Path(parsed.runs or "runs"),
            worker_timeout_s=worker_timeout_s(parsed),
            priority=bool(parsed.priority),
            yes=bool(parsed.yes),
        )


def worker_timeout_s(parsed: Any) -> float:
    """What `--worker-timeout` says, in seconds. Raises UsageError for less than a worker takes to end."""
    seconds = _seconds(parsed.worker_timeout, "--worker-timeout")
    if seconds is None or seconds < LEAST_TIMEOUT_S:
        raise UsageError(f"--worker-timeout must be {LEAST_TIMEOUT_S:g} s or more, not {parsed.worker_timeout!s:.100}")
    return seconds


def users_of(value: object) -> int | None:
    """How many users there are to be; None where nothing is given. Raises UsageError."""
    return _whole(value, "the number of users", 1, MOST_USERS)


def _rate(value: object) -> float | None:
    """Calls a second; None where nothing is given."""
    if value in (None, ""):
        return None
    per_s = rate_per_s(str(value))
    if not per_s:
        raise UsageError(f"--arrivals must be {RATES}, up to {MOST_PER_S:,.0f}/s, not {value!s:.100}")
    return per_s


def _path(value: object) -> Path | None:
    return Path(str(value)) if value else None


def _budget(value: object) -> float | None:
    budget_usd = _number(value, "--budget")
    if budget_usd == 0:
        raise UsageError("--budget must be more than 0 USD")
    return budget_usd


def _name(value: object, option: str) -> str:
    """A name that may be a folder's; "" where none is given."""
    name = str(value or "")
    if name and not re.fullmatch(r"\w[\w.-]{,79}", name, re.ASCII):
        raise UsageError(f"{option} must be up to 80 letters, digits, dots, dashes and underscores, not {name!r:.100}")
    return name


def _labels(given: Iterable[str]) -> dict[str, str]:
    """key=value by its key."""
    labels = {}
    for label in given:
        key, equals, value = (part.strip() for part in label.partition("="))
        plain = re.fullmatch(r"\w[\w.-]{,39}", key, re.ASCII) and value.isprintable() and 0 < len(value) <= 200
        if not (equals and plain):
            raise UsageError(f"--label must be KEY=VALUE, such as commit=1a2b3c, in one line, not {label!r:.100}")
        labels[key] = value
    return labels


def _share(value: object, option: str) -> Fraction:
    """A percentage as a share of 1; 0 where nothing is given."""
    if value in (None, ""):
        return Fraction(0)
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", str(value).strip(), re.ASCII)
    share = Fraction(match[1]) / 100 if match else Fraction(2)
    if share > 1:
        raise UsageError(f"{option} must be a percentage from 0% to 100%, such as 1%, not {value}")
    return share


def _whole(value: object, option: str, least: int, most: int = MOST) -> int | None:
    """A whole number from `least` to `most`; None where nothing is given."""
    if value in (None, ""):
        return None
    text = str(value).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most):
        raise UsageError(f"{option} must be a whole number from {least} to {most:,}, not {value!s:.100}")
    return int(text)


def _seconds(value: object, option: str) -> float | None:
    """A length of time in seconds; None where nothing is given."""
    if value in (None, ""):
        return None
    seconds = span_s(str(value).strip())
    if seconds is None or seconds > MOST_S:
        raise UsageError(f"{option} must be {A_SPAN}, up to a year, not {value!s:.100}")
    return seconds


def _number(value: object, option: str) -> float | None:
    """A number from 0 on, of sensible size; None where nothing is given."""
    if value in (None, ""):
        return None
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 <= number <= MOST:
        raise UsageError(f"{option} must be a number from 0 to {MOST:,}, not {value!s:.100}")
    return number
