"""Saves what `rtbench calibrate` found out, how far this machine's figures can be trusted, and cites it in later runs.

One file of a kind of machine and of a way (plain or TLS; an agent's service) in `$XDG_STATE_HOME/rtbench`, by default
`~/.local/state/rtbench`: `calibration-<processor>-<cores>-<kernel>[-<agent>][-tls].json`. So the pods of a node pool
share one, whatever their names are. A later calibration replaces it, unless that is a coarser one. A run cites the one
that is nearest to it, and says what has changed on the machine since.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, get_args

import msgspec

from bench.cpu import core_count, cpu_limit
from bench.errors import UsageError
from bench.installation import tool_version
from bench.run.document import ValidityStatus
from bench.run.provenance import host
from bench.target.options import AgentName
from bench.units import NS_PER_S
from bench.untrusted.safe_io import JsonError, read_file, read_json, replace_text

SCHEMA_VERSION = 2
MOST_LETTERS = 60
FIRST_SESSIONS = 100
LIMIT_MS, EXACT_MS = 1.0, 0.1
"""The error up to which a figure is trusted, and the one up to which it is called exact; both of p99."""

SessionKind = Literal["text", "voice", AgentName]
"""What sessions do: they type and listen, or they speak as well, as a microphone would; or how they call an agent."""
AGENTS: tuple[AgentName, ...] = get_args(AgentName)
KINDS: tuple[SessionKind, ...] = ("text", "voice")
Outcome = Literal["pass", "fail", "simulator_late", "machine_busy"]
"""How a step ended. Two judge nobody: `late`, for the simulator was; `busy`, for other programs took the time."""

CHANGES = {
    "rtbench": "with another version of rtbench",
    "kernel": "with another kernel",
    "cpu": "with other processors",
    "cores": "with another number of cores, or another limit of their time",
    "python": "with another Python",
}
"""Properties of the machine that a calibration holds for, and what is said where one has changed."""


class Percentiles(msgspec.Struct, frozen=True):
    """Quantiles of `n` values (inverse CDF), in ms."""

    n: int
    p50: float
    p99: float
    p999: float
    high: float


class LoadStep(msgspec.Struct, frozen=True):
    """What one load came to. Its figures are of its steady part, those of `load_generator` of the whole run.

    `turns` began, or were lost with a session that failed; those are among `failed`. `unmatched`: how many good ones
    the truth does not tell of; `open`: the least number of open sessions. `errors`: |figure − truth| of each metric,
    and `instants` of what they are made of. `cpu`: the harness's share of one core; `background`: what other programs
    took of the cores in use. `rss_bytes`: the harness's memory at its peak. `left_out`: how many events the simulator
    has no instants of. A run that died has no figures.
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
        """The p99 of the metric that is most wrong; None where no turn could be compared."""
        return max((spread.p99 for spread in self.errors.values()), default=None)

    @property
    def fewest(self) -> int:
        """How many turns could be compared in the metric that has fewest."""
        return min((spread.n for spread in self.errors.values()), default=0)


class TrustedLoad(msgspec.Struct, frozen=True):
    """The largest load up to which every step was good: sessions of a process, and their events a second together."""

    sessions: int
    events_per_s: float


class Calibration(msgspec.Struct, frozen=True):
    """`trusted`, `exact`: up to where p99 of the error is within 1 ms, and within 100 µs; by the kind of sessions.

    `ended`: what else than the harness kept the load from being raised, by the kind. `quick`: of few and short steps.
    `agent`: how it was called, where it was an agent.
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
    agent: AgentName | None = None

    @property
    def kinds(self) -> tuple[SessionKind, ...]:
        return (self.agent,) if self.agent else KINDS

    @property
    def file_name(self) -> str:
        return file_name(tls=self.tls, agent=self.agent)


def machine() -> dict[str, Any]:
    """The properties of this machine that a calibration holds for."""
    facts = host() | {"rtbench": tool_version(), "cores": _cores()}
    return {name: facts[name] for name in CHANGES}


def _cores() -> str:
    """The cores that this process may use: 4; where a container may take no more than the time of two, 2of4."""
    limit = cpu_limit()
    return str(core_count()) if limit is None else f"{limit:g}of{core_count()}"


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [words for name, words in CHANGES.items() if was.get(name) != now.get(name)]


def state_folder(environ: Mapping[str, str]) -> Path | None:
    """Where a user's programs keep what they have found out (XDG Base Directory Specification); None without a home."""
    state, home = Path(environ.get("XDG_STATE_HOME", "")), Path(environ.get("HOME", ""))
    if state.is_absolute():
        return state / "rtbench"
    return home / ".local" / "state" / "rtbench" if home.is_absolute() else None


def file_name(*, tls: bool, kernel: str = "", agent: str | None = None) -> str:
    """The name of this machine's calibration, by what matters to it: homes are shared by machines."""
    facts = host()
    parts = (facts["cpu"] or facts["machine"], _cores(), facts["kernel"])
    cpu, cores, own = (re.sub(r"[^A-Za-z0-9.-]+", "_", part).strip("_")[:MOST_LETTERS] for part in parts)
    way = "".join(f"-{part}" for part in (agent, "tls" if tls else "") if part)
    return f"calibration-{cpu}-{cores}-{kernel or own}{way}.json"


def writable(folder: Path | None) -> Path:
    """Make the folder if need be, and try it. Raises UsageError where nothing can be written there."""
    if folder is None:
        raise UsageError("there is no home to save the calibration in: set XDG_STATE_HOME to a folder of yours")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise UsageError(f"{folder}: the calibration cannot be saved: {error.strerror}") from None


def save_calibration(calibration: Calibration, folder: Path | None) -> Path:
    """Write a calibration in one step; returns its path. Raises UsageError where that cannot be."""
    path = writable(folder) / calibration.file_name
    try:
        replace_text(path, msgspec.json.format(msgspec.json.encode(calibration), indent=2).decode() + "\n")
    except OSError as error:
        raise UsageError(f"{path}: the calibration cannot be saved: {error.strerror}") from None
    return path


def load_calibration(path: Path) -> Calibration | None:
    """Read a calibration; None where there is none that this version can read: a run does not depend on it."""
    try:
        calibration: Calibration = read_json(read_file(path), Calibration)
    except (OSError, JsonError):
        return None
    return calibration if calibration.schema == SCHEMA_VERSION else None


def citation(folder: Path | None, kind: SessionKind, *, tls: bool) -> dict[str, Any] | None:
    """What run.json says of this machine's calibration for such sessions; None where there is none.

    If none was made as the run goes, plain or TLS, the other one is cited, as `stale`.
    """
    if folder is None:
        return None
    agent = kind if kind in AGENTS else None
    for made in (tls, not tls):
        own = file_name(tls=made, agent=agent)
        others = folder.glob(file_name(tls=made, kernel="*"))  # of this machine with another kernel, the newest first
        found = [(path.name, load_calibration(path)) for path in (folder / own, *others)]
        fits = [(name, c) for name, c in found if c is not None and c.tls is made and kind in c.trusted]
        if not fits:
            continue
        name, calibration = max(fits, key=lambda fit: (fit[0] == own, fit[1].date_utc))
        trusted, exact = calibration.trusted[kind], calibration.exact.get(kind)
        other_way = [] if made == tls else ["over TLS" if made else "without TLS"]
        return {
            "date": calibration.date_utc,
            "kind": kind,
            "sessions": trusted.sessions,
            "events_per_s": max(load.events_per_s for load in calibration.trusted.values()),  # voice sessions get few
            "exact_sessions": exact.sessions if exact else 0,
            "ended": calibration.ended.get(kind, ""),
            "tls": made,
            "file": name,
            "stale": [*changes(calibration.machine, machine()), *other_way],
        }
    return None


def at_least(ended: str) -> str:
    """What stands before a number of sessions beyond which nothing is known, because something else ended the steps."""
    return "at least " if ended else ""


def date_of(utc_ns: int) -> str:
    """2026-11-20."""
    return f"{datetime.fromtimestamp(utc_ns / NS_PER_S, UTC):%Y-%m-%d}"
