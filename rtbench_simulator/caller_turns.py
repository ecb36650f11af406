"""The caller's turns in input audio. Audio is committed on the client's request, at an end of
speech, or after a silence.

README.md, "Speech detection", describes what the service does without a request. Speech is
detected when an append arrives. Whether a response must be interrupted or started is decided later,
when the related events are due.

The simulator invents the transcript of each segment, unless the profile contains the text. Deltas
precede the transcript, except in preview sessions with responses. A whisper model sends one delta
with the whole text; other models send one delta per word. A model that identifies speakers sends
segments instead of deltas. A model without turn detection sends its deltas while the caller speaks,
each with a lag from the profile (`StreamedWords`).
"""

# Three events commit audio: the client's commit, the end of speech, and the idle timeout. Each
# leads to `_commit`, which makes the item and plans `committed`, the item's events, and the
# transcript.
#
# The id of an item is known before the item: `speech_started`, the first delta of a streamed
# transcript, or the timeout announce it (`_announced_item_id`), and the next commit uses it.
#
# A response may be done while a listener still plays it. Speech until `_played_ns` therefore counts
# as speech during a reply, and the silence of the idle timeout begins there.

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from bench.base.units import NS_PER_MS
from bench.catalogue.words import character_count, word_pattern
from bench.services.openai.dialect import WITHOUT_DETECTION
from bench.wire.audio import AudioFormat
from rtbench_simulator.conversation.input_audio import (
    FRAME_MS,
    TICKS_PER_MS,
    SpeechEdge,
    StreamPosition,
    active_frames,
)
from rtbench_simulator.conversation.items import ConversationItem, text_tokens, user_audio_item
from rtbench_simulator.delay import Delay
from rtbench_simulator.profile import TranscriptSettings, is_drawn
from rtbench_simulator.responses.lifecycle import ActiveResponse, Composer, ResponseManager
from rtbench_simulator.server_events import (
    Ids,
    Json,
    Outbox,
    OutboxStep,
    OutgoingEvent,
    PlannedSeries,
    RejectedError,
    Render,
)
from rtbench_simulator.session.effective import EffectiveTurnDetection
from rtbench_simulator.turn_taking import CallerSpeech

THRESHOLD = 0.5
DELAY_FACTORS = {"minimal": 0.5, "low": 0.75, "medium": 1.0, "high": 1.5, "xhigh": 2.0}
"""A mapping from the setting `delay` to the factor on the lag of deltas. The factors are
assumptions."""


class SpokenWord(NamedTuple):
    """A word, the byte of the input audio at which it ends, and the instant at which a
    microphone had recorded it.
    """

    text: str
    to_byte: int
    spoken_ns: int


class StreamedWords:
    """The words of the audio in the buffer. `texts` are the words, each with its space; None to
    invent them.
    """

    def __init__(self, words_per_s: float, texts: Sequence[str] | None) -> None:
        self._ticks_per_word = 1000 * TICKS_PER_MS / words_per_s
        self._texts = texts
        self._begin_tick: int | None = None  # start of the speech
        self.count = 0
        """The number of words that were spoken so far."""

    @property
    def transcript(self) -> str:
        """The transcript of the whole speech: the given words, or the invented ones so far."""
        words = (
            [_invented(number) for number in range(1, self.count + 1)]
            if self._texts is None
            else self._texts
        )
        return "".join(words).strip()

    @property
    def unspoken(self) -> Sequence[str]:
        """The given words after the last spoken one."""
        return () if self._texts is None else self._texts[self.count :]

    def append(
        self, audio: bytes, start: StreamPosition, format: AudioFormat, at_ns: int
    ) -> Iterator[SpokenWord]:
        """Yield the words that end in the appended audio. `start` is its position, `at_ns` its
        arrival.
        """
        end = start.after(len(audio), format)
        if self._begin_tick is None:
            self._begin_tick = _first_active_tick(audio, start, format)
        while self._begin_tick is not None and (
            self._texts is None or self.count < len(self._texts)
        ):
            word_tick = self._begin_tick + self._ticks_per_word * (self.count + 1)
            if word_tick > end.tick:
                return
            text = _invented(self.count + 1) if self._texts is None else self._texts[self.count]
            self.count += 1
            # The word ends within this audio, at the same share of its bytes and of its duration.
            share = (word_tick - start.tick) / (end.tick - start.tick)
            before_ns = (end.tick - word_tick) / TICKS_PER_MS * NS_PER_MS
            yield SpokenWord(text, start.byte + round(share * len(audio)), at_ns - round(before_ns))


def _invented(number: int) -> str:
    return f"{' ' if number > 1 else ''}word{number}"


def _first_active_tick(audio: bytes, start: StreamPosition, format: AudioFormat) -> int | None:
    """Return the position of the first active frame; None if there is none."""
    frame_bytes = format.bytes_per_s * FRAME_MS // 1000
    whole = audio[: len(audio) // frame_bytes * frame_bytes]
    flags = (
        active_frames(format.decode(whole), format.rate_hz * FRAME_MS // 1000, THRESHOLD)
        if whole
        else []
    )
    return start.tick + flags.index(True) * FRAME_MS * TICKS_PER_MS if True in flags else None


MISHEARD = "mumble"
SPEAKER = "speaker_1"
FAMILY = "conversation.item.input_audio_transcription"

_TOKEN = re.compile(r"\s?\S+")
_SENTENCE = re.compile(r"[^.?!]+[.?!]*\s*|[.?!]+\s*")


class SimulatedAsr:
    """Simulated recognition of the speech of one session, segment by segment, from the texts in the
    profile.

    Wrong words are distributed evenly: at a rate of 0.1, one in every ten. So word error rates are
    exact.
    """

    def __init__(self, known: TranscriptSettings) -> None:
        self._known = known
        self._pieces = self._words = 0

    def stream(self) -> StreamedWords:
        """Return the words of the next segment, which are recognized while it is spoken."""
        texts = None if self._known.texts is None else _TOKEN.findall(self.transcribe(0))
        return StreamedWords(self._known.words_per_s, texts)

    def transcribe(self, audio_ms: float) -> str:
        if self._known.texts is None:
            return f"(simulated transcript of {audio_ms / 1000:.1f} s of audio)"
        text = self._known.texts[self._pieces % len(self._known.texts)]
        self._pieces += 1
        return (
            word_pattern().sub(lambda word: self._understood(word[0]), text)
            if self._known.word_error_rate
            else text
        )

    # A word is wrong if it makes the whole number of wrong words larger: a rate of 0.1 gives the
    # words 10, 20, and so on.
    def _understood(self, word: str) -> str:
        before = self._words
        self._words = self._words + 1
        word_error_rate = self._known.word_error_rate
        if _misheard(self._words, word_error_rate) == _misheard(before, word_error_rate):
            return word
        return f" {MISHEARD} " if character_count([word]) else MISHEARD


def _misheard(words: int, share: float) -> int:
    """Return the number of wrong words among `words`.

    The product is rounded because, in floating point, 100 * 0.29 is slightly below 29.
    """
    return math.floor(round(words * share, 6))


@dataclass(frozen=True)
class PendingTranscript:
    """The transcript of a segment of the caller's audio, which is not sent yet. The segment is
    `audio_ms` long.

    `item` contains the transcript only after the final event of the transcript was rendered. `left`
    are the words of a streamed transcript that no delta contains yet; None if the transcript is not
    streamed.
    """

    item: ConversationItem
    audio_ms: float
    model: str
    outbox: Outbox
    transcript: str
    ids: Ids
    left: Sequence[str] | None = None

    def steps(self, committed_ns: int, completed_ns: int, *, deltas: bool) -> Iterator[OutboxStep]:
        """Yield the steps of the transcript. If `deltas` is True, the steps of its deltas come
        first.
        """
        pieces = self._pieces() if deltas else []
        for number, piece in enumerate(pieces, 1):
            due_ns = committed_ns + (completed_ns - committed_ns) * number // len(pieces)
            yield due_ns, piece
        yield completed_ns, self._completed

    def failed(self, due_ns: int) -> OutgoingEvent:
        problem = f"Input transcription failed for item '{self.item.id}'."
        error = {"type": "server_error", "code": None, "message": problem, "param": None}
        return self._event("failed", {"error": error}, due_ns)

    def _pieces(self) -> list[Render]:
        if self.left is not None:
            return [partial(self._delta, word) for word in self.left]
        if "diarize" in self.model:
            return list(self._segments())
        texts = [self.transcript] if "whisper" in self.model else _TOKEN.findall(self.transcript)
        return [partial(self._delta, word) for word in texts]

    def _segments(self) -> Iterator[Render]:
        """Yield one segment per sentence. A sentence's share of the time equals its share of the
        text.
        """
        s_per_letter = self.audio_ms / 1000 / max(1, len(self.transcript))
        end = 0
        for sentence in _SENTENCE.findall(self.transcript):
            start = end
            end = end + len(sentence)
            fields = {"text": sentence.strip(), "speaker": SPEAKER}
            times = {"start": round(start * s_per_letter, 3), "end": round(end * s_per_letter, 3)}
            yield partial(self._event, "segment", {"id": self.ids.new("seg")} | fields | times)

    def _delta(self, piece: str, due_ns: int) -> OutgoingEvent:
        return self._event("delta", delta_fields(self.outbox, piece), due_ns)

    def _completed(self, due_ns: int) -> OutgoingEvent:
        self.item.body["content"][0]["transcript"] = self.transcript
        return self._event(
            "completed", {"transcript": self.transcript, "usage": self._usage()}, due_ns
        )

    def _usage(self) -> Json:
        if "whisper" in self.model:
            return {"type": "duration", "seconds": self.audio_ms / 1000}
        input_tokens = self.item.tokens.audio
        output_tokens = text_tokens(self.transcript)
        details = {"text_tokens": 0, "audio_tokens": input_tokens}
        tokens = {
            "total_tokens": input_tokens + output_tokens,
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
        }
        return {"type": "tokens", **tokens, "input_token_details": details}

    def _event(self, name: str, fields: Json, due_ns: int) -> OutgoingEvent:
        position: Json = {"item_id": self.item.id, "content_index": 0}
        return self.outbox.event(f"{FAMILY}.{name}", position | fields, due_ns)


def delta_fields(outbox: Outbox, piece: str) -> Json:
    """Return the fields of a delta, except its position."""
    padding = outbox.obfuscation()
    return {"delta": piece} | ({"obfuscation": padding} if padding else {})


MIN_COMMIT_MS = 100
SEMANTIC_END = {
    "low": (2.0, 8_000),
    "medium": (1.0, 4_000),
    "auto": (1.0, 4_000),
    "high": (0.5, 2_000),
}
"""A mapping from eagerness to (factor on the random silence, the service's maximum silence in ms).
The factor is an assumption."""


def semantic_silence_ms(random_ms: float, eagerness: str) -> float:
    scale, cap_ms = SEMANTIC_END[eagerness]
    return min(random_ms * scale, cap_ms)


class CallerTurns:
    def __init__(self, composer: Composer, responses: ResponseManager) -> None:
        self._session = composer.session
        self._conversation = composer.conversation
        self._outbox = composer.outbox
        self._responses = responses
        self._rng = composer.rng
        profile = composer.profile
        self._delays = profile.delays
        self._turn_taking = composer.turn_taking
        self._audio = composer.turn_taking.audio
        self._played_ns = 0  # instant at which a listener has played the last reply
        self._transcripts = profile.transcripts
        self._asr = SimulatedAsr(profile.transcripts)
        self._announced_item_id: str | None = None  # id of the item that speech_started announced
        self._idle_timeout: PlannedSeries | None = None  # steps of the idle timeout
        self._quiet_from_ms = 0  # start of the caller's silence, on the audio clock
        # words of the buffered audio that are recognized already
        self._streamed: StreamedWords | None = None
        self._deltas: list[PlannedSeries] = []  # their deltas
        self._delta_due_ns = 0  # due instant of the last one
        responses.when_done = self._wait_for_speech

    def append(self, audio: bytes, at_ns: int) -> Json:
        """Process input audio. Return its byte range in the stream of input audio."""
        settings = self._session.input
        start = self._audio.end
        if settings.detection is not None and settings.detection.type == "server_vad":
            self._audio.silence_ms = settings.detection.silence_duration_ms
        # A response is active, or the client still plays one. The client is assumed to play audio
        # on arrival.
        is_replying = self._responses.active is not None or at_ns < self._played_ns
        receipt = self._turn_taking.append(
            audio, settings, at_ns, self._on_speech, is_replying=is_replying
        )
        if (
            settings.detection is None
            and settings.transcriber is not None
            and _streams(settings.transcriber)
        ):
            self._streamed = self._streamed or self._asr.stream()
            for word in self._streamed.append(audio, start, settings.format, at_ns):
                self._plan_delta(word, at_ns)
        return receipt

    def _plan_delta(self, word: SpokenWord, at_ns: int) -> None:
        """Plan the delta of a word, after its lag and after the deltas before it."""
        self._announced_item_id = self._announced_item_id or self._conversation.promise()
        lag_ns = self._outbox.after(0, self._delays.input_transcript_lag)
        lag_ns = round(lag_ns * DELAY_FACTORS.get(self._session.input.transcript_delay, 1.0))
        self._delta_due_ns = max(self._delta_due_ns, at_ns, word.spoken_ns + lag_ns)
        render = partial(self._streamed_delta, self._announced_item_id, word)
        self._deltas.append(self._outbox.plan_step(self._delta_due_ns, render))

    def _streamed_delta(self, item_id: str, word: SpokenWord, due_ns: int) -> OutgoingEvent:
        fields = {"item_id": item_id, "content_index": 0} | delta_fields(self._outbox, word.text)
        return self._outbox.event(
            f"{FAMILY}.delta", fields, due_ns, facts={"audio_to_byte": word.to_byte}
        )

    def commit(self, at_ns: int) -> None:
        """Commit the buffered audio for the client. Raise RejectedError if it is shorter than
        MIN_COMMIT_MS.
        """
        buffered_ms = self._audio.buffered_ms
        if buffered_ms < MIN_COMMIT_MS:
            problem = (
                "A commit needs at least 100ms of audio, but the buffer only has"
                f" {buffered_ms:.2f}ms."
            )
            raise RejectedError("input_audio_buffer_commit_empty", problem)
        self._audio.empty()
        self._commit(buffered_ms, at_ns, self._delays.committed)

    def clear(self) -> None:
        self._audio.empty()
        for series in self._deltas:
            series.dropped = True
        self._streamed = None
        self._deltas = []
        self._announced_item_id = None

    def stop_playing(self) -> None:
        """Record that the client has stopped playing the reply."""
        self._played_ns = 0

    # Speech

    def _on_speech(self, speech: CallerSpeech, at_ns: int) -> None:
        detection = self._session.input.detection
        assert detection is not None, "speech is detected"
        # the silence that ends it is random
        if speech.edge.began and detection.type == "semantic_vad":
            random_ms = self._outbox.after(0, self._delays.semantic_end) / NS_PER_MS
            self._audio.silence_ms = semantic_silence_ms(random_ms, detection.eagerness)
        self._stop_waiting()
        (self._on_start if speech.edge.began else self._on_end)(speech, detection, at_ns)

    def _on_start(
        self, speech: CallerSpeech, detection: EffectiveTurnDetection, at_ns: int
    ) -> None:
        self.stop_playing()
        self._announced_item_id = self._conversation.promise()
        started_ns = self._outbox.answer_from(speech.stop_ns)
        event = self._speech_event(
            "started", {"audio_start_ms": _padded_ms(speech.edge, detection)}, speech.edge
        )
        steps = [(started_ns, event)]
        if detection.interrupt_response:
            steps.append((started_ns, self._responses.interrupt))
        self._outbox.plan(steps)

    def _on_end(self, speech: CallerSpeech, detection: EffectiveTurnDetection, at_ns: int) -> None:
        stopped_ns = self._outbox.answer_due(at_ns, self._delays.speech_stopped)
        edge = speech.edge
        stopped = self._speech_event("stopped", {"audio_end_ms": edge.heard_ms}, edge)
        self._outbox.plan_step(stopped_ns, stopped)
        self._audio.mark_committed()
        audio_ms = edge.heard_ms - _padded_ms(edge, detection)
        committed_ns = self._commit(audio_ms, stopped_ns, self._delays.vad_committed)
        if detection.create_response and speech.is_answered:
            self._outbox.plan_step(committed_ns, self._respond)

    def _speech_event(self, name: str, fields: Json, speech: SpeechEdge) -> Render:
        fields = fields | {"item_id": self._announced_item_id}
        facts = {"speech_at_byte": speech.byte}
        return partial(self._outbox.event, f"input_audio_buffer.speech_{name}", fields, facts=facts)

    # Silence

    def _wait_for_speech(self, response: ActiveResponse, done_ns: int) -> None:
        """Plan the idle timeout after a response, if the session has one."""
        self._stop_waiting()
        played_ns = max(done_ns, response.played_ns)
        self._played_ns = 0 if response.status == "cancelled" else played_ns
        detection = self._session.input.detection
        if (
            detection is not None
            and detection.idle_timeout_ms is not None
            and self._announced_item_id is None
        ):
            over_ns = played_ns + int(detection.idle_timeout_ms * NS_PER_MS)
            self._idle_timeout = self._outbox.plan(
                [(played_ns, self._on_silence), (over_ns, self._time_out)]
            )

    def _stop_waiting(self) -> None:
        if self._idle_timeout is not None:
            self._idle_timeout.dropped = True

    def _on_silence(self, due_ns: int) -> None:
        self._quiet_from_ms = self._audio.clock_ms

    def _time_out(self, due_ns: int) -> OutgoingEvent | None:
        detection = self._session.input.detection
        if (
            detection is None
            or detection.idle_timeout_ms is None
            or self._responses.active is not None
        ):
            return None
        self._announced_item_id = self._conversation.promise()
        until_ms = self._audio.clock_ms
        fields = {
            "audio_start_ms": self._quiet_from_ms,
            "audio_end_ms": until_ms,
            "item_id": self._announced_item_id,
        }
        self._audio.empty()
        committed_ns = self._commit(
            until_ms - self._quiet_from_ms, due_ns, self._delays.vad_committed
        )
        self._outbox.plan_step(committed_ns, self._respond)
        return self._outbox.event("input_audio_buffer.timeout_triggered", fields, due_ns)

    # Committed turns

    def _commit(self, audio_ms: float, after_ns: int, delay: Delay) -> int:
        """Commit the caller's audio: add its announced item to the conversation, or a new item if
        none was announced.

        Return the instant at which the commit is due.
        """
        item = user_audio_item(self._announced_item_id or self._conversation.promise(), audio_ms)
        self._announced_item_id = None
        previous = self._conversation.fulfil(item)
        committed = {"previous_item_id": previous, "item_id": item.id}
        events = (
            ("input_audio_buffer.committed", committed),
            *self._conversation.events(item, previous),
        )
        committed_ns = self._outbox.answer(after_ns, delay, *events)
        if self._session.input.transcriber is not None:
            completed_ns = self._outbox.after(committed_ns, self._delays.input_transcribed)
            model = self._session.input.transcriber
            streamed = self._streamed
            self._streamed = None
            self._deltas = []
            # Audio without a word that ended in it has the transcript of any other segment.
            streamed = streamed if streamed is not None and streamed.transcript else None
            transcript = streamed.transcript if streamed else self._asr.transcribe(audio_ms)
            left = streamed.unspoken if streamed else None
            completed_ns = max(completed_ns, self._delta_due_ns)
            pending = PendingTranscript(
                item, audio_ms, model, self._outbox, transcript, self._conversation.ids, left
            )
            if is_drawn(self._transcripts.failure_rate, self._rng):
                self._outbox.plan_step(completed_ns, pending.failed)
            else:
                begin_ns = max(committed_ns, self._delta_due_ns)
                deltas = self._session.form.transcript_deltas
                self._outbox.plan(pending.steps(begin_ns, completed_ns, deltas=deltas))
        return committed_ns

    def _respond(self, due_ns: int) -> OutgoingEvent | None:
        try:
            self._responses.create({}, due_ns)
        except RejectedError as rejected:  # assumption: the service sends this error
            return self._outbox.error(rejected, None, due_ns)
        return None


def _streams(model: str) -> bool:
    """Return whether a model, or a deployment that is named after it, transcribes while the
    caller speaks.
    """
    return any(name in model for name in WITHOUT_DETECTION)


def _padded_ms(speech: SpeechEdge, detection: EffectiveTurnDetection) -> int:
    """Return the start of the committed audio in ms: the start of the speech minus the
    configured prefix padding.
    """
    return max(0, int(speech.begin_ms - detection.prefix_padding_ms))
