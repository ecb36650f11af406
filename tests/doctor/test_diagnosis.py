"""The diagnosis of a refusal. Each refusal has a remedy that fits the target."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.clock import Arrival
from bench.catalogue.causes import Cause, Code, in_words
from bench.catalogue.outcomes import NO_KEY
from bench.catalogue.timeouts import Timeouts
from bench.doctor.diagnosis import (
    Refusal,
    any_failed,
    explain,
    hint,
    lines,
    printable_finding,
)
from bench.observe import inputs
from bench.observe.inputs import SessionStart
from bench.record.event_log import EventLog, LoggedTimeline
from bench.record.replay import ReplayedSession, replay_log
from bench.services.agents import TWILIO
from bench.services.openai.dialect import GA
from bench.services.openai.preview import PREVIEW
from bench.services.registry import DIALECT_REMEDIES, DIALECTS
from bench.target.target import Auth, Credential, EntraSignIn, Target
from bench.transport.interface import NetworkPath, Proxy
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import Dialect
from bench.wire.findings import CheckFinding, FindingState
from rtbench_simulator.refusals import (
    AFTER_UPGRADE,
    BEFORE_UPGRADE,
    STRAY_VERSION,
    TOO_MANY_HEADERS,
)
from rtbench_simulator.services.openai import ga_session
from rtbench_simulator.session.effective import NewSession
from tests.doctor.targets import HOST, KEY, build_target
from tests.helpers import AT_NS, at, message

NOT_OFFERED = ", which was not offered"
OTHER_LOGIN = "it accepts only "
SERVICE_REPORTED = "the service reported: "

ENTRA = EntraSignIn("https://cognitiveservices.azure.com/.default")


@pytest.mark.parametrize(
    ("outcome", "words", "auth", "expected"),
    [
        (
            "connect_failed:400",
            "HTTP 400: OpperationNotSupported: no",
            KEY,
            "voice is not a deployment of a realtime model",
        ),
        (
            "connect_failed:400",
            "HTTP 400: BadRequest: API version not supported",
            KEY,
            "2025-04-01-preview",
        ),
        (
            "connect_failed:400",
            "HTTP 400: the model version 2 is not ready",
            KEY,
            "compare path and query",
        ),
        (
            "connect_failed:401",
            "HTTP 401: PermissionDenied: no",
            ENTRA,
            "Cognitive Services OpenAI User",
        ),
        ("connect_failed:401", "HTTP 401: Access denied", KEY, f"copy Key 1 of {HOST}"),
        ("connect_failed:401", "HTTP 401: Access denied", None, "--api-key-env"),
        ("connect_failed:401", "HTTP 401: Access token is missing or expired", ENTRA, "clock"),
        (
            "connect_failed:403",
            "HTTP 403: Access denied due to Virtual Network/Firewall rules.",
            KEY,
            "Networking",
        ),
        (
            "connect_failed:403",
            "HTTP 403: Key-based authentication is disabled",
            KEY,
            "--auth entra",
        ),
        (
            "connect_failed:upgrade",
            "the answer has no Sec-WebSocket-Accept",
            KEY,
            "a cache or proxy",
        ),
        ("connect_failed:some_code", "its words", KEY, "see its message"),
        (
            "connect_failed:404",
            "HTTP 404: DeploymentNotFound: no",
            KEY,
            "no deployment called voice",
        ),
        ("connect_failed:404", "HTTP 404: Resource not found", KEY, "/openai/v1/realtime"),
        ("throttled:response", "rate_limit_exceeded: limit", KEY, "shorten the turns"),
        ("throttled:response", "insufficient_quota: no", KEY, "billing"),
        ("connect_failed:insufficient_quota", "You exceeded your current quota", KEY, "billing"),
        ("connect_failed:dns", "no such name", KEY, "DNS zone"),
        ("connect_failed:tls", "unknown ca", KEY, "--ca-file"),
        ("timeout:proxy", "nothing", KEY, "check its URL"),
        (
            "connect_failed:proxy",
            f"the proxy p: 407; {OTHER_LOGIN}NTLM, which this tool does not support",
            KEY,
            "px or cntlm",
        ),
        (
            "connect_failed:upgrade",
            f"the server chose the subprotocol x{NOT_OFFERED}",
            KEY,
            "set `subprotocols: x`",
        ),
        ("connect_failed:token", "the endpoint is down", ENTRA, "az login"),
        ("failed:no_audio", "", KEY, "the deployment's model supports audio"),
    ],
)
def test_a_refusal_has_a_remedy(outcome: str, words: str, auth: Auth, expected: str) -> None:
    assert expected in explain(Refusal(outcome, [in_words(words)]), build_target(auth))


@pytest.mark.parametrize(
    ("words", "auth", "expected"),
    [
        ("HTTP 401: no", KEY, "no keys: set `auth: entra`"),
        ("HTTP 401: PermissionDenied: no", ENTRA, "'Foundry User'"),
        ("HTTP 404: no", ENTRA, "the project care has no voice agent a desk"),
        ("HTTP 409: agent_disabled: no", ENTRA, "enable it in the project care"),
    ],
)
def test_a_refusal_of_a_voice_agent_names_who_is_at_fault(
    words: str, auth: Auth, expected: str
) -> None:
    path = "/api/projects/care/agents/a%20desk/endpoint/protocols/voice"
    target = replace(build_target(auth), resource=path, dialect=DIALECTS["foundry"])
    outcome = f"connect_failed:{words[5:8]}"
    assert expected in explain(Refusal(outcome, [in_words(words)]), target)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_another_service_without_a_key_asks_for_a_key(status: int) -> None:
    """Azure's documentation of status 403 does not apply to services of other vendors."""
    for host, resource in (
        ("voice.test", "/v1/realtime?model=x"),
        ("voice.test", "/openai/v1/realtime?model=x"),
    ):
        target = replace(build_target(None, resource), host=host, service="other")
        output = explain(
            Refusal(f"connect_failed:{status}", [in_words(f"HTTP {status}: Forbidden")]), target
        )

        assert "no key was sent: name the variable that contains it: --api-key-env NAME" in output
        assert "Networking" not in output


@pytest.mark.parametrize(
    ("status", "host", "service"),
    [(401, "voice.test", "other"), (403, "voice.test", "other"), (401, "127.0.0.1", "azure")],
)
def test_a_key_refused_by_another_service_has_no_azure_remedy(
    status: int, host: str, service: str
) -> None:
    target = replace(build_target(resource="/v1/realtime?model=x"), host=host, service=service)
    output = explain(
        Refusal(f"connect_failed:{status}", [in_words(f"HTTP {status}: Forbidden")]), target
    )

    assert "the variable that --api-key-env names" in output
    assert "Networking" not in output
    assert "Key 1" not in output


@pytest.mark.parametrize("outcome", ["timeout:session", "protocol_error:json"])
@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (
            "/ws",
            "use --dialect acs, asterisk, elevenlabs, exotel, genesys, pcm, plivo, telnyx,"
            " twilio, ultravox or vonage",
        ),
        ("/agent/acs?x=1", "use --dialect acs"),
        ("/v1/realtime?model=x", ""),
        ("/my-api/openai/v1/realtime?model=x", ""),
    ],
)
def test_a_server_that_may_be_an_agent_gets_the_dialects_of_agents(
    resource: str, expected: str, outcome: str
) -> None:
    target = replace(build_target(None, resource), host="localhost", service="other")
    output = explain(Refusal(outcome, [in_words("nothing")]), target)
    assert expected in output
    assert ("if it is an agent" in output) == bool(expected)
    assert "if it is an agent" not in explain(
        Refusal(outcome, [in_words("nothing")], greeting={"id": "s"}), target
    )
    assert "if it is an agent" not in explain(
        Refusal(outcome, [in_words("nothing")]), replace(target, dialect=TWILIO)
    )


APIM = (
    "AzureApiManagementKey"
    ' realm="https://contoso.azure-api.net/my-api",name="api-key",type="header"'
)


@pytest.mark.parametrize(
    ("auth", "challenge", "expected"),
    [
        (Credential("Authorization", "k", "Bearer"), APIM, "set --api-key-header api-key"),
        (
            Credential("api-key", "k"),
            APIM.replace("api-key", "Ocp-Apim-Subscription-Key"),
            "set --api-key-header Ocp-Apim-Subscription-Key",
        ),
        (None, APIM, "set --api-key-header api-key, with the key in the variable of --api-key-env"),
        (ENTRA, APIM, "set --api-key-header api-key"),
        (Credential("API-Key", "k"), APIM, "the variable that --api-key-env names"),
        (KEY, APIM.replace("header", "query"), "add api-key=${VARIABLE} to the URL"),
        (KEY, 'Bearer realm="x", error="invalid_token"', "--api-key-header Authorization"),
        (
            ENTRA,
            'Bearer error="invalid_token", error_description="The audience is invalid"',
            "the token is refused",
        ),
        (KEY, "Basic realm=x", "--auth basic"),
        (KEY, 'Key realm="kong"', "name the header of the key with --api-key-header"),
        (KEY, f"Basic realm=x, {APIM.replace('api-key', 'x-key')}", "--auth basic"),
    ],
)
def test_a_challenge_that_names_another_sign_in_has_its_remedy(
    auth: Auth, challenge: str, expected: str
) -> None:
    for resource in ("/my-api/openai/v1/realtime?model=x", "/v1/realtime?model=x"):
        service = "azure" if "openai" in resource else "other"
        target = replace(
            build_target(auth, resource), host="contoso.azure-api.net", service=service
        )
        output = explain(
            Refusal("connect_failed:401", [Cause(Code.CHALLENGE, {"challenge": challenge})]),
            target,
        )
        assert expected in output
        assert "the key is wrong" not in output


def test_a_403_of_azure_refers_to_its_network_rules_with_or_without_a_key() -> None:
    for auth in (KEY, None):
        assert "Networking" in explain(
            Refusal("connect_failed:403", [in_words("HTTP 403: rules")]), build_target(auth)
        )


@pytest.mark.parametrize(
    ("scheme", "asked"), [("http", "allow CONNECT to port 8443"), ("socks5", "to port 8443")]
)
def test_a_refusal_by_a_proxy_names_the_rule_that_it_needs(
    scheme: Literal["http", "socks5"], asked: str
) -> None:
    target = replace(
        build_target(), port=8443, network_path=NetworkPath(proxy=Proxy(scheme, "proxy.test", 3128))
    )
    output = explain(Refusal("connect_failed:proxy", [in_words("403 Forbidden")]), target)

    assert asked in output
    assert "user and password" in output
    assert ("CONNECT" in output) == (scheme == "http")


@pytest.mark.parametrize("name", BEFORE_UPGRADE)
def test_each_refusal_of_azure_has_a_remedy(name: str) -> None:
    refused = BEFORE_UPGRADE[name]
    outcome = "throttled:handshake" if refused.status == 429 else f"connect_failed:{refused.status}"
    words = f"HTTP {refused.status}: {refused.code}: {refused.message}"

    assert len(explain(Refusal(outcome, [in_words(words)]), build_target())) > 20


@pytest.mark.parametrize("code", AFTER_UPGRADE)
def test_each_refusal_of_openai_has_a_remedy(code: str) -> None:
    assert explain(
        Refusal(f"connect_failed:{code}", [in_words(AFTER_UPGRADE[code].message)]), build_target()
    )


def test_a_stray_api_version_has_another_remedy_than_a_wrong_key() -> None:
    stray = build_target(resource="/openai/v1/realtime?model=voice&api-version=2024-10-01-preview")
    refusal = Refusal("connect_failed:401", [in_words(STRAY_VERSION.message)])

    assert "remove api-version" in explain(refusal, stray)
    assert "remove api-version" not in explain(refusal, build_target())


EXPLANATIONS: dict[str, tuple[Refusal, Auth, str]] = {
    "the role is for the owner of the token": (
        Refusal(
            "connect_failed:401",
            [in_words("PermissionDenied: no")],
            claims={"oid": "object-7", "aud": "x"},
        ),
        ENTRA,
        "az role assignment create --assignee object-7",
    ),
    "the audience of a refused token": (
        Refusal(
            "connect_failed:401", [in_words("Access denied")], claims={"aud": "https://other.test"}
        ),
        ENTRA,
        "the token is for https://other.test",
    ),
    **{
        f"the wait that was asked for, after {outcome}": (
            Refusal(outcome, [in_words("later")], wait_s=6.232),
            KEY,
            "requests a delay of 6.23 s",
        )
        for outcome in ("throttled:handshake", "throttled:response", "connect_failed:503")
    },
    "too many headers are identified by their status": (
        Refusal(f"connect_failed:{TOO_MANY_HEADERS.status}", [in_words("x")]),
        KEY,
        "ten custom headers",
    ),
}


@pytest.mark.parametrize(("refusal", "auth", "expected"), EXPLANATIONS.values(), ids=EXPLANATIONS)
def test_details_of_a_refusal_are_part_of_the_explanation(
    refusal: Refusal, auth: Auth, expected: str
) -> None:
    assert expected in explain(refusal, build_target(auth))


@given(st.text(max_size=30), st.text(max_size=30), st.sampled_from([KEY, ENTRA, None]))
def test_any_refusal_text_is_explained_without_an_error(
    outcome: str, words: str, auth: Auth
) -> None:
    assert isinstance(explain(Refusal(outcome, [in_words(words)]), build_target(auth)), str)


# The output of findings as lines and as JSON.


STATES = st.sampled_from(["pass", "warning", "fail", "skipped"])
WORDS = st.text(st.characters(categories=["L", "N"]), max_size=12)
TEXTS = st.lists(WORDS, max_size=40).map(" ".join)


@given(STATES, TEXTS, TEXTS, st.integers(60, 100))
def test_lines_fit_the_width_and_contain_each_word(
    state: FindingState, expected: str, remedy: str, width: int
) -> None:
    shown = list(lines(CheckFinding("tls", state, expected, remedy), width))

    assert max(map(len, shown)) <= width
    assert " ".join(shown).replace("→", "").split() == [
        state,
        "tls",
        *expected.split(),
        *remedy.split(),
    ]


def test_a_remedy_is_printed_below_its_finding() -> None:
    assert list(lines(CheckFinding("tcp", "fail", "no server", "go there"), 80)) == [
        "fail     tcp              no server",
        "                          → go there",
    ]


def test_control_characters_of_a_service_s_text_are_escaped() -> None:
    shown = printable_finding(CheckFinding("upgrade", "fail", "no\x1b[2J", "a\nb"))

    assert (shown.message, shown.remedy) == (r"no\x1b[2J", r"a\nb")


@pytest.mark.parametrize(
    ("state", "failed"), [("pass", False), ("warning", False), ("skipped", False), ("fail", True)]
)
def test_only_a_failed_finding_counts_as_failed(state: FindingState, failed: bool) -> None:
    assert any_failed([CheckFinding("x", "pass", ""), CheckFinding("x", state, "")]) is failed


def test_the_json_of_a_finding_has_all_its_fields() -> None:
    fields = asdict(CheckFinding("dns", "pass", "found"))

    assert fields == {"name": "dns", "result": "pass", "message": "found", "remedy": ""}


# The remedies that a probe prints for a session that failed.


OTHER = replace(build_target(None, "/v1/realtime?model=x"), host="voice.test", service="other")


def played(
    folder: Path, outcome: str, detail: str, *heard: bytes, spoken: Dialect = GA
) -> ReplayedSession:
    """Return the replay of a session that received the messages `heard`, and then ended with
    this outcome.
    """
    log = EventLog(folder / "log.jsonl", hide=str, record_audio=False)
    timeline = LoggedTimeline(
        SessionStart(AT_NS, 1, Timeouts()), spoken, log=log, about={"dialect": spoken.name}
    )
    for data in heard:
        timeline.apply(
            inputs.Received(spoken.decode(data), ReceivedMessage(data, Arrival(at(1)), len(data)))
        )
    timeline.apply(inputs.SessionFailed(outcome, at(5), detail))
    log.close()
    return replay_log(log.path)


@pytest.mark.parametrize(("target", "expected"), [(OTHER, NO_KEY), (None, "")])
def test_a_refusal_has_a_hint_only_if_the_target_is_known(
    tmp_path: Path, target: Target | None, expected: str
) -> None:
    assert hint(played(tmp_path, "connect_failed:403", "HTTP 403: Forbidden"), target) == expected


@pytest.mark.parametrize("target", [replace(OTHER, dialect=PREVIEW), None])
def test_a_greeting_in_the_other_dialect_has_a_hint_with_or_without_a_target(
    tmp_path: Path, target: Target | None
) -> None:
    greeting = message("session.created", session=ga_session(NewSession("s", "m", 0)))
    ended = played(tmp_path, "timeout:session", "nothing", greeting, spoken=PREVIEW)

    assert hint(ended, target) == DIALECT_REMEDIES[GA]


def test_a_successful_session_has_no_hint(tmp_path: Path) -> None:
    assert hint(played(tmp_path, "ok", ""), OTHER) == ""
