"""Sort orders and distinct codes of arrays, and the number of calls in progress over time. Pure.

numpy sorts a million integers several times as fast as it computes their sort order. So this module
packs each key and its position into one integer, and sorts these integers. An order is an array of
positions, as `numpy.argsort(kind="stable")` returns it. Codes are integers from 0.

A call is in progress from its start up to its end. Instants and durations are integer nanoseconds;
instants count from 1970.

**The load changed** if, for long enough, clearly more calls were in progress than usual. c(t) is
the number of calls in progress. b is the number that c did not exceed during 40 % of the time. E is
the root mean square of the excess of c over b, weighted by c. The load changed if both conditions
hold:

    E² = ∫ c · max(0, c − b)² dt / ∫ c dt        E > b/4   and   E > 1.7·√(b + 1)

A run of constant load ramps up at its start and down at its end. It has fewer calls for a while,
but never more than b, so E is close to 0. If calls arrive at random at a constant rate, E is 0.9 to
1.3 times √(b + 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Keys = npt.NDArray[np.uint64]


def without_warnings() -> np.errstate:
    """Return a context in which a division by 0, or ∞ − ∞, gives ±inf or NaN without a warning."""
    return np.errstate(divide="ignore", invalid="ignore")


def count_nonzero(values: npt.ArrayLike) -> int:
    """Return the number of values that are true, or not 0, as an integer that JSON can contain."""
    return int(np.count_nonzero(values))


def ranks(values: Floats | Integers) -> Floats:
    """Return the rank of each value, from 1. Equal values all get the mean of their ranks."""
    _, inverse, ties = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(ties) - (ties - 1) / 2)[inverse]


def rank_correlation(first: Floats | Integers, second: Floats | Integers) -> float:
    """Return Spearman's rank correlation; 0 if all values of one array are equal."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def order_of_values(values: Floats) -> Integers:
    """Return the positions of numbers in ascending order. No number may be NaN."""
    bits = (values + 0.0).view(np.int64)  # −0.0 becomes 0.0
    bits ^= bits >> 63 & np.int64(2**63 - 1)
    bits ^= np.int64(-(2**63))  # larger numbers have larger bits
    return _order(bits.view(np.uint64))


def order_of_codes(codes: Integers) -> Integers:
    """Return the positions of codes in ascending order. For codes of 16 bits, numpy's radix sort
    is faster.
    """
    if codes.max(initial=0) < 1 << 16:
        return np.argsort(codes.astype(np.uint16), kind="stable")
    return _order(codes.astype(np.uint64))


def _order(keys: Keys) -> Integers:
    """Return the positions of keys in ascending order.

    Sort integers that have as many of the highest bits of a key as fit with its position into 64
    bits. Then sort the few keys that differ from their neighbour only in the bits that did not fit.
    """
    if keys.size:
        keys -= keys.min()
    if not keys.any():
        return np.arange(keys.size)
    position_bits = np.uint64(keys.size.bit_length())
    low = np.uint64(max(0, int(keys.max()).bit_length() + int(position_bits) - 64))
    packed = keys >> low
    packed <<= position_bits
    packed |= np.arange(keys.size, dtype=np.uint64)
    packed.sort()
    order = (packed & ((np.uint64(1) << position_bits) - np.uint64(1))).view(np.int64)
    if low:
        packed >>= position_bits
        ties = packed[1:] == packed[:-1]
        tied = np.flatnonzero(np.append(ties, False) | np.append(False, ties))
        order[tied] = order[tied][np.argsort(keys[order[tied]], kind="stable")]
    return order


def distinct(codes: Integers) -> Integers:
    """Return the codes that occur, ascending."""
    return np.flatnonzero(np.bincount(codes))


def dense_codes(codes: Integers) -> tuple[Integers, int]:
    """Return the codes renumbered from 0 without gaps, in the same order, and the number of
    distinct codes.
    """
    occurs = np.bincount(codes) > 0
    new_codes = np.cumsum(occurs, dtype=np.int32) - 1
    return new_codes[codes], int(occurs.sum())


def split(codes: Integers) -> Iterable[tuple[int, Integers]]:
    """Yield each code that occurs, ascending, and its positions."""
    order = order_of_codes(codes)
    counts = np.bincount(codes)
    ends = np.cumsum(counts)
    for code in np.flatnonzero(counts).tolist():
        yield code, order[ends[code] - counts[code] : ends[code]]


Nanoseconds = npt.NDArray[np.int64]
CallCounts = npt.NDArray[np.int32]

SUSTAINED_SHARE = 0.4
"""The share of the time in which the number of calls in progress is at most the usual number."""
APART = 0.25
BY_CHANCE = 1.7
"""The minimum excess over the usual number of calls in progress that counts as a change of load.

APART is a share of the usual number. BY_CHANCE is a multiple of √(usual number + 1). The excess
must exceed both.
"""


class ConcurrencySeries(NamedTuple):
    """The number of calls in progress over time.

    `counts` has the number from each instant of `at_ns` up to the next one. The instants ascend;
    several may be equal.
    """

    at_ns: Nanoseconds
    counts: CallCounts

    def at(self, instants_ns: Nanoseconds) -> CallCounts:
        """Return the number of calls in progress at each instant.

        Calls that start at the instant are included; calls that end at the instant are not.
        """
        return np.append(self.counts, 0)[np.searchsorted(self.at_ns, instants_ns, "right") - 1]

    def between(self, start_ns: int, end_ns: int) -> ConcurrencySeries:
        """Return the part of the series between two instants."""
        first, last = np.searchsorted(self.at_ns, (start_ns, end_ns), "right")
        ends = np.array([start_ns, end_ns])
        at_ns = np.concatenate([ends[:1], self.at_ns[first:last], ends[1:]])
        return ConcurrencySeries(
            at_ns, np.concatenate([self.at(ends[:1]), self.counts[first:last], self.at(ends[1:])])
        )


def concurrency_series(starts_ns: Nanoseconds, ends_ns: Nanoseconds) -> ConcurrencySeries:
    """Return the number of calls in progress over time, given the start and the end of each call
    in any order.
    """
    edges_ns = np.concatenate([starts_ns, ends_ns])
    order = np.argsort(edges_ns)
    steps = np.where(order < starts_ns.size, 1, -1).astype(np.int32)
    return ConcurrencySeries(edges_ns[order], np.cumsum(steps, dtype=np.int32))


def load_changed(series: ConcurrencySeries) -> bool:
    """Return whether the load changed during a series, by the rule of this module."""
    counts = series.counts[:-1]
    lengths_ns = np.diff(series.at_ns).astype(float)
    calls_ns = counts * lengths_ns
    if not calls_ns.any():
        return False
    order = np.argsort(counts, kind="stable")
    passed_ns = np.cumsum(lengths_ns[order])
    usual_count = int(counts[order][np.searchsorted(passed_ns, SUSTAINED_SHARE * passed_ns[-1])])
    above = np.maximum(counts - usual_count, 0).astype(float)
    excess = math.sqrt(float((calls_ns * above**2).sum() / calls_ns.sum()))
    return excess > max(APART * usual_count, BY_CHANCE * math.sqrt(usual_count + 1))
