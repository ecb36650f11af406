"""Whatever can fail, somebody who reads of it knows what to try."""

from __future__ import annotations

import pytest

from bench.metrics import ACCEPT_HEADER, SERVICE_SAID, TEXT_SESSION, UNHEARD, outcome_class
from bench.observe.pending_turns import UNNOTICED
from bench.remedies import remedy_of
from tests.faults.cells import cells

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


@pytest.mark.parametrize("outcome", [*OUTCOMES, *OTHERS, "interrupted", "unfinished"])
def test_an_outcome_has_a_remedy_where_something_failed(outcome: str) -> None:
    assert bool(remedy_of(outcome)) is (outcome_class(outcome) == "failed")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("connect_failed:401", "rtbench doctor"),
        ("connect_failed:429", "rtbench doctor"),
        ("throttled:handshake", "quota"),
        ("timeout:next_delta", "fewer sessions"),
        ("protocol_error:dialect", "--dialect"),
    ],
)
def test_a_remedy_is_that_of_the_cause_before_that_of_the_class(outcome: str, words: str) -> None:
    assert words in remedy_of(outcome)


SILENT = "nothing came within the limit"


@pytest.mark.parametrize(
    ("outcome", "detail", "words", "never"),
    [
        ("timeout:end_of_turn", UNHEARD, "turn_detection: none", "noise"),
        ("timeout:end_of_turn", UNNOTICED, "noise above", "turn_detection: none"),
        ("timeout:session", "session.created did not come within the limit session", "another service's", "settings"),
        ("timeout:first_delta", SILENT, "fewer sessions", "out of order"),
        ("timeout:first_delta", f"{SILENT}; {SERVICE_SAID}internal_error: no", "out of order", "fewer sessions"),
        ("timeout:response", f"{SILENT}; {SERVICE_SAID}some_code: no", "fix the setting that its message "
                                                                       "names", "fewer sessions"),
        ("timeout:response", SILENT, "a higher `response`", "status page"),
        ("closed:1006", f"; {SERVICE_SAID}server_error: no", "out of order", "firewall"),
        ("closed:1006", "", "firewall", "see its code"),
        ("closed:reset", "", "reset the connection", "see its code"),
        ("connect_failed:upgrade", f"the answer's {ACCEPT_HEADER} is not the one", "somebody else's request",
            "host and path"),
        ("connect_failed:upgrade", "the answer is no WebSocket upgrade: did not", "host and path", "somebody else's"),
        ("connect_failed:upgrade", "the connection broke: Connection reset by peer", "hung up", "host and path"),
        ("connect_failed:dns", "voice.test: Name or service not known", "cannot be resolved", "resolver"),
        ("connect_failed:tcp", "127.0.0.1:1: Connection refused", "nobody listens", "this machine has"),
        ("connect_failed:tcp", "127.0.0.1:1: Cannot assign requested address", "no local port", "nobody listens"),
        ("connect_failed:tcp", "127.0.0.1:1: Too many open files", "ulimit -n", "nobody listens"),
        ("connect_failed:tls", "voice.test: certificate has expired; the certificate has expired: whoever",
            "its message",
         "--ca-file"),
        ("connect_failed:tls", "voice.test: wrong version number", "is that a TLS server", "its message"),
        ("connect_failed:proxy", "the proxy http://p:1: HTTP 407", "the proxy refuses", "the service"),
        ("failed:no_audio", f"{TEXT_SESSION}: modalities", "gives out text", "deployment's model"),
        ("failed:invalid_value", "invalid_value: no", "fix the setting that its message names", "the service failed"),
        ("failed:dns", "dns: a code of the service's own", "fix the setting that its message names", "resource's name"),
        ("throttled:response", "insufficient_quota: no", "billing", "fewer sessions"),
        ("protocol_error:too_large", "", "--max-message-mib", "is the URL one"),
    ],
)  # fmt: skip
def test_a_remedy_fits_the_cause_that_its_detail_tells(outcome: str, detail: str, words: str, never: str) -> None:
    said = remedy_of(outcome, detail)

    assert words in said
    assert never not in said
