"""The simulator's profile: a small YAML file of delays and of what the simulated service is like.

Delays are log-normal, given by median and 95th percentile in ms, and drawn from a generator that is seeded per session.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from bench.simulator import refusals
from bench.simulator.drift import Drift
from bench.simulator.profile_yaml import BadValueError, Table, flag, number, one_of, read_settings, whole
from bench.simulator.quota import UNLIMITED, Limits

NORMAL_P95 = 1.6448536269514722  # the standard normal distribution's 95th percentile
RATE_LIMITS = ("none", "after_created", "after_done", "both")
SESSION_CAP_S = 3600.0
SHORT_CAP_S = 0.5  # where sessions are to expire, and the profile does not say when


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
    refuse: str | None = None  # one of refusals.NAMES
    expires_after_s: float | None = None
    limits: Limits = UNLIMITED
    drift: Drift | None = None

    @property
    def session_cap_s(self) -> float:
        """How long a session may last."""
        if self.expires_after_s is not None:
            return self.expires_after_s
        return SHORT_CAP_S if self.refuse == refusals.SESSION_EXPIRED else SESSION_CAP_S

    def slowness(self, at_ns: int) -> float:
        """What the delays of a response are multiplied by that is asked for `at_ns`."""
        return 1.0 if self.drift is None else self.drift.factor(at_ns)

    def adjusted(
        self, *, ttfa_p50_ms: float | None = None, speed: float | None = None, refuse: str | None = None
    ) -> Profile:
        """This profile with another median of first audio (same relative spread), generation speed or refusal."""
        changed = self if refuse is None else replace(self, refuse=refuse)
        if ttfa_p50_ms is not None:
            was = self.delays.first_audio
            spread = was.p95_ms / was.p50_ms
            first_audio = LogNormal(ttfa_p50_ms, ttfa_p50_ms * spread)
            changed = replace(changed, delays=replace(changed.delays, first_audio=first_audio))
        return changed if speed is None else replace(changed, speed=speed)


def _log_normal(value: object) -> LogNormal:
    if not isinstance(value, dict) or set(value) != {"p50", "p95"}:
        raise BadValueError("must be {p50: MILLISECONDS, p95: MILLISECONDS}")
    p50, p95 = (number(value[key], 0.001, 600_000) for key in ("p50", "p95"))
    if p95 < p50:
        raise BadValueError(f"p95 ({p95:g}) must not be below p50 ({p50:g})")
    return LogNormal(p50, p95)


def _lead(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise BadValueError("must be [LEAST, MOST]")
    least = whole(value[0], 0, 100)
    return least, whole(value[1], least, 100)


def _drift(value: object) -> Drift:
    if not isinstance(value, dict) or set(value) != {"sd", "time_constant_s", "seed"}:
        raise BadValueError("must be {sd: NUMBER, time_constant_s: SECONDS, seed: WHOLE NUMBER}")
    sd, time_constant_s = number(value["sd"], 0, 2), number(value["time_constant_s"], 0.001, 1_000_000)
    return Drift(sd, time_constant_s, whole(value["seed"], 0, 1 << 32))


_TABLE: Table = {
    "delays_ms": {field.name: _log_normal for field in fields(Delays)},
    "speed": lambda value: number(value, 0.1, 1000),
    "text_tokens_per_s": lambda value: number(value, 0.1, 100_000),
    "transcript_lead_deltas": _lead,
    "rate_limits": lambda value: one_of(value, RATE_LIMITS),
    "obfuscation": flag,
    "events_per_segment": lambda value: whole(value, 1, 1000),
    "ping_interval_s": lambda value: number(value, 0.1, 3600),
    "refuse": lambda value: one_of(value, refusals.NAMES),
    "expires_after_s": lambda value: number(value, 0.01, 86_400),
    "limits": {field.name: lambda value: whole(value, 1, 1_000_000_000) for field in fields(Limits)},
    "drift": _drift,
}


def default_profile() -> Profile:
    with resources.as_file(resources.files("bench.simulator") / "profiles" / "default.yaml") as path:
        settings = read_settings(path, _TABLE)
    return Profile(name="default", delays=Delays(**settings.pop("delays_ms")), **settings)


def load_profile(path: Path) -> Profile:
    """The profile in `path`; what it leaves out is as in the default profile. Raises UsageError with file and line."""
    return _merged(default_profile(), path.stem, read_settings(path, _TABLE))


def _merged(base: Profile, name: str, settings: dict[str, Any]) -> Profile:
    delays = replace(base.delays, **settings.pop("delays_ms", {}))
    limits = Limits(**settings.pop("limits", {}))
    return replace(base, name=name, delays=delays, limits=limits, **settings)
