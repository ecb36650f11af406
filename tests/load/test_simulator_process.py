"""The option `--simulator`: which simulated service is called, and which simulator."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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

HERE = "127.0.0.1:4321"
SCRIPTS = Path(__file__).parents[2] / "scenarios" / "scripts"
SIMULATED = (  # the dialects of addresses of the simulator
    "ga",
    "preview",
    "voice-live",
    "gpt-live",
    "translation",
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


def called_dialect(*scripts: Script, dialect: str | None = None) -> str:
    """Return the dialect with which a run with --simulator calls."""
    options = with_simulator(ServiceOptions(simulator=True, dialect=dialect), HERE, scripts)
    (target,) = resolve_targets({}, options)

    assert target.loopback
    return target.dialect.name


@pytest.mark.parametrize("dialect", SIMULATED)
def test_the_dialect_chooses_the_simulated_service(dialect: str) -> None:
    assert called_dialect(dialect=dialect) == dialect


@pytest.mark.parametrize("dialect", sorted(set(get_args(DialectName)) - set(SIMULATED)))
def test_a_dialect_that_is_not_simulated_is_refused_with_those_that_are(dialect: str) -> None:
    with pytest.raises(UsageError, match=f"--dialect {dialect}; it has {', '.join(SIMULATED)}"):
        called_dialect(dialect=dialect)


def test_a_full_duplex_script_calls_an_agent_and_any_other_the_realtime_api() -> None:
    agent, voice = (load_script(SCRIPTS / f"{name}.yaml") for name in ("agent", "voice_turns"))

    assert called_dialect(agent) == "pcm"
    assert called_dialect(agent, dialect="acs") == "acs"
    assert called_dialect(voice) == called_dialect() == "ga"


@pytest.mark.parametrize(
    "other",
    [{"url": "ws://there"}, {"targets": ("west",)}, {"target_file": Path("targets.yaml")}],
    ids=str,
)
def test_the_simulator_and_another_target_are_refused(other: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"--simulator and --.* both set the target"):
        with_simulator(ServiceOptions(simulator=True, **other), HERE)  # type: ignore[arg-type]


def test_calls_to_the_simulator_use_no_proxy() -> None:
    assert with_simulator(ServiceOptions(simulator=True), HERE).proxy == "none"


@pytest.fixture(params=[True, False], ids=["simulator", "other server"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[int, bool]]:
    """Yield the port of an HTTP server, and whether it answers as the simulator does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            if request.param:
                self.send_header(SIMULATOR_HEADER, "1")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield served.server_address[1], request.param
        served.shutdown()
        thread.join()


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
    monkeypatch.setenv(ADDRESS, HERE)

    with simulator_to_call(None, not_called) as called:
        assert called == (HERE, "")
