"""The ground truth of a run, from the simulator's log, and the errors of the run's rows compared
with the ground truth.

The true instants of a turn have the names of the instants in its row, and are on the clock that
both processes share. An event is left out if the log does not know its instant to half a
millisecond. There are two causes: the simulator may be held up in a send, and data that it reads
late have the timestamp of the data that arrived last.

The error of a metric, as the catalogue defines it, is its measured value minus its true value. The
error of an instant is how much later it is in the row than in truth. It shows whether a metric is
wrong at its start or at its end.

If messages of the client have no ids, all its speech in a session is one recording. So the byte at
which the service detected the end of speech gives the position of each recording in the audio that
the service received. A call with an agent has no response ids either. Its rows are matched with the
recordings that are nearest to their instants.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct, field

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.catalogue.metrics import CATALOGUE
from bench.catalogue.outcomes import SUCCESSFUL
from bench.plan.recordings import RATE_HZ, Pcm, SpeechSpan, encoded
from bench.plan.script import Script
from bench.record.calibration import Percentiles
from bench.services.openai.dialect import FORMATS, GA
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECTS
from bench.wire.audio import AudioFormat
from bench.wire.dialect import MessageKind
from bench.wire.events import EventKind
from reports.statistics.counting import Floats, Integers
from rtbench_simulator.conversation.input_audio import InputAudio
from rtbench_simulator.ground_truth_log import read_truth
from rtbench_simulator.services.agents import SILENCE_MS
from rtbench_simulator.services.registry import SERVICES
from rtbench_simulator.session.effective import EffectiveTurnDetection, InputSettings

INPUT = OUTPUT = FORMATS["pcm16"]
"""The formats of the simulator's input and output, if the client names no others."""
KINDS = {
    **PREVIEW.kinds,
    **GA.kinds,
    **{name: kind for each in SERVICES for name, kind in each.log_kinds.items()},
}
"""A mapping from the name of an event in the log, in any dialect, to the kind of the event."""
REQUESTS = {
    name
    for each in DIALECTS.values()
    for name, kind in each.message_kinds.items()
    if kind is MessageKind.REQUEST
}
"""The messages of a client that request a reply, in any dialect."""
OPENING = {EventKind.AUDIO_DELTA: "first_audio", EventKind.TRANSCRIPT_DELTA: "first_transcript"}
"""A mapping from the kind of a response's event to the instant that the first such event sets."""
CLOSING = {EventKind.TRANSCRIPT_DONE: "transcript_done", EventKind.RESPONSE_DONE: "response_done"}
"""A mapping from the kind of a response's event to the instant that the last such event sets.

The last event counts because a response may have several items.
"""
METRICS = (
    "ttfa",
    "transcript_first",
    "transcript_total",
    "response_total",
    "end_of_turn_delay",
    "start_of_speech_delay",
    "voice_to_voice",
)
"""The metrics whose true values are in the ground-truth log."""
OF_CALLS = ("greeting", "voice_to_voice", "barge_in_detection", "barge_in_yield")
"""The metrics of calls with an agent. The last two exist only if the agent reports that its
caller interrupted it."""
INSTANTS = (
    "request_sent",
    "speech_start",
    "speech_end",
    "speech_started",
    "speech_stopped",
    "first_audio",
    "first_transcript",
    "transcript_done",
    "response_done",
    "first_audible",
    "barge_in",
    "barge_in_detected",
    "barge_in_silent",
)
OPENERS = ("start", "AudioMetadata", "text")
"""The messages in which an agent's caller sends the call's id, or a stream's id: `STREAM` and
the call's id."""
STREAM = "MZ"
CLEARS = ("clear", "StopAudio")
JITTER_NS = round(Script.jitter_buffer_ms * NS_PER_MS)
"""The duration of audio that a player buffers before it plays, if the script sets no other
value."""
LATE_NS = 100 * NS_PER_MS
"""The maximum gap before a frame that counts completely as network delay. From twice this gap
on, none counts."""
NEAR_NS = NS_PER_S
"""The maximum distance of a measured instant from its true instant. The distance between two turns
of a call is longer, and the errors of values are smaller."""
MAX_SPAN_NS = NS_PER_MS // 2
"""The maximum width of the interval that is known to contain an event's instant."""
COLUMNS = (
    "session_id",
    "service_session_id",
    "response_id",
    "turn",
    "outcome",
    "measured_from",
    "audio",
    "vad_splits",
    "start_ns",
    "start_utc_ns",
    *(f"{name}_at_ns" for name in INSTANTS),
)
Row = Mapping[str, Any]
"""A row of a run, or a line of the log."""
Bounds = tuple[int, int]
"""The (earliest, latest) instant of an event."""
Errors = dict[str, list[int]]
"""A mapping from the name of a metric or instant to its errors in nanoseconds."""


class ReceivedAudio(Struct):
    """The audio that the simulator received in a session: the end and the arrival of each
    append, turns and speech.
    """

    format: AudioFormat = INPUT
    ends: list[int] = []
    received_ns: list[int | None] = []
    turns: dict[int, int] = {}
    """A mapping from the number of a turn to the byte at which its audio begins."""
    answered: dict[str, int] = {}
    """A mapping from the id of a response to the byte at which the recording that it answers
    begins."""
    started: list[tuple[int, int | None]] = []
    stopped: list[tuple[int, int | None]] = []
    """Each entry is (byte at which speech stopped, instant at which the simulator reported it). An
    unknown instant is None."""

    def recorded_ns(self, end: float) -> int | None:
        """Return when a microphone had recorded all bytes before `end`; None if unknown, or if
        not all were sent.
        """
        index = bisect_left(self.ends, end)
        arrival_ns = self.received_ns[index] if index < len(self.ends) else None
        if arrival_ns is None:
            return None
        return arrival_ns - round((self.ends[index] - end) / self.format.bytes_per_s * NS_PER_S)

    def sample_ns(self, start_byte: int, samples: int) -> int | None:
        """Return when the first samples (at 24 kHz) of the recording that begins at this byte
        were recorded.
        """
        return self.recorded_ns(start_byte + samples * self.format.bytes_per_s / RATE_HZ)


class PlayedRecording(NamedTuple):
    """The recording that all callers play, in the format of the calls.

    - `speech` is the position of speech, in samples at 24 kHz.
    - `received_bytes` is the number of bytes that a speech detector has received when it detects
      the end of speech.
    """

    format: AudioFormat
    speech: SpeechSpan
    received_bytes: int

    @classmethod
    def of(cls, pcm: Pcm, format: AudioFormat) -> PlayedRecording:
        detector = InputAudio()
        detector.silence_ms = SILENCE_MS
        settings = InputSettings(
            format, EffectiveTurnDetection("server_vad", silence_duration_ms=SILENCE_MS), None
        )
        # as the microphone sends
        silence = format.encode(np.zeros(2 * SILENCE_MS * format.rate_hz // 1000, np.int16))
        changes = list(detector.append(encoded(pcm, format) + silence, settings))
        return cls(format, pcm.speech, changes[-1].byte)


class AgentCall(Struct):
    """The audio that an agent received and sent in one call, in which all speech of the caller
    is one recording.
    """

    recording: PlayedRecording
    received: ReceivedAudio
    start_instants: list[int] = []
    """The positions at which the recording begins, in bytes of the received audio."""
    greeting_sent: list[int | None] = []
    answered: list[int | None] = []
    """The instants at which the first audible sample of each answer is played; None for an
    unknown instant."""
    cleared: list[int | None] = []
    opening: list[int | None] | None = None
    """`greeting_sent` or `answered`: the list whose last entry is still without an audible sample;
    None if neither is.
    """
    free_ns: Bounds = (0, 0)
    """(earliest, latest) instant at which all audio that the agent has sent has been played."""
    due_ns: Bounds = (0, 0)
    """The values that `free_ns` would have if the network had delayed no frame."""

    def speech_at(self, line: Row, at_ns: int | None) -> None:
        if line.get("utterance") == "answer":
            self.start_instants.append(line["speech_at_byte"] - self.recording.received_bytes)
            self.answered.append(None)
            self.opening = self.answered
        elif line.get("utterance") == "greeting":
            self.greeting_sent.append(None)
            self.opening = self.greeting_sent
        if line.get("audio_bytes"):
            self._audible_at(line)
        elif line["type"] in CLEARS:
            self.cleared.append(at_ns)
            cleared_ns = line["send_start_ns"], _received_ns(line)
            self.free_ns = _earlier(self.free_ns, cleared_ns)
            self.due_ns = _earlier(self.due_ns, cleared_ns)

    def _audible_at(self, line: Row) -> None:
        earliest = line["send_start_ns"]
        latest = _received_ns(line)
        first_ns = max(self.due_ns[0], earliest - _delay_ns(earliest - self.free_ns[1]))
        last_ns = max(self.due_ns[1], latest - _delay_ns(latest - self.free_ns[0]))
        duration_ns = self.recording.format.duration_ns(line["audio_bytes"])
        self.due_ns = first_ns + duration_ns, last_ns + duration_ns
        self.free_ns = (
            max(self.free_ns[0], earliest) + duration_ns,
            max(self.free_ns[1], latest) + duration_ns,
        )
        self._open(line, max(earliest, first_ns), max(latest, last_ns))

    def _open(self, line: Row, earliest_ns: int, latest_ns: int) -> None:
        """Add when the first audible sample of the open reply is played, if the frame of this line
        has it. `earliest_ns` and `latest_ns` are the bounds of the instant at which the frame is
        played.
        """
        audible = line.get("audible_at_byte")
        if self.opening is not None and audible is not None:
            is_known = latest_ns - earliest_ns <= MAX_SPAN_NS
            played_ns = earliest_ns + JITTER_NS + self.recording.format.duration_ns(audible)
            self.opening[-1] = played_ns if is_known else None
            self.opening = None

    def instants(self, measured_ns: Mapping[str, int]) -> dict[str, int | None]:
        """Return the true instants nearest to a turn's measured instants. Those of other turns
        are farther away.
        """
        if "speech_end" not in measured_ns:
            greeted = _nearest(measured_ns.get("first_audible"), self.greeting_sent)
            connect_ns = measured_ns.get("connect_start")
            return {
                "greeting_audible": greeted,
                "first_audible": greeted,
                "connect_start": connect_ns,
            }
        speech = self.recording.speech
        starts = [
            (self.received.sample_ns(start_byte, speech.begin + 1), start_byte)
            for start_byte in self.start_instants
        ]
        ends = [
            self.received.sample_ns(start_byte, speech.end) for start_byte in self.start_instants
        ]
        end_ns = _nearest(measured_ns["speech_end"], ends)
        if end_ns is None:
            return {}
        index = ends.index(end_ns)
        true_ns = {
            "speech_start": starts[index][0],
            "speech_end": end_ns,
            "first_audible": self.answered[index],
            "barge_in": _nearest(measured_ns.get("barge_in"), [at_ns for at_ns, _ in starts]),
        }
        cleared_ns = _nearest(measured_ns.get("barge_in_detected"), self.cleared)
        return true_ns | {"barge_in_detected": cleared_ns, "barge_in_silent": cleared_ns}


class TelephoneCall(AgentCall):
    """A call by telephone. A frame is played when its packet arrives, on loopback during the
    send of the packet.
    """

    def _audible_at(self, line: Row) -> None:
        self._open(line, line["send_start_ns"], _received_ns(line))


def _delay_ns(gap_ns: int) -> int:
    """Return the maximum network delay of a frame that comes after a gap. This delay does not
    delay later frames.
    """
    # `PlayoutQueue` has the same rule. It is repeated here because the calibrated code must not be
    # its own ground truth.
    return min(LATE_NS, max(0, 2 * LATE_NS - gap_ns))


def _earlier(bounds: Bounds, other: Bounds) -> Bounds:
    """Return the bounds of the earlier of two instants, which are given by their bounds."""
    return min(bounds[0], other[0]), min(bounds[1], other[1])


def _received_ns(line: Row) -> int:
    """Return the latest instant at which a message may have been sent, according to the log."""
    return (
        line["send_start_ns"] + NEAR_NS if line["send_end_ns"] is None else int(line["send_end_ns"])
    )


def _nearest(seen_ns: int | None, true_ns: Iterable[int | None]) -> int | None:
    """Return the true instant that is nearest to the measured instant; None if none is less than
    `NEAR_NS` away.
    """
    near = [
        at_ns
        for at_ns in true_ns
        if at_ns is not None and seen_ns is not None and abs(at_ns - seen_ns) < NEAR_NS
    ]
    return min(near, key=lambda at_ns: abs(at_ns - (seen_ns or 0)), default=None)


class GroundTruth(Struct):
    """The ground truth of a run.

    - `replies` maps the ids of each session and response to the instants of the response.
    - `inputs` maps the service's id of each session to the received audio.
    - `recording` is the recording that all callers play, if it is known.
    - `silent_bytes` has the bytes of each reply before its first audible delta.
    - `calls` has the calls with an agent. Its keys are the ids of the agent's sessions, and the ids
      from the callers.
    - `due_ns` and `late_ns` have a value for each event that was sent: its planned instant, and how
      much later its sending started.
    - `left_out` is the number of events whose instant is not known.
    - `ended` is the number of simulator processes that ended normally.
    """

    replies: dict[tuple[str, str], dict[str, int | None]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    inputs: dict[str, ReceivedAudio] = {}
    calls: dict[str, AgentCall] = {}
    recording: PlayedRecording | None = None
    silent_bytes: dict[tuple[str, str], int] = {}
    due_ns: array[int] = field(default_factory=lambda: array("q"))
    late_ns: array[int] = field(default_factory=lambda: array("q"))
    left_out: int = 0
    ended: int = 0

    def input_of(self, session: str) -> ReceivedAudio:
        return self.inputs.setdefault(
            session, ReceivedAudio(self.recording.format if self.recording else INPUT)
        )

    def late_within(self, start_ns: int, end_ns: int) -> Integers:
        """Return the lateness of the events that were due from `start_ns` to `end_ns`."""
        due = np.asarray(self.due_ns)
        late = np.asarray(self.late_ns)
        return late[(due >= start_ns) & (due < end_ns)]


def read_log(path: Path, recording: PlayedRecording | None = None) -> GroundTruth:
    """Read the log of a simulator that has ended. `recording` is the one that all callers
    played.
    """
    return parse_truth(read_truth(path), recording)


def parse_truth(lines: Iterable[Row], recording: PlayedRecording | None = None) -> GroundTruth:
    truth = GroundTruth(recording=recording)
    for line in lines:
        kind = line.get("direction")
        if kind == "out":
            _sent(truth, line)
        elif kind == "in":
            _received(truth, line)
        elif kind == "open" and line.get("call_id") and recording is not None:
            audio = truth.inputs[line["session"]] = ReceivedAudio(recording.format)
            truth.calls[line["session"]] = truth.calls[line["call_id"]] = TelephoneCall(
                recording, audio
            )
        elif kind == "end":
            truth.ended += 1
    return truth


def _sent(truth: GroundTruth, line: Row) -> None:
    truth.due_ns.append(line["due_ns"])
    truth.late_ns.append(line["send_start_ns"] - line["due_ns"])
    taken_ns = line["send_end_ns"]
    at_ns = (
        line["send_start_ns"]
        if taken_ns is not None and taken_ns - line["send_start_ns"] <= MAX_SPAN_NS
        else None
    )
    truth.left_out += at_ns is None
    kind = KINDS.get(line["type"])
    if (call := truth.calls.get(line["session"])) is not None:
        call.speech_at(line, at_ns)
    elif line["response"] is not None:
        reply = truth.replies[line["session"], line["response"]]
        if kind is EventKind.AUDIO_DELTA:
            _audible(truth, line, at_ns)
        if kind in OPENING:
            reply.setdefault(OPENING[kind], at_ns)
        elif kind in CLOSING:
            reply[CLOSING[kind]] = at_ns
        if truth.recording is not None and line.get("speech_at_byte") is not None:
            start_byte = line["speech_at_byte"] - truth.recording.received_bytes
            truth.input_of(line["session"]).answered[line["response"]] = start_byte
    elif kind is EventKind.SPEECH_STARTED:
        truth.input_of(line["session"]).started.append((line["speech_at_byte"], at_ns))
    elif kind is EventKind.SPEECH_STOPPED:
        truth.input_of(line["session"]).stopped.append((line["speech_at_byte"], at_ns))


def _audible(truth: GroundTruth, line: Row, at_ns: int | None) -> None:
    """Add when a player plays the first audible sample of a reply, whose silence arrives faster
    than it is played.
    """
    key = line["session"], line["response"]
    reply = truth.replies[key]
    if "first_audible" in reply:
        return
    first_ns = reply.get("first_audio", at_ns)
    silent = truth.silent_bytes.get(key, 0)
    if line.get("audible_at_byte") is None:
        truth.silent_bytes[key] = silent + line["audio_bytes"]
    elif first_ns is not None:
        reply["first_audible"] = (
            first_ns + JITTER_NS + OUTPUT.duration_ns(silent + line["audible_at_byte"])
        )


def _received(truth: GroundTruth, line: Row) -> None:
    at_ns = line["at_ns"] if line["at_ns"] - line["earliest_ns"] <= MAX_SPAN_NS else None
    truth.left_out += at_ns is None
    if line["type"] in REQUESTS:
        if line["response"]:
            truth.replies[line["session"], line["response"]]["request_sent"] = at_ns
    elif line["type"] in OPENERS and truth.recording is not None:
        audio = truth.inputs[line["session"]] = ReceivedAudio(truth.recording.format)
        name = str(line["event_id"]).removeprefix(STREAM)
        truth.calls[line["session"]] = truth.calls[name] = AgentCall(truth.recording, audio)
    elif "to_byte" in line:
        audio = truth.input_of(line["session"])
        audio.ends.append(line["to_byte"])
        audio.received_ns.append(at_ns)
        turn, _, append = str(line["event_id"]).removeprefix("turn-").partition("-")
        if append == "append-1" and turn.isdigit():
            audio.turns[int(turn)] = line["from_byte"]


def true_instants(truth: GroundTruth, row: Row, speech: SpeechSpan | None) -> dict[str, int]:
    """Return the known true instants of a row's turn. `speech` is its position in the recording
    that was played.
    """
    session = row["service_session_id"]
    response = row["response_id"]
    instants: dict[str, int | None] = dict(truth.replies.get((session, response), {}))
    audio = truth.inputs.get(session)
    start_byte = (
        None if audio is None else audio.turns.get(row["turn"], audio.answered.get(response))
    )
    if speech is not None and audio is not None and start_byte is not None:
        instants |= _speech_instants(audio, start_byte, speech)
    return {name: at_ns for name, at_ns in instants.items() if at_ns is not None}


def _speech_instants(
    audio: ReceivedAudio, start_byte: int, speech: SpeechSpan
) -> dict[str, int | None]:
    """Return the instants of a voice turn's speech. A sample is recorded at the instant at which
    the sample ends.
    """
    return {
        "speech_start": audio.sample_ns(start_byte, speech.begin + 1),
        "speech_end": audio.sample_ns(start_byte, speech.end),
        "speech_started": next(
            (at_ns for byte, at_ns in audio.started if byte >= start_byte), None
        ),
        "speech_stopped": next((at_ns for byte, at_ns in audio.stopped if byte > start_byte), None),
    }


class MatchedErrors(NamedTuple):
    """The errors of metrics and of instants, and the number of successful turns with a metric
    without a true value.
    """

    metrics: Errors
    instants: Errors
    unmatched: int


def match_rows(
    rows: Iterable[Row],
    truth: GroundTruth,
    speeches: Mapping[str, SpeechSpan],
    metrics_of: Sequence[str] = METRICS,
) -> MatchedErrors:
    """Match the rows of successful turns with the ground truth, and compare the metrics
    `metrics_of`.

    `speeches` maps the name of each recording, as in the rows, to the position of speech in it. A
    turn whose speech the service split cannot be matched, because it has several ends.
    """
    metrics: Errors = defaultdict(list)
    instants_: Errors = defaultdict(list)
    unmatched = 0
    for row in rows:
        if row["outcome"] in SUCCESSFUL:
            seen = {
                n: row["start_ns"] + at_ns
                for n in INSTANTS
                if (at_ns := row[f"{n}_at_ns"]) is not None
            }
            # a greeting is measured from the start of connecting
            if row["measured_from"] is None and "first_audible" in seen:
                seen |= {
                    "greeting_audible": seen["first_audible"],
                    "connect_start": row["start_ns"],
                }
            if (call := truth.calls.get(row["service_session_id"])) is not None:
                true = {
                    name: at_ns for name, at_ns in call.instants(seen).items() if at_ns is not None
                }
            else:
                true = (
                    {}
                    if row["vad_splits"]
                    else true_instants(truth, row, speeches.get(row["audio"] or ""))
                )
            true_values = _measured(true, row["measured_from"], metrics_of)
            measured = _measured(seen, row["measured_from"], metrics_of)
            for name, value in measured.items():
                if name in true_values:
                    metrics[name].append(value - true_values[name])
            for name in (name for name in INSTANTS if name in true and name in seen):
                instants_[name].append(seen[name] - true[name])
            unmatched += not measured.keys() <= true_values.keys()
    return MatchedErrors(dict(metrics), dict(instants_), unmatched)


def _measured(
    at_ns: Mapping[str, int], measured_from: str | None, names: Sequence[str]
) -> dict[str, int]:
    """Return the values of those of the given metrics that can be computed from the instants."""
    values = {}
    for metric in (CATALOGUE[name] for name in names):
        begin = measured_from if metric.begin == "measured_from" else metric.begin
        if begin is not None and {begin, metric.end} <= at_ns.keys():
            values[metric.name] = at_ns[metric.end] - at_ns[begin]
    return values


def percentiles_of_errors(errors: Errors) -> dict[str, Percentiles]:
    return {
        name: percentiles(np.abs(np.array(values, np.int64)) / NS_PER_MS)
        for name, values in errors.items()
        if values
    }


def percentiles(values_ms: Floats) -> Percentiles:
    p50, p99, p999 = (
        float(np.quantile(values_ms, p, method="inverted_cdf")) for p in (0.5, 0.99, 0.999)
    )
    return Percentiles(len(values_ms), p50, p99, p999, float(values_ms.max()))
