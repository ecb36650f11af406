"""What the caller does in a turn: the sending of the speech and the request, how much of the speech
the service has detected and transcribed, and the interruption of the reply. Pure.
"""

# The process reads its clock before a send call. Between the clock reading and the call, the
# operating system may take the CPU away from the process. The message is then sent later than the
# clock reading. The kernel's timestamp does not have this error. When the timestamp arrives, the
# instants of the message are moved later by the difference.
#
# A service's VAD may mistake a pause for the end of speech. The session's clock of input audio
# counts samples, and the client and the service count the same samples. So a position on this clock
# shows whether the VAD has detected all of the speech, or only the speech up to a pause. If the
# service does not report a position on this clock, the arrival of its event is used instead.
#
# A turn has one segment of the transcript for each commit. The transcript has the segments in the
# order of their commits, whatever the order in which they are transcribed. A segment counts once,
# even if its transcript arrives twice. Deltas contain no positions in the audio. Their lag behind
# the speech therefore assumes that the words are spoken at an even pace: the share of the final
# text that was received is the share of the speech that is transcribed.

from __future__ import annotations

import math
import statistics
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from bench.base.clock import Arrival, SendTime
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.catalogue.causes import Cause, Code, Ending, codes_in, in_words
from bench.catalogue.metrics import MIN_SPEECH_NS
from bench.catalogue.outcomes import HOLD, UNSENT, Family
from bench.files.values import MAX_TEXT_CHARACTERS
from bench.observe.inputs import Sent, Transmitted
from bench.observe.observation import Instants
from bench.plan.turn_plan import SOUNDS, InterruptionKind
from bench.wire.audio import AudioFormat
from bench.wire.events import EventKind, ServerEvent, ServiceFailure


@dataclass(slots=True, eq=False)
class SendTimestamps:
    sends: int = 0
    transmit_delay_ns: int | None = None
    """How much later than the clock before its send call the request was sent."""
    departures: dict[int, tuple[int, Sequence[str]]] = field(default_factory=dict)
    """A mapping from the ticket of a message to (clock before the send call, instants of the
    message)."""
    timestamped: set[int] = field(default_factory=set)
    """The tickets of messages for which the kernel has reported the time of sending."""

    def add(self, send_time: SendTime, instants: Sequence[str]) -> None:
        self.sends += 1
        if send_time.ticket:
            self.departures[send_time.ticket] = send_time.at_ns, instants

    def transmitted(self, timestamp: Transmitted) -> tuple[Sequence[str], int]:
        """Return (instants of the message with this timestamp, number of ns by which to move them
        later).

        Return no instants if the timestamp is an acknowledgement, or is not the first timestamp of
        its message. If a segment is retransmitted, the kernel reports another timestamp, but the
        first one counts. Also return no instants if the timestamp is before the send call. Such a
        timestamp is wrong, because the wall clock was stepped.
        """
        send_start_ns, instants = self.departures.get(timestamp.ticket, (NEVER_NS, ()))
        if (
            timestamp.acknowledged
            or timestamp.ticket in self.timestamped
            or timestamp.at_ns < send_start_ns
        ):
            return (), 0
        self.timestamped.add(timestamp.ticket)
        return instants, timestamp.at_ns - send_start_ns

    def acknowledged(self, timestamp: Transmitted) -> Sequence[str]:
        """Return the instants of an acknowledged message; none if the message has no send
        timestamp.
        """
        is_known = timestamp.acknowledged and timestamp.ticket in self.timestamped
        return self.departures[timestamp.ticket][1] if is_known else ()


MIN_DELTAS = 5
"""The number of deltas from which the lag is computed."""
MAX_DELTAS = 16_384
"""The maximum number of deltas of a turn that are stored. If there are more, the lag is unknown."""
MAX_UNEQUAL_SHARE = 0.1
"""The maximum difference of characters, as a share of the final text, of which the deltas are
parts."""


class TranscriptLag(NamedTuple):
    """The lags of a turn's deltas: their median and maximum, and by how much each may really have
    been less, in ns; and their growth during the speech, with its error, None if it is unknown. The
    fields are the columns of the same names.

    Each lag is between itself and itself minus its uncertainty. Therefore the median is between the
    medians of both, and the maximum between the maxima.
    """

    transcript_lag_ns: int
    transcript_lag_max_ns: int
    transcript_lag_uncertainty_ns: int
    transcript_lag_max_uncertainty_ns: int
    transcript_lag_growth_ns: int | None = None
    transcript_lag_growth_error_ns: int | None = None


def character_count(text: str) -> int:
    """Return the number of characters without white space, which deltas and final texts may have
    differently.
    """
    return len("".join(text.split()))


def lags_ns(
    received: Sequence[int],
    arrivals_ns: Sequence[int],
    total: int,
    speech_start_ns: int,
    speech_end_ns: int,
) -> list[int]:
    """Return the lag of each delta: its arrival minus the instant at which its last word was
    spoken.

    `received` are the characters of all deltas up to and including each one. `total` are the
    characters of the final text. The last word is spoken at the share `received` ÷ `total` of the
    speech.
    """
    speech_ns = speech_end_ns - speech_start_ns
    return [
        at_ns - speech_start_ns - speech_ns * min(characters, total) // total
        for characters, at_ns in zip(received, arrivals_ns, strict=True)
    ]


# The pace of speech is not even. So the estimated position of a word has an error that is 0 at both
# ends of the speech, and that neighbouring words share: a Brownian bridge. Its blocks scatter about
# a line, and also tilt the line.
BLOCKS = 8
TILT = 4.28
"""The number of blocks with equal numbers of deltas, and the 95 % quantile of |tilt over the whole
speech| ÷ standard deviation of the blocks about the line, for a Brownian bridge. It is 3.02 for
independent errors, whose interval is therefore too wide.
"""
MIN_TALK_NS = 20 * NS_PER_S
"""The duration of speech from which the growth of the lag is computed."""


def lag_growth_ns(
    lags: Sequence[int], positions_ns: Sequence[int], talk_ns: int
) -> tuple[int, int] | None:
    """Return (growth of the lag during a talk, half-width of its 95 % interval), in ns; None if
    the talk is too short.

    The growth is the slope of the least-squares line through the means of `BLOCKS` blocks with
    equal numbers of deltas, times the duration of the talk. `positions_ns` are the instants at
    which the words of each delta were spoken.
    """
    if talk_ns < MIN_TALK_NS or len(lags) < 2 * BLOCKS:
        return None
    bounds = [len(lags) * number // BLOCKS for number in range(BLOCKS + 1)]
    ends = [*pairwise(bounds)]
    x = [statistics.fmean(positions_ns[begin:end]) for begin, end in ends]
    y = [statistics.fmean(lags[begin:end]) for begin, end in ends]
    if min(x) == max(x):
        return None
    slope, start = statistics.linear_regression(x, y)
    left = sum((at - start - slope * position) ** 2 for position, at in zip(x, y, strict=True))
    return round(slope * talk_ns), math.ceil(TILT * math.sqrt(left / (BLOCKS - 2)))


@dataclass(slots=True, eq=False)
class InputTranscript:
    deltas: int = 0
    """The number of deltas with text."""
    failure: ServiceFailure | None = None
    """The first failure of a transcription; None if none has failed."""
    failed: int = 0
    _segments: dict[str, str] = field(default_factory=dict)
    """The texts by the ids of the items, in the order of the commits."""
    _ended: set[str] = field(default_factory=set)
    """The ids of the items whose transcription has arrived or failed."""
    _room: int = MAX_TEXT_CHARACTERS
    _received: array[int] = field(default_factory=lambda: array("q"))
    _arrivals_ns: array[int] = field(default_factory=lambda: array("q"))
    _uncertainties_ns: array[int] = field(default_factory=lambda: array("q"))
    _characters: int = 0

    @property
    def ended(self) -> int:
        """The number of segments whose transcription has arrived or failed."""
        return len(self._ended)

    @property
    def text(self) -> str:
        """The segments that have arrived, joined by spaces."""
        return " ".join(filter(None, self._segments.values()))

    def add_segment(self, item_id: str) -> None:
        self._segments.setdefault(item_id, "")

    def add_delta(self, event: ServerEvent, arrival: Arrival) -> bool:
        """Add a part of the transcript. Return True if it is the first one with text."""
        characters = character_count(event.text)
        if not characters:
            return False
        self.deltas += 1
        self._characters += characters
        if self.deltas <= MAX_DELTAS:
            self._received.append(self._characters)
            self._arrivals_ns.append(arrival.at_ns)
            self._uncertainties_ns.append(arrival.uncertainty_ns)
        return self.deltas == 1

    def end_segment(self, event: ServerEvent) -> bool:
        """Add the transcript of a segment, or its failure. Return False if the segment has
        already ended.
        """
        item_id = event.item_id or f"\0{len(self._ended)}"  # from a server that omits ids
        if item_id in self._ended:
            return False
        self._ended.add(item_id)
        if event.kind is EventKind.INPUT_NOT_TRANSCRIBED:
            self.failed += 1
            self.failure = self.failure or event.failure or ServiceFailure()
            return True
        text = event.text.strip()[: self._room]
        self._room -= len(text)
        self._segments[item_id] = text
        return True

    def lag(
        self, speech_start_ns: int, speech_end_ns: int, width_ns: int, *, is_stream: bool = False
    ) -> TranscriptLag | None:
        """Return the lag; None if it is unknown. The speech may really have been sent `width_ns`
        later. `is_stream` is True if the service sends no final text, so that all deltas are the
        text.
        """
        total = self._characters if is_stream else character_count(self.text)
        if (
            speech_end_ns - speech_start_ns < MIN_SPEECH_NS
            or not MIN_DELTAS <= self.deltas <= MAX_DELTAS
        ):
            return None
        if self.failed or not total or abs(self._characters - total) > MAX_UNEQUAL_SHARE * total:
            return None
        lags = lags_ns(self._received, self._arrivals_ns, total, speech_start_ns, speech_end_ns)
        least = [
            lag_ns - error_ns for lag_ns, error_ns in zip(lags, self._uncertainties_ns, strict=True)
        ]
        median_ns = round(statistics.median(lags))
        max_ns = max(lags)
        positions_ns = [at_ns - lag for at_ns, lag in zip(self._arrivals_ns, lags, strict=True)]
        talk_ns = speech_end_ns - speech_start_ns
        growth = lag_growth_ns(lags, positions_ns, talk_ns) if is_stream else None
        growth_ns, error_ns = growth or (None, None)
        if error_ns is not None:
            error_ns += max(self._uncertainties_ns)
        return TranscriptLag(
            median_ns,
            max_ns,
            median_ns - round(statistics.median(least)) + width_ns,
            max_ns - max(least) + width_ns,
            growth_ns,
            error_ns,
        )


UNDETECTED_NS = 1_000_000_000
"""The wait for the VAD after the end of speech. What it has not detected by then, it will not
detect."""
MAX_UNSENT_NS = 40 * NS_PER_MS
"""The speech that may be missing: two packets, shorter than a syllable. The end, a measured
instant, may not."""
UNSENT_BY_CAUSE = {Code.HELD: HOLD, Code.NO_BUFFERS: f"{Family.EXHAUSTED}:memory"}
"""The outcomes of turns whose speech was not sent. Those of all other causes are UNSENT."""

# kind of event → the instant of its arrival: the first one for the start of speech and for deltas,
# the last one for all others
SPEECH_INSTANTS = {
    EventKind.SPEECH_STARTED: "speech_started",
    EventKind.SPEECH_STOPPED: "speech_stopped",
    EventKind.COMMITTED: "committed",
    EventKind.INPUT_DELTA: "first_input_transcript",
    EventKind.INPUT_TRANSCRIBED: "input_transcribed",
}


@dataclass(slots=True, eq=False)
class InputSpeech(Instants):
    """The speech of one turn. `vad`, `end_tolerance_ns` and `awaits_transcript` follow from its
    `TurnPlan`.
    """

    vad: bool
    end_tolerance_ns: int
    awaits_transcript: bool = False
    """The field of `TurnPlan`."""
    clock_ns: dict[str, int] = field(default_factory=dict)
    """A mapping from an instant of the speech to its position on the session's clock of input
    audio."""
    received_to_ns: int | None = None
    """The last reported end of speech on the session's clock of input audio; None if no position
    was reported."""
    open: bool = False
    """True if the service detects speech and has not reported its end."""
    uncommitted: bool = False
    """True if the service has detected speech since its last commit."""
    commits: int = 0
    answered: int = 0
    """The number of commits that the service has answered, with a response or a refusal."""
    item_id: str = ""
    """The item of the turn's speech."""
    committed_item: str = ""
    """The item to which the instant `committed` belongs."""
    words: InputTranscript = field(default_factory=InputTranscript)
    unsent_ns: int = 0
    """The duration of the speech that was not sent."""
    unsent_cause: str = ""
    lacks_part: bool = False
    """True if a part was not sent without which no value of the turn is known, such as the end
    of the speech."""

    def set_instants(
        self, moments: Mapping[str, int], send_time: SendTime, clock_ns: int
    ) -> list[str]:
        """Set the instants of speech that a sent message contains and that are not set yet. Return
        the names of these instants.

        `moments` maps each instant to the number of ns by which it is before `send_time`.
        `clock_ns` is the duration of the audio that the session has sent, including this message.
        """
        new_instants = [instant for instant in moments if instant not in self.instants]
        for instant in new_instants:
            self.sent(instant, send_time.at_ns - moments[instant], send_time.width_ns)
            self.clock_ns[instant] = clock_ns - moments[instant]
        return new_instants

    def clear_instants(self, instant: str) -> tuple[int, int]:
        """Remove an instant that does not belong to the turn. Return (its time, the duration of
        its send call).
        """
        del self.clock_ns[instant]
        return self.instants.pop(instant), self.widths_ns.pop(instant)

    def note_unsent(self, unsent_ns: int, cause: str, *, is_essential: bool) -> None:
        """Record speech that was not sent. `is_essential` is True if no value of the turn is
        known without it.
        """
        self.unsent_ns += unsent_ns
        self.unsent_cause = self.unsent_cause or cause
        self.lacks_part |= is_essential

    @property
    def unsent_ending(self) -> Ending | None:
        """The ending of a turn whose speech was not sent; None if enough of it was sent, with
        its end.
        """
        if not self.lacks_part and self.unsent_ns <= MAX_UNSENT_NS:
            return None
        missing = Cause(Code.UNSENT_SPEECH, {"unsent_ms": self.unsent_ns // NS_PER_MS})
        why = in_words(self.unsent_cause)
        outcomes = (UNSENT_BY_CAUSE[code] for code in codes_in([why]) if code in UNSENT_BY_CAUSE)
        return Ending(next(outcomes, UNSENT), missing.because(why))

    def on_event(self, event: ServerEvent, arrival: Arrival) -> None:
        kind = event.kind
        instant = SPEECH_INSTANTS[kind]
        if kind is not EventKind.SPEECH_STARTED or instant not in self.instants:
            self.arrived(instant, arrival)
        if kind is EventKind.SPEECH_STARTED:
            self.open = self.uncommitted = True
        elif kind is EventKind.SPEECH_STOPPED:
            self.open = False
            self.received_to_ns = None if event.audio_ms is None else event.audio_ms * NS_PER_MS
        elif kind is EventKind.COMMITTED:
            self.uncommitted = False
            if "speech_stopped" not in self.instants:  # the service does not report the end
                self.open = False
            self.committed_item = event.item_id
            if event.item_id:
                self.words.add_segment(event.item_id)
            self.instants.pop("input_transcribed", None)  # the transcription of the previous commit

    def transcribed(self, event: ServerEvent, arrival: Arrival) -> None:
        """Apply a part of the transcript, the transcript of a commit, or its failure.

        If the service does not report when a transcript is complete, the instant is unknown.
        """
        if event.kind is EventKind.INPUT_DELTA:
            if self.words.add_delta(event, arrival):
                self.arrived("first_input_transcript", arrival)
        elif self.words.end_segment(event) and event.kind is EventKind.INPUT_TRANSCRIBED:
            is_last = self.committed_item in ("", event.item_id)
            if event.name and (self.transcript is not None if self.awaits_transcript else is_last):
                self.arrived("input_transcribed", arrival)

    @property
    def is_transcribed(self) -> bool:
        """True if the transcription of every commit so far, at least one, has arrived or failed."""
        return self.words.ended >= max(1, self.commits)

    @property
    def transcript(self) -> str | None:
        """The transcript of the caller's speech; None if not every commit has been transcribed."""
        return self.words.text if self.is_transcribed and not self.words.failed else None

    def transcribed_ns(self) -> int | None:
        """Return from when on the whole speech is transcribed; None if it is not. For sessions that
        only transcribe.

        With turn detection, the speech may continue after the commits so far: either the VAD has
        detected the speech up to its end, or it detects no more within UNDETECTED_NS.
        """
        if not self.is_transcribed or not self.is_speech_sent or self.open or self.uncommitted:
            return None
        if not self.vad:
            return 0
        is_whole = self.is_finished or not self.commits  # a service may announce no commits
        return self.instants["speech_end"] + (0 if is_whole else UNDETECTED_NS)

    @property
    def is_speech_sent(self) -> bool:
        return not self.vad or "speech_end" in self.instants

    @property
    def is_end_detected(self) -> bool:
        """True if the VAD has detected an end of speech, and has detected no new speech after
        it.
        """
        return self.vad and "speech_stopped" in self.instants and not self.open

    @property
    def is_finished(self) -> bool:
        """True if the VAD has detected and committed the speech up to its end, and not only up
        to a pause. A commit is an end that the service does not report.
        """
        end_ns = self.instants.get("speech_stopped", self.instants.get("committed"))
        if not self.vad or self.open or end_ns is None:
            return False
        if "speech_end" not in self.instants or not self.commits or self.uncommitted:
            return False
        start_ns = self.clock_ns.get("speech_start", 0)
        if self.received_to_ns is None or self.received_to_ns < start_ns:  # or on another clock
            return end_ns >= self.instants["speech_end"]
        return self.received_to_ns >= self.clock_ns["speech_end"] - self.end_tolerance_ns

    def all_committed(self, now_ns: int) -> bool:
        """Return whether the service has committed all speech that it will ever detect."""
        if self.is_finished:
            return True
        waited = self.is_speech_sent and now_ns >= self.instants["speech_end"] + UNDETECTED_NS
        return waited and self.commits > 0 and not self.uncommitted

    def fully_answered(self, now_ns: int) -> bool:
        """Return whether a response that ends at `now_ns` answers the whole speech."""
        if not self.commits:  # a service that announces no commits
            return self.is_speech_sent and not self.open
        return self.all_committed(now_ns) and self.answered >= self.commits

    def await_rest(self) -> None:
        """Wait for the rest of the speech after an answered pause. Remove the instants of the
        pause.
        """
        if self.answered >= self.commits and not self.uncommitted:
            self.instants.pop("speech_stopped", None)
            self.instants.pop("committed", None)


# The interruption of a reply, and the check of its truncation.
#
# Speech, the client, or a sound that needs no reply can interrupt a reply during its playback. If
# the service reports that its caller speaks (`speech_started`), the client stops its player. A
# client that interrupts without the service stops the player at once. The caller has heard what was
# played by then. If the service plays its replies itself, only the service can stop them: then the
# silence begins after the last audible sample. Definitions: τ-voice (arXiv 2603.13686) for the
# yield latency and the rates, and Full-Duplex-Bench v1.5 (arXiv 2507.23159).
#
# After the service has reported the truncation of an item, the client requests the item
# (`conversation.item.retrieve`). The item must contain no more audio than the caller has heard, and
# no text: a truncation deletes the transcript, so that the conversation has no text that the caller
# has not heard (Realtime API reference, `conversation.item.truncate`).

STEP_NS = 50 * NS_PER_MS
"""The tolerance for the audio that the service keeps: one audio token of the assistant (1/20 s)."""


@dataclass(slots=True, eq=False)
class TruncationCheck:
    """The check that the service truncated one reply. `audio` is the reply's audio format."""

    audio: AudioFormat
    played_ms: dict[str, int] = field(default_factory=dict)
    """The playback position, in ms, at which each item must be truncated."""
    truncated: set[str] = field(default_factory=set)
    requested: set[str] = field(default_factory=set)
    right: set[str] = field(default_factory=set)
    """The ids of the items of which the service keeps no more than the caller has heard."""
    failed: bool = False
    """True if an item was not truncated, was not returned, or contains more than the caller has
    heard."""

    def on_event(self, event: ServerEvent) -> None:
        if event.item_id not in self.played_ms:
            return
        if event.kind is EventKind.TRUNCATED:
            self.truncated.add(event.item_id)
        elif event.item_id in self.requested:
            stored_ns = self.audio.duration_ns(event.payload_bytes)
            longest_ns = self.played_ms[event.item_id] * NS_PER_MS + STEP_NS
            if event.text or event.payload_bytes < 0 or stored_ns > longest_ns:
                self.failed = True
            else:
                self.right.add(event.item_id)

    @property
    def is_pending(self) -> bool:
        return not self.failed and len(self.right) < len(self.played_ms)

    @property
    def verdict(self) -> bool | None:
        """True if the service keeps only what was heard; None if it truncated nothing, or the
        wait was too short.
        """
        if self.failed:
            return False
        return True if self.played_ms and not self.is_pending else None


YIELD_NS = 2 * NS_PER_S
FALSE_YIELD_NS = NS_PER_S
"""Two limits: the time from a barge-in to silence, and the time in which a stop counts as caused
by a sound."""


@dataclass(slots=True, eq=False)
class Interruption(Instants):
    kind: InterruptionKind
    stopped_ns: int | None = None
    spoken_ns: int | None = None
    """The instant at which the interrupting speech ended."""
    cancelled: bool = False
    """True if the service ended the response because of the interruption."""
    uncancelled: bool = False
    """True if the client has stopped the player and still has to cancel the response."""
    unconfirmed_truncations: int = 0
    """The number of truncated items that the service has not confirmed."""
    check: TruncationCheck | None = None
    """The check that the service keeps nothing beyond the truncation; None if the script does
    not request it."""
    passed_sound: bool | None = None
    """False if an earlier sound of the script did not stop the reply; None if there was no
    earlier sound."""

    @property
    def is_wanted(self) -> bool:
        """True if the reply must stop."""
        return self.kind not in SOUNDS

    @property
    def has_begun(self) -> bool:
        """True if the speech, the sound or the client's interruption began while the reply was
        played.
        """
        return "barge_in" in self.instants

    def on_detected(self, arrival: Arrival, *, plays_on: bool) -> None:
        """Record the service's report that its caller speaks. The report stops the player,
        unless it `plays_on`.
        """
        self.arrived("barge_in_detected", arrival)
        if not plays_on:
            self.arrived("barge_in_silent", arrival)
        self.stopped_ns = arrival.at_ns

    def on_last_sound(self, heard_until: Arrival) -> None:
        """Record the end of the last sound of a reply that only the service could stop."""
        if self.kind == "speech" and self.stopped_ns is not None:
            silent_ns = max(heard_until.at_ns, self.instants["barge_in"])
            self.arrived("barge_in_silent", Arrival(silent_ns, heard_until.uncertainty_ns))

    def truncate_sent(self, sent: Sent) -> None:
        self.unconfirmed_truncations += 1
        if self.check is not None:
            self.check.played_ms[sent.item] = sent.played_ms
        self.sent("truncate_sent", sent.at_ns, sent.uncertainty_ns)

    def on_truncation_event(self, event: ServerEvent, arrival: Arrival) -> None:
        """Apply a report that an item of the reply was truncated, or a report of the item's
        remaining content.
        """
        if event.kind is EventKind.TRUNCATED:
            self.unconfirmed_truncations -= 1
            self.arrived("truncated", arrival)
        if self.check is not None:
            self.check.on_event(event)

    def on_played_out(self, at_ns: int) -> None:
        """Record the end of playback. After the limit for speech, it is also the instant of
        silence.
        """
        barge_in_ns = self.instants.get("barge_in")
        is_late = barge_in_ns is not None and at_ns - barge_in_ns > YIELD_NS
        if self.kind == "speech" and self.stopped_ns is None and is_late:
            self.arrived("barge_in_silent", Arrival(at_ns))

    def on_late_silence(self, silent_from: Arrival) -> None:
        """Record the end of audio that was played after the service had reported the stop."""
        if silent_from.at_ns > self.instants.get("barge_in_silent", 0):
            self.arrived("barge_in_silent", silent_from)

    def on_silence(self, silent_from: Arrival, last_sound: Arrival) -> None:
        """Record that a reply ended, for a service that does not report whether the reply was
        stopped or complete.
        """
        barge_in_ns = self.instants.get("barge_in")
        at_ns = silent_from.at_ns
        if (
            self.kind != "speech"
            or self.stopped_ns is not None
            or barge_in_ns is None
            or at_ns <= barge_in_ns
        ):
            return
        self.arrived("barge_in_silent", silent_from)
        self.stopped_ns = at_ns
        if last_sound.at_ns > barge_in_ns:
            self.arrived("barge_in_last_audio", last_sound)

    @property
    def has_yielded(self) -> bool | None:
        """True if the player was silent in time; None without speech, or if the reply ended
        normally by then.
        """
        latency_ns = self._latency_ns if self.kind == "speech" else None
        return None if latency_ns is None else latency_ns <= YIELD_NS

    @property
    def false_yield(self) -> bool | None:
        """True if a sound stopped the reply; None if this is no sound, or if it came after the
        reply.
        """
        if self.is_wanted or not self.has_begun:
            return None
        return self._latency_ns is not None and self._latency_ns <= FALSE_YIELD_NS

    @property
    def false_yield_of_sounds(self) -> bool | None:
        """`false_yield`, or that of the sound before if this one has none."""
        return self.passed_sound if self.false_yield is None else self.false_yield

    @property
    def _latency_ns(self) -> int | None:
        """The time from the start of the interruption to the player's silence; None if either is
        missing.
        """
        silent_ns, barge_in_ns = map(self.instants.get, ("barge_in_silent", "barge_in"))
        return None if silent_ns is None or barge_in_ns is None else silent_ns - barge_in_ns
