"""Orders and distinct codes by counting, which for a million turns is several times as quick as comparing them; pure.

Codes are whole numbers from 0 on. Orders are stable: the same as of `numpy.argsort(kind="stable")`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

DIGIT = 16
"""Bits of a digit: numpy sorts integers of up to sixteen bits by counting, longer ones by comparing."""


def order_of_values(values: Floats) -> Integers:
    """The order that sorts numbers, of which none is NaN; it is found digit by digit."""
    bits = (values + 0.0).view(np.int64)  # −0.0 is 0.0
    ascending = bits ^ (bits >> 63 & np.int64(2**63 - 1)) ^ np.int64(-(2**63))  # larger numbers have larger bits
    return _order(ascending.view(np.uint64))


def order_of_codes(codes: Integers) -> Integers:
    """The order that sorts codes."""
    return _order(codes.astype(np.uint32))


def _order(keys: npt.NDArray[np.unsignedinteger]) -> Integers:
    """By the lowest digit first: each pass leaves those alike in its digit as the one before had them."""
    order: Integers = np.arange(keys.size, dtype=np.int32)
    if keys.size:
        for shift in range(0, (int(keys.max()) ^ int(keys.min())).bit_length(), DIGIT):
            digits = (keys >> keys.dtype.type(shift)).astype(np.uint16)
            order = order[np.argsort(digits[order] if shift else digits, kind="stable")]
    return order


def distinct(codes: Integers) -> Integers:
    """The codes that occur, ascending."""
    return np.flatnonzero(np.bincount(codes))


def packed(codes: Integers) -> tuple[Integers, int]:
    """Codes from 0 on without gaps, in the same order, and how many there are."""
    there = np.bincount(codes) > 0
    places = np.cumsum(there, dtype=np.int32) - 1
    return places[codes], int(there.sum())


def split(codes: Integers) -> Iterable[tuple[int, Integers]]:
    """Each code that occurs, ascending, and where it stands."""
    order = order_of_codes(codes)
    ascending = codes[order].astype(np.int64)
    starts = np.flatnonzero(np.diff(ascending, prepend=-1))
    for begin, end in pairwise([*starts.tolist(), order.size]):
        yield int(ascending[begin]), order[begin:end]
