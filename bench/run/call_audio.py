"""The audio of a logged session as a call in two channels: what the caller said, and what the caller heard.

The log must have been recorded with its audio. The caller's audio is at the instants at which it was recorded by the
microphone. The service's audio is at the instants at which the simulated player played it: with the jitter buffer, and
without the audio that was dropped when the caller interrupted.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import msgspec
import numpy as np

from bench.errors import UsageError
from bench.observe import inputs
from bench.observe.reply_detector import PlayoutQueue
from bench.plan.recordings import Channels, resampled
from bench.protocol.audio import AudioFormat, AudioFormatName, Samples
from bench.protocol.dialects import DIALECTS
from bench.protocol.events import EMPTY, EventKind, ServerEvent, audio_payload
from bench.run.replay import AnyLine, LoggedMessage, LogHeader, logged_events, replay_log
from bench.units import NS_PER_MS, NS_PER_S
from bench.untrusted.safe_io import read_json

JOINED_NS = 2 * NS_PER_MS
"""The maximum distance of two pieces that are joined. A message that is sent later than that has its own instant."""
STOPS_PLAYER = frozenset({EventKind.SPEECH_STARTED, EventKind.CLEARED})


@dataclass
class _Channel:
    """One channel. Pieces that are closer than `JOINED_NS` follow each other without a gap."""

    audio: AudioFormat
    start_ns: int
    pieces: list[tuple[int, Samples]] = field(default_factory=list)
    """Pieces, each with the number of its first sample."""
    end: int = 0

    def add(self, at_ns: int, data: bytes) -> None:
        samples = self.audio.decode(data)
        position = max(0, (at_ns - self.start_ns) * self.audio.rate_hz // NS_PER_S)
        if abs(position - self.end) * NS_PER_S <= JOINED_NS * self.audio.rate_hz:
            position = self.end
        self.pieces.append((position, samples))
        self.end = position + len(samples)

    def stop(self, at_ns: int) -> None:
        """Drop the audio that was not played at this instant."""
        position = max(0, (at_ns - self.start_ns) * self.audio.rate_hz // NS_PER_S)
        kept = ((start, samples[: max(0, position - start)]) for start, samples in self.pieces)
        self.pieces = [(start, samples) for start, samples in kept if len(samples)]
        self.end = min(self.end, position)

    @property
    def end_ns(self) -> int:
        return self.start_ns + self.end * NS_PER_S // self.audio.rate_hz

    def samples(self, rate_hz: int, seconds: float) -> Samples:
        channel = np.zeros(max(self.end, round(seconds * self.audio.rate_hz)), np.int16)
        for position, samples in self.pieces:
            channel[position : position + len(samples)] = samples[: len(channel) - position]
        return resampled(channel, self.audio.rate_hz, rate_hz)


def call_audio(path: Path) -> Channels:
    """Return the two channels of a logged session: the caller, and the service as the caller heard it.

    Raise UsageError if the file is not an event log, or contains no audio.
    """
    replay_log(path)  # refuses a damaged log
    lines = _lines(path)
    header = cast(LogHeader, next(lines))
    dialect = DIALECTS[str(header.about["dialect"])]
    caller = _Channel(dialect.input_formats[_format(header, "input_format")], header.start_ns)
    service = _Channel(dialect.output_formats[_format(header, "output_format")], header.start_ns)
    queue, jitter_buffer_ns, item_id, last_ns = PlayoutQueue(), 0, "", header.start_ns
    for line in lines:
        last_ns = max(last_ns, getattr(line, "at_ns", last_ns))
        if isinstance(line, inputs.TurnStarted):
            jitter_buffer_ns = line.plan.jitter_buffer_ns
        elif isinstance(line, inputs.ClientInterrupted):
            service.stop(line.at_ns)
        elif isinstance(line, inputs.Sent) and line.audio_bytes and (data := sent_audio(line)) is not None:
            caller.add(line.at_ns - caller.audio.duration_ns(len(data)), data)
        elif isinstance(line, LoggedMessage):
            for event in logged_events(line, dialect):
                if event.kind in STOPS_PLAYER:
                    queue.clear(line.at_ns)
                    service.stop(line.at_ns)
                if (data := received_audio(event)) is not None:
                    if dialect.has_turn_events:
                        is_new = event.item_id != item_id
                        at_ns = max(line.at_ns + (jitter_buffer_ns if is_new else 0), service.end_ns)
                    else:
                        duration_ns = service.audio.duration_ns(len(data))
                        at_ns = queue.play(line.at_ns, duration_ns).at_ns + jitter_buffer_ns
                    item_id = event.item_id
                    service.add(at_ns, data)
    if not (caller.pieces and service.pieces):
        raise UsageError(f"{path} contains no audio: record it with --record-audio")
    rate_hz = max(caller.audio.rate_hz, service.audio.rate_hz)
    seconds = max(last_ns, caller.end_ns, service.end_ns) - header.start_ns
    both = [channel.samples(rate_hz, seconds / NS_PER_S) for channel in (caller, service)]
    length = min(map(len, both))
    return Channels(np.stack([samples[:length] for samples in both], axis=1), rate_hz)


def received_audio(event: ServerEvent) -> bytes | None:
    """Return the audio of a delta; None if it has none."""
    if event.kind is not EventKind.AUDIO_DELTA or not isinstance(event.payload, msgspec.Raw) or event.payload is EMPTY:
        return None
    return audio_payload(event.payload) or None


def sent_audio(sent: inputs.Sent) -> bytes | None:
    """Return the audio of a logged message to the service; None if the log does not contain it."""
    texts = _texts(msgspec.json.decode(sent.event)) if len(sent.event) else iter(())
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


def _format(header: LogHeader, key: str) -> AudioFormatName:
    return cast("AudioFormatName", str(header.about[key]))


def _lines(path: Path) -> Iterator[AnyLine]:
    with path.open("rb") as file:
        for text in file:
            if text.endswith(b"\n"):
                yield cast(AnyLine, read_json(text, AnyLine))
