"""How far this machine's figures can be trusted: what `rtbench calibrate` found, as it is saved, and as runs cite it.

One file of a machine and of a way (plain or TLS), `calibration-<host>[-tls].json` in `$XDG_STATE_HOME/rtbench`, by
default `~/.local/state/rtbench`. A later calibration replaces it. A run cites the one that is nearest to it, and says
what has changed on the machine since.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from bench.errors import UsageError
from bench.run.folder import write_text
from bench.run.provenance import host, host_name, tool_version

SCHEMA_VERSION = 1
LIMIT_MS, EXACT_MS = 1.0, 0.1
"""The error up to which a figure is trusted, and the one up to which it is called exact; both of p99."""

Kind = Literal["listening", "talking"]
"""Sessions that type and listen; those that speak as well, as a microphone would."""
Outcome = Literal["good", "bad", "late", "busy"]
"""The last two judge nobody: the simulator was late; other programs took the time."""

CHANGES = {
    "rtbench": "with another version of rtbench",
    "kernel": "with another kernel",
    "cpu": "with other processors",
    "cpus": "with another number of processors",
    "python": "with another Python",
}
"""What a calibration holds for: a property of the machine, and what is said where it has changed."""


class Spread(msgspec.Struct, frozen=True):
    """Quantiles of `n` values (inverse CDF), in ms."""

    n: int
    p50: float
    p99: float
    p999: float
    high: float


class Step(msgspec.Struct, frozen=True):
    """What one load came to. Its figures are of its steady part, those of `harness` of the whole run.

    `errors`: |figure − truth| of each measure, and of the instants they are made of. `cpu`: the harness's share of one
    core; `background`: what other programs took of the cores in use. `rss_bytes`: the harness's memory at its peak.
    `too_early`: how many events were left out, because the simulator does not know when they left.
    """

    kind: Kind
    sessions: int
    outcome: Outcome
    why: str
    turns: int
    failed: int
    valid: bool | None
    events_per_s: float
    errors: dict[str, Spread]
    instants: dict[str, Spread]
    harness: dict[str, Spread]
    cpu: float | None
    us_per_event: float | None
    rss_bytes: int | None
    simulator_late_p99_ms: float | None
    simulator_cpu: float | None
    background: float | None
    too_early: int

    @property
    def worst_p99_ms(self) -> float | None:
        """Of the measure that is most wrong; None where no turn could be compared."""
        return max((spread.p99 for spread in self.errors.values()), default=None)


class Trusted(msgspec.Struct, frozen=True):
    """The largest load up to which every step was good: sessions of a process, and their events a second together."""

    sessions: int
    events_per_s: float


class Calibration(msgspec.Struct, frozen=True):
    """`trusted`, `exact`: up to where p99 of the error is within 1 ms, and within 100 µs; by the kind of sessions.

    `ended`: what else than the harness kept the load from being raised, by the kind.
    """

    schema: int
    date_utc: str
    machine: dict[str, Any]
    tls: bool
    trusted: dict[Kind, Trusted]
    exact: dict[Kind, Trusted]
    ended: dict[Kind, str]
    steps: list[Step]


def machine() -> dict[str, Any]:
    """What a calibration holds for."""
    facts = host()
    return {"rtbench": tool_version()} | {name: facts[name] for name in CHANGES if name in facts}


def changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is no more as it was when the machine was calibrated, in words."""
    return [said for name, said in CHANGES.items() if was.get(name) != now.get(name)]


def state_folder(environ: Mapping[str, str]) -> Path:
    """Where a user's programs keep what they have found out (XDG Base Directory Specification)."""
    home = environ.get("XDG_STATE_HOME", "")
    return (Path(home) if home.startswith("/") else Path.home() / ".local" / "state") / "rtbench"


def file_name(*, tls: bool) -> str:
    """Of this machine's calibration; homes are shared by machines."""
    return f"calibration-{re.sub(r'[^A-Za-z0-9._-]+', '_', host_name())}{'-tls' if tls else ''}.json"


def save(calibration: Calibration, folder: Path) -> Path:
    """Write it in one step. Raises UsageError where that cannot be."""
    path = folder / file_name(tls=calibration.tls)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, msgspec.json.format(msgspec.json.encode(calibration), indent=2).decode() + "\n")
    except OSError as error:
        raise UsageError(f"{path}: the calibration cannot be saved: {error.strerror}") from None
    return path


def load(path: Path) -> Calibration | None:
    """None where there is none, or one that this version cannot read: a run does not depend on it."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Calibration)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.schema == SCHEMA_VERSION else None


def citation(folder: Path, kind: Kind, *, tls: bool) -> dict[str, Any] | None:
    """What run.json says of this machine's calibration for such sessions; None where there is none.

    Where it was not made the way that the run goes, plain or TLS, the other one is cited, and that is said in `stale`.
    """
    for made in (tls, not tls):
        name = file_name(tls=made)
        found = load(folder / name)
        if found is not None and kind in found.trusted:
            return _cited(found, kind, name, tls=tls)
    return None


def _cited(found: Calibration, kind: Kind, name: str, *, tls: bool) -> dict[str, Any]:
    other_way = [] if found.tls == tls else ["over TLS" if found.tls else "without TLS"]
    trusted, exact = found.trusted[kind], found.exact.get(kind)
    return {
        "date": found.date_utc,
        "kind": kind,
        "sessions": trusted.sessions,
        "events_per_s": trusted.events_per_s,
        "exact_sessions": exact.sessions if exact else 0,
        "tls": found.tls,
        "file": name,
        "stale": [*changes(found.machine, machine()), *other_way],
    }


def beyond(cited: Mapping[str, Any], sessions: float) -> list[str]:
    """The notice before a run of so many sessions in each process, where that is more than was calibrated."""
    if sessions <= cited["sessions"]:
        return []
    return [
        f"{sessions:,.0f} sessions in one process are beyond what this machine was calibrated for: "
        f"{cited['sessions']:,} {cited['kind']} ones, on {cited['date']}; "
        "spread them with --processes, or calibrate again"
    ]


def date_of(utc_ns: int) -> str:
    """2026-11-20."""
    return f"{datetime.fromtimestamp(utc_ns / 1e9, UTC):%Y-%m-%d}"
