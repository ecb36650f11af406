"""Makes up the transcript of each piece of the caller's audio and says so, unless the profile knows what it says.

In GA, deltas come before it: one with the whole text from a whisper model, one a word from any other. The vocabulary of
preview has none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from bench.simulator.conversation_item import ConversationItem, text_tokens
from bench.simulator.outbox import Outbox, OutboxStep
from bench.simulator.profile import KnownWords
from bench.simulator.wire import Json, Outgoing

MISHEARD = "mumble"
FAMILY = "conversation.item.input_audio_transcription"


class SimulatedHearing:
    """Understands the caller's audio of one session, piece by piece, by the words that the profile knows of it.

    The same share of all words is misheard, evenly: of every ten one, at 0.1. So word error rates are exact.
    """

    def __init__(self, known: KnownWords | None) -> None:
        self._known = known
        self._pieces = self._words = 0

    def heard(self, audio_ms: float) -> str:
        """What the next piece of audio says."""
        if self._known is None:
            return f"(simulated transcript of {audio_ms / 1000:.1f} s of audio)"
        text = self._known.texts[self._pieces % len(self._known.texts)]
        self._pieces += 1
        return " ".join(self._understood(word, self._known.wrong_words) for word in text.split())

    def _understood(self, word: str, wrong_words: float) -> str:
        before, self._words = self._words, self._words + 1
        return MISHEARD if _misheard(self._words, wrong_words) > _misheard(before, wrong_words) else word


def _misheard(words: int, share: float) -> int:
    """How many of so many words; rounded, for 100 times 0.29 is a little less than 29."""
    return math.floor(round(words * share, 6))


@dataclass(frozen=True)
class Transcription:
    """`item` is the caller's audio, `audio_ms` long; its `transcript` is filled in when it is told."""

    item: ConversationItem
    audio_ms: float
    model: str
    outbox: Outbox
    transcript: str

    def steps(self, committed_ns: int, completed_ns: int, *, deltas: bool) -> Iterator[OutboxStep]:
        pieces = self._pieces() if deltas else []
        for place, piece in enumerate(pieces, 1):
            due_ns = committed_ns + (completed_ns - committed_ns) * place // len(pieces)
            yield due_ns, partial(self._delta, piece)
        yield completed_ns, self._completed

    def _pieces(self) -> list[str]:
        return [self.transcript] if self._whisper else re.findall(r"\s?\S+", self.transcript)

    def _delta(self, piece: str, due_ns: int) -> Outgoing:
        padding = self.outbox.obfuscation()
        return self._event("delta", {"delta": piece} | ({"obfuscation": padding} if padding else {}), due_ns)

    def _completed(self, due_ns: int) -> Outgoing:
        self.item.body["content"][0]["transcript"] = self.transcript
        return self._event("completed", {"transcript": self.transcript, "usage": self._usage()}, due_ns)

    def _usage(self) -> Json:
        if self._whisper:
            return {"type": "duration", "seconds": self.audio_ms / 1000}
        came, went = self.item.tokens.audio, text_tokens(self.transcript)
        details = {"text_tokens": 0, "audio_tokens": came}
        tokens = {"total_tokens": came + went, "input_tokens": came, "output_tokens": went}
        return {"type": "tokens", **tokens, "input_token_details": details}

    @property
    def _whisper(self) -> bool:
        return "whisper" in self.model

    def _event(self, name: str, fields: Json, due_ns: int) -> Outgoing:
        place: Json = {"item_id": self.item.id, "content_index": 0}
        return self.outbox.event(f"{FAMILY}.{name}", place | fields, due_ns)
