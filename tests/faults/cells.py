"""The outcome of each fault at each place.

A test uses the outcomes as parameters. The table of rtbench_simulator/README.md is generated from
them. The outcomes are the same with both dialects and both transports, so each pair of a fault and
a place appears once. Faults strike only the first response.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from rtbench_simulator.faults.kinds import EVERYWHERE, KINDS
from rtbench_simulator.refusals import AFTER_UPGRADE, BEFORE_UPGRADE

OPENING = "session settings"
TURN = "input speech response first_delta next_delta done"
EVENTS = "session settings speech response first_delta next_delta done"


class FaultCase(NamedTuple):
    """A fault and its outcomes. A key of `outcomes` lists the places at which the fault has the
    same outcome.
    """

    fault: str
    outcomes: dict[str, str]
    with_it: str = ""
    """A second fault that the simulator injects together with this one."""
    note: str = ""


class FaultCell(NamedTuple):
    """A fault at one place.

    `outcomes` contains the allowed outcomes of the turn, or of the session if no turn was started.
    `gemini` contains those with Gemini Live; () if only OpenAI has the fault.
    """

    faults: tuple[str, ...]
    place: str
    outcomes: tuple[str, ...]
    gemini: tuple[str, ...]

    @property
    def openai(self) -> bool:
        return not self.gemini

    def __str__(self) -> str:
        return " ".join(self.faults)


CASES = (
    FaultCase(
        "reset",
        {
            "tcp": "connect_failed:tcp or connect_failed:upgrade or connect_failed:tls",
            "tls": "connect_failed:tls",
            "upgrade": "connect_failed:upgrade",
            f"{OPENING} {TURN}": "closed:reset",
        },
        note="at `tcp` it depends on when the client notices",
    ),
    FaultCase(
        "hang",
        {
            "tcp": "timeout:upgrade or timeout:tls",
            "tls": "timeout:tls",
            "upgrade": "timeout:upgrade",
            OPENING: "timeout:session",
            "speech": "timeout:end_of_turn",
            "input response first_delta": "timeout:first_delta",
            "next_delta done": "timeout:next_delta",
        },
        note=(
            "at `tcp`: in the TLS handshake, if there is one; at `done` the message says that only"
            " `response.done` is missing"
        ),
    ),
    FaultCase("hang,duration_s=0.1", {" ".join(EVERYWHERE): "ok"}, note="shorter than the limit"),
    FaultCase(
        "freeze,duration_s=0.05", {" ".join(EVERYWHERE): "ok"}, note="shorter than the limit"
    ),
    FaultCase("tls_alert", {"tls": "connect_failed:tls"}),
    *(
        FaultCase(f"http,status={code}", {"upgrade": f"connect_failed:{code}"})
        for code in (302, 400, 403, 407, 502, 504)
    ),
    FaultCase("http,status=429", {"upgrade": "throttled:handshake"}),
    *(
        FaultCase(
            name,
            {
                "upgrade": (
                    "throttled:handshake"
                    if refusal.status == 429
                    else f"connect_failed:{refusal.status}"
                )
            },
        )
        for name, refusal in BEFORE_UPGRADE.items()
    ),
    FaultCase("throttled,retry_after_s=0", {"upgrade": "throttled:handshake"}),
    FaultCase("unavailable,retry_after_s=0", {"upgrade": "connect_failed:503"}),
    *(FaultCase(name, {"upgrade": f"connect_failed:{name}"}) for name in AFTER_UPGRADE),
    *(
        FaultCase(f"close,code={code}", {f"{OPENING} {TURN}": f"closed:{code}"})
        for code in (1000, 1001, 1006, 1008, 1009, 1011)
    ),
    FaultCase("session_expired", {f"{OPENING} {TURN}": "session_expired"}),
    FaultCase("error,code=anything", {EVENTS: "ok"}, note="counted in `service_errors`"),
    FaultCase(
        "error",
        {OPENING: "ok", "response first_delta next_delta done": "failed:server_error"},
        note="counted if no turn is in progress",
    ),
    FaultCase(
        "error",
        {"response": "failed:server_error"},
        "hang,at=response,duration_s=0.1",
        "the response is still received, and is not counted as the next turn's",
    ),
    FaultCase(
        "error,code=rate_limit_exceeded",
        {OPENING: "ok", "response first_delta next_delta": "throttled:error"},
    ),
    FaultCase(
        "error,code=rate_limit_exceeded",
        {"session": "throttled:error"},
        "close,at=session",
        "the service closes the connection after it",
    ),
    FaultCase(
        "error,code=model_not_found",
        {
            OPENING: "connect_failed:model_not_found",
            "response first_delta next_delta done": "failed:model_not_found",
        },
    ),
    FaultCase("failed", {"response first_delta next_delta": "failed:server_error"}),
    FaultCase(
        "failed,code=rate_limit_exceeded", {"response first_delta next_delta": "throttled:response"}
    ),
    FaultCase("incomplete", {"response first_delta next_delta": "incomplete:content_filter"}),
    FaultCase(
        "incomplete,reason=max_output_tokens", {"next_delta": "incomplete:max_output_tokens"}
    ),
    FaultCase("no_audio", {"response": "failed:no_audio"}),
    FaultCase("endless", {"next_delta": "timeout:response"}),
    FaultCase("burst", {"response first_delta next_delta": "ok"}),
    FaultCase("drip", {EVENTS: "ok"}),
    FaultCase(
        "drop",
        {
            OPENING: "timeout:session",
            "speech": "timeout:end_of_turn or ok",
            "done": "timeout:next_delta",
            "response first_delta next_delta": "ok",
        },
        note=(
            "no message shows that a delta is missing; at `speech` it is `ok` if the reply begins "
            "within the limit and ends a second or more after the speech"
        ),
    ),
    FaultCase("drop,count=5", {"next_delta": "ok"}),
    FaultCase("duplicate", {EVENTS: "ok"}, note="no message shows that one was sent twice"),
    FaultCase("reorder", {"response first_delta next_delta": "ok"}),
    FaultCase("unknown", {EVENTS: "ok"}, note="counted in `unknown_events`"),
    FaultCase("bad_json", {EVENTS: "protocol_error:json"}),
    FaultCase("bad_base64", {"next_delta": "protocol_error:base64"}),
    FaultCase("other_dialect", {"first_delta next_delta": "protocol_error:dialect"}),
    FaultCase("binary", {EVENTS: "ok"}),
    FaultCase("fragmented", {EVENTS: "ok"}),
    FaultCase("oversized", {EVENTS: "protocol_error:too_large"}),
    FaultCase("oversized,mib=15.9", {"first_delta": "ok"}),
)


NOT_SIMULATED = "connect_failed:400"
"""The outcome if the simulator refuses a connection because its service does not have the fault."""
GEMINI_CASES = {
    "error": {EVENTS: NOT_SIMULATED},
    "other_dialect": {"first_delta next_delta": NOT_SIMULATED},
    "incomplete,reason=max_output_tokens": {"next_delta": NOT_SIMULATED},
    "incomplete": {"response first_delta next_delta": "incomplete:generated_content_safety"},
    "failed": {"response first_delta next_delta": "failed:response_rejected"},
    "failed,code=rate_limit_exceeded": {"response first_delta next_delta": NOT_SIMULATED},
    "drop": {"done": "ok"},
}
"""The outcomes with Gemini Live of the faults whose outcomes differ there. All faults at the places
`session` and `speech` are refused."""


def _with_gemini(fault: str, place: str, outcome: str) -> str:
    if place in ("session", "speech"):
        return NOT_SIMULATED
    cases = GEMINI_CASES.get(fault) or GEMINI_CASES.get(fault.partition(",code")[0], {})
    return next((found for places, found in cases.items() if place in places.split()), outcome)


def cells() -> Iterator[FaultCell]:
    """Yield one cell for each fault of the table and each of its places."""
    for case in CASES:
        kind = case.fault.partition(",")[0]
        for places, outcome in case.outcomes.items():
            for place in places.split():
                at = f",at={place}" if len(KINDS[kind].places) > 1 else ""
                faults = (case.fault + at, *filter(None, [case.with_it]))
                with_gemini = (
                    ()
                    if kind in AFTER_UPGRADE
                    else _with_gemini(case.fault, place, outcome).split(" or ")
                )
                yield FaultCell(faults, place, tuple(outcome.split(" or ")), tuple(with_gemini))


TELEPHONE_CASES = {
    "close": "closed:1000",
    "close,at=session": "closed:1000",
    "reset": "timeout:first_delta",
    "hang": "timeout:first_delta",
    "hang,duration_s=0.5": "ok",
    "drop,count=5": "ok",
    "duplicate,count=5": "ok",
    "reorder": "ok",
    "early_media,duration_s=1": "ok",
    "one_way": "timeout:media",
    "other_port": "ok",
    "hold,duration_s=1": "ok",
    "new_port": "ok",
}
"""The outcome of the session for each fault of an answered telephone call."""
