"""A conversation by elevenlabs with the simulated agent: greeted, spoken, and interrupted."""

import sys
import threading
import time
import wave

from elevenlabs.client import ElevenLabs
from elevenlabs.conversational_ai.conversation import AudioInterface, Conversation

CHUNK_S = 0.1
RATE_HZ = 16_000
CHUNK_BYTES = int(RATE_HZ * CHUNK_S) * 2
SPOKEN_S = 0.9
"""The time from a reply to the speech that interrupts it."""
LIMIT_S = 300


class Line(AudioInterface):
    """A microphone that says recordings, between them silence, and a speaker that counts."""

    def __init__(self) -> None:
        self.words = b""
        self.heard = self.interrupted = 0
        self._is_over = threading.Event()

    def start(self, input_callback) -> None:
        def stream() -> None:
            while not self._is_over.wait(CHUNK_S):
                piece, self.words = self.words[:CHUNK_BYTES], self.words[CHUNK_BYTES:]
                input_callback(piece.ljust(CHUNK_BYTES, b"\0"))

        threading.Thread(target=stream, daemon=True).start()

    def stop(self) -> None:
        self._is_over.set()

    def output(self, audio: bytes) -> None:
        self.heard += len(audio)

    def interrupt(self) -> None:
        self.interrupted += 1


def wait_for(what: str, happened) -> None:
    end_s = time.monotonic() + LIMIT_S
    while not happened():
        if time.monotonic() > end_s:
            sys.exit(f"{what}: not within {LIMIT_S} s")
        time.sleep(0.02)
    print(what)


def main(port: int, wav: str) -> None:
    with wave.open(wav) as file:
        assert file.getframerate() == RATE_HZ
        words = file.readframes(file.getnframes())
    line = Line()
    latencies_ms: list[int] = []
    conversation = Conversation(
        ElevenLabs(base_url=f"http://127.0.0.1:{port}/agent/elevenlabs", api_key="any"),
        "agent",
        requires_auth=False,
        audio_interface=line,
        callback_latency_measurement=latencies_ms.append,
    )
    conversation.start_session()
    wait_for("greeted", lambda: line.heard)
    for round in ("answered", "answered after an interruption"):
        line.words = words
        wait_for("interrupted", lambda: line.interrupted)
        line.heard = line.interrupted = 0
        wait_for(round, lambda: line.heard)
        time.sleep(SPOKEN_S)
    conversation.end_session()
    assert conversation.wait_for_session_end().startswith("conv_")
    assert latencies_ms == [5]


main(int(sys.argv[1]), sys.argv[2])
