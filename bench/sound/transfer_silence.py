"""The silence that a caller hears around a transfer, a hold, or a change of the media. Pure."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.base.units import NEVER_NS, NS_PER_S
from bench.sound.onsets import OnsetDetector
from bench.wire.audio import AudioFormat
from bench.wire.connection import MatchedDelta

BEFORE_NS = 3 * NS_PER_S
"""The time before a transfer whose silence counts: earlier silence is not that of the transfer."""


MAX_PLACES = 200
"""The number of pieces in which a change may be found later."""


class Piece(NamedTuple):
    """Audio, and the latest instant at which it is played, which may be earlier by the
    uncertainty.
    """

    at_ns: int
    uncertainty_ns: int
    data: bytes


class Silence(NamedTuple):
    duration_ns: int
    uncertainty_ns: int


# The audio is searched only around a transfer: the last seconds before it, which are stored, and
# all audio after it until a sound begins. A silence counts if it ends after the transfer began, and
# began before the transfer was over. So the agent may be silent again later.
class TransferSilence:
    """The longest silence around the transfers of a call. `audio` is the format of its pieces."""

    def __init__(self, audio: AudioFormat) -> None:
        self.longest: Silence | None = None
        """None until a sound follows a transfer."""
        self.count = 0
        """The number of transfers."""
        self._audio = audio
        self._recent: deque[Piece | MatchedDelta] = deque()
        self._detector: OnsetDetector | None = None
        """None if no transfer waits for a sound."""
        self._begun_ns = self._over_ns = 0
        self._position_ns = 0
        """The end of the searched audio."""
        self._samples = 0
        """The number of searched samples."""
        self._places: deque[tuple[int, int, int]] = deque(maxlen=MAX_PLACES)
        """The last pieces that were searched: the number of the first sample, the instant, and its
        uncertainty."""
        self._quiet = (0, 0)
        """The end of the last sound, and its uncertainty."""

    @property
    def is_known(self) -> bool:
        """False if no sound has followed the last transfer."""
        return self._detector is None

    def begin(self, at_ns: int) -> None:
        """Begin a transfer that takes time, unless one is open."""
        if self._detector is not None and self._over_ns == NEVER_NS:
            return
        self.count += 1
        self._over_ns = NEVER_NS
        if self._detector is not None:  # the silence of the last one continues
            return
        self._begun_ns = at_ns
        self._detector = OnsetDetector(self._audio.rate_hz)
        self._places.clear()
        self._samples = 0
        first_ns = max(at_ns - BEFORE_NS, self._recent[0].at_ns) if self._recent else at_ns
        self._position_ns = 0
        self._quiet = (first_ns, 0)
        for piece in self._recent:
            self._search(piece)

    def end(self, at_ns: int) -> None:
        """End the open transfer."""
        if self._over_ns == NEVER_NS:
            self._over_ns = at_ns

    def add(self, pieces: Sequence[Piece | MatchedDelta]) -> None:
        """Add the next audio that the caller hears."""
        recent = self._recent
        recent.extend(pieces)
        if self._detector is not None:
            for piece in pieces:
                self._search(piece)
        while recent and recent[-1].at_ns - recent[0].at_ns > BEFORE_NS:
            recent.popleft()

    def _search(self, piece: Piece | MatchedDelta) -> None:
        detector = self._detector
        rate_hz = self._audio.rate_hz
        at_ns, uncertainty_ns = piece.at_ns, piece.uncertainty_ns
        if detector is None:
            return
        unsent_ns = min(at_ns - self._position_ns, BEFORE_NS) if self._position_ns else 0
        changes = []
        if (unsent := unsent_ns * rate_hz // NS_PER_S) > 0:
            silence = self._place(at_ns - unsent_ns, 0, unsent)
            found = detector.add(np.zeros(unsent, np.int16), sent=False)
            changes += [(silence, *each) for each in found]
        samples = self._audio.decode(piece.data)
        self._position_ns = at_ns + len(samples) * NS_PER_S // rate_hz
        total = self._place(at_ns, uncertainty_ns, len(samples))
        changes += [(total, *each) for each in detector.add(samples)]
        errors = self._audio.codec_errors
        for end, what, back, error_ns in changes:
            if what == "begins":
                sound_ns, clock_ns = self._instant(end - back)
                error_ns += clock_ns
                self._heard(sound_ns, sound_ns, error_ns + errors.start_ns)
                self._quiet = (max(sound_ns, self._quiet[0]), error_ns)
                continue
            sound_ns, clock_ns = self._instant(end - back - 1)
            sound_ns += NS_PER_S // rate_hz
            if what == "sounds":  # also after a pause that is too short to end the sound
                self._heard(max(at_ns, self._quiet[0]), sound_ns, self._position_ns - at_ns)
            error_ns = error_ns if what == "ends" else detector.fading_ns
            self._quiet = (
                max(sound_ns, self._quiet[0]),
                error_ns + clock_ns + errors.end_ns,
            )

    def _place(self, at_ns: int, uncertainty_ns: int, samples: int) -> int:
        """Note the instant of the next samples that are searched. Return the number of all."""
        self._places.append((self._samples, at_ns, uncertainty_ns))
        self._samples += samples
        return self._samples

    def _instant(self, sample: int) -> tuple[int, int]:
        """Return when a sample is played, by the instant of its own piece, and the uncertainty."""
        places = (place for place in reversed(self._places) if place[0] <= sample)
        first, at_ns, uncertainty_ns = next(places, self._places[0])
        return at_ns + (sample - first) * NS_PER_S // self._audio.rate_hz, uncertainty_ns

    def _heard(self, at_ns: int, until_ns: int, error_ns: int) -> None:
        """Note a sound: its start with the error of it, and an instant at which it continues."""
        quiet_ns, quiet_error_ns = self._quiet
        if until_ns < self._begun_ns:
            return
        if quiet_ns <= self._over_ns:
            found = Silence(max(0, at_ns - quiet_ns), error_ns + quiet_error_ns)
            self.longest = max(found, self.longest or found)
        if until_ns >= self._over_ns:
            self._detector = None
