"""Draws what differs between the sessions of a script: by the run's seed and the session's number, and nothing else.

That is which recording a turn plays, how long a function takes, and think times: how long a caller says nothing.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import NormalDist, fmean

import numpy as np

from bench.errors import ScriptError
from bench.plain import shortened
from bench.units import NS_PER_S
from bench.yaml_file import read_text

LONGEST_S = 3_600.0
"""The longest pause of a script, drawn or not."""
PAUSES, DELAYS = 2, 3
"""One more word of the seed each, so that they change no other choice; 1 is that of `bench.load.playing.pairs`."""
_SECONDS = re.compile(r"([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


@dataclass(frozen=True)
class LogNormalTimes:
    """Think times of which half are shorter than `median_s`, and whose natural logarithm has the deviation `sigma`.

    One that would be longer than `most_s` lasts so long: the median stays what it is, and a session's other draws, too.
    """

    median_s: float
    sigma: float
    most_s: float = LONGEST_S

    @property
    def mean_s(self) -> float:
        """The expected value, with what `most_s` cuts off."""
        if self.sigma == 0:
            return self.median_s
        normal, most = NormalDist(), math.log(self.most_s / self.median_s) / self.sigma
        below_s = self.median_s * math.exp(self.sigma**2 / 2) * normal.cdf(most - self.sigma)
        return below_s + self.most_s * normal.cdf(-most)

    def draw_s(self, generator: np.random.Generator) -> float:
        """Draw the seconds of one pause."""
        return min(self.median_s * math.exp(self.sigma * generator.standard_normal()), self.most_s)


@dataclass(frozen=True)
class RecordedTimes:
    """Think times of a file, each as likely as any other. `digest`: SHA-256 of the file, hex."""

    path: Path
    digest: str
    seconds: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        """The mean of them all."""
        return fmean(self.seconds)

    def draw_s(self, generator: np.random.Generator) -> float:
        """Draw the seconds of one pause."""
        return self.seconds[generator.integers(len(self.seconds))]


ThinkTime = LogNormalTimes | RecordedTimes


def load_think_times(path: Path) -> RecordedTimes:
    """Read a file of think times: a number of seconds a line. What follows a `#`, and blank lines, do not count.

    Raises ScriptError, with the line, for anything else, and for a file without a number.
    """
    text = read_text(path)
    seconds = tuple(_numbers(path, text))
    if not seconds:
        raise ScriptError(path, None, "has no number of seconds")
    return RecordedTimes(path, hashlib.sha256(text.encode()).hexdigest(), seconds)


def _numbers(path: Path, text: str) -> Iterator[float]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        written = line.partition("#")[0].strip()
        if not written:
            continue
        if not _SECONDS.fullmatch(written) or float(written) > LONGEST_S:
            allowed = f"a number of seconds from 0 to {LONGEST_S:g}"
            raise ScriptError(path, number, f"must be {allowed}, not {shortened(written)}")
        yield float(written)


class Choices:
    """The choices of session `number` (from 0, over all processes), drawn one after another as its steps come."""

    def __init__(self, seed: int, number: int) -> None:
        self._seed, self._number = seed, number

    def recording(self) -> int:
        """Draw which recording a turn plays, modulo how many it has; drawn for turns of every kind."""
        return int(self._recordings.integers(1 << 30))

    def pause_ns(self, length: ThinkTime) -> int:
        """Draw how long a pause lasts."""
        return round(length.draw_s(self._pauses) * NS_PER_S)

    def delay_ns(self, delay: float | ThinkTime) -> int:
        """How long a function takes: as it says in seconds, or drawn."""
        seconds = delay if isinstance(delay, float | int) else delay.draw_s(self._delays)
        return round(seconds * NS_PER_S)

    @cached_property
    def _delays(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._number, DELAYS])

    @cached_property
    def _recordings(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._number])

    @cached_property
    def _pauses(self) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._number, PAUSES])
