"""Makes up the transcript of each piece of the caller's audio and says so, unless the profile knows what it says.

In GA, and in any session that does nothing else, deltas come before it: one with the whole text from a whisper model,
one a word from any other. A model that tells speakers apart sends segments instead. Preview's vocabulary has neither.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.simulator.conversation.items import ConversationItem, text_tokens
from bench.simulator.outbox import Outbox, OutboxStep, Render
from bench.simulator.profile import KnownWords
from bench.simulator.wire import Json, Outgoing

MISHEARD = "mumble"
SPEAKER = "speaker_1"
LOGPROB = -0.1  # of every token
FAMILY = "conversation.item.input_audio_transcription"

_TOKEN = re.compile(r"\s?\S+")
_SENTENCE = re.compile(r"[^.?!]+[.?!]*\s*|[.?!]+\s*")


class SimulatedHearing:
    """Understands the caller's audio of one session, piece by piece, by the words that the profile knows of it.

    The same share of all words is misheard, evenly: of every ten one, at 0.1. So word error rates are exact.
    """

    def __init__(self, known: KnownWords) -> None:
        self._known = known
        self._pieces = self._words = 0

    def heard(self, audio_ms: float) -> str:
        """What the next piece of audio says."""
        if self._known.texts is None:
            return f"(simulated transcript of {audio_ms / 1000:.1f} s of audio)"
        text = self._known.texts[self._pieces % len(self._known.texts)]
        self._pieces += 1
        understood, wrong_words = [], self._known.wrong_words
        for word in text.split():
            before, self._words = self._words, self._words + 1
            misheard = _misheard(self._words, wrong_words) > _misheard(before, wrong_words)
            understood.append(MISHEARD if misheard else word)
        return " ".join(understood)


def _misheard(words: int, share: float) -> int:
    """How many of so many words; rounded, for 100 times 0.29 is a little less than 29."""
    return math.floor(round(words * share, 6))


@dataclass(frozen=True)
class Transcription:
    """Writes down a piece of the caller's audio, `audio_ms` long: `item`, which has its transcript once it was told.

    `segment_ids` makes the ids of its segments. `logprobs`: whether it tells how sure it is of each token.
    """

    item: ConversationItem
    audio_ms: float
    model: str
    outbox: Outbox
    transcript: str
    segment_ids: Callable[[], str]
    logprobs: bool = False

    def steps(self, committed_ns: int, completed_ns: int, *, deltas: bool) -> Iterator[OutboxStep]:
        """What is told of it, with deltas ahead where the vocabulary has them."""
        pieces = self._pieces() if deltas else []
        for place, piece in enumerate(pieces, 1):
            due_ns = committed_ns + (completed_ns - committed_ns) * place // len(pieces)
            yield due_ns, piece
        yield completed_ns, self._completed

    def failed(self, due_ns: int) -> Outgoing:
        """The event instead, where it fails."""
        problem = f"Input transcription failed for item '{self.item.id}'."
        error = {"type": "server_error", "code": None, "message": problem, "param": None}
        return self._event("failed", {"error": error}, due_ns)

    def _pieces(self) -> list[Render]:
        if "diarize" in self.model:
            return list(self._segments())
        words = [self.transcript] if self._whisper else _TOKEN.findall(self.transcript)
        return [partial(self._delta, word) for word in words]

    def _segments(self) -> Iterator[Render]:
        """One for each sentence; they take as much of the time as of the text."""
        s_per_letter, end = self.audio_ms / 1000 / max(1, len(self.transcript)), 0
        for sentence in _SENTENCE.findall(self.transcript):
            begin, end = end, end + len(sentence)
            fields = {"text": sentence.strip(), "speaker": SPEAKER}
            times = {"start": round(begin * s_per_letter, 3), "end": round(end * s_per_letter, 3)}
            yield partial(self._event, "segment", {"id": self.segment_ids()} | fields | times)

    def _delta(self, piece: str, due_ns: int) -> Outgoing:
        padding = self.outbox.obfuscation()
        further: Json = {"obfuscation": padding} if padding else {}
        return self._event("delta", {"delta": piece} | self._sureness(piece) | further, due_ns)

    def _completed(self, due_ns: int) -> Outgoing:
        self.item.body["content"][0]["transcript"] = self.transcript
        told: Json = {"transcript": self.transcript, "usage": self._usage()}
        return self._event("completed", told | self._sureness(self.transcript), due_ns)

    def _sureness(self, words: str) -> Json:
        """How sure the model is of each token, where it tells: a whisper model does not."""
        if not self.logprobs or self._whisper:
            return {}
        tokens = _TOKEN.findall(words)
        return {"logprobs": [{"token": each, "bytes": list(each.encode()), "logprob": LOGPROB} for each in tokens]}

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
