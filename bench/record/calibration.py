"""The calibration of this machine: storage of the results of `rtbench calibrate`, and their
citation in later runs.

A calibration states the highest load at which this machine's values can be trusted. There is one
file for each kind of machine and of connection (plain or TLS; another dialect than GA) in
`$XDG_STATE_HOME/rtbench`, by default `~/.local/state/rtbench`:
`calibration-<processor>-<cores>-<kernel>[-<dialect>][-tls].json`. So the pods of a node pool share
one file. A later calibration replaces the file, unless the later calibration is coarser. A run
cites the calibration that fits best. The citation states what has changed on the machine since that
calibration.
"""

# `rtbench calibrate` writes the file, and every run reads it (`citation`). A run quotes it in
# run.json, and advises more processes if the planned load is higher. No check of validity depends
# on it, because these checks measure the run itself.
#
# A calibration of another kernel, another version of rtbench, or another kind of connection is
# better than none. So the most similar one is cited: first of the same dialect, then of the same
# kind of connection, then of the same kernel, then the newest. `stale` lists what differs, so that
# a reader of the report can judge it.

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, get_args

import msgspec

from bench.base.cpu import core_count, cpu_limit
from bench.base.errors import UsageError
from bench.base.installation import tool_version
from bench.base.units import NS_PER_S
from bench.files.safe_io import JsonError, read_file, read_json, replace_text
from bench.record.document import ValidityStatus
from bench.record.provenance import host
from bench.services.names import AgentName, DialectName

SCHEMA_VERSION = 2
MAX_LETTERS = 60
FIRST_SESSIONS = 100
LIMIT_MS = 1.0
EXACT_MS = 0.1
"""The limits of the p99 error, in ms. Up to `LIMIT_MS` a value is trusted. Up to `EXACT_MS` it
is called exact."""

SessionKind = Literal["text", "voice", AgentName]
"""The kind of sessions: only text turns; also speech, at the rate of a microphone; or calls to
an agent, by dialect."""
AGENTS: tuple[AgentName, ...] = get_args(AgentName)
KINDS: tuple[SessionKind, ...] = ("text", "voice")
GA: DialectName = "ga"
"""The dialect that is calibrated by default."""
Outcome = Literal["pass", "fail", "simulator_late", "machine_busy"]
"""The result of a load step. The last two (other programs took CPU time) show nothing about
rtbench."""

CHANGES = {
    "rtbench": "with another version of rtbench",
    "kernel": "with another kernel",
    "cpu": "with other processors",
    "cores": "with another number of cores, or another CPU limit",
    "python": "with another Python",
}
"""The properties of the machine that must be unchanged for a calibration to hold, each with the
text of its change."""


class Percentiles(msgspec.Struct, frozen=True):
    """Percentiles of `n` values (inverse CDF), in ms."""

    n: int
    p50: float
    p99: float
    p999: float
    high: float


class LoadStep(msgspec.Struct, frozen=True):
    """The results of one load step. They cover its steady part, except `load_generator`, which
    covers the whole run.

    `turns` is the number of turns that started, plus the turns that did not start because their
    session failed. `failed` includes the turns that did not start, too. `unmatched` is the number
    of successful turns that are missing in the ground truth. `open` is the smallest number of open
    sessions. `errors` has percentiles of |measured − true| for each metric. `instants` has such
    percentiles for the instants from which metrics are computed. `cpu` is the load generator's
    share of one core. `background` is the share of the used cores that other programs took.
    `rss_bytes` is the load generator's peak memory. `left_out` is the number of events for which
    the simulator has no instants. If the run of a step died, the step has no values.
    """

    kind: SessionKind
    sessions: int
    result: Outcome
    why: str
    turns: int = 0
    failed: int = 0
    unmatched: int = 0
    open: int = 0
    validity: ValidityStatus = "no_verdict"
    events_per_s: float = 0.0
    errors: dict[str, Percentiles] = {}
    instants: dict[str, Percentiles] = {}
    load_generator: dict[str, Percentiles] = {}
    cpu: float | None = None
    us_per_event: float | None = None
    rss_bytes: int | None = None
    simulator_late_p99_ms: float | None = None
    simulator_cpu: float | None = None
    background: float | None = None
    left_out: int = 0

    @property
    def worst_p99_ms(self) -> float | None:
        """The largest p99 error of any metric, in ms; None if no turn could be compared."""
        return max((percentiles.p99 for percentiles in self.errors.values()), default=None)

    @property
    def fewest(self) -> int:
        """The smallest number of compared values of any metric; 0 if no turn could be compared."""
        return min((percentiles.n for percentiles in self.errors.values()), default=0)


class TrustedLoad(msgspec.Struct, frozen=True):
    """The largest load up to which every step passed: sessions of a process, and all their
    events per second.
    """

    sessions: int
    events_per_s: float


class Calibration(msgspec.Struct, frozen=True):
    """The content of a calibration file.

    `trusted` is the load up to which the p99 error is at most 1 ms. `exact` is the load up to which
    it is at most 100 µs. `ended` is the reason why the load was not raised further, if the load
    generator was not the limit. `trusted`, `exact` and `ended` have one entry for each kind of
    sessions. `quick` is true if the calibration has few and short load steps. `dialect` is that of
    the calls.
    """

    schema: int
    date_utc: str
    machine: dict[str, Any]
    tls: bool
    trusted: dict[SessionKind, TrustedLoad]
    exact: dict[SessionKind, TrustedLoad]
    ended: dict[SessionKind, str]
    steps: list[LoadStep]
    quick: bool = False
    dialect: DialectName = GA

    @property
    def kinds(self) -> tuple[SessionKind, ...]:
        return kinds_of(self.dialect)

    @property
    def file_name(self) -> str:
        return file_name(tls=self.tls, dialect=self.dialect)


def kinds_of(dialect: DialectName) -> tuple[SessionKind, ...]:
    """Return the kinds of sessions of a calibration."""
    return (dialect,) if dialect in AGENTS else KINDS


def machine() -> dict[str, Any]:
    """Return the properties of this machine that must be unchanged for a calibration to hold
    (CHANGES).
    """
    facts = host() | {"rtbench": tool_version(), "cores": _cores()}
    return {name: facts[name] for name in CHANGES}


def _cores() -> str:
    """Return the number of cores as text: `4`, or `2of4` if the container may use the CPU time
    of only 2.
    """
    limit = cpu_limit()
    return str(core_count()) if limit is None else f"{limit:g}of{core_count()}"


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [text for name, text in CHANGES.items() if was.get(name) != now.get(name)]


def state_folder(environ: Mapping[str, str]) -> Path | None:
    """Return the folder for a user's program state (XDG Base Directory Specification); None
    without a home.
    """
    state = Path(environ.get("XDG_STATE_HOME", ""))
    home = Path(environ.get("HOME", ""))
    if state.is_absolute():
        return state / "rtbench"
    return home / ".local" / "state" / "rtbench" if home.is_absolute() else None


def file_name(*, tls: bool, kernel: str = "", dialect: str = GA) -> str:
    """Return the file name of this machine's calibration. It contains every property that
    separates calibrations.
    """
    facts = host()
    values = (facts["cpu"] or facts["machine"], _cores(), facts["kernel"])
    cpu, cores, own_kernel = (
        re.sub(r"[^A-Za-z0-9.-]+", "_", value).strip("_")[:MAX_LETTERS] for value in values
    )
    suffix = "".join(
        f"-{value}" for value in (dialect if dialect != GA else "", "tls" if tls else "") if value
    )
    return f"calibration-{cpu}-{cores}-{kernel or own_kernel}{suffix}.json"


def writable(folder: Path | None) -> Path:
    """Create the folder if it is missing, and return it. Raise UsageError if no file can be
    created in it.
    """
    if folder is None:
        raise UsageError(
            "there is no home folder for the calibration: set XDG_STATE_HOME to a folder of yours"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UsageError(f"{folder}: the calibration cannot be saved: {error.strerror}") from None


def save_calibration(calibration: Calibration, folder: Path | None) -> Path:
    """Write a calibration atomically; return its path. Raise UsageError if that fails."""
    path = writable(folder) / calibration.file_name
    try:
        replace_text(
            path, msgspec.json.format(msgspec.json.encode(calibration), indent=2).decode() + "\n"
        )
    except OSError as error:
        raise UsageError(f"{path}: the calibration cannot be saved: {error.strerror}") from None
    return path


def load_calibration(path: Path) -> Calibration | None:
    """Read a calibration. Return None if the file is missing, unreadable, or of another version."""
    try:
        calibration: Calibration = read_json(read_file(path), Calibration)
    except (OSError, JsonError):
        return None
    return calibration if calibration.schema == SCHEMA_VERSION else None


def citation(
    folder: Path | None, kind: SessionKind, *, tls: bool, dialect: str = GA
) -> dict[str, Any] | None:
    """Return the entry in run.json that cites this machine's calibration for this kind of sessions,
    if any.

    One with the same dialect, and then the same kind of connection (plain or TLS), is preferred;
    `stale` states if it has another one.
    """
    if folder is None:
        return None
    wanted = kind if kind in AGENTS else dialect
    for name_of, with_tls in product(
        dict.fromkeys((wanted, wanted if kind in AGENTS else GA)), (tls, not tls)
    ):
        own_name = file_name(tls=with_tls, dialect=name_of)
        # of this machine with other kernels
        others = folder.glob(file_name(tls=with_tls, kernel="*"))
        calibrations = [
            (path.name, load_calibration(path)) for path in (folder / own_name, *others)
        ]
        fits = (name_of, with_tls)
        matches = [
            (name, c)
            for name, c in calibrations
            if c and (c.dialect, c.tls) == fits and kind in c.trusted
        ]
        if not matches:
            continue
        name, calibration = max(
            matches, key=lambda match: (match[0] == own_name, match[1].date_utc)
        )
        trusted = calibration.trusted[kind]
        exact = calibration.exact.get(kind)
        others_of = [] if with_tls == tls else ["over TLS" if with_tls else "without TLS"]
        others_of += [] if name_of == wanted else ["with another dialect"]
        return {
            "date": calibration.date_utc,
            "kind": kind,
            "sessions": trusted.sessions,
            # voice sessions receive few events
            "events_per_s": max(load.events_per_s for load in calibration.trusted.values()),
            "exact_sessions": exact.sessions if exact else 0,
            "ended": calibration.ended.get(kind, ""),
            "tls": with_tls,
            "file": name,
            "stale": [*changes(calibration.machine, machine()), *others_of],
        }
    return None


def at_least(ended: str) -> str:
    """Return "at least " for a number of sessions that is only a lower bound, because of
    `ended`; otherwise "".
    """
    return "at least " if ended else ""


def date_of(utc_ns: int) -> str:
    """Return the UTC date, such as 2026-11-20."""
    return f"{datetime.fromtimestamp(utc_ns / NS_PER_S, UTC):%Y-%m-%d}"
