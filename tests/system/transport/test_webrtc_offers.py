"""The signalling of calls over WebRTC: each way to sign in, at the addresses of OpenAI and of
Azure.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.services.names import OfferForm
from bench.session.dial import Dialer
from bench.target.target_settings import ServiceOptions
from bench.target.targets import resolve_targets
from bench.target.tokens import Keyring
from bench.transport.interface import ConnectTimings
from tests.simulator_process import GUARD_S, Ready, running_simulator

KEY, LIFE_S = "a-key-of-the-test", 2
LIMITS = Timeouts(upgrade=GUARD_S)
WAYS: Mapping[str, dict[str, Any]] = {
    "key": {"api_key_env": "THE_KEY"},
    "token": {"api_key_env": None, "auth": "managed_identity"},
    "nothing": {"api_key_env": None},
}


@pytest.fixture(scope="module")
def simulator() -> Iterator[Ready]:
    with running_simulator("--key", KEY, "--token-lifetime", str(LIFE_S)) as ready:
        yield ready


@pytest.fixture(autouse=True)
def _environment(simulator: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulator.identity is not None
    monkeypatch.setenv("IDENTITY_ENDPOINT", simulator.identity["endpoint"])
    monkeypatch.setenv("IDENTITY_HEADER", simulator.identity["header"])


class Caller:
    """A target with its credentials. `call` places one call and ends it."""

    def __init__(self, url: str, way: str, offer: OfferForm) -> None:
        options = ServiceOptions(url=url, transport="webrtc", offer=offer, **WAYS[way])
        (target,) = resolve_targets({"THE_KEY": KEY}, options)
        self.keyring = Keyring([target])
        self.keyring.open()
        self._target, self._dialer = target, Dialer(target, self.keyring)

    def call(self) -> None:
        self._dialer.open(LIMITS, ConnectTimings()).close()

    @property
    def call_key(self) -> tuple[str, str] | None:
        return self.keyring.call_header(self._target, LIMITS.upgrade)


@pytest.mark.parametrize("service", ["openai", "ga"])
@pytest.mark.parametrize("way", ["key", "token"])
@pytest.mark.parametrize("offer", ["form", "sdp", "ephemeral"])
def test_each_way_to_sign_in_places_calls(
    simulator: Ready, service: str, way: str, offer: OfferForm
) -> None:
    caller = Caller(simulator.urls[service], way, offer)

    caller.call()
    caller.keyring.close()


def test_one_ephemeral_key_serves_calls_until_it_is_renewed(simulator: Ready) -> None:
    caller = Caller(simulator.urls["openai"], "key", "ephemeral")
    first = caller.call_key
    caller.call()
    assert caller.call_key == first

    until = time.monotonic() + GUARD_S
    while caller.call_key == first and time.monotonic() < until:
        time.sleep(0.05)
    caller.call()
    caller.keyring.close()

    assert first is not None
    assert caller.call_key != first
    assert first[1].removeprefix("Bearer ") not in caller.keyring.redact(
        f"the service quotes {first[1]}"
    )


def test_a_refused_offer_or_key_is_one_line(simulator: Ready) -> None:
    with pytest.raises(
        UsageError, match=r"no ephemeral key for calls over WebRTC .*401.*: check that"
    ):
        Caller(simulator.urls["openai"], "nothing", "ephemeral")
    with pytest.raises(ConnectError) as caught:
        Caller(simulator.urls["openai"], "nothing", "sdp").call()

    assert caught.value.outcome == "connect_failed:401"


def test_an_expired_ephemeral_key_is_refused(simulator: Ready) -> None:
    caller = Caller(simulator.urls["openai"], "key", "ephemeral")
    caller.keyring.close()  # no renewal
    stale = caller.call_key
    caller.keyring.call_header = lambda target, limit_s: stale  # type: ignore[method-assign]
    until = time.monotonic() + GUARD_S
    outcome = ""
    while not outcome and time.monotonic() < until:
        try:
            caller.call()
        except ConnectError as error:
            outcome = error.outcome

    assert outcome == "connect_failed:401"
