"""The errors of the instants of the jitter buffer, relative to the media clock of a simulated sender.

These are the numbers of the docstring of `bench.transport.sip.jitter`.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bench.transport.sip.jitter import Frame
from bench.units import NS_PER_MS
from tests.transport.sip.path import HOLD_NS, Path, number_of

EARLY_NS = HOLD_NS // 5_000
SETTLED = 200
"""The frames of the first 4 s."""


def clean(chance: random.Random) -> float:
    return chance.random() * 0.1 * NS_PER_MS


def uniform(chance: random.Random) -> float:
    return chance.random() * 20 * NS_PER_MS


def exponential(chance: random.Random) -> float:
    return min(chance.expovariate(1 / 5), 60) * NS_PER_MS


def errors(path: Path, frames: list[Frame]) -> list[tuple[int, int]]:
    """Return (error, uncertainty) of each frame that was received."""
    numbers = [(frame, number_of(frame)) for frame in frames]
    return [(f.at_ns - path.sent_ns(number), f.uncertainty_ns) for f, number in numbers if number is not None]


@pytest.mark.parametrize("drift_ppm", [0, 200, -200])
@pytest.mark.parametrize(
    ("delay_ns", "start_ms", "settled_ms"), [(clean, 0.2, 0.2), (uniform, 20, 2.5), (exponential, 20, 2.5)]
)
def test_instants_follow_the_media_clock(
    delay_ns: Callable[[random.Random], float], start_ms: float, settled_ms: float, drift_ppm: int
) -> None:
    path = Path(delay_ns, loss=0.01, drift_ppm=drift_ppm, seed=drift_ppm)
    frames, buffer, _ = path.play(4_000)
    measured = errors(path, frames)

    assert len(measured) == buffer.counts.played
    assert 10 < buffer.counts.lost < 90
    assert all(-EARLY_NS <= error <= start_ms * NS_PER_MS for error, _ in measured)
    assert max(error for error, _ in measured[SETTLED:]) <= settled_ms * NS_PER_MS


@pytest.mark.parametrize("drift_ppm", [0, 200, -200])
@pytest.mark.parametrize("delay_ns", [uniform, exponential])
def test_the_uncertainty_contains_the_error_with_the_stated_confidence(
    delay_ns: Callable[[random.Random], float], drift_ppm: int
) -> None:
    covered = total = 0
    for seed in range(20):
        path = Path(delay_ns, loss=0.01, drift_ppm=drift_ppm, seed=seed, is_silent=lambda number: number % 500 < 150)
        measured = errors(path, path.play(700)[0])
        covered += sum(-EARLY_NS <= error <= uncertainty_ns for error, uncertainty_ns in measured)
        total += len(measured)

    assert covered >= 0.999 * total


def test_the_uncertainty_is_small_on_a_clean_path_and_after_four_seconds_with_jitter() -> None:
    for delay_ns, limit_ms in ((clean, 0.5), (uniform, 2.5)):
        path = Path(delay_ns, loss=0.01)
        frames = path.play(1_000)[0]

        assert frames[0].uncertainty_ns == 20 * NS_PER_MS
        assert max(frame.uncertainty_ns for frame in frames[SETTLED:]) < limit_ms * NS_PER_MS
