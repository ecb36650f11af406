"""What the agents in Python do in a call: they greet their caller, and answer each utterance
with a tone.
"""

import time

import numpy as np

LOUD, GREET_S, ANSWER_S, TONE_S, FRAME_S = 1_000, 0.3, 0.4, 0.8, 0.02


def tone(rate_hz: int) -> np.ndarray:
    """Return a square wave of 500 Hz."""
    half = rate_hz // 1_000
    return np.where(np.arange(int(rate_hz * TONE_S)) % (2 * half) < half, 8_000, -8_000).astype(
        np.int16
    )


class Talker:
    """What one agent hears. `is_due` becomes True once for each utterance of the agent."""

    def __init__(self):
        self._first_s = self._loud_s = None

    def hear(self, samples: np.ndarray) -> None:
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
        if len(samples) and np.abs(samples.astype(np.int32)).max() > LOUD:
            self._loud_s = now_s

    def is_due(self) -> bool:
        now_s = time.monotonic()
        if self._first_s and now_s - self._first_s >= GREET_S:
            self._first_s = float("inf")
            return True
        if self._loud_s is not None and now_s - self._loud_s >= ANSWER_S:
            self._loud_s = None
            return True
        return False
