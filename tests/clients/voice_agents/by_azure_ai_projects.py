"""Conversations by azure-ai-projects with the simulated voice agent: typed, spoken, interrupted.
An agent without calls over WebRTC is refused before them.
"""

import ssl
import sys
import time
import wave
from array import array

from azure.ai.projects import AIProjectClient
from azure.core.credentials import AccessToken

CHUNK_BYTES = 4_800
"""100 ms of PCM of 24 kHz."""
LIMIT_S = 300


class Token:
    """The credential, which checks the requested scope."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        assert scopes == ("https://ai.azure.com/.default",), scopes
        return AccessToken(self.text, 2**31)


def refused(connect, status: int, **settings) -> None:
    try:
        connect(**settings).enter()
    except ConnectionError as error:
        assert f"HTTP {status}" in str(error), error
        print(f"refused with {status}")
        return
    sys.exit(f"not refused with {status}")


def wait_for(connection, *wanted: str):
    """Return the first event with such a type. Meanwhile, count the bytes of audio."""
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s:
        event = connection.recv(timeout=LIMIT_S)
        assert event["type"] != "error", event
        if event["type"] in wanted:
            return event
    sys.exit(f"no {wanted} within {LIMIT_S} s")


def say(connection, audio: bytes) -> None:
    for start in range(0, len(audio), CHUNK_BYTES):
        connection.input_audio_buffer.append(audio=audio[start : start + CHUNK_BYTES])
        time.sleep(0.1)


def main(port: int, wav: str, ca: str, key: str) -> None:
    with wave.open(wav) as file:
        assert file.getframerate() == 16_000
        heard = array("h", file.readframes(file.getnframes()))
    pairs = zip(heard[::2], heard[1::2], strict=False)
    words = array("h", (each for a, b in pairs for each in (a, (a + b) // 2, b))).tobytes()
    client = AIProjectClient(f"https://localhost:{port}/api/projects/care", Token(key))
    trusted = ssl.create_default_context(cafile=ca)

    def connect(**settings):
        return client.beta.voice_agents.realtime.connect(agent_name="desk", ssl=trusted, **settings)

    refused(connect, 404, transport="webrtc")
    with connect() as connection:
        wait_for(connection, "session.created")
        connection.session.update(
            session={"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
        )
        assert (
            wait_for(connection, "session.updated")["session"]["audio"]["output"]["voice"]
            == "cedar"
        )
        item = {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": "Hi"}],
        }
        connection.conversation.item.create(item=item)
        connection.response.create()
        assert wait_for(connection, "response.done")["response"]["status"] == "completed"
        print("answered")
        silence = bytes(CHUNK_BYTES * 10)
        say(connection, words + silence)
        wait_for(connection, "response.output_audio.delta")
        say(connection, words + silence)  # over the answer
        statuses = [wait_for(connection, "response.done")["response"]["status"] for _ in range(2)]
        assert statuses == ["cancelled", "completed"], statuses
        print("answered after an interruption")


main(int(sys.argv[1]), *sys.argv[2:])
