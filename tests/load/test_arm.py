"""How it goes at one target."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from bench.dial import Dialer
from bench.load.planning.planned import per_minute_of
from bench.load.playing.arm import HOPELESS, Arm, Pacer
from bench.target.tokens import Keyring
from bench.units import NS_PER_S
from tests.helpers import MS, at, build_observation, build_session, resolve_target

HERE = resolve_target({}, url="ws://localhost:1/openai/v1/realtime?model=x")


def arm() -> Arm:
    return Arm(HERE, {}, Dialer(HERE, cast(Keyring, None)), Pacer(None))


def refused(outcome: str, **changes: Any) -> Any:
    return build_session(outcome=outcome, instants={"ended": at(30)}, **changes)


def test_an_arm_where_nothing_opens_is_hopeless_after_ten() -> None:
    here = arm()
    told = [here.note(refused("connect_failed:tcp"), at(30)) for _ in range(HOPELESS - 1)]

    assert all(told)
    assert not here.hopeless
    here.note(refused("timeout:tls"), at(30))
    assert here.hopeless


def test_one_session_that_opened_is_hope() -> None:
    here = arm()
    assert not here.note(build_session(), at(30))
    for _ in range(HOPELESS):
        here.note(refused("connect_failed:tcp"), at(30))

    assert not here.hopeless


@pytest.mark.parametrize(("outcome", "failed"), [("throttled:handshake", True), ("unfinished", False)])
def test_what_is_throttled_or_cut_is_not_hopeless(outcome: str, failed: bool) -> None:
    here = arm()

    assert [here.note(refused(outcome), at(30)) for _ in range(HOPELESS)] == [failed] * HOPELESS
    assert not here.hopeless


HELD = {
    "a throttled handshake holds further starts for as long as it asks":
        (refused("throttled:handshake", headers={"retry-after": "3"}), at(30) + 3 * NS_PER_S),
    "without a wait it holds them for a second": (refused("throttled:handshake"), at(30) + NS_PER_S),
    "a session that was open when it was throttled holds nothing": (build_session(outcome="throttled:error"), at(40)),
}  # fmt: skip


@pytest.mark.parametrize(("session", "starts_ns"), HELD.values(), ids=HELD)
def test_a_throttled_handshake_holds_starts(session: Any, starts_ns: int) -> None:
    here = arm()
    here.note(session, at(30))

    assert here.pacer.earliest_ns(at(40)) == starts_ns


def test_sessions_that_opened_before_the_throttling_do_not_shorten_its_waits() -> None:
    here = arm()
    held = []
    for second in (10, 20, 30):
        begun_ns = at(1000 * second)
        here.note(refused("throttled:handshake", start_ns=begun_ns), begun_ns)
        here.note(build_session(start_ns=at(0)), begun_ns)
        held.append((here.pacer.earliest_ns(begun_ns) - begun_ns) // NS_PER_S)

    assert held == [1, 2, 4]


def turn(outcome: str = "ok", detail: str = "", start_ns: int = at(0)) -> Any:
    return build_observation(outcome=outcome, detail=detail, start_ns=start_ns, instants={"ended": start_ns + 20 * MS})


def test_a_throttled_turn_holds_starts_until_the_wait_from_its_end_is_over() -> None:
    here = arm()
    here.turn_ended(turn("throttled:response", "Please try again in 6.2s."))

    assert here.pacer.earliest_ns(at(30)) == at(20) + 6_200_000_000


def test_after_throttled_turns_others_start_once_a_turn_has_got_through() -> None:
    here = arm()
    here.turn_ended(turn("throttled:response"))
    again_ns = here.pacer.earliest_ns(at(30))
    here.pacer.take(again_ns)
    for outcome in ("ok", "unfinished"):
        here.session_opened(again_ns)
        here.turn_ended(turn(outcome, start_ns=again_ns - (outcome == "ok")))
        assert here.pacer.on_trial

    here.turn_ended(turn("timeout:response", start_ns=again_ns))
    assert not here.pacer.on_trial


def test_after_a_throttled_handshake_others_start_once_a_session_has_opened() -> None:
    here = arm()
    here.note(refused("throttled:handshake"), at(30))
    again_ns = here.pacer.earliest_ns(at(30))
    here.pacer.take(again_ns)
    here.turn_ended(turn(start_ns=again_ns))
    assert here.pacer.on_trial

    here.session_opened(again_ns)
    assert not here.pacer.on_trial


def test_arms_that_call_one_deployment_share_its_rate() -> None:
    west = replace(HERE, label="west", connect_rate_per_min=30.0)
    quick = replace(west, label="west.quick", variant_of="west")
    mini = replace(west, label="west.mini", variant_of="west", model="mini")
    east = replace(HERE, label="east", host="127.0.0.2")

    assert per_minute_of([west, quick, mini, east], None) == [15.0, 15.0, 30.0, None]
    assert per_minute_of([west, quick, mini, east], 60.0) == [30.0, 30.0, 60.0, 60.0]
    assert per_minute_of([west, east], 0.0) == [None, None]
