"""Names how a reply is interrupted, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

SoundKind = Literal["backchannel", "noise", "aside"]
"""What is not meant to interrupt: a word of assent, a noise, words to somebody else."""
InterruptionKind = Literal["speech", "client", "backchannel", "noise", "aside"]
WATCH_NS = 2_000_000_000
"""How long after a sound in silence a reply is waited for (τ-voice, arXiv 2603.13686), and while one is under way."""
SOUNDS: frozenset[str] = frozenset(get_args(SoundKind))


@dataclass(frozen=True)
class Cue:
    """The cue for an interruption: so much, or such a share, of the reply was played, or a word of it came."""

    after_ns: int = 0
    share: float | None = None
    word: str = ""
