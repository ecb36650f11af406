"""Noise that changes during a constructed call: it begins, stops, swells, or depends on the
voice, as with a gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from tools.benchmarks import onsets

Floats = NDArray[np.float64]
Change = Literal["begins", "stops", "swells", "steps", "gate", "words", "comfort", "pumps"]
CHANGES: Sequence[Change] = get_args(Change)
DBFS = {
    "begins": (-58, -45),
    "stops": (-58, -45),
    "swells": (-48, -42),
    "steps": (-55, -45),
} | dict.fromkeys(("gate", "words", "comfort", "pumps"), (-55, -42))
"""The lowest and the highest level of the noise. Those of the voices are -20 to -25 dBFS."""


def hum(count: int, rate_hz: int, random: np.random.Generator) -> Floats:
    mains_hz = float(random.choice([50, 60]))
    at_s = np.arange(count) / rate_hz
    return sum(
        (np.sin(2 * np.pi * mains_hz * part * at_s + part) / part for part in (1, 2, 3)),
        np.zeros(count),
    ) + 0.05 * random.standard_normal(count)


TEXTURES = {name: onsets.NOISES[name] for name in ("white noise", "pink noise", "a room")} | {
    "hum": hum
}


def changing_noise(
    change: Change,
    spoken: Sequence[tuple[int, int]],
    length: int,
    rate_hz: int,
    random: np.random.Generator,
    *,
    backwards: bool = False,
) -> Floats:
    """Return noise for a channel in which a voice speaks in the stretches `spoken`.

    `backwards` is for the other channel: the same recording of a room in both channels would be an
    echo.
    """
    made = TEXTURES[str(random.choice(list(TEXTURES)))](length, rate_hz, random)[
        :: -1 if backwards else 1
    ]
    level = 10 ** (random.uniform(*DBFS[change]) / 20)
    return made / onsets.rms(made) * level * 32_768 * gains(change, spoken, length, rate_hz, random)


def gains(
    change: Change,
    spoken: Sequence[tuple[int, int]],
    length: int,
    rate_hz: int,
    random: np.random.Generator,
) -> Floats:
    """Return the factor of the noise at each sample."""
    at_s, seconds = np.arange(length) / rate_hz, length / rate_hz
    ramp_s = float(random.choice([0.001, 0.1, 1.0]))
    match change:
        case "begins" | "stops":
            place_s = random.uniform(0.2, 0.8) * seconds
            shares = [0, 1] if change == "begins" else [1, 0]
            return np.interp(at_s, [place_s, place_s + ramp_s], shares)
        case "swells":
            return 10 ** (
                random.uniform(10, 20) * (np.cos(2 * np.pi * at_s / random.uniform(6, 20)) - 1) / 40
            )
        case "steps":
            places_s = np.cumsum(random.uniform(2, 6, 100))
            levels_db = random.uniform(-10, 0, 101)
            return 10 ** (levels_db[np.searchsorted(places_s, at_s)] / 20)
        case "gate" | "words":
            lead_s, hold_s = (
                random.uniform(0.0, 0.3),
                float(random.choice([0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9])),
            )
            release_s = float(random.choice([0.001, 0.02, 0.1]))
            return _while_spoken(at_s, spoken, rate_hz, (lead_s, 0.001), (hold_s, release_s))
        case "comfort":
            hold_s = float(random.choice([0.0, 0.05, 0.2]))
            return 1 - _while_spoken(at_s, spoken, rate_hz, (0.0, 0.001), (hold_s, 0.001))
        case "pumps":
            recovery_s = float(random.choice([0.1, 0.3, 1.0]))
            depth_db = random.uniform(8, 20)
            open_share = _while_spoken(at_s, spoken, rate_hz, (0.0, 0.02), (0.05, recovery_s))
            return np.asarray(10 ** (-depth_db * open_share / 20))


def _while_spoken(
    at_s: Floats,
    spoken: Sequence[tuple[int, int]],
    rate_hz: int,
    before_s: tuple[float, float],
    after_s: tuple[float, float],
) -> Floats:
    """Return a factor that is 1 while the voice speaks, and 0 otherwise.

    `before_s` is (time for which it is 1 before speech, time in which it rises), and `after_s` is
    the same after it.
    """
    factor = np.zeros(len(at_s))
    for first, last in spoken:
        start_s, end_s = first / rate_hz - before_s[0], last / rate_hz + after_s[0]
        times_s, shares = [start_s - before_s[1], start_s, end_s, end_s + after_s[1]], [0, 1, 1, 0]
        factor = np.maximum(factor, np.interp(at_s, times_s, shares))
    return factor


BEEP_S, BEEP_HZ, BETWEEN_BEEPS_S = 0.2, 1_400, 15


def add_beeps(channel: Floats, rate_hz: int) -> None:
    """Add the beeps of a recorder to a channel."""
    beep = 4_000 * np.sin(2 * np.pi * BEEP_HZ * np.arange(round(BEEP_S * rate_hz)) / rate_hz)
    fade = np.linspace(0, 1, rate_hz // 200)
    beep[: len(fade)] *= fade
    beep[-len(fade) :] *= fade[::-1]
    for start in range(rate_hz // 2, len(channel) - len(beep), BETWEEN_BEEPS_S * rate_hz):
        channel[start : start + len(beep)] += beep
