"""Calls that the simulator receives, each on a network without losses: plans, logins, and
several calls at a time.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.messages import SipResponse, parse_message, write_message
from bench.wire.addresses import HostPort
from rtbench_simulator.services.telephone.answer_plan import AnswerPlan, LoginDemand, PlannedRequest
from rtbench_simulator.services.telephone.exchange import TelephoneExchange
from tests.simulator.telephone.virtual_network import CALLED, CALLER, VirtualNetwork, plan
from tests.transport.sip.scripted_peer import ANSWER, ScriptedPeer, tokens

LOGIN = DigestLogin("alice", "correct horse")


def network_of(planned: AnswerPlan, **changes: object) -> VirtualNetwork:
    return VirtualNetwork(lambda _: planned, **changes)  # type: ignore[arg-type]


def short(network: VirtualNetwork) -> list[str]:
    """Return the messages of a network: methods and status codes, with the direction."""
    return [f"{line[0]}{line[2:].removeprefix('SIP/2.0 ').split()[0]}" for line in network.log]


def exchange_of(planned: AnswerPlan, **changes: int) -> TelephoneExchange:
    party = LocalParty(CALLED, "UDP", f"sip:simulator@{CALLED}", "simulator")
    return TelephoneExchange(lambda _: planned, party, tokens("exchange"), **changes)


def request(
    method: str, *headers: tuple[str, str], call_id: str = "c1", to_tag: str = "", cseq: int = 1
) -> bytes:
    lines = [
        ("Via", f"SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{method}{cseq}{call_id}"),
        ("From", "<sip:a@b>;tag=from"),
        ("To", f"<sip:s@h>{to_tag and f';tag={to_tag}'}"),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} {method}"),
    ]
    return write_message(f"{method} sip:s@h SIP/2.0", [*lines, *headers])


def codes(exchange: TelephoneExchange) -> list[int]:
    found = [parse_message(message.data) for message in exchange.pop_messages()]
    return [each.code for each in found if isinstance(each, SipResponse)]


def test_the_responses_are_sent_at_the_planned_times() -> None:
    network = network_of(
        plan(ringing_ns=100 * NS_PER_MS, early_media_ns=200 * NS_PER_MS, final_ns=300 * NS_PER_MS),
        fates=lambda: (0,),
    )
    network.at_s(5, network.calls[0].hang_up)
    network.run()
    call, party = network.calls[0], network.parties[0]

    assert short(network) == [">INVITE", "<100", "<180", "<183", "<200", ">ACK", ">BYE", "<200"]
    assert (call.ringing_ns, call.answered_ns) == (100 * NS_PER_MS, 300 * NS_PER_MS)
    assert call.early_media == call.media
    assert call.media is not None
    assert (call.media.address, call.media.port) == ("198.51.100.7", 42_000)
    assert party.media is not None
    assert (party.media.address, party.media.port) == ("192.0.2.1", 40_000)
    assert (party.answered_ns, party.acknowledged_ns, party.ended_ns, party.end_cause) == (
        300 * NS_PER_MS,
        300 * NS_PER_MS,
        5 * NS_PER_S,
        "peer",
    )


@pytest.mark.parametrize("code", [404, 480, 486, 500, 503, 603])
def test_a_call_is_refused_with_the_planned_response(code: int) -> None:
    network = network_of(
        plan(
            code=code,
            phrase="As planned",
            retry_after_s=7,
            final_ns=NS_PER_S,
            headers=(("Reason", "Q.850;cause=17"),),
        )
    )
    network.run()
    ending = network.calls[0].ending

    assert short(network)[-2:] == [f"<{code}", ">ACK"]
    assert ending is not None
    assert (ending.code, ending.phrase, ending.retry_after_s, ending.reason) == (
        code,
        "As planned",
        7,
        "Q.850;cause=17",
    )
    assert network.exchange.calls == {}


@pytest.mark.parametrize("code", [401, 407])
@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
@pytest.mark.parametrize("has_qop", [True, False])
def test_a_call_with_the_right_password_is_answered(
    code: int, algorithm: str, has_qop: bool
) -> None:
    demand = LoginDemand(LOGIN, code=code, algorithm=algorithm, has_qop=has_qop)  # type: ignore[arg-type]
    network = network_of(plan(demand=demand), login=LOGIN)
    network.run(NS_PER_S)

    assert short(network) == [">INVITE", f"<{code}", ">ACK", ">INVITE", "<100", "<200", ">ACK"]


@pytest.mark.parametrize(
    "login",
    [DigestLogin("alice", "wrong horse"), DigestLogin("bob", "correct horse"), DigestLogin("", "")],
)
def test_a_call_with_a_wrong_login_is_refused(login: DigestLogin) -> None:
    network = network_of(plan(demand=LoginDemand(LOGIN)), login=login)
    network.run()

    assert short(network) == [">INVITE", "<401", ">ACK", ">INVITE", "<401", ">ACK"]
    assert network.calls[0].ending is not None
    assert network.calls[0].ending.code == 401
    assert network.exchange.calls == {}


def test_a_nonce_that_is_used_up_is_stale() -> None:
    network = network_of(plan(demand=LoginDemand(LOGIN, uses_per_nonce=0)), login=LOGIN)
    network.run()

    assert short(network).count(">INVITE") == 4
    assert network.calls[0].ending is not None


def test_a_cancelled_call_gets_487() -> None:
    network = network_of(plan(ringing_ns=0, final_ns=None))
    network.at_s(3, network.calls[0].hang_up)
    network.run()

    assert short(network) == [">INVITE", "<100", "<180", ">CANCEL", "<200", "<487", ">ACK"]
    assert network.parties[0].code == 487


def test_without_an_ack_the_answer_is_repeated_twice_and_the_call_has_ended() -> None:
    peer = ScriptedPeer()
    exchange = exchange_of(plan(trying_ns=None))
    exchange.received(peer.outgoing[0].data, 0, CALLER)
    sent = []
    while exchange.next_ns < 100 * NS_PER_S:
        at_ns = exchange.next_ns
        exchange.expire(at_ns)
        sent += [(at_ns / NS_PER_S, message.data[:11]) for message in exchange.pop_messages()]

    assert sent == [(at_s, b"SIP/2.0 200") for at_s in (0, 0.5, 1.5)]
    assert exchange.calls == {}


def test_an_answer_in_a_lost_ack_is_repeated_over_tcp_too() -> None:
    peer = ScriptedPeer(transport="TCP")
    exchange = exchange_of(plan(trying_ns=None))
    exchange.received(peer.outgoing[0].data, 0, CALLER)
    exchange.expire(0)
    exchange.expire(NS_PER_S)

    assert codes(exchange) == [200, 200]


def test_planned_requests_are_sent_after_the_ack() -> None:
    requests = (
        PlannedRequest(3 * NS_PER_S, "BYE", reason="Q.850;cause=16"),
        PlannedRequest(1 * NS_PER_S, "INVITE", "sendonly"),
        PlannedRequest(2 * NS_PER_S, "UPDATE", "sendrecv"),
    )
    network = network_of(plan(requests=requests))
    seen = []
    for second in (0.5, 1.5, 2.5):
        network.at_s(second, lambda _: seen.append(network.calls[0].media))
    network.run()

    assert short(network)[3:] == [
        ">ACK",
        "<INVITE",
        ">200",
        "<ACK",
        "<UPDATE",
        ">200",
        "<BYE",
        ">200",
    ]
    assert [media.direction for media in seen if media is not None] == [
        "sendrecv",
        "recvonly",
        "sendrecv",
    ]
    assert network.parties[0].media_changes == 2
    ending = network.calls[0].ending
    assert ending is not None
    assert (ending.by, ending.reason) == ("peer", "Q.850;cause=16")


def test_requests_that_cross_are_both_repeated_after_glare() -> None:
    network = network_of(plan(requests=(PlannedRequest(2 * NS_PER_S, "INVITE", "sendonly"),)))
    call = network.calls[0]
    network.run(NS_PER_S)
    leg = call._answered
    assert leg is not None
    network.at_s(2.0025, lambda now_ns: leg.send_invite(now_ns, "recvonly"))
    network.at_s(20, call.hang_up)
    network.run()
    messages = short(network)

    assert (messages.count("<491"), messages.count(">491")) == (1, 1)
    assert (messages.count("<INVITE"), messages.count(">INVITE")) == (2, 3)
    assert call.media is not None
    assert call.media.direction == "recvonly"
    assert call.ending is not None
    assert call.ending.by == "caller"


def test_the_simulator_hangs_up_after_the_maximum_duration() -> None:
    network = network_of(plan(max_duration_ns=60 * NS_PER_S))
    network.run()

    assert network.calls[0].ending is not None
    assert network.calls[0].ending.by == "peer"
    assert network.parties[0].end_cause == "maximum duration"


def test_a_session_with_an_interval_is_refreshed_for_as_long_as_it_lasts() -> None:
    network = network_of(plan(session_interval_s=90))
    network.at_s(1_000, network.calls[0].hang_up)
    network.run()

    assert short(network).count(">UPDATE") == 22
    assert network.parties[0].end_cause == "peer"


def test_more_calls_than_the_limit_get_503() -> None:
    exchange = exchange_of(plan(), max_calls=1)
    for number in range(2):
        exchange.received(
            request("INVITE", ("Contact", "<sip:a@b>"), call_id=f"c{number}"), 0, CALLER
        )
    sent = parse_message(exchange.pop_messages()[-1].data)

    assert isinstance(sent, SipResponse)
    assert (sent.code, sent.first("Retry-After")) == (503, "1")
    assert len(exchange.calls) == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (request("OPTIONS"), 200),
        (request("REGISTER"), 405),
        (request("DANCE"), 501),
        (request("BYE", to_tag="x"), 481),
        (request("CANCEL"), 481),
        (request("INVITE", to_tag="x"), 481),
        (request("INVITE"), 400),
        (request("INVITE", ("Contact", "<sip:a@b>"), ("Require", "100rel")), 420),
        (
            request(
                "INVITE",
                ("Contact", "<sip:a@b>"),
                ("Session-Expires", "30"),
                ("Supported", "timer"),
            ),
            422,
        ),
    ],
)
def test_a_request_that_begins_no_call_gets_the_response_of_the_standard(
    data: bytes, code: int
) -> None:
    exchange = exchange_of(plan())
    exchange.received(data, 0, CALLER)

    assert codes(exchange) == [code]
    while exchange.calls:
        exchange.expire(exchange.next_ns)
    assert exchange.next_ns == NEVER_NS


def test_an_invite_without_an_offer_gets_an_offer_and_the_answer_is_in_the_ack() -> None:
    exchange = exchange_of(plan(trying_ns=None))
    contact = ("Contact", "<sip:a@b>")
    exchange.received(request("INVITE", contact), 0, CALLER)
    exchange.expire(0)
    answer = parse_message(exchange.pop_messages()[0].data)
    assert b"m=audio 42000 RTP/AVP 0 8 101" in answer.body
    ack = request("ACK", to_tag=answer.callee.tag).replace(
        b"Content-Length: 0\r\n\r\n", b"Content-Length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
    )
    exchange.received(ack, 1, CALLER)
    party = exchange.calls["c1"]

    assert party.media is not None
    assert party.media.port == 50_000


def test_an_offer_without_usable_audio_gets_488() -> None:
    peer = ScriptedPeer()
    exchange = exchange_of(plan())
    exchange.received(peer.outgoing[0].data.replace(b"RTP/AVP 0", b"RTP/SAP 0"), 0, CALLER)

    assert codes(exchange) == [488]


def test_hang_up_before_the_ack_waits_for_it() -> None:
    peer = ScriptedPeer()
    exchange = exchange_of(plan(trying_ns=None))
    exchange.received(peer.outgoing[0].data, 0, CALLER)
    exchange.expire(0)
    exchange.hang_up(peer.call.call_id, 1)
    (answer,) = exchange.pop_messages()
    peer.call.received(answer.data, 2)
    exchange.received(peer.call.pop_messages()[0].data, 3, CALLER)
    exchange.expire(3)

    assert [message.data[:3] for message in exchange.pop_messages()] == [b"BYE"]


def test_hang_up_before_the_answer_refuses_the_call() -> None:
    network = network_of(plan(ringing_ns=0, final_ns=None))
    network.at_s(1, lambda now_ns: network.exchange.hang_up(network.calls[0].call_id, now_ns))
    network.run()

    assert network.calls[0].ending is not None
    assert network.calls[0].ending.code == 480


def test_a_bye_in_the_early_dialog_ends_the_invite() -> None:
    exchange = exchange_of(plan(trying_ns=None, ringing_ns=0, final_ns=None))
    exchange.received(request("INVITE", ("Contact", "<sip:a@b>")), 0, CALLER)
    exchange.expire(0)
    ringing = parse_message(exchange.pop_messages()[0].data)
    exchange.received(request("BYE", to_tag=ringing.callee.tag, cseq=2), 1, CALLER)

    assert codes(exchange) == [200, 487]


def test_messages_that_belong_to_no_call_are_counted() -> None:
    exchange = exchange_of(plan())
    exchange.received(b"garbage", 0, CALLER)
    exchange.received(b"\r\n\r\n", 0, CALLER)
    exchange.received(request("ACK"), 0, CALLER)
    exchange.received(
        b"SIP/2.0 200 OK\r\n" + request("BYE").partition(b"\r\n")[2], 0, HostPort("h", 1)
    )

    assert exchange.dropped == {"malformed": 1, "unmatched ACKs": 1, "unmatched responses": 1}
    assert exchange.pop_messages() == []


def test_a_plan_may_redirect_a_call() -> None:
    first = plan(code=302, headers=(("Contact", "<sip:other@biloxi.example>"),))
    network = VirtualNetwork(
        lambda invite: first if "bob" in invite.uri else replace(first, code=200, headers=())
    )
    network.run(NS_PER_S)

    assert short(network) == [">INVITE", "<100", "<302", ">ACK", ">INVITE", "<100", "<200", ">ACK"]


def test_planned_requests_at_the_same_time_are_sent_one_after_the_other() -> None:
    requests = tuple(
        PlannedRequest(NS_PER_S, "INVITE", direction)
        for direction in ("sendonly", "inactive", "sendrecv")
    )
    network = network_of(plan(requests=requests))
    network.at_s(10, network.calls[0].hang_up)
    network.run()

    assert short(network).count("<INVITE") == 3
    assert network.parties[0].media_changes == 3
    assert network.calls[0].media is not None
    assert network.calls[0].media.direction == "sendrecv"


@pytest.mark.parametrize("final_ns", [None, 0])
def test_a_second_invite_without_a_tag_is_a_loop_while_the_call_lasts(final_ns: int | None) -> None:
    exchange = exchange_of(plan(trying_ns=None, ringing_ns=0, final_ns=final_ns))
    exchange.received(request("INVITE", ("Contact", "<sip:a@b>")), 0, CALLER)
    exchange.expire(0)
    codes(exchange)
    exchange.received(request("INVITE", ("Contact", "<sip:a@b>"), cseq=2), 1, CALLER)
    exchange.received(request("OPTIONS", cseq=3), 2, CALLER)

    assert codes(exchange) == [482, 200]


def test_a_refused_invite_with_an_old_number_does_not_begin_the_call_again() -> None:
    exchange = exchange_of(plan(trying_ns=None, code=486))
    exchange.received(request("INVITE", ("Contact", "<sip:a@b>"), cseq=5), 0, CALLER)
    exchange.expire(0)
    exchange.received(request("INVITE", ("Contact", "<sip:a@b>"), cseq=4), 1, CALLER)
    exchange.received(request("INVITE", ("Contact", "<sip:a@b>"), cseq=6), 2, CALLER)
    exchange.expire(2)

    assert codes(exchange) == [486, 482, 486]


def test_planned_requests_wait_for_the_ack_even_if_another_request_comes_first() -> None:
    exchange = exchange_of(plan(trying_ns=None, requests=(PlannedRequest(0, "BYE"),)))
    exchange.received(request("INVITE", ("Contact", "<sip:a@b>")), 0, CALLER)
    exchange.expire(0)
    tag = parse_message(exchange.pop_messages()[0].data).callee.tag
    exchange.received(request("OPTIONS", to_tag=tag, cseq=2), 1, CALLER)
    exchange.expire(1)

    assert [message.data[:11] for message in exchange.pop_messages()] == [b"SIP/2.0 200"]


@pytest.mark.parametrize("name", ["Require", "Allow", "Supported", "Record-Route", "Contact"])
@pytest.mark.parametrize("value", ["a," * 70, 'a"'])
def test_an_invite_with_an_invalid_list_begins_no_call(name: str, value: str) -> None:
    exchange = exchange_of(plan())
    exchange.received(request("INVITE", (name, value), ("Contact", "<sip:a@b>")), 0, CALLER)

    assert exchange.calls == {}
    assert exchange.dropped == {"malformed": 1}
    assert exchange.pop_messages() == []
