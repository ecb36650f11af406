"""Sort orders and distinct codes of arrays, and the number of calls in progress over time. Pure.

numpy sorts a million integers several times as fast as it computes their sort order. So this module sorts integers that
contain a key and its position. Codes are integers from 0. Orders are stable, as with `numpy.argsort(kind="stable")`.

A call is in progress from its start up to its end. Instants and durations are integer nanoseconds; instants count from
1970.

**The load changed** if, for long enough, clearly more calls were in progress than usually. With c(t) the calls in
progress, b the c that was not exceeded for 40 % of the time, and E the root mean square of the excess over b, weighted
by the duration of calls,

    E² = ∫ c · max(0, c − b)² dt / ∫ c dt        E > b/4   and   E > 1.7·√(b + 1)

A run of constant load ramps up at its start and down at its end: it has fewer calls for a while, but never more than b,
so E is close to 0. Calls with random arrivals at a constant rate have an E of 0.9 to 1.3·√(b + 1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Keys = npt.NDArray[np.uint64]


def ranks(values: Floats | Integers) -> Floats:
    """Return the rank of each value, from 1; equal values have the mean of their ranks."""
    _, inverse, ties = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(ties) - (ties - 1) / 2)[inverse]


def order_of_values(values: Floats) -> Integers:
    """Return the order that sorts numbers, none of which is NaN."""
    bits = (values + 0.0).view(np.int64)  # −0.0 becomes 0.0
    bits ^= bits >> 63 & np.int64(2**63 - 1)
    bits ^= np.int64(-(2**63))  # larger numbers have larger bits
    return _order(bits.view(np.uint64))


def order_of_codes(codes: Integers) -> Integers:
    """Return the order that sorts codes. Codes of 16 bits have a radix sort, which is faster."""
    if codes.max(initial=0) < 1 << 16:
        return np.argsort(codes.astype(np.uint16), kind="stable")
    return _order(codes.astype(np.uint64))


def _order(keys: Keys) -> Integers:
    """Return the order that sorts keys.

    Sort by the highest bits that fit. If the result is not in order, sort by the lower bits, and then by the highest.
    """
    if keys.size:
        keys -= keys.min()
    if not keys.any():
        return np.arange(keys.size)
    low = np.uint64(max(0, int(keys.max()).bit_length() + keys.size.bit_length() - 64))
    order = _order_of_high(keys, low)
    if low:
        ascending = keys[order]
        if (ascending[1:] < ascending[:-1]).any():
            first = _order_of_high(keys & ((np.uint64(1) << low) - np.uint64(1)), np.uint64(0))
            order = first[_order_of_high(keys[first], low)]
    return order


def _order_of_high(keys: Keys, low: np.uint64) -> Integers:
    """Return the order of keys without their `low` lowest bits.

    Sort integers with the key in the high bits and its position below.
    """
    position_bits = np.uint64(keys.size.bit_length())
    packed = keys >> low
    packed <<= position_bits
    packed |= np.arange(keys.size, dtype=np.uint64)
    packed.sort()
    packed &= (np.uint64(1) << position_bits) - np.uint64(1)
    return packed.view(np.int64)


def distinct(codes: Integers) -> Integers:
    """Return the codes that occur, ascending."""
    return np.flatnonzero(np.bincount(codes))


def dense_codes(codes: Integers) -> tuple[Integers, int]:
    """Return the codes renumbered from 0 without gaps, in the same order, and the number of distinct codes."""
    occurs = np.bincount(codes) > 0
    new_codes = np.cumsum(occurs, dtype=np.int32) - 1
    return new_codes[codes], int(occurs.sum())


def split(codes: Integers) -> Iterable[tuple[int, Integers]]:
    """Yield each code that occurs, ascending, and its positions."""
    order, counts = order_of_codes(codes), np.bincount(codes)
    ends = np.cumsum(counts)
    for code in np.flatnonzero(counts).tolist():
        yield code, order[ends[code] - counts[code] : ends[code]]


Nanoseconds = npt.NDArray[np.int64]
CallCounts = npt.NDArray[np.int32]

SUSTAINED_SHARE = 0.4
"""The share of the time for which the usual number of calls in progress is not exceeded."""
APART, BY_CHANCE = 0.25, 1.7
"""The minimum excess that counts as a change of load.

APART is relative to the usual number of calls; BY_CHANCE is in units of √(that number + 1).
"""


@dataclass(frozen=True)
class ConcurrencySeries:
    """The number of calls in progress from each instant up to the next; instants ascend and may repeat."""

    at_ns: Nanoseconds
    counts: CallCounts

    def at(self, instants_ns: Nanoseconds) -> CallCounts:
        """Return the number of calls in progress at each instant.

        Calls that start at the instant are included; calls that end at the instant are not.
        """
        return np.append(self.counts, 0)[np.searchsorted(self.at_ns, instants_ns, side="right") - 1]

    def between(self, start_ns: int, end_ns: int) -> ConcurrencySeries:
        """Return the part of the series between two instants."""
        first, last = np.searchsorted(self.at_ns, (start_ns, end_ns), side="right")
        ends = np.array([start_ns, end_ns])
        at_ns = np.concatenate([ends[:1], self.at_ns[first:last], ends[1:]])
        return ConcurrencySeries(at_ns, np.concatenate([self.at(ends[:1]), self.counts[first:last], self.at(ends[1:])]))


def concurrency_series(starts_ns: Nanoseconds, ends_ns: Nanoseconds) -> ConcurrencySeries:
    """Return the series of calls in progress, from their starts and their ends, each in any order."""
    edges_ns = np.concatenate([starts_ns, ends_ns])
    order = np.argsort(edges_ns)
    steps = np.where(order < starts_ns.size, 1, -1).astype(np.int32)
    return ConcurrencySeries(edges_ns[order], np.cumsum(steps, dtype=np.int32))


def load_changed(series: ConcurrencySeries) -> bool:
    """Return whether the load changed during a series, by the rule of this module."""
    counts, lengths_ns = series.counts[:-1], np.diff(series.at_ns).astype(np.float64)
    calls_ns = counts * lengths_ns
    if not calls_ns.any():
        return False
    order = np.argsort(counts, kind="stable")
    passed_ns = np.cumsum(lengths_ns[order])
    usual_count = int(counts[order][np.searchsorted(passed_ns, SUSTAINED_SHARE * passed_ns[-1])])
    above = np.maximum(counts - usual_count, 0).astype(np.float64)
    excess = math.sqrt(float((calls_ns * above**2).sum() / calls_ns.sum()))
    return excess > max(APART * usual_count, BY_CHANCE * math.sqrt(usual_count + 1))
