"""A fault can be read from a profile or from a single line; the result is the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtbench_simulator.faults.kinds import KINDS, OF_RESPONSES, WITH_CONTEXT, read_line
from rtbench_simulator.profile import load_profile
from rtbench_simulator.refusals import RefusedUpgrade, throttled
from rtbench_simulator.services import deepgram
from rtbench_simulator.services.nova_sonic import line as nova_sonic
from rtbench_simulator.serving.service import SimulatedService


@given(data=st.data())
def test_a_fault_is_unchanged_by_formatting_and_parsing(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    place = data.draw(st.sampled_from(KINDS[kind].places))
    keys = KINDS[kind].fields
    reaches = st.sampled_from(("3", "2-6", "4-"))
    wanted = {
        "share": st.sampled_from(("0.25", "1")),
        "sessions": reaches,
        "requests": reaches,
        "during_s": reaches,
    }
    if place in OF_RESPONSES:
        wanted["responses"] = reaches
    if place in WITH_CONTEXT:
        wanted["context_tokens"] = st.sampled_from(("12000-", "0-2000", "1234567"))
    given_keys = {
        key: data.draw(values)
        for key, values in wanted.items()
        if key in keys and data.draw(st.booleans())
    }
    at = {"at": place} if "at" in keys else {}
    fault = read_line(
        ",".join([kind, *(f"{key}={value}" for key, value in (at | given_keys).items())])
    )

    assert read_line(str(fault)) == fault
    assert fault.at == place


@given(data=st.data())
def test_a_profile_reads_a_fault_like_a_line(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kind = data.draw(st.sampled_from(sorted(KINDS)))
    path = tmp_path_factory.mktemp("profile") / "profile.yaml"
    path.write_text(f"faults:\n  - kind: {kind}\n")

    assert load_profile(path).faults == (read_line(kind),)


def test_the_retry_after_of_a_refusal_can_be_set_or_omitted() -> None:
    with_wait, without_wait = (
        read_line("throttled,retry_after_s=7").refusal,
        read_line("unavailable,retry_after_s=0").refusal,
    )

    assert isinstance(with_wait, RefusedUpgrade)
    assert isinstance(without_wait, RefusedUpgrade)
    assert "retry after 7 seconds" in with_wait.message
    assert with_wait.headers == {"retry-after": "7", "retry-after-ms": "7000"}
    assert without_wait.headers == {}


# Refusals state how long to wait; the wait is never too short.


@given(wait_ns=st.integers(1, 10**12))
def test_retry_after_is_rounded_up_in_seconds_and_milliseconds(wait_ns: int) -> None:
    headers = throttled(wait_ns).headers

    assert 0 <= int(headers["retry-after"]) * 10**9 - wait_ns < 10**9
    assert 0 <= int(headers["retry-after-ms"]) * 10**6 - wait_ns < 10**6


@pytest.mark.parametrize(
    ("service", "missing"),
    [(deepgram.SERVICE, "incomplete"), (nova_sonic.SERVICE, "drip")],
    ids=["deepgram", "nova-sonic"],
)
def test_a_fault_that_the_service_lacks_refuses_the_connection(
    service: SimulatedService, missing: str
) -> None:
    lacked = ("error", "failed", "other_dialect", "close,at=speech", missing)

    assert all(service.lacks(read_line(fault)) for fault in lacked)
    assert not service.lacks(read_line("close,at=done"))
