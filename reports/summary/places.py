"""Where turns stand that are grouped by a key."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from reports.statistics.quantiles import Integers
from reports.turns import Flags

By = Literal["turn", "age", "context", "calls", "host"]


@dataclass(frozen=True)
class Place:
    """A group's name, where it lies on the axis of its key, and from where to where it reaches; NaN: of no number."""

    name: str
    at: float
    low: float = math.nan
    high: float = math.nan


@dataclass(frozen=True)
class Places:
    """The places of a key, and at which of them each measured turn stands: −1 at none."""

    places: tuple[Place, ...]
    place: Integers
    end: float
    """where the axis ends"""
    every: bool = False
    """places without a turn are told as well"""
    began: Integers | None = None
    """at which place each measured session of the target began, where the key knows it"""
    unopened: Flags = field(default_factory=lambda: np.zeros(0, dtype=bool))
    """beside each of them, whether it failed before it opened"""
