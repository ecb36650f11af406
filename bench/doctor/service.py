"""Looks whether the service lets us in, which session it opens, and at one turn of text: all over one connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import Any

from bench.clock import monotonic_ns, utc_ns
from bench.dial import Dialer, connected
from bench.doctor.finding import Finding
from bench.doctor.service_findings import (
    compression,
    greeted,
    in_other_dialect,
    limits_told,
    refused,
    replied,
    retired,
    service_clock,
    settings_in,
    upgraded,
)
from bench.money import Prices, tariff_of
from bench.observe.observation import TurnObservation
from bench.observe.timeline import Timeline
from bench.plan.frames import PreparedScript
from bench.probe import text_script, wav_script
from bench.protocol.events import Event, Kind, Usage
from bench.protocol.limits import RateLimit, limits_in
from bench.protocol.settings import FULL_DUPLEX
from bench.session import Session
from bench.target.target import Target
from bench.transport.base import Network, Transport
from bench.transport.received import DeltaArrival, Received
from bench.units import NS_PER_MS, NS_PER_S

WORDS = "Say hello, and nothing else."
RECORDING = "late_parcel.wav"


class Heard:
    """A `bench.session.Listener` that keeps what a session was greeted with, its limits and its turn."""

    def __init__(self) -> None:
        self.greeting: Mapping[str, Any] = {}
        self.limits: tuple[RateLimit, ...] = ()
        self.turn: TurnObservation | None = None

    def received(self, events: Sequence[Event], message: Received, handled_ns: int) -> None:
        for event in events:
            if event.kind is Kind.SESSION_CREATED:
                self.greeting = event.session or {}
            elif event.kind is Kind.RATE_LIMITS and event.limits:
                self.limits = event.limits

    def received_deltas(self, deltas: Sequence[DeltaArrival]) -> None:
        pass

    def sent(self, wire_bytes: int, audio_bytes: int, lag_ns: int | None) -> None:
        pass

    def turn_began(self) -> None:
        pass

    def turn_ended(self, turn: TurnObservation) -> None:
        self.turn = turn

    def paid(self, usage: Usage) -> None:
        pass

    def may_ask(self) -> bool:
        return True


class Visit:
    """One connection to a service.

    `prices`: by model; `claims`: the public ones of the token that is sent; `hide` takes secrets out of a text.
    """

    def __init__(
        self, dialer: Dialer, prices: Mapping[str, Prices], claims: Mapping[str, str], hide: Callable[[str], str]
    ) -> None:
        self._dialer, self._target = dialer, dialer.target
        self._prices, self._claims, self._hide = prices, claims, hide
        self._script = _script(self._target)
        self._heard = Heard()

    def findings(self, *, with_turn: bool) -> Iterator[Finding]:
        """Everything, as it comes."""
        script = self._script
        timeline = Timeline(
            monotonic_ns(), int(with_turn), script.limits, script.dialect, service_responds=script.service_responds
        )
        transport = connected(self._dialer, self._script.limits, timeline, lambda headers: None)
        observed, answered_ns = timeline.session(), utc_ns()
        if transport is None:
            yield self._refused("upgrade", timeline)
        else:
            yield upgraded(observed)
        yield service_clock(observed.headers.get("date"), answered_ns)
        if transport is None:
            yield from (Finding(name, "skipped", "needs upgrade") for name in ("session", "turn"))
            return
        yield compression(observed.headers, wanted=self._target.network_path.deflate)
        yield from self._session(transport, timeline, with_turn=with_turn)
        yield limits_told(self._heard.limits or limits_in(observed.headers))

    def _session(self, transport: Transport, timeline: Timeline, *, with_turn: bool) -> Iterator[Finding]:
        session = Session(self._script, transport, timeline, self._heard, lambda: False)
        session.open()
        if timeline.ready:
            now_s = utc_ns() / NS_PER_S
            yield greeted(self._heard.greeting, timeline.session(), now_s)
            yield from retired(self._heard.greeting, self._target.service, datetime.fromtimestamp(now_s, UTC).date())
            yield Finding("settings", "ok", f"by default: {settings_in(self._heard.greeting) or 'not told'}")
            yield from in_other_dialect(self._heard.greeting, self._target.dialect)
            yield round_trip(transport.network())
        else:
            yield self._refused("session", timeline)
        for step in self._script.steps if with_turn and timeline.ready else ():
            session.perform(step)
        session.close()
        yield self._turn(timeline, with_turn=with_turn)

    def _turn(self, timeline: Timeline, *, with_turn: bool) -> Finding:
        if not timeline.ready:
            return Finding("turn", "skipped", "needs session")
        if not with_turn:
            return Finding("turn", "skipped", "left out: a turn costs money")
        if self._heard.turn is None:
            return self._refused("turn", timeline)
        paid = tariff_of(self._prices, self._target.terms, timeline.session().model)
        return replied(self._heard.turn, self._target, paid, self._heard.greeting)

    def _refused(self, name: str, timeline: Timeline) -> Finding:
        return refused(name, timeline.session(), self._target, self._claims, self._hide, self._heard.greeting)


def _script(target: Target) -> PreparedScript:
    """A session with one turn: typed, or spoken to a service that hears speech alone."""
    if not target.dialect.duplex:
        return text_script(target, WORDS, target.session)
    with resources.as_file(resources.files("scenarios") / "audio" / RECORDING) as wav:
        return wav_script(target, wav, {"turn_detection": FULL_DUPLEX, **target.session})


def round_trip(network: Network | None) -> Finding:
    if network is None:
        return Finding("round trip", "skipped", "this system does not tell (TCP_INFO is Linux's)")
    to = "the proxy" if network.scope == "proxy" else "the nearest end of TCP"
    return Finding("round trip", "ok", f"{network.min_rtt_ns / NS_PER_MS:.2f} ms at best to {to}")
