"""The rules of single blocks of a stream that both implementations of `Blocks` and the detector
share. Pure.
"""

from bench.sound.onset_limits import END, RISE

Block = tuple[int, int, int, int, int]
"""Energy, level, position of the first audible sample, position after the last one (both -1 if
silent), and power."""
NO_BLOCK = (0, 0, -1, -1, 0)
LEFT = 1
CONTINUED = 2
TAKEN = 4
"""The parts of the result of `Blocks._skim`."""


def is_continued(level: int, last: int, behind: int) -> bool:
    """Return whether a block belongs to a sound. `last` is the position after its last audible
    sample.
    """
    over, under = END.ratio
    return last >= 0 and level * under > over * behind


def is_loud(level: int, first: int, behind: int) -> bool:
    """Return whether a sound may start with a block. `first` is the position of its first
    audible sample.
    """
    over, under = RISE.ratio
    return first >= 0 and level * under > over * behind
