"""Calls between the caller and the simulator over a network that loses, repeats, delays and
reorders messages.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.sip.answer_plan import AnswerPlan, LoginDemand, PlannedRequest
from bench.protocols.sip.call_record import CallState
from bench.protocols.sip.digest import DigestLogin
from tests.simulator.telephone.virtual_network import VirtualNetwork, plan

LOGIN = DigestLogin("alice", "correct horse")
DELAYS_NS = st.integers(0, 3_000).map(lambda ms: ms * NS_PER_MS)
MAY_MISS = st.none() | DELAYS_NS
REQUESTS = st.builds(
    PlannedRequest,
    DELAYS_NS,
    st.sampled_from(["BYE", "INVITE", "UPDATE"]),
    st.none() | st.sampled_from(["sendrecv", "sendonly", "recvonly", "inactive"]),
)


@st.composite
def plans(draw: st.DrawFn) -> AnswerPlan:
    demands = st.builds(
        LoginDemand,
        st.just(LOGIN),
        code=st.sampled_from([401, 407]),
        uses_per_nonce=st.integers(1, 3),
        algorithm=st.sampled_from(["MD5", "SHA-256"]),
        has_qop=st.booleans(),
    )
    return plan(
        trying_ns=draw(MAY_MISS),
        ringing_ns=draw(MAY_MISS),
        early_media_ns=draw(MAY_MISS),
        final_ns=draw(MAY_MISS),
        code=draw(st.sampled_from([200, 200, 200, 404, 486, 503, 603])),
        demand=draw(st.none() | demands),
        session_interval_s=draw(st.none() | st.integers(90, 200)),
        requests=tuple(draw(st.lists(REQUESTS, max_size=3))),
        max_duration_ns=600 * NS_PER_S,
    )


FATES = st.lists(
    st.lists(st.integers(0, 2_000).map(lambda ms: ms * NS_PER_MS), max_size=2).map(tuple),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(
    plans(),
    FATES,
    st.booleans(),
    st.just(900) | st.integers(0, 40),
    st.booleans(),
    st.sampled_from(["UDP", "TCP"]),
    st.none() | st.integers(90, 200),
)
def test_every_call_ends_on_both_sides_after_a_limited_number_of_messages(
    planned: AnswerPlan,
    drawn: list[tuple[int, ...]],
    is_dead_after: bool,
    hang_up_s: int,
    has_login: bool,
    transport: str,
    interval_s: int | None,
) -> None:
    fates = iter(drawn)
    rest = () if is_dead_after else (NS_PER_MS,)
    network = VirtualNetwork(
        lambda _: planned,
        lambda: next(fates, rest),
        transport=transport,
        login=LOGIN if has_login else None,
        session_interval_s=interval_s,
    )
    call = network.calls[0]
    network.at_s(hang_up_s, call.hang_up)

    network.run(2_000 * NS_PER_S)

    assert call.state is CallState.ENDED
    assert call.ending is not None
    assert call.is_confirmed
    assert network.exchange.calls == {}
    assert all(
        party.ended_ns is not None for party in network.parties if party.invited_ns is not None
    )
    assert network.messages < 1_000
    assert set(call.dropped) | set(network.exchange.dropped) <= {
        "unmatched responses",
        "unmatched ACKs",
    }
