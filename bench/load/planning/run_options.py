"""The options that this tool adds to Locust's options.

They can be set on the command line, in locust.conf, in environment variables, and in the web UI.
"""

# An option is declared once, as a field of `Options`. The declaration gives the flag, the
# environment variable, the help, the reader of its value, and whether visitors of the web UI may
# set it. Locust parses the words and stores texts. `Options.of` reads these texts with our readers,
# also those of the web UI, of a worker and of `locust.conf`. So a value has the same checks and the
# same errors wherever it was set.

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, get_args

from bench.base.cpu import core_count
from bench.base.errors import USAGE_STATUS, OnInconclusive, UsageError, see
from bench.base.suggestions import near_options
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.other_names import meant_metric
from bench.load.planning.command_line import option_of_other_tool, secret_option
from bench.load.planning.stages import A_SPAN, MAX_PER_S, RATES, rate_per_s, span_s
from bench.record.whole_run import MAX_COUNT, MAX_PARTS, PARTS
from bench.target.target_settings import OPTION, OPTIONS, ServiceOptions

MAX_PAIRS = 500
"""The default maximum of pairs in a run that stops when its comparison is decided."""
MAX_USERS = 10_000_000
MAX_DURATION_S = 366 * 86_400
"""The largest allowed count, number of users, and duration in seconds.

Larger values are typing errors, and some would make later arithmetic fail.
"""
MIN_TIMEOUT_S = 10.0
MOST_SEED = (1 << 63) - 1
LOOPBACK = "127.0.0.1"


class Environment(Protocol):
    """Locust's `Environment` of one process. `shape_class` is the load shape, an object, if any."""

    runner: Any
    events: Any
    parsed_options: Any
    user_classes: Collection[Any]
    shape_class: Any
    web_ui: Any
    stop_timeout: float | None
    process_exit_code: int | None


def stay_on_loopback(parser: Any) -> None:
    """Make Locust's web UI and its master listen on the loopback address by default."""
    parser.set_defaults(web_host=LOOPBACK, master_bind_host=LOOPBACK)


def fork_for_allowed_cores(parser: Any) -> None:
    """Make `--processes -1` mean one process for each core that the run may use; for Locust, it
    is all cores.
    """

    def whole_number(text: str) -> int:
        return core_count() if int(text) == -1 else int(text)

    (processes,) = (action for action in parser._actions if action.dest == "processes")
    processes.type = whole_number


# Readers of option values. Each gets the value and the name of an option, and raises UsageError for
# an invalid value.


def _text(value: object, option: str) -> str | None:
    return str(value) if value else None


def _rate(value: object, option: str) -> float | None:
    """Return a rate in calls per second; None if no value is given."""
    if value in (None, ""):
        return None
    per_s = rate_per_s(str(value))
    if not per_s:
        raise UsageError(f"{option} must be {RATES}, up to {MAX_PER_S:,.0f}/s, not {value!s:.100}")
    return per_s


def _path(value: object, option: str) -> Path | None:
    return Path(str(value)) if value else None


def _budget(value: object, option: str) -> float | None:
    if (budget_usd := _number(value, option)) == 0:
        raise UsageError(f"{option} must be more than 0 USD")
    return budget_usd


def _whole_run(value: object, option: str) -> dict[str, float] | None:
    """Return the plan of the whole run, as in `bench.record.whole_run`; None if no value is
    given.
    """
    if value in (None, ""):
        return None
    plan: dict[str, float] = {}
    for entry in str(value).split(","):
        key, _, amount = (text.strip() for text in entry.partition("="))
        read = IN_WHOLE_RUN.get(key)
        if read is None or key.replace("-", "_") in plan:
            raise UsageError(
                f"{option} must be KEY=VALUE,… with parts and {', '.join(list(IN_WHOLE_RUN)[1:])},"
                " each once"
            )
        number = read(amount, f"{option} {key}")
        if number is None:
            raise UsageError(f"{option}: {key} has no value")
        plan[key.replace("-", "_")] = number
    if PARTS not in plan:
        raise UsageError(f"{option} needs the number of parts: parts=10,…")
    return plan


def _name(value: object, option: str) -> str:
    """Return a name that is valid as the name of a folder; "" if no value is given."""
    name = str(value or "")
    if name and not re.fullmatch(r"\w[\w.-]{,79}", name, re.ASCII):
        raise UsageError(
            f"{option} must be up to 80 letters, digits, dots, dashes and underscores, not"
            f" {name!r:.100}"
        )
    return name


def _labels(entries: Any, option: str) -> dict[str, str]:
    labels = {}
    for label in entries or ():
        key, equals, value = (text.strip() for text in label.partition("="))
        plain = (
            re.fullmatch(r"\w[\w.-]{,39}", key, re.ASCII)
            and value.isprintable()
            and 0 < len(value) <= 200
        )
        if not (equals and plain):
            raise UsageError(
                f"{option} must be KEY=VALUE, such as commit=1a2b3c, in one line, not"
                f" {label!r:.100}"
            )
        labels[key] = value
    return labels


def _share(value: object, option: str) -> Fraction:
    """Convert a percentage to a share from 0 to 1. Return 0 if no value is given."""
    if value in (None, ""):
        return Fraction(0)
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?%", str(value).strip(), re.ASCII)
    share = Fraction(match[1]) / 100 if match else Fraction(2)
    if share > 1:
        raise UsageError(f"{option} must be a percentage from 0% to 100%, such as 1%, not {value}")
    return share


def _whole(
    value: object, option: str, minimum: int, maximum: int = MAX_COUNT, otherwise: int | None = None
) -> int | None:
    """Return a whole number from `minimum` to `maximum`; `otherwise` if no value is given."""
    if value in (None, ""):
        return otherwise
    text = str(value).strip()
    if not (
        text.isascii()
        and text.isdigit()
        and len(text) <= len(str(maximum))
        and minimum <= int(text) <= maximum
    ):
        raise UsageError(
            f"{option} must be a whole number from {minimum} to {maximum:,}, not {value!s:.100}"
        )
    return int(text)


def _seconds(value: object, option: str) -> float | None:
    """Return a duration in seconds; None if no value is given."""
    if value in (None, ""):
        return None
    seconds = span_s(str(value).strip())
    if seconds is None or seconds > MAX_DURATION_S:
        raise UsageError(f"{option} must be {A_SPAN}, up to a year, not {value!s:.100}")
    return seconds


def _number(value: object, option: str, otherwise: float | None = None) -> float | None:
    """Return a number from 0 to MAX_COUNT; `otherwise` if no value is given."""
    if value in (None, ""):
        return otherwise
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if not 0 <= number <= MAX_COUNT:
        raise UsageError(f"{option} must be a number from 0 to {MAX_COUNT:,}, not {value!s:.100}")
    return number


def _metrics(value: object, option: str) -> tuple[str, ...]:
    """Return the names of metrics in a comma-separated list. Each is a time of a turn."""
    names = tuple(
        dict.fromkeys(name.strip() for name in str(value or "").split(",") if name.strip())
    )
    for name in names:
        if name not in TIMES_OF_TURNS:
            hint = meant_metric(name, TIMES_OF_TURNS)
            raise UsageError(
                f"{option}: {name:.60} is not a time of a turn{hint} {see('metrics')} lists the"
                " metrics"
            )
    return names


TIMES_OF_TURNS = [
    name for name, metric in CATALOGUE.items() if metric.scope == "turn" and metric.unit == "ms"
]


def _timeout(value: object, option: str) -> float:
    """Return a duration in seconds. Raise UsageError if it is below MIN_TIMEOUT_S, the time a
    worker needs to end.
    """
    seconds = _seconds(value, option)
    if seconds is None or seconds < MIN_TIMEOUT_S:
        raise UsageError(f"{option} must be {MIN_TIMEOUT_S:g} s or more, not {value!s:.100}")
    return seconds


IN_WHOLE_RUN: Mapping[str, Callable[[str, str], float | None]] = {
    PARTS: partial(_whole, minimum=1, maximum=MAX_PARTS),
    "users": partial(_whole, minimum=1, maximum=MAX_USERS),
    "sessions": partial(_whole, minimum=1),
    "max-concurrent": partial(_whole, minimum=1, maximum=MAX_USERS),
    "arrival-rate": _rate,
    "connect-rate": _number,
    "budget": _budget,
}
"""The keys of `--whole-run`. Except the first two, they have the names and values of the options
of a run."""

# The options.


@dataclass(frozen=True)
class RunOption:
    """An option of a run.

    `metavar` names its value in the help; None for a switch. `note` is the help text. `read`
    converts the value. `shapes` is True if it shapes the load. `flag` is as in `--flag`. `more` are
    further arguments for the parser.
    """

    metavar: str | None
    note: str
    read: Callable[[Any, str], Any] = _text
    shapes: bool = False
    flag: str = ""
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the attribute that contains the option in the parsed options."""
        return self.flag[2:].replace("-", "_")

    @property
    def is_switch(self) -> bool:
        return "action" in self.more and self.metavar is None

    def of(self, parsed: Any) -> Any:
        """Return the value of this option, converted for the run. Raise UsageError if it is
        invalid.
        """
        return self.read(getattr(parsed, self.name), self.flag)

    def add_to(self, parser: Any) -> None:
        """Add the option to Locust's parser. The environment variable `LOCUST_<NAME>` also sets
        it.
        """
        _add(parser, self.flag, self.name, self.note, metavar=self.metavar, **self.more)


def valued(
    metavar: str, note: str, read: Any = _text, *, shapes: bool = False, flag: str = "", **more: Any
) -> Any:
    """Return a field of `Options` for an option with a value (`RunOption`). `flag` is needed if
    its name differs.
    """
    return field(metadata={OPTION: RunOption(metavar, note, read, shapes, flag, more)})


def switch(note: str, *, shapes: bool = False) -> Any:
    """Return a field of `Options` for an option that is a switch."""
    return field(
        metadata={
            OPTION: RunOption(
                None, note, lambda value, _: bool(value), shapes, more={"action": "store_true"}
            )
        }
    )


@dataclass(frozen=True)
class Options:
    """The values of this tool's options. Each has a field, except those about services and their
    prices.
    """

    service_options: ServiceOptions
    sessions: int | None = valued(
        "N",
        "end the run after N sessions with each target, warm-up included",
        partial(_whole, minimum=1),
        shapes=True,
    )
    arrivals_per_s: float | None = valued(
        "RATE",
        "calls (sessions) at this fixed arrival rate (open loop): 30/min, 2/s, 100/h",
        _rate,
        shapes=True,
        flag="--arrival-rate",
    )
    """The arrival rate in calls per second; None if no rate is given."""
    arrival_pattern: str | None = valued(
        "PATTERN",
        "pattern of arrivals: poisson, constant, gamma:SHAPE, or a file of instants (default:"
        " poisson)",
    )
    max_concurrent: int | None = valued(
        "N",
        "maximum concurrent calls; more are blocked and counted",
        partial(_whole, minimum=1, maximum=MAX_USERS),
        shapes=True,
    )
    stages: Path | None = valued(
        "FILE",
        "YAML file of load stages (arrival rates or session counts): ramps, holds and steps",
        _path,
    )
    warmup_s: float | None = valued(
        "S",
        "exclude sessions that start in this warm-up from all values: 90s, 2m, 0 for none (default:"
        " none; in runs of ten minutes or more the ramp-up and one session, at least one minute)",
        _seconds,
        shapes=True,
        flag="--warmup",
    )
    """The warm-up in seconds; None if the run uses its default (see
    `bench.load.planning.run_plan`)."""
    until_decided: bool = switch(
        "compare two targets, and stop when that is decided (group-sequential design)", shapes=True
    )
    thresholds: tuple[str, ...] = valued(
        "FILE|THRESHOLD",
        "thresholds in a YAML file, or one threshold such as 'ttfa: p(95)<800'; may be repeated;"
        " `rtbench run` evaluates all, --until-decided the relative ones, each run those with"
        " abort",
        lambda values, _: tuple(values or ()),
        action="append",
    )
    interim_every: int = valued(
        "N",
        "pairs between two interim analyses of --until-decided (default: 50)",
        partial(_whole, minimum=1, otherwise=50),
        shapes=True,
    )
    connect_rate: float | None = valued(
        "N",
        "maximum new connections per minute, 0 for no limit (Azure preview: 30)",
        _number,
        shapes=True,
    )
    session_pause_s: float = valued(
        "S",
        "seconds between a user's sessions (default: 1)",
        partial(_number, otherwise=0.0),
        shapes=True,
        default=1.0,
        flag="--session-pause",
    )
    history: Path | None = valued(
        "FILE", "file of messages (.jsonl) with which each session begins", _path
    )
    """A file with the messages at the start of every session. If it is None, each script uses
    its own history."""
    budget_usd: float | None = valued(
        "USD", "stop after spending this many USD", _budget, flag="--budget"
    )
    seed: int = valued(
        "N",
        "seed of the random arrivals, recordings and pauses (default: 1; of a part of a run: a"
        " random number)",
        partial(_whole, minimum=0, maximum=MOST_SEED, otherwise=0),
        shapes=True,
        default="1",
    )
    record_events: Fraction = valued(
        "P%%", "record event logs of this share of the sessions, e.g. 1%%", _share
    )
    """The share of pairs for which the events of their sessions are logged, from 0 to 1."""
    record_audio: bool = switch("keep the audio in event logs (default: remove it)")
    record_transcripts: bool = switch(
        "record the texts of caller and service, in transcripts.jsonl"
    )
    name: str = valued(
        "NAME",
        "name of the run, of its folder and of its baselines (default: the Locust file's name)",
        _name,
    )
    """The name of the run; "" for the name of its scenario."""
    part_of: str = valued(
        "NAME",
        "name of the whole run, if this one is a part of it on one of several machines",
        _name,
    )
    """The name of the larger run that this run is a part of; "" if it is not a part of another
    run."""
    whole_run: Mapping[str, float] | None = valued(
        "PLAN",
        "load of the whole run, of which this part takes an equal share:"
        " parts=10,users=400,sessions=2000,budget=200 (and max-concurrent, arrival-rate,"
        " connect-rate); users are checked, because a platform may have divided them",
        _whole_run,
    )
    """The plan of the whole run (`bench.record.whole_run`); None if it is not known."""
    locust_metrics: tuple[str, ...] = valued(
        "A,B",
        "show these times of each turn in Locust's statistics, too, such as ttfa,voice_to_voice",
        _metrics,
    )
    """The metrics for which each turn adds an entry to Locust's statistics, in addition to its
    own."""
    labels: Mapping[str, str] = valued(
        "KEY=VALUE",
        "label that identifies the run, such as commit=1a2b3c; may be repeated",
        _labels,
        action="append",
        flag="--label",
    )
    runs_dir: Path = valued(
        "FOLDER",
        "make run folders in this folder (default: runs)",
        lambda value, option: Path(value or "runs"),
        default="runs",
    )
    worker_timeout_s: float = valued(
        "S",
        "seconds without a message after which a worker is missing, and ends by itself"
        " (default: 30)",
        _timeout,
        default="30",
        flag="--worker-timeout",
    )
    """The seconds without a message after which a worker is missing. Without messages, a worker
    ends before this."""
    show_open_turns: bool = switch(
        "write the turns in progress twice a second, for `rtbench capacity`"
    )
    priority: bool = switch("run the load processes at a higher priority (niceness -10)")
    yes: bool = switch("allow more than 20 sessions with a host that is not loopback")

    @property
    def requested_sessions(self) -> int | None:
        """The number of sessions with each target that these options request; None if there is
        no limit.
        """
        return self.sessions or (MAX_PAIRS if self.until_decided else None)

    @staticmethod
    def of(parsed: Any) -> Options:
        """Convert Locust's parsed options, or those from its web UI. Raise UsageError if they
        are invalid.
        """
        if parsed.interim_every and not parsed.until_decided:
            raise UsageError(
                "--interim-every needs --until-decided: add it, or omit --interim-every"
            )
        if parsed.arrival_rate and parsed.stages:
            raise UsageError(
                "--arrival-rate and --stages both set the rate of calls: omit one of them"
            )
        if parsed.whole_run and not parsed.part_of:
            raise UsageError("--whole-run needs the name of the whole run: add --part-of NAME")
        # Check Locust's own options and the fields of its web UI, too.
        users_of(getattr(parsed, "num_users", None))
        _seconds(getattr(parsed, "run_time", None), "--run-time")
        if _number(getattr(parsed, "spawn_rate", None), "--spawn-rate") == 0:
            raise UsageError("--spawn-rate must be more than 0 users per second")
        of_services = {
            name: None if (value := getattr(parsed, name)) == "" else value for name in OPTIONS
        }
        read = {name: option.of(parsed) for name, option in RUN_OPTIONS.items()}
        options = Options(service_options=ServiceOptions.of(of_services), **read)
        if options.record_audio and not options.record_events:
            raise UsageError(
                "--record-audio needs event logs, but none are recorded: add --record-events 1%"
            )
        return options


RUN_OPTIONS: Mapping[str, RunOption] = {
    item.name: replace(option, flag=option.flag or "--" + item.name.replace("_", "-"))
    for item in fields(Options)
    if (option := item.metadata.get(OPTION))
}
OF_PROCESSES = (
    RunOption(
        "EVENT",
        "event of the run: NAME@TIME marks an instant, such as deploy@60s; 'NAME@TIME: COMMAND'"
        " also runs a command; may be repeated",
        flag="--event",
        more={"action": "append"},
    ),
    RunOption(
        "URL",
        "upload the run folder to this URL after the report: Azure Blob Storage, or an HTTPS"
        " server",
        flag="--upload",
    ),
    RunOption(
        None,
        "send metrics to an OpenTelemetry collector, at OTEL_EXPORTER_OTLP_ENDPOINT (extra: otel)",
        flag="--telemetry",
        more={"action": "store_true"},
    ),
    RunOption(
        None,
        "show the progress on a read-only page, at --web-host and --web-port"
        " (http://127.0.0.1:8089)",
        flag="--live",
        more={"action": "store_true"},
    ),
)
"""Options that do not change the load. Only the process that leads a run reads them."""
SHAPE = frozenset(option.name for option in RUN_OPTIONS.values() if option.shapes)
"""The options that shape the load. Visitors of the web UI may set them
(`bench.load.runners.web_ui`), but no others: targets, keys, files, folders, what is recorded, and
what limits the cost.
"""


def _add(parser: Any, flag: str, name: str, note: str, **settings: Any) -> None:
    arguments = {key: value for key, value in settings.items() if value}
    variable = f"LOCUST_{name.upper()}"
    parser.add_argument(
        flag, env_var=variable, include_in_web_ui=name in SHAPE, help=note, **arguments
    )


def add_options(parser: Any) -> None:
    """Add the options of this tool to Locust's parser."""
    for service in OPTIONS.values():
        kind = int if service.kind is int else None
        settings = {
            "metavar": service.metavar,
            "choices": service.words,
            "type": kind,
            "dest": service.name,
        }
        if service.is_switch:
            settings = {"action": "store_true"}
        _add(parser, service.flag, service.word or service.name, service.note, **settings)
    for option in (*RUN_OPTIONS.values(), *OF_PROCESSES):
        option.add_to(parser)


EXPLAIN = "--explain"
OF_CHECK = (
    RunOption(
        "RUN|FOLDER|TARGET",
        "check the run against this baseline: a run, a folder of `rtbench baseline save`, or one of"
        " several targets",
        flag="--baseline",
    ),
    RunOption(
        "WORD",
        "result of an inconclusive threshold: fail (exit status 3, the default), warn (0, with a"
        " warning) or pass (0)",
        flag="--on-inconclusive",
        more={"choices": get_args(OnInconclusive)},
    ),
    RunOption(
        "FORMAT=FILE",
        "also write the check to a file in this format, such as junit=junit.xml; may be repeated",
        flag="--write",
        more={"action": "append"},
    ),
    RunOption("FILE", "the same as --write junit=FILE", flag="--junit"),
    RunOption(
        None,
        "also print what explains the error rates of the verdicts",
        flag=EXPLAIN,
        more={"action": "store_true"},
    ),
)
"""Options of `rtbench check` that `rtbench run` also has. Only the process that leads a run
reads them."""
COMMAND = "rtbench_command"
UNRECOGNIZED = "unrecognized arguments: "
"""The beginning of an error of Locust's parser about unknown options."""
NUMBERS = {"int": "a whole number", "float": "a number"}
NOT_A_NUMBER = re.compile(rf"\binvalid ({'|'.join(NUMBERS)}) value: ")
"""An error of Locust's parser, with the type that a value does not have."""


def add_command(parser: Any) -> None:
    """Change Locust's parser into the parser of `rtbench run`: a run has no web UI, and is
    checked at its end.
    """

    def refuse(problem: str) -> NoReturn:
        problem = NOT_A_NUMBER.sub(lambda found: f"must be {NUMBERS[found[1]]}, not ", problem)
        problem = secret_option(problem) or f"{problem}{_option_hint(problem, parser)}"
        print(
            f"rtbench: {problem}{' ' if problem.endswith('?') else '; '}see rtbench run --help",
            file=sys.stderr,
        )
        sys.exit(USAGE_STATUS)

    parser.error = refuse
    parser.set_defaults(headless=True, loglevel="WARNING", **{COMMAND: True})
    for option in OF_CHECK:
        option.add_to(parser)


def _option_hint(problem: str, parser: Any) -> str:
    """Return a hint at the options that the user probably meant; "" if none is unknown, or
    similar enough.
    """
    _, unrecognized, words = problem.partition(UNRECOGNIZED)
    flags = [flag for action in parser._actions for flag in action.option_strings]
    unknown = [
        word.partition("=")[0] for word in words.split() if unrecognized and word.startswith("-")
    ]
    meant = [
        option_of_other_tool(word) or next(iter(near_options(word, flags)), "") for word in unknown
    ]
    return f"; did you mean {', '.join(dict.fromkeys(filter(None, meant)))}?" if any(meant) else ""


def is_command(parsed: Any) -> bool:
    """Return whether `parsed` are options of `rtbench run`. Otherwise they are options of
    `locust`.
    """
    return bool(getattr(parsed, COMMAND, False))


def worker_timeout_s(parsed: Any) -> float:
    """Return the value of `--worker-timeout` in seconds. Raise UsageError if a worker could not
    end in this time.
    """
    return _timeout(parsed.worker_timeout, RUN_OPTIONS["worker_timeout_s"].flag)


def users_of(value: object) -> int | None:
    """Return the number of users; None if no value is given. Raise UsageError if the value is
    invalid.
    """
    return _whole(value, "the number of users", 1, MAX_USERS)
