"""Factors between units (integers, so that ns stay integers), the unit of bytes, and the endless
future.
"""

NEVER_NS = 1 << 62
"""An instant that is later than any real one."""

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
NS_PER_MINUTE = 60_000_000_000
S_PER_MINUTE = 60
US_PER_MS = 1_000
US_PER_S = 1_000_000
BYTES_PER_MB = 1_000_000


def duration_text(seconds: float) -> str:
    """Return a duration in hours or minutes, from two of them on; a shorter one in seconds."""
    for size_s, name in ((3_600, "h"), (S_PER_MINUTE, "min")):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {name}"
    return f"{seconds:.0f} s"


def byte_unit(largest: float) -> tuple[float, str]:
    """Return the unit for numbers of bytes up to `largest`, as (bytes per unit, name of the
    unit).
    """
    for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if largest >= size:
            return size, name
    return 1.0, "B"
