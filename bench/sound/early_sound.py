"""The sound of a telephone call that began before its answer, such as an announcement. It is not
the greeting. Pure.
"""

# The detector of sounds hears the audio before the answer too, so that it knows the background, and
# which sound continues after the answer. A sound that began shortly before the answer may be the
# greeting of an agent whose answer was slow.

from collections.abc import Iterable

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.sound.onsets import HELD_NS, What

MIN_EARLY_NS = 500 * NS_PER_MS
"""The minimum time from the start of an announcement to the answer. Later sounds count as the
greeting."""
PAUSE_NS = 300 * NS_PER_MS
"""The maximum pause after the answer between the sounds of an announcement."""

Change = tuple[What, int, int]
"""A change in the stream: its type, its position in samples, and the uncertainty of the sound's
start in ns."""


class EarlySound:
    """The sounds before the answer. All positions are in samples from `end_ns`, the end of this
    audio.
    """

    def __init__(self, changes: Iterable[Change], rate_hz: int, end_ns: int) -> None:
        self.end_ns = end_ns
        self._min_early = MIN_EARLY_NS * rate_hz // NS_PER_S
        self._pause, self._held = (
            duration_ns * rate_hz // NS_PER_S for duration_ns in (PAUSE_NS, HELD_NS)
        )
        self._began: int | None = None
        """The start of the announcement; None if there is none."""
        self._ended: int | None = None
        """The end of its last sound; None if the sound continues."""
        self._position = 0
        for what, position, _ in changes:
            self._follow(what, position)

    @property
    def is_over(self) -> bool:
        """True if no sound that is detected later can belong to the announcement."""
        silent = 0 if self._ended is None else self._position - self._ended
        return not self._is_early or silent > self._pause + self._held

    def without(self, changes: Iterable[Change], count: int) -> list[Change]:
        """Return the changes that do not belong to the announcement. They are in the next
        `count` samples.
        """
        kept = list[Change]()
        for what, position, error_ns in changes:
            was_early = self._is_early
            self._follow(what, self._position + position)
            if not self._is_early or not was_early:
                kept.append((what, position, error_ns))
        self._position += count
        return kept

    @property
    def _is_early(self) -> bool:
        return self._began is not None and self._began <= -self._min_early

    def _follow(self, what: What, position: int) -> None:
        if what == "ends":
            self._ended = position
        elif what == "begins":
            is_new = (
                self._ended is not None and position > 0 and position - self._ended > self._pause
            )
            self._began = position if self._began is None or is_new else self._began
            self._ended = None
