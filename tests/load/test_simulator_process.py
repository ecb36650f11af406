"""The option `--simulator`: which simulated service is called, and which simulator."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import get_args

import pytest

from bench.base.errors import UsageError
from bench.load import simulator_process
from bench.load.simulator_process import ADDRESS, serves, simulator_to_call, with_simulator
from bench.plan.script import Script, load_script
from bench.services.names import DialectName
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.wire.dialect import SIMULATOR_HEADER
from rtbench_simulator.ready import urls_at

NOWHERE = "127.0.0.1:9"
SCRIPTS = Path(__file__).parents[2] / "scenarios" / "scripts"
SIMULATED = (  # the dialects of addresses of the simulator
    "ga",
    "preview",
    "voice-live",
    "gpt-live",
    "translation",
    "foundry",
    "foundry-live",
    "gemini",
    "deepgram",
    "nova-sonic",
    "vllm-omni",
    "acs",
    "twilio",
    "pcm",
    "sip",
    "webrtc",
)


@contextmanager
def http_server(*, is_simulator: bool, answer: bytes | None = None) -> Iterator[int]:
    """Yield the port of an HTTP server, which may answer as the simulator does, or as another
    version of it does.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            if is_simulator:
                self.send_header(SIMULATOR_HEADER, "1")
            self.end_headers()
            urls = json.dumps({"urls": urls_at(self.headers["Host"])}).encode()
            self.wfile.write(urls if answer is None else answer)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served.server_address[1]
        served.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def here() -> Iterator[str]:
    """Yield the address of a simulator."""
    with http_server(is_simulator=True) as port:
        yield f"127.0.0.1:{port}"


def called_dialect(here: str, *scripts: Script, dialect: str | None = None) -> str:
    """Return the dialect with which a run with --simulator calls."""
    options = with_simulator(ServiceOptions(simulator=True, dialect=dialect), here, scripts)
    (target,) = resolve_targets({}, options)

    assert target.loopback
    return target.dialect.name


@pytest.mark.parametrize("dialect", SIMULATED)
def test_the_dialect_chooses_the_simulated_service(here: str, dialect: str) -> None:
    assert called_dialect(here, dialect=dialect) == dialect


@pytest.mark.parametrize("dialect", sorted(set(get_args(DialectName)) - set(SIMULATED)))
def test_a_dialect_that_is_not_simulated_is_refused_with_those_that_are(
    here: str, dialect: str
) -> None:
    with pytest.raises(UsageError, match=f"--dialect {dialect}; it has {', '.join(SIMULATED)}"):
        called_dialect(here, dialect=dialect)


def test_a_full_duplex_script_calls_an_agent_and_any_other_the_realtime_api(here: str) -> None:
    agent, voice = (load_script(SCRIPTS / f"{name}.yaml") for name in ("agent", "voice_turns"))

    assert called_dialect(here, agent) == "pcm"
    assert called_dialect(here, agent, dialect="acs") == "acs"
    assert called_dialect(here, voice) == called_dialect(here) == "ga"


@pytest.mark.parametrize(
    "other",
    [{"url": "ws://there"}, {"targets": ("west",)}, {"target_file": Path("targets.yaml")}],
    ids=str,
)
def test_the_simulator_and_another_target_are_refused(other: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"--simulator and --.* both set the target"):
        with_simulator(ServiceOptions(simulator=True, **other), NOWHERE)  # type: ignore[arg-type]


def test_calls_to_the_simulator_use_no_proxy(here: str) -> None:
    assert with_simulator(ServiceOptions(simulator=True), here).proxy == "none"


def test_an_address_without_a_simulator_is_named() -> None:
    problem = f"no simulator of this version answers at {NOWHERE}: start it with"
    with pytest.raises(UsageError, match=problem):
        with_simulator(ServiceOptions(simulator=True), NOWHERE)


@pytest.mark.parametrize(
    "answer", [b"", b"Resource not found", b'{"error": {"code": "404"}}', b'{"urls": []}'], ids=str
)
def test_a_simulator_of_another_version_is_named(answer: bytes) -> None:
    with http_server(is_simulator=True, answer=answer) as port:
        assert serves(port)
        with pytest.raises(UsageError, match=f"no simulator of this version answers at .*:{port}"):
            with_simulator(ServiceOptions(simulator=True), f"127.0.0.1:{port}")


@pytest.fixture(params=[True, False], ids=["simulator", "other server"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[int, bool]]:
    """Yield the port of an HTTP server, and whether it answers as the simulator does."""
    with http_server(is_simulator=request.param) as port:
        yield port, request.param


def not_called(*words: str) -> list[str]:
    pytest.fail(f"{words} was started")


def test_only_a_simulator_on_the_usual_port_is_used_unless_a_profile_is_named(
    server: tuple[int, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    port, is_simulator = server
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.setattr(simulator_process, "SIMULATOR_PORT", port)

    assert serves(port) == is_simulator
    if is_simulator:
        with simulator_to_call(None, not_called) as called:
            assert called.address == f"127.0.0.1:{port}"
            assert called.notice.startswith("SIMULATED")
    profile = "quiet" if is_simulator else None
    with pytest.raises(pytest.fail.Exception), simulator_to_call(profile, not_called):
        pass


def test_a_simulator_that_another_process_found_is_used_without_a_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(ADDRESS, NOWHERE)

    with simulator_to_call(None, not_called) as called:
        assert called == (NOWHERE, "")
