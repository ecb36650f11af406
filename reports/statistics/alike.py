"""Whether two samples lie closer together than independent ones do: then they were not drawn independently; pure.

D is the largest distance of their empirical distributions, of n and m values. λ = (D + 1/min(n, m)) · √(nm / (n + m))
has Kolmogorov's distribution where both are independent draws of one (the 1/n is for D's steps):
P(λ < x) ≈ √(2π)/x · exp(−π²/8x²), 3·10⁻⁴ at 0.35. Sessions that resemble each other inside make λ larger, not smaller.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEAR = 0.35
LEAST = 20
"""Values of either sample from which on D is fine enough to tell."""


def are_alike(one: Floats, other: Floats) -> bool:
    """Whether two samples of finite values are too close to be independent; never of fewer than 20 values."""
    return min(one.size, other.size) >= LEAST and distance(one, other) < NEAR


def distance(one: Floats, other: Floats) -> float:
    """λ of two samples that are not empty, in any order."""
    a, b = np.sort(one), np.sort(other)
    at = np.concatenate([a, b])
    apart = np.searchsorted(a, at, side="right") / a.size - np.searchsorted(b, at, side="right") / b.size
    least = min(a.size, b.size)
    return (float(np.abs(apart).max()) + 1 / least) * math.sqrt(a.size * b.size / (a.size + b.size))
