"""Calls that a simulated agent makes: the verdicts of a run are those of the agent's own log."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile

from rtbench_simulator.faults.kinds import EARLY_MESSAGE, MAILBOX_AS_PERSON, PERSON_AS_MAILBOX
from tests.simulator_process import AUDIO, running_simulator
from tests.system.end_to_end.played_calls import Calls, play

PERSONS = ("person", "late_person")
VERDICTS = {
    "taken_for_mailbox": (PERSONS, PERSON_AS_MAILBOX),
    "taken_for_person": (("mailbox",), MAILBOX_AS_PERSON),
    "spoke_before_beep": (("mailbox",), EARLY_MESSAGE),
}
"""The column of each verdict, the kinds of callees that have it, and the fault of the agent."""
SHARES = {"person": 4, "mailbox": 5, "hang_up": 1, "busy": 2}
CALLS = 24
SCRIPT = """
session: {turn_detection: full_duplex}
timeouts: {upgrade: 300}
reply_silence_ms: 500
callee:
  shares: SHARES
  ring: {p50: 0.1, p90: 0.4}
  greeting: greeting.wav
  record: 40
steps:
  - {audio: AUDIO/no.wav, name: hello}
  - {audio: AUDIO/order_number.wav, name: number}
"""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def write_greeting(path: Path) -> None:
    """Write a greeting without a pause in which a person would have ended."""
    parts = [soundfile.read(AUDIO / name) for name in ("late_parcel.wav", "not_today.wav")]
    soundfile.write(path, np.concatenate([samples for samples, _ in parts]), parts[0][1])


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    folder = tmp_path_factory.mktemp("callees")
    write_greeting(folder / "greeting.wav")
    url = f"sip:callee@127.0.0.1:{free_port()}"
    faults = [f"{fault},share=0.4" for _, fault in VERDICTS.values()]
    options = [word for fault in faults for word in ("--fault", fault)]
    truth = str(folder / "truth.jsonl")
    dials = ("--dial", url, "--lines", "6", *options, "--ground-truth", truth)
    with running_simulator(*dials):
        steps = SCRIPT.replace("AUDIO", str(AUDIO)).replace("SHARES", str(SHARES))
        return play(folder, steps, url, CALLS, {"calls": "dial: none"}, "--exit-code-on-error", "0")


def errors_by_call(calls: Calls) -> dict[str, set[str]]:
    """Return the faults of each call that the agent made, by its Call-ID."""
    call_of = {
        line["session"]: line["call_id"] for line in calls.truth if line.get("direction") == "open"
    }
    found: dict[str, set[str]] = {call_id: set() for call_id in call_of.values()}
    for line in calls.truth:
        if line.get("direction") == "fault":
            found[call_of[line["session"]]].add(line["type"])
    return found


def test_each_verdict_is_that_of_the_agent_s_log(calls: Calls) -> None:
    errors = errors_by_call(calls)
    call_of = calls.sessions.set_index("session_id")["request_id"]
    first = calls.turns[calls.turns["callee"].notna()]

    for column, (kinds, fault) in VERDICTS.items():
        of_kind = first[first["callee"].isin(kinds)]
        assert len(of_kind) >= 5
        expected = [fault in errors[call_of[session]] for session in of_kind["session_id"]]
        assert of_kind[column].tolist() == expected
        assert first.loc[~first["callee"].isin(kinds), column].isna().all()


def test_each_call_has_the_callee_that_it_drew(calls: Calls) -> None:
    sessions = calls.sessions.set_index("callee")
    shares = sessions.index.value_counts()

    assert len(calls.sessions) == CALLS
    assert {kind: abs(shares[kind] - 2 * share) <= 1 for kind, share in SHARES.items()} == (
        dict.fromkeys(SHARES, True)
    )
    by_kind = calls.sessions.groupby("callee")
    assert set(by_kind["outcome"].get_group("busy")) == {"busy"}
    assert set(by_kind["turns_started"].get_group("busy")) == {0}
    assert set(by_kind["outcome"].get_group("mailbox")) == {"ok"}
    answered = sessions.drop("busy")
    assert (answered["greeting_audible_at_ns"] > answered["opened_at_ns"]).sum() >= CALLS / 3


def test_the_report_has_the_rates_of_the_verdicts(calls: Calls) -> None:
    for rate in ("taken_for_mailbox_rate", "taken_for_person_rate", "early_message_rate"):
        assert rate in calls.output
