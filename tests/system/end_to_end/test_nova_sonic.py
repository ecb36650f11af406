"""Amazon Nova Sonic over a real socket, with HTTP/2 and signatures: the values equal the
simulator's log, and wrong credentials are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("h2")
pytest.importorskip("botocore")

from bench.protocols.event_stream import signing
from bench.wire.audio import PCM16, PCM16_16K
from tests.system.end_to_end.spoken_calls import Call, call_simulator, refused_call

pytestmark = pytest.mark.usefixtures("hang_guard")
KEY = "a-secret-access-key"
SECRETS = {"AWS_SECRET_ACCESS_KEY": KEY, "AWS_SESSION_TOKEN": "a-session-token-that-is-long"}


@pytest.fixture(scope="module", autouse=True)
def credentials() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (SECRETS | {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE"}).items():
            patch.setenv(name, value)
        signing._found.cache_clear()
        signing._session.cache_clear()
        yield
    signing._found.cache_clear()
    signing._session.cache_clear()


@pytest.fixture(scope="module", params=[(), ("--tls",)], ids=["http", "https"])
def call(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Call:
    folder, options = tmp_path_factory.mktemp("simulator"), request.param
    return call_simulator(
        folder, "nova_sonic", KEY, SECRETS, PCM16_16K, *options, input_transcription="any"
    )


def test_the_instants_of_the_reply_are_those_of_the_simulator(call: Call) -> None:
    call.check_instants(PCM16, first_audio="audio.delta", response_done="contentEnd.END_TURN")


def test_the_words_and_the_tokens_are_those_of_the_simulator(call: Call) -> None:
    call.check_words(has_tokens=True)


def test_wrong_credentials_are_refused_without_a_trace(tmp_path: Path) -> None:
    session = refused_call(tmp_path, "nova_sonic", "another-secret-key", SECRETS).session

    assert session.outcome == "connect_failed:403"
