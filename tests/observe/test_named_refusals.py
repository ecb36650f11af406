"""What the words of a refusal name decides the outcome and the remedy, whatever its code is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.catalogue.causes import in_words
from bench.catalogue.outcomes import is_throttled, remedy_of
from bench.doctor.diagnosis import Refusal, explain
from bench.observe import inputs
from bench.services.gemini.dialect import GEMINI
from tests.doctor.targets import build_target
from tests.helpers import Talk, at

# (close code, reason, the outcome before the session starts and after it, words of the remedy).
# The reasons are those of Google's Live APIs, of LiteLLM, and of services in public reports.
LIMITED = ("throttled:handshake", "throttled:close")
FULL = ("throttled:capacity", "throttled:capacity")
FEWER = "start fewer sessions"
KEY = "make a new one"
REASONS = [
    (1011, "generic::resource_exhausted: RESOURCE_EXHAUSTED: Maximum sessions.", *LIMITED, FEWER),
    (1011, "You exceeded your current quota, please check your plan", *LIMITED, FEWER),
    (1008, "Quota exceeded for quota metric 'Live API sessions'", *LIMITED, FEWER),
    (1008, "quota_exceeded: This request exceeds your limit", *LIMITED, FEWER),
    (4008, "Too many concurrent requests", *LIMITED, FEWER),
    (4429, "Rate limit reached", *LIMITED, FEWER),
    (1011, "server rejected WebSocket connection: HTTP 429", *LIMITED, FEWER),
    (1013, "Maximum concurrent sessions exceeded", *LIMITED, FEWER),
    (3000, "insufficient_quota", "closed:3000", "closed:3000", "billing page"),
    (1011, "The model is overloaded. Please try again later.", *FULL, "another region"),
    (1013, "The region has no capacity for this deployment type", *FULL, "another region"),
    (
        1007,
        "API key not valid. Please pass a valid API key.",
        "closed:1007",
        "closed:1007",
        KEY,
    ),
    (1008, "Your API key was reported as leaked.", "closed:1008", "closed:1008", KEY),
    (
        1008,
        "generic::permission_denied: PERMISSION_DENIED: Live API has not been used in project 7",
        "closed:1008",
        "closed:1008",
        "give it the permission",
    ),
    (
        1007,
        "User location is not supported for the API use.",
        "closed:1007",
        "closed:1007",
        "country or region",
    ),
    (
        1008,
        "models/x is not found for API version v1beta, or is not supported for it",
        "closed:1008",
        "closed:1008",
        "another `model`",
    ),
    (1011, "Internal error encountered.", "closed:1011", "closed:1011", "status page"),
    (1008, "sample rate limit is 48000 Hz", "closed:1008", "closed:1008", "see its message"),
]


@pytest.mark.parametrize("ready", [False, True])
@pytest.mark.parametrize(("code", "reason", "early", "late", "remedy"), REASONS)
def test_the_reason_of_a_close_decides_its_outcome_and_its_remedy(
    code: int, reason: str, early: str, late: str, remedy: str, ready: bool
) -> None:
    talk = Talk(wanted=3, ready=ready)
    talk.timeline.apply(inputs.ConnectionClosed(code, at(11), reason))
    session = talk.timeline.session()

    assert (session.outcome, session.detail) == (late if ready else early, reason)
    assert is_throttled(session.outcome) is (early != f"closed:{code}")
    assert remedy in remedy_of(session.outcome, [in_words(reason)])


@pytest.mark.parametrize(("code", "reason", "early", "late", "remedy"), REASONS)
def test_reports_and_the_doctor_have_one_remedy_for_a_reason(
    code: int, reason: str, early: str, late: str, remedy: str
) -> None:
    target = replace(build_target(), dialect=GEMINI)

    assert explain(Refusal(early, [in_words(reason)]), target) == remedy_of(
        early, [in_words(reason)], GEMINI.remedies
    )


@pytest.mark.parametrize(
    ("outcome", "words", "remedy"),
    [
        ("throttled:capacity", "HTTP 503: The region has no capacity left.", "another region"),
        ("throttled:handshake", "HTTP 429: Too Many Requests", FEWER),
        ("connect_failed:403", "HTTP 403: unsupported_country_region_territory: no", "country"),
        ("connect_failed:403", "HTTP 403: The caller does not have permission", "permission"),
        ("connect_failed:400", "HTTP 400: API key expired. Please renew the API key.", KEY),
        ("connect_failed:403", "HTTP 403: Forbidden", "rtbench doctor"),
    ],
)
def test_the_words_of_a_refused_upgrade_have_the_same_remedies(
    outcome: str, words: str, remedy: str
) -> None:
    assert remedy in remedy_of(outcome, [in_words(words)])
