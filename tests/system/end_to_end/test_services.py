"""Services with a protocol of their own, over real sockets: the values equal the simulator's log,
and a wrong key is refused without a trace.

One simulator with TLS and one without it serve all calls, which take place at the same time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gevent
import pytest

from bench.plan.recordings import load_pcm
from bench.record.replay import ReplayedSession
from bench.wire.audio import G711_ULAW, PCM16, PCM16_16K, AudioFormat
from rtbench_simulator.conversation.input_audio import FRAME_MS
from rtbench_simulator.ground_truth_log import read_truth
from tests.helpers import resolve_target
from tests.simulator_process import Ready, quick_simulator
from tests.system.end_to_end.spoken_calls import WAV, Call, play_call

pytestmark = pytest.mark.usefixtures("hang_guard")
EDGE_MS = 2 * FRAME_MS
"""The maximum distance between the end of speech that the simulator detected and the one that
was found offline."""
KEY, WRONG_KEY = "a-key-of-the-service", "another-key-of-the-test"


@dataclass(frozen=True)
class SpokenService:
    """A service, the settings of its session, the formats of both directions, and the messages
    that are the instants of a turn. `refused` is what happens with a wrong key.
    """

    service: str
    transcription: str
    format: AudioFormat
    reply: AudioFormat
    instants: Mapping[str, str]
    has_tokens: bool
    refused: str
    detail: str = ""
    secret: str = ""
    """The environment variable of the key; empty if the credentials are those of AWS."""
    formats: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()


def deepgram(format: AudioFormat) -> SpokenService:
    instants = {
        "speech_started": "UserStartedSpeaking",
        "first_audio": "audio.delta",
        "response_done": "AgentAudioDone",
    }
    formats = {"input_format": format.name, "output_format": format.name}
    return SpokenService(
        "deepgram",
        "nova-3",
        format,
        format,
        instants,
        False,  # the service bills minutes
        "connect_failed:401",
        secret="DEEPGRAM_API_KEY",
        formats=formats,
    )


def nova_sonic(*options: str) -> SpokenService:
    """Return the service that has HTTP/2 and signatures."""
    instants = {"first_audio": "audio.delta", "response_done": "contentEnd.END_TURN"}
    refused = "connect_failed:403"
    return SpokenService(
        "nova_sonic", "any", PCM16_16K, PCM16, instants, True, refused, options=options
    )


SERVICES = {
    "gemini": SpokenService(
        "gemini",
        "any",
        PCM16_16K,
        PCM16,
        {
            "first_audio": "audio.delta",
            "first_transcript": "transcript.delta",
            "response_done": "generationComplete",
        },
        True,
        "closed:1007",
        "API key not valid",
        "GEMINI_API_KEY",
    ),
    "deepgram": deepgram(PCM16),
    "deepgram in µ-law": deepgram(G711_ULAW),
}
if find_spec("h2") and find_spec("botocore"):
    SERVICES |= {"nova sonic": nova_sonic(), "nova sonic over TLS": nova_sonic("--tls")}
every_service = pytest.mark.parametrize("name", SERVICES)


def call(
    name: str, simulator: Ready, folder: Path, key: str, *, transcribed: bool = True
) -> ReplayedSession:
    """Call a service with this key, and check that no file of the call has a secret."""
    one = SERVICES[name]
    settings: dict[str, Any] = {"ca_file": simulator.ca} if simulator.ca else {}
    settings |= {"api_key_env": one.secret} if one.secret else {}
    target = resolve_target({one.secret: key}, url=simulator.urls[one.service], **settings)
    session = {"input_transcription": one.transcription, **one.formats} if transcribed else {}
    replayed = play_call(target, folder, **session)
    secrets = {key, os.environ["AWS_SESSION_TOKEN"]}
    files = [path for path in folder.iterdir() if path.is_file()]
    assert files
    assert not [path for path in files for secret in secrets if secret in path.read_text()]
    return replayed


Calls = tuple[dict[str, Call], dict[str, ReplayedSession]]


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    """Return the calls of all services, and those with a wrong key."""
    folder, sessions = tmp_path_factory.mktemp("services"), list[dict[str, ReplayedSession]]()
    truth, of_tls = folder / "truth.jsonl", folder / "truth_of_tls.jsonl"
    (folder / "tls").mkdir()
    with (
        patch.dict(os.environ, {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}),
        patch.dict(os.environ, {"AWS_SESSION_TOKEN": "a-session-token-that-is-long"}),
        quick_simulator(folder, "--ground-truth", str(truth), "--key", KEY) as plain,
        quick_simulator(
            folder / "tls", "--ground-truth", str(of_tls), "--key", KEY, "--tls"
        ) as encrypted,
    ):
        for key in (KEY, WRONG_KEY):
            forget_credentials()
            with patch.dict(os.environ, {"AWS_SECRET_ACCESS_KEY": key}):
                greenlets = {
                    name: gevent.spawn(
                        call,
                        name,
                        encrypted if one.options else plain,
                        folder / f"{name} {key}",
                        key,
                        transcribed=key == KEY,
                    )
                    for name, one in SERVICES.items()
                }
                sessions.append({name: each.get() for name, each in greenlets.items()})
        forget_credentials()
    known = [*read_truth(truth), *read_truth(of_tls)]
    good, refused = sessions
    return (
        {
            name: Call(
                SERVICES[name].format,
                replay,
                [x for x in known if x.get("session") == replay.session.service_session_id],
            )
            for name, replay in good.items()
        },
        refused,
    )


def forget_credentials() -> None:
    if find_spec("botocore"):
        from bench.protocols.event_stream import signing

        signing._found.cache_clear()
        signing._session.cache_clear()


@every_service
def test_the_instants_of_the_reply_are_those_of_the_simulator(calls: Calls, name: str) -> None:
    calls[0][name].check_instants(SERVICES[name].reply, **SERVICES[name].instants)


@every_service
def test_the_words_and_the_tokens_are_those_of_the_simulator(calls: Calls, name: str) -> None:
    calls[0][name].check_words(has_tokens=SERVICES[name].has_tokens)


@every_service
def test_a_wrong_key_is_refused_without_a_trace(calls: Calls, name: str) -> None:
    session = calls[1][name].session

    assert session.outcome == SERVICES[name].refused
    assert session.detail.startswith(SERVICES[name].detail)


def test_the_simulator_heard_the_speech_where_it_is(calls: Calls) -> None:
    pcm, truth = load_pcm(WAV), calls[0]["gemini"].truth
    ended = next(line["speech_at_byte"] for line in truth if line.get("speech_at_byte"))
    begun = next(line for line in truth if line.get("to_byte"))["from_byte"]

    speech_ms = (ended - begun) * 1000 / PCM16_16K.bytes_per_s
    # turns begin at a chunk of 100 ms
    assert abs(speech_ms % 100 - pcm.speech.end / 24 % 100) <= EDGE_MS
