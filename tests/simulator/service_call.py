"""Sessions with the simulated service of a vendor, on a virtual clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec

from bench.wire.audio import PCM16_16K, AudioFormat
from rtbench_simulator.profile import Profile, quiet_profile
from rtbench_simulator.server_events import OutgoingEvent
from rtbench_simulator.simulated_session import SimulatedSession
from tests.simulator.builders import AT_NS, MS, build_profile, constant, sound, without_repeats

FIRST_AUDIO_MS = 300
SETUP = ("Welcome", "SettingsApplied", "setupComplete")


def quick(**changes: Any) -> Profile:
    first = constant(FIRST_AUDIO_MS)
    return build_profile(
        delays=replace(quiet_profile().delays, first_audio=first, function_named=first), **changes
    )


class ServiceCall:
    """A session that gets all messages when they are due. `events` are those that were sent.

    `format` is the format of the caller's audio.
    """

    format: AudioFormat = PCM16_16K

    def __init__(self, behaviour: SimulatedSession, *setup: Mapping[str, Any]) -> None:
        self.behaviour = behaviour
        self.now_ns = AT_NS
        self.events: list[OutgoingEvent] = []
        behaviour.open(AT_NS)
        for message in setup:
            self.send(message)
        self.pass_ms(200)

    def send(self, message: Mapping[str, Any]) -> None:
        self.behaviour.receive_text(msgspec.json.encode(message), self.now_ns)

    def append(self, chunk: bytes) -> None:
        """Send a chunk of the caller's audio."""
        self.behaviour.receive_binary(chunk, self.now_ns)

    def pass_ms(self, duration_ms: float) -> None:
        until_ns = self.now_ns + round(duration_ms * MS)
        while (due_ns := self.behaviour.next_due_ns()) is not None and due_ns <= until_ns:
            self.now_ns = max(self.now_ns, due_ns)
            self.events += self.behaviour.due(self.now_ns)
        self.now_ns = until_ns

    def speak(self, *parts_ms: int) -> None:
        """Send speech and silence, alternating, at the pace of a microphone."""
        audio = sound(*parts_ms, name=self.format.name)
        size = self.format.bytes_per_s // 10
        for begin in range(0, len(audio), size):
            self.pass_ms(100)
            self.append(audio[begin : begin + size])

    @property
    def names(self) -> list[str]:
        """The names of the messages after the set-up; several of one kind in a row count as one."""
        return without_repeats([event.type for event in self.events if event.type not in SETUP])

    def of(self, name: str) -> list[Any]:
        return [msgspec.json.decode(event.body) for event in self.events if event.type == name]
