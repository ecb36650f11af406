"""The detection of the answer among the sounds of one reply, if no event marks it. Pure."""

# Sounds are separated by pauses of `PAUSE_NS`. The answer is the first sound that is long enough,
# and that begins after the service has the result of a delegated task, if it has delegated one.
# Each sound before it is a filler.
#
# An answer may follow a filler without a pause. If a filler continues after the result, and is then
# longer than a filler can be, it contains the answer. The answer begins after the longest gap in
# that part, and its uncertainty reaches back to the result. If there is no gap, its start is
# unknown.

from dataclasses import dataclass, field
from typing import NamedTuple

from bench.base.units import NEVER_NS, NS_PER_S
from bench.sound.onsets import PAUSE_NS

MAX_FILLER_NS = 5 * NS_PER_S // 2
"""The maximum duration of a filler, if the script sets no minimum duration of an answer."""


class Sound(NamedTuple):
    """A sound without a pause: its playback, perhaps `uncertainty_ns` earlier, and its first
    delta's arrival.
    """

    at_ns: int
    uncertainty_ns: int
    arrived_ns: int
    is_first: bool


@dataclass(slots=True, eq=False)
class SpokenAnswer:
    """The search for the answer in one reply. `min_ns` is the minimum duration of a sound that
    is an answer.
    """

    min_ns: int
    _from_ns: int = 0
    """Sounds that arrived before this instant are not the answer."""
    _sound: Sound | None = None
    """The current sound, or the last one."""
    _end_ns: int = 0
    """The end of playback of the current sound."""
    _arrived_ns: int = 0
    """The arrival of the last delta with sound."""
    _candidates: list[Sound] = field(default_factory=list)
    """The sounds that may be the answer. The first of them is the answer."""
    _merged: Sound | None = None
    """The part after the longest gap in a sound from before the result; None without a gap."""
    _merged_gap_ns: int = 0
    _is_start_unknown: bool = False
    """True if the answer follows a filler without a gap."""

    def on_sound(
        self, at_ns: int, end_ns: int, uncertainty_ns: int, arrived_ns: int, gap_ns: int
    ) -> None:
        """Apply the sound in a delta. It is played from `at_ns` to `end_ns`, `gap_ns` after the
        sound before it.
        """
        if self._sound is None or gap_ns >= PAUSE_NS:
            self.end_sound()
            self._sound = Sound(at_ns, uncertainty_ns, arrived_ns, is_first=self._sound is None)
        elif self._sound.arrived_ns < self._from_ns <= arrived_ns and gap_ns > self._merged_gap_ns:
            early_ns = max(0, at_ns - self._from_ns)
            self._merged = Sound(at_ns, early_ns + uncertainty_ns, arrived_ns, is_first=False)
            self._merged_gap_ns = gap_ns
        self._end_ns = end_ns
        self._arrived_ns = arrived_ns
        is_long = end_ns - self._sound.at_ns >= self.min_ns
        if (
            is_long
            and self._sound.arrived_ns >= self._from_ns
            and self._sound not in self._candidates[-1:]
        ):
            self._candidates.append(self._sound)

    def await_result(self) -> None:
        """Reject all sounds until `expect` is called, because the service has no result to speak
        about.
        """
        self.expect(NEVER_NS)

    def expect(self, from_ns: int) -> None:
        """Reject the sounds that arrived before this instant, at which the service received the
        last result.
        """
        self._from_ns = from_ns
        self._merged = None
        self._merged_gap_ns = 0
        self._is_start_unknown = False
        self._candidates = [sound for sound in self._candidates if sound.arrived_ns >= from_ns]

    def end_sound(self) -> None:
        """Apply the end of the current sound. It contains the answer if it is too long for a
        filler.
        """
        if self._candidates or not self.merged_ns or self._sound is None:
            return
        if self._end_ns - self._sound.at_ns >= (self.min_ns or MAX_FILLER_NS):
            self._is_start_unknown = self._merged is None
            self._candidates += [self._merged] if self._merged is not None else []

    def reject_before(self, at_ns: int) -> None:
        """Reject the sounds that were played before the end of the caller's speech, which they
        do not answer.
        """
        self._candidates = [sound for sound in self._candidates if sound.at_ns >= at_ns]

    @property
    def awaits_result(self) -> bool:
        """True from a call of `await_result` until the next call of `expect`."""
        return self._from_ns == NEVER_NS

    @property
    def has_begun(self) -> bool:
        """True if a sound was detected that is not a filler."""
        return bool(self._candidates) or self._is_start_unknown

    @property
    def sound(self) -> Sound | None:
        """The sound that is the answer; None if there is none, or if its start is unknown."""
        if self._is_start_unknown:
            return None
        return self._candidates[0] if self._candidates else self._merged

    @property
    def merged_ns(self) -> int:
        """The part after the result of a filler that began before it. The answer may follow
        without a pause.
        """
        if self._sound is None or not self._sound.arrived_ns < self._from_ns <= self._arrived_ns:
            return 0
        return max(0, self._end_ns - self._from_ns)
