"""The simulator's profile: a small YAML file of delays, every value of which is checked with its line.

Delays are log-normal, given by median and 95th percentile in ms, and drawn from a generator that is seeded per session.
Raises UsageError, which says file and line.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError

from bench.errors import UsageError

NORMAL_P95 = 1.6448536269514722  # the standard normal distribution's 95th percentile
RATE_LIMITS = ("none", "after_created", "after_done", "both")


@dataclass(frozen=True)
class LogNormal:
    """A delay in ms. p95 = p50 makes it constant."""

    p50_ms: float
    p95_ms: float

    def draw_ns(self, rng: np.random.Generator) -> int:
        sigma = math.log(self.p95_ms / self.p50_ms) / NORMAL_P95
        return int(self.p50_ms * math.exp(sigma * rng.standard_normal()) * 1e6)


@dataclass(frozen=True)
class Delays:
    """What each delay runs from and to: see profiles/default.yaml."""

    session_created: LogNormal
    session_updated: LogNormal
    item_created: LogNormal
    committed: LogNormal
    speech_started: LogNormal
    speech_stopped: LogNormal
    semantic_end: LogNormal
    vad_committed: LogNormal
    input_transcribed: LogNormal
    response_created: LogNormal
    first_text: LogNormal
    first_audio: LogNormal
    transcript_lead: LogNormal
    response_done: LogNormal
    cancelled: LogNormal
    rate_limits: LogNormal


@dataclass(frozen=True)
class Profile:
    name: str
    delays: Delays
    speed: float
    text_tokens_per_s: float
    transcript_lead_deltas: tuple[int, int]
    rate_limits: str
    obfuscation: bool
    events_per_segment: int
    ping_interval_s: float

    def adjusted(self, *, ttfa_p50_ms: float | None = None, speed: float | None = None) -> Profile:
        """This profile with another median of first audio (same relative spread) and another generation speed."""
        changed = self
        if ttfa_p50_ms is not None:
            was = self.delays.first_audio
            spread = was.p95_ms / was.p50_ms
            first_audio = LogNormal(ttfa_p50_ms, ttfa_p50_ms * spread)
            changed = replace(changed, delays=replace(changed.delays, first_audio=first_audio))
        return changed if speed is None else replace(changed, speed=speed)


class _BadValueError(Exception):
    """What is wrong with a value; becomes a UsageError once its file and line are known."""


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _BadValueError(f"must be a number from {low:g} to {high:g}, not {value!r}")
    return float(value)


def _whole(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise _BadValueError(f"must be a whole number from {low} to {high}, not {value!r}")
    return int(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _BadValueError(f"must be true or false, not {value!r}")
    return value


def _log_normal(value: object) -> LogNormal:
    if not isinstance(value, dict) or set(value) != {"p50", "p95"}:
        raise _BadValueError("must be {p50: MILLISECONDS, p95: MILLISECONDS}")
    p50, p95 = (_number(value[key], 0.001, 600_000) for key in ("p50", "p95"))
    if p95 < p50:
        raise _BadValueError(f"p95 ({p95:g}) must not be below p50 ({p50:g})")
    return LogNormal(p50, p95)


def _lead(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise _BadValueError("must be [LEAST, MOST]")
    least = _whole(value[0], 0, 100)
    return least, _whole(value[1], least, 100)


def _rate_limits(value: object) -> str:
    if value not in RATE_LIMITS:
        raise _BadValueError(f"must be one of {', '.join(RATE_LIMITS)}, not {value!r}")
    return str(value)


_DELAY_FIELDS: dict[str, Callable[[object], Any]] = {field.name: _log_normal for field in fields(Delays)}
_FIELDS: dict[str, Callable[[object], Any]] = {
    "speed": lambda value: _number(value, 0.1, 1000),
    "text_tokens_per_s": lambda value: _number(value, 0.1, 100_000),
    "transcript_lead_deltas": _lead,
    "rate_limits": _rate_limits,
    "obfuscation": _flag,
    "events_per_segment": lambda value: _whole(value, 1, 1000),
    "ping_interval_s": lambda value: _number(value, 0.1, 3600),
}


def default_profile() -> Profile:
    with resources.as_file(resources.files("bench.simulator") / "profiles" / "default.yaml") as path:
        document = _parsed(path)
        delays = Delays(**_checked(path, document["delays_ms"], _DELAY_FIELDS))
        return Profile("default", delays, **_checked(path, _without_delays(document), _FIELDS))


def load_profile(path: Path) -> Profile:
    """The profile in `path`; what it leaves out is as in the default profile."""
    document = _parsed(path)
    base = default_profile()
    delays = document.get("delays_ms", CommentedMap())
    if not isinstance(delays, CommentedMap):
        raise UsageError(f"{path}:{_line(document, 'delays_ms')}: delays_ms must hold one delay per line")
    return replace(
        base,
        name=path.stem,
        delays=replace(base.delays, **_checked(path, delays, _DELAY_FIELDS)),
        **_checked(path, _without_delays(document), _FIELDS),
    )


def _parsed(path: Path) -> CommentedMap:
    try:
        document = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}") from error
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{path}:{line}: not YAML: {error.problem}") from error
    if not isinstance(document, CommentedMap):
        raise UsageError(f"{path}:1: a profile is a mapping of settings, e.g. `speed: 4.0`")
    return document


def _without_delays(document: CommentedMap) -> CommentedMap:
    rest = cast(CommentedMap, document.copy())
    rest.pop("delays_ms", None)
    return rest


def _checked(path: Path, mapping: CommentedMap, checks: dict[str, Callable[[object], Any]]) -> dict[str, Any]:
    values = {}
    for key, value in mapping.items():
        if key not in checks:
            raise UsageError(f"{path}:{_line(mapping, key)}: unknown key {key!r}; known are {', '.join(checks)}")
        try:
            values[key] = checks[key](value)
        except _BadValueError as problem:
            raise UsageError(f"{path}:{_line(mapping, key)}: {key} {problem}") from None
    return values


def _line(mapping: CommentedMap, key: str) -> int:
    return int(mapping.lc.key(key)[0]) + 1
