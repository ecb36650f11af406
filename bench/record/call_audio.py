"""The audio of a logged session as a call in two channels: what the caller said, and what the
caller heard.

The log must have been recorded with its audio. The caller's audio is at the instants at which it
was recorded by the microphone. The service's audio is at the instants at which the simulated player
played it: with the jitter buffer, and without the audio that was dropped, or arrived too late, when
the caller interrupted.
"""

# The log has instants, and a WAV has positions. Each piece of audio begins at the position of its
# instant, unless it overlaps the piece before it, or almost touches it. Then it follows that piece
# directly, because a gap of a few samples would be heard as a click, although the microphone and
# the player had none.
#
# The player is simulated again from the log, by the same rules as in the session. A stop cuts the
# pieces that were not played by then. Audio of the same items that arrives later is dropped, as a
# client drops it after it has truncated the item.

import binascii
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from bench.base.errors import UsageError
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.files.safe_io import read_json
from bench.observe import inputs
from bench.observe.reply_detector import PlayoutQueue
from bench.plan.recordings import Channels, resampled
from bench.record.replay import AnyLine, LoggedMessage, LogHeader, logged_events, replay_log
from bench.services.registry import logged_dialect
from bench.wire.audio import AudioFormat, AudioFormatName, Samples, SampleStream
from bench.wire.dialect import SOUND, Dialect, decoder_of
from bench.wire.events import EMPTY, EventKind, ServerEvent, audio_payload

JOINED_NS = 2 * NS_PER_MS
"""The maximum distance of two pieces that are joined. A message that is sent later than that has
its own instant."""
MAX_HOURS = 4
"""The maximum duration of a call. No log has more hours of audio, because its size is limited."""
STOPS_PLAYER = frozenset({EventKind.SPEECH_STARTED, EventKind.CLEARED})


@dataclass
class _Channel:
    """One channel. Pieces that overlap, or are closer than `JOINED_NS`, follow each other
    without a gap.
    """

    audio: AudioFormat
    start_ns: int
    stream: SampleStream
    pieces: list[tuple[int, Samples]] = field(default_factory=list)
    """Pieces, each with the number of its first sample."""
    end: int = 0

    def add(self, at_ns: int, data: bytes) -> None:
        samples = self.stream.samples(data)
        position = max(0, (at_ns - self.start_ns) * self.audio.rate_hz // NS_PER_S)
        if (position - self.end) * NS_PER_S <= JOINED_NS * self.audio.rate_hz:
            position = self.end
        self.pieces.append((position, samples))
        self.end = position + len(samples)

    def stop(self, at_ns: int) -> None:
        """Drop the audio that was not played at this instant."""
        position = max(0, (at_ns - self.start_ns) * self.audio.rate_hz // NS_PER_S)
        kept = ((start, samples[: max(0, position - start)]) for start, samples in self.pieces)
        self.pieces = [(start, samples) for start, samples in kept if len(samples)]
        self.end = min(self.end, position)
        self.stream.rest = b""

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.end * NS_PER_S // self.audio.rate_hz

    def samples(self, rate_hz: int, seconds: float) -> Samples:
        channel = np.zeros(max(self.end, round(seconds * self.audio.rate_hz)), np.int16)
        for position, samples in self.pieces:
            channel[position : position + len(samples)] = samples
        return resampled(channel, self.audio.rate_hz, rate_hz)


class _Player:
    """The player of the service's audio.

    After a stop it drops the rest of the items that it has begun. Agents name no items; they clear
    the queue instead.
    """

    def __init__(self, channel: _Channel, dialect: Dialect) -> None:
        self._channel = channel
        self._names_items = dialect.turn_source is not SOUND
        self._queue = PlayoutQueue()
        self._item_id = ""
        self._begun = set[str]()
        self._stopped = frozenset[str]()
        self.jitter_buffer_ns = 0

    def stop(self, at_ns: int) -> None:
        self._queue.clear(at_ns)
        self._channel.stop(at_ns)
        self._stopped = frozenset(self._begun)

    def receive(self, event: ServerEvent, at_ns: int) -> None:
        if event.kind in STOPS_PLAYER:
            self.stop(at_ns)
        data = received_audio(event)
        if data is None:
            return
        if not self._names_items:
            due_ns = (
                self._queue.play(at_ns, self._channel.audio.duration_ns(len(data))).at_ns
                + self.jitter_buffer_ns
            )
            self._channel.add(due_ns, data)
        elif event.item_id not in self._stopped:
            if event.item_id != self._item_id:
                self._channel.stream.rest = b""
            delay_ns = 0 if event.item_id in self._begun else self.jitter_buffer_ns
            self._item_id = event.item_id
            self._begun.add(event.item_id)
            self._channel.add(max(at_ns + delay_ns, self._channel.end_ns), data)


def call_audio(path: Path) -> Channels:
    """Return the two channels of a logged session: the caller, and the service as the caller heard
    it.

    Raise UsageError if the file is not an event log, or contains no audio.
    """
    replay_log(path)  # refuses a damaged log
    lines = _lines(path)
    header = cast(LogHeader, next(lines))
    dialect = logged_dialect(header.about)
    caller, service = (
        _Channel(audio, header.start_ns, SampleStream(audio))
        for audio in (
            _format(path, dialect.input_formats, header, "input_format"),
            _format(path, dialect.output_formats, header, "output_format"),
        )
    )
    player = _Player(service, dialect)
    decode = decoder_of(dialect)
    last_ns = header.start_ns
    for line in lines:
        last_ns = max(last_ns, getattr(line, "at_ns", last_ns))
        if isinstance(line, inputs.TurnStarted):
            player.jitter_buffer_ns = line.plan.jitter_buffer_ns
        elif isinstance(line, inputs.ClientInterrupted):
            player.stop(line.at_ns)
        elif (
            isinstance(line, inputs.Sent)
            and line.audio_bytes
            and (data := sent_audio(line)) is not None
        ):
            caller.add(line.at_ns - caller.audio.duration_ns(len(data)), data)
        elif isinstance(line, LoggedMessage):
            for event in logged_events(line, decode):
                player.receive(event, line.at_ns)
    if not (caller.pieces and service.pieces):
        raise UsageError(f"{path} contains no audio: record it with --record-audio")
    rate_hz = max(caller.audio.rate_hz, service.audio.rate_hz)
    seconds = (max(last_ns, caller.end_ns, service.end_ns) - header.start_ns) / NS_PER_S
    if seconds > MAX_HOURS * 3_600:
        raise UsageError(
            f"{path} lasts {seconds / 3_600:.1f} hours, the maximum of --wav is {MAX_HOURS}"
        )
    # a file of a foreign log may state any instants, so the length is checked before memory is
    # allocated
    both = [channel.samples(rate_hz, seconds) for channel in (caller, service)]
    length = min(map(len, both))
    return Channels(np.stack([samples[:length] for samples in both], axis=1), rate_hz)


def received_audio(event: ServerEvent) -> bytes | None:
    """Return the audio of a delta; None if it has none."""
    if (
        event.kind is not EventKind.AUDIO_DELTA
        or not isinstance(event.payload, msgspec.Raw)
        or event.payload is EMPTY
    ):
        return None
    return audio_payload(event.payload) or None


def sent_audio(sent: inputs.Sent) -> bytes | None:
    """Return the audio of a logged message to the service; None if the log does not contain it."""
    texts = _texts(msgspec.json.decode(sent.event)) if len(sent.event) else iter(())
    # Each dialect has another key for its audio. The audio is the text that is base64 of as many
    # bytes as were counted when it was sent.
    for text in texts:
        try:
            data = binascii.a2b_base64(text, strict_mode=True)
        except (ValueError, binascii.Error):
            continue
        if len(data) == sent.audio_bytes:
            return data
    return None


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)


def _format(
    path: Path, formats: Mapping[AudioFormatName, AudioFormat], header: LogHeader, key: str
) -> AudioFormat:
    name = cast("AudioFormatName", str(header.about.get(key)))
    if name not in formats:
        raise UsageError(
            f"{path}:1: this line does not state the {key}; an event log must be unchanged"
        )
    return formats[name]


def _lines(path: Path) -> Iterator[AnyLine]:
    with path.open("rb") as file:
        for text in file:
            if text.endswith(b"\n"):
                yield cast(AnyLine, read_json(text, AnyLine))
