"""Logs of sessions with recorded audio."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.base.clock import Arrival
from bench.catalogue.timeouts import Timeouts
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.plan.recordings import Channels
from bench.record.call_audio import call_audio
from bench.record.event_log import EventLog, LoggedTimeline
from bench.services.openai.dialect import GA
from bench.wire.audio import ALL_FORMATS, AudioFormat, AudioFormatName, Samples
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import Dialect, MessageKind
from tests.helpers import AT_NS, MS, at, build_turn, message

LEVEL = 8_000
MakeDelta = Callable[[bytes], bytes]


def openai_delta(item_id: str, dialect: Dialect = GA) -> MakeDelta:
    name = "response.output_audio.delta" if dialect is GA else "response.audio.delta"
    return lambda data: message(
        name, response_id="r1", item_id=item_id, delta=base64.b64encode(data).decode()
    )


class Session:
    """A logged session. All instants are in milliseconds from its start."""

    def __init__(
        self,
        path: Path,
        dialect: Dialect,
        format: AudioFormatName,
        *,
        record_audio: bool = True,
        **facts: Any,
    ) -> None:
        self.path, self.dialect, self.audio = path, dialect, ALL_FORMATS[format]
        self._log = EventLog(path, hide=str, record_audio=record_audio)
        about = {"dialect": dialect.name, "input_format": format, "output_format": format} | facts
        self._codec = dialect.codec("0" * 32) if dialect.codec else None
        start = SessionStart(AT_NS, 1, Timeouts(), service_responds=True)
        self.timeline = LoggedTimeline(start, dialect, log=self._log, about=about)

    def begin(self, at_ms: float, jitter_buffer_ms: int = 0) -> None:
        changes: dict[str, Any] = {
            "reply_format": self.audio.name,
            "jitter_buffer_ns": jitter_buffer_ms * MS,
            "vad": True,
        }
        self.timeline.apply(inputs.TurnStarted(at(at_ms), build_turn(**changes)))

    def say(self, at_ms: float, milliseconds: int, level: int = LEVEL) -> None:
        """Send audio of this duration, whose last sample was recorded at `at_ms`."""
        audio = self.audio.encode(sound(self.audio, milliseconds, level))
        sent = self.dialect.append(audio, "event-1")
        self._log.outgoing = (
            self._codec.encode(MessageKind.APPEND, sent.data) if self._codec else sent.data
        )
        self.timeline.apply(inputs.Sent(sent.name, at(at_ms), 9, audio_bytes=len(audio)))

    def hear(self, at_ms: float, *messages: bytes) -> None:
        for data in messages:
            self.timeline.apply(
                inputs.Received(
                    self.dialect.decode(data), ReceivedMessage(data, Arrival(at(at_ms)), len(data))
                )
            )

    def encoded(self, milliseconds: int, level: int = LEVEL) -> bytes:
        return self.audio.encode(sound(self.audio, milliseconds, level))

    def finish(self, at_ms: float) -> Channels:
        self.timeline.apply(inputs.ScriptFinished(at(at_ms)))
        self._log.close()
        assert self._log.error is None
        return call_audio(self.path)


def sound(audio: AudioFormat, milliseconds: int, level: int) -> Samples:
    return np.full(audio.rate_hz * milliseconds // 1_000, level, np.int16)
