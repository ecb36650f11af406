"""The remedies of failures. Every possible failure has a remedy that users can read."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bench.catalogue.outcomes
from bench.catalogue.causes import in_words
from bench.catalogue.model_retirements import Retirement
from bench.catalogue.outcomes import (
    NO_COMMON_AUDIO,
    NO_MEDIA,
    NO_OWN,
    NO_PATH,
    NO_WAY,
    NOT_COMPUTED,
    REALTIME_MODELS,
    Family,
    OutcomeRow,
    OwnRemedies,
    meaning,
    outcome_class,
    parsed,
    refusal_status,
    remedy_of,
)
from bench.catalogue.outcomes import OUTCOMES as TABLE
from bench.catalogue.pricing import undated
from bench.services.agents import REMEDIES_OF_OFFERS
from bench.services.openai.dialect import WITHOUT_DETECTION
from bench.services.registry import SERVICES, retirement_of
from bench.services.telephone import OF_SIP, REMEDIES, ROWS
from bench.target.price_table import load_price_table
from reports.analysis.summary.ignored_settings import remedies_with
from tests.faults.cells import cells

LOGIN_REFUSED = "the peer refused the user or the password"
NO_DIGEST = "its kind of sign-in is not supported"
OTHER_CERTIFICATE = (
    "the certificate of the peer's DTLS does not have the fingerprint of its session description"
)
OTHER_KEY = "packets that SRTP rejected"
OTHER_TYPES = "packets with another payload type"
SERVICE_REPORTED = "the service reported: "

OUTCOMES = sorted({outcome for cell in cells() for outcome in cell.outcomes})
OTHERS = (
    "timeout:dns",
    "timeout:tcp",
    "connect_failed:dns",
    "connect_failed:token",
    "connect_failed:proxy",
    "failed:load_generator",
    "failed:x",
)


def test_an_outcome_has_a_remedy_if_and_only_if_it_is_a_failure() -> None:
    outcomes = [*OUTCOMES, *OTHERS, "interrupted", "unfinished"]

    assert [one for one in outcomes if remedy_of(one)] == [
        one for one in outcomes if outcome_class(one) == "failed"
    ]


def test_a_remedy_that_names_the_doctor_names_the_options_that_it_needs() -> None:
    """Without them the doctor checks the default target, or none."""
    remedies = {remedy_of(one, (), own) for one in OUTCOMES for own in (NO_OWN, REMEDIES)}
    named = [remedy for remedy in remedies if "rtbench doctor" in remedy]

    assert named
    assert [remedy for remedy in named if "same --url or --targets" not in remedy] == []


@pytest.mark.parametrize("own", [REMEDIES, REMEDIES_OF_OFFERS])
def test_audio_of_another_codec_or_key_is_not_said_to_be_dropped_by_a_firewall(
    own: OwnRemedies,
) -> None:
    codec, key = (
        remedy_of(NO_MEDIA, [in_words(f"no RTP packet: 41 {text}")], own)
        for text in (OTHER_TYPES, OTHER_KEY)
    )

    assert "--codec" in codec
    assert "another key" in key
    assert all("firewall" not in each and "UDP" not in each for each in (codec, key))


def test_the_remedy_of_a_refused_codec_is_one_that_calls_accept() -> None:
    assert "--codec" in NO_COMMON_AUDIO
    # a telephone call has one format, which scripts cannot set
    assert "input_format" not in NO_COMMON_AUDIO


@pytest.mark.parametrize(
    "problem", [OTHER_CERTIFICATE, "the DTLS handshake failed: tls alert certificate unknown"]
)
def test_a_certificate_that_is_not_that_of_the_description_is_named(problem: str) -> None:
    assert "session description" in remedy_of(
        "connect_failed:dtls", [in_words(problem)], REMEDIES_OF_OFFERS
    )


def test_a_silent_handshake_after_ice_is_not_said_to_be_blocked_udp() -> None:
    assert remedy_of("timeout:dtls", (), REMEDIES_OF_OFFERS).startswith("UDP passes")


@pytest.mark.parametrize(("auth", "words"), [(None, "no key was sent"), ("key", "copy the key")])
def test_the_remedy_of_a_run_knows_whether_a_key_was_sent(auth: str | None, words: str) -> None:
    assert words in remedy_of("connect_failed:401", (), remedies_with([], NO_OWN, {"auth": auth}))


DETAILS = Path(__file__).with_name("remedies.txt").read_text(encoding="utf-8").split("\n\n")[1:]


@pytest.mark.parametrize("row", DETAILS, ids=lambda row: " ".join(row.split()))
def test_a_remedy_matches_the_cause_in_the_detail(row: str) -> None:
    outcome, detail, words, never = (part.strip() for part in row.strip().split("\n"))
    detail, words, never = detail.removeprefix("-"), words[2:], never[2:]
    remedy = remedy_of(outcome, [in_words(detail)])

    assert words in remedy
    assert never not in remedy


DAYS = st.dates(date(2024, 1, 1), date(2030, 1, 1))


def test_the_price_list_and_the_doctor_know_the_same_realtime_models() -> None:
    priced = {undated(model) for model in load_price_table(None).models}

    others = {
        model
        for model in priced
        if "realtime" not in model or model in WITHOUT_DETECTION or model.endswith("-translate")
    }
    assert priced - others == set(REALTIME_MODELS)


def test_every_retired_realtime_model_has_a_price() -> None:
    retired = {
        undated(model)
        for service in SERVICES.values()
        for model in service.retirements
        if "realtime" in model
    }

    assert retired <= set(REALTIME_MODELS)


@pytest.mark.parametrize(
    ("service", "model"),
    [("openai", "gpt-realtime-2.1"), ("other", "gpt-realtime"), ("azure", ""), ("azure", "mine")],
)
def test_a_model_without_a_known_retirement_day_has_none(service: str, model: str) -> None:
    assert retirement_of(service, model) is None


@given(DAYS, DAYS)
def test_a_retirement_is_in_the_past_tense_after_its_day(day: date, today: date) -> None:
    words = Retirement("m", day, "a page").text(today)

    assert words.startswith("was to be" if today > day else "is switched off")
    assert day.isoformat() in words
    assert words.endswith("(a page)")


def test_a_retirement_today_or_tomorrow_has_its_own_wording() -> None:
    retirement = Retirement("m", date(2027, 1, 20), "a page")

    assert "2027-01-20, today (" in retirement.text(retirement.day)
    assert "2027-01-20, in 1 day (" in retirement.text(retirement.day - timedelta(days=1))


@pytest.mark.parametrize(
    ("outcome", "detail", "words"),
    [
        ("connect_failed:401", "SIP 401 Unauthorized", "auth: basic"),
        (
            "connect_failed:407",
            f"SIP 407 x ({LOGIN_REFUSED})",
            "check user:password in the variable",
        ),
        ("connect_failed:401", f"SIP 401 x ({NO_DIGEST})", "digest authentication"),
        ("connect_failed:403", "SIP 403 Forbidden", "trunk"),
        ("connect_failed:404", "SIP 404 Not Found", "before @"),
        ("connect_failed:407", "SIP 407 Proxy Authentication Required", "auth: basic"),
        ("connect_failed:486", "SIP 486 Busy Here", "accepts no further call"),
        ("connect_failed:488", "SIP 488 Not Acceptable Here", "PCMU"),
        ("connect_failed:603", "SIP 603 Decline", "see its log"),
        ("connect_failed:500", "SIP 500 Server Internal Error", "internal error"),
        (
            "connect_failed:media",
            "the call was answered without audio that this tool can receive",
            "PCMU",
        ),
        ("throttled:handshake", "SIP 480 Temporarily Unavailable", "registered"),
        ("throttled:handshake", "SIP 503 Service Unavailable", "-u, --connect-rate"),
        ("timeout:upgrade", "the call was not answered within 10 s: it only rang", "`upgrade`"),
        (
            "timeout:upgrade",
            "the call was not answered within 10 s: there was no response to INVITE",
            "UDP port",
        ),
    ],
)
def test_a_telephone_call_that_was_not_answered_has_a_remedy_of_telephones(
    outcome: str, detail: str, words: str
) -> None:
    remedy = remedy_of(outcome, [in_words(detail)], REMEDIES)

    assert words in remedy
    assert "WebSocket" not in remedy


def test_each_status_of_sip_has_a_remedy_that_is_about_telephones() -> None:
    for status in range(300, 700):
        outcome = "throttled:handshake" if status in (480, 503, 600) else f"connect_failed:{status}"
        remedy = remedy_of(outcome, [in_words(f"SIP {status} Phrase (Reason)")], REMEDIES)

        assert remedy, status
        assert "rtbench doctor" not in remedy, status
        assert "status page" not in remedy, status
        assert remedy_of(outcome, [in_words(f"SIP {status}")], REMEDIES) == remedy


OWN_TEXTS = [code.value for row in (*TABLE.values(), *ROWS.values()) for code in row.causes]
BEGINNINGS = [
    *OWN_TEXTS,
    SERVICE_REPORTED,
    f"{SERVICE_REPORTED}:",
    "SIP ",
    "SIP",
    "SIP 486 ",
    "HTTP 404: ",
    "; ",
    ":",
]
PEER_TEXTS = st.builds(
    "{}{}".format, st.sampled_from(BEGINNINGS), st.text(max_size=8) | st.sampled_from(OWN_TEXTS)
)
"""Texts that a peer may send. They contain the texts by which remedies are found."""
ENDINGS = st.sampled_from([*OUTCOMES, *OTHERS]) | st.builds(
    "{}:{}".format,
    st.sampled_from(
        ["closed", "connect_failed", "failed", "timeout", "throttled", "protocol_error", ""]
    ),
    st.sampled_from(["1000", "1006", "404", "503", "upgrade", "²", "٤٠٤", "9" * 5_000])
    | st.text(max_size=8),
)
"""Outcomes: those that are known, and those with a code that a service decides."""


@given(ENDINGS, PEER_TEXTS | st.text(), st.booleans())
def test_no_text_of_a_peer_prevents_a_remedy(outcome: str, detail: str, by_telephone: bool) -> None:
    assert (
        remedy_of(outcome, [in_words(detail)], REMEDIES if by_telephone else NO_OWN) != NOT_COMPUTED
    )
    assert isinstance(meaning(outcome), str)
    assert refusal_status(outcome) is None or 100 <= (refusal_status(outcome) or 0) <= 999


def test_the_words_of_a_service_after_those_of_this_tool_state_no_cause() -> None:
    detail = "session.created was not received"
    words = f"{detail}; {SERVICE_REPORTED}server_error: session.updated was not received"

    assert remedy_of("timeout:session", [in_words(words)]) == remedy_of(
        "timeout:session", [in_words(f"{detail}; {SERVICE_REPORTED}server_error")]
    )


OF_TELEPHONES = {
    *OF_SIP.values(),
    *(remedy for row in ROWS.values() for remedy in (*row.causes.values(), row.remedy) if remedy),
} - {NO_WAY}  # a WebSocket has it, too
OF_WEBSOCKETS = {
    NO_PATH,
    *(TABLE[code].remedy for code in ("timeout:upgrade", "timeout:tcp", "connect_failed:upgrade")),
    *TABLE["connect_failed:upgrade"].causes.values(),
}
CALLS = (
    "connect_failed:404",
    "connect_failed:503",
    "timeout:upgrade",
    "timeout:tcp",
    "throttled:handshake",
    "closed:1000",
)


@given(ENDINGS | st.sampled_from(CALLS), PEER_TEXTS | st.text())
def test_the_transport_decides_whether_a_remedy_is_one_of_telephones(
    outcome: str, detail: str
) -> None:
    assert remedy_of(outcome, [in_words(detail)]) not in OF_TELEPHONES
    if outcome != "connect_failed:upgrade":  # no telephone call ends like this
        assert remedy_of(outcome, [in_words(detail)], REMEDIES) not in OF_WEBSOCKETS


@pytest.mark.parametrize(
    ("outcome", "parts"),
    [
        ("ok", (Family.OK, "", "")),
        ("timeout:first_delta", (Family.TIMEOUT, "first_delta", "")),
        ("failed:missing_call_done", (Family.FAILED, "missing_call_done", "call_done")),
        ("failed:missing_", (Family.FAILED, "missing_", "")),
        ("a later version's: x", (Family.UNKNOWN, " x", "")),
    ],
)
def test_an_outcome_has_a_family_and_a_code(outcome: str, parts: tuple[Family, str, str]) -> None:
    assert parsed(outcome) == parts


BENCH = Path(bench.catalogue.outcomes.__file__).parents[1]
ENDINGS_OF_CODE = {
    "observe": {"Ending", "fail", "end"},
    "session": {"SessionFailed", "fail"},
    "target": {"ConnectError"},
    "transport": {"ConnectError"},
}
"""The functions and types, by package, whose first argument is an outcome."""
SENT = "…"


def outcomes_in(argument: ast.expr, names: Mapping[str, object]) -> Iterator[str]:
    """Yield the outcomes that an expression may have. SENT stands for the code of a service."""
    match argument:
        case ast.Constant(str(outcome)):
            yield outcome
        case ast.JoinedStr(parts):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else SENT for part in parts
            )
        case ast.IfExp(body=then, orelse=otherwise):
            yield from outcomes_in(then, names)
            yield from outcomes_in(otherwise, names)
        case ast.Name(name) | ast.Attribute(attr=name) if isinstance(names.get(name), str):
            yield str(names[name])


def test_every_outcome_that_the_code_can_produce_has_a_row_and_a_failure_a_remedy() -> None:
    produced = {
        outcome
        for package, names in ENDINGS_OF_CODE.items()
        for path in (BENCH / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in names
        for argument in node.args[:1]
        for outcome in outcomes_in(argument, vars(bench.catalogue.outcomes))
        if not outcome.startswith(SENT)  # the family is that of another ending
    }
    families = {parsed(outcome).family for outcome in produced} | set(Family) - {Family.UNKNOWN}
    kinds = {outcome: outcome_class(outcome) for outcome in (*produced, *families)}

    assert len(produced) > 40
    assert families <= TABLE.keys()
    assert {outcome for outcome in kinds if not meaning(outcome)} == set()
    assert {outcome for outcome, kind in kinds.items() if kind == "failed"} == {
        outcome for outcome, kind in kinds.items() if remedy_of(outcome) and kind != "unfinished"
    }


class Unreadable(dict[str, OutcomeRow]):
    def get(self, key: str, default: OutcomeRow | None = None) -> OutcomeRow:  # type: ignore[override]
        raise IndexError(key)


def test_a_remedy_that_fails_states_that_it_could_not_be_determined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.catalogue.outcomes.OUTCOMES", Unreadable())

    assert remedy_of("closed:4000", [in_words("x")]) == NOT_COMPUTED
