"""The plan of a run, as it is before the first call."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.cpu import Priority
from bench.base.errors import UsageError
from bench.load.planning import run_plan as planning
from bench.load.planning.run_plan import (
    MAX_SHARE_OF_RUN,
    Concurrency,
    RunPlan,
    WorkerHost,
    hosts_advice,
    plan_run,
    process_advice,
    ramp_up_s,
    session_s,
    warmup_s,
)
from bench.load.planning.tasks import script
from bench.plan.script import load_script
from bench.record.calibration import save_calibration, state_folder
from bench.record.missing_workers import load_of
from tests.calibrate.builders import build_calibration
from tests.load.actors import actor, tone
from tests.load.options import parsed

HERE = "ws://localhost:1/openai/v1/realtime?model=gpt-realtime"
THERE = "wss://example.com/openai/v1/realtime?model=gpt-realtime"


def plan(
    folder: Path,
    *arguments: str,
    users: int = 1,
    text: str = "steps:\n  - text: Hello\n",
    run_time: int | None = None,
    shape: object = None,
) -> RunPlan:
    (folder / "talk.yaml").write_text(text)
    options = parsed(*arguments)
    options.num_users, options.run_time = users, run_time
    environment: Any = SimpleNamespace(
        parsed_options=options,
        user_classes=[actor("One", script(folder / "talk.yaml"))],
        shape_class=shape,
        runner=None,
    )
    return plan_run(environment)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "nothing"))
    for name in ("AZURE_OPENAI_ENDPOINT", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_a_cost_notice_is_given_only_for_remote_services(tmp_path: Path) -> None:
    notices = plan(tmp_path, "--url", THERE).notices

    assert any(
        notice.startswith("sessions may cost money, so at most 20 are opened") for notice in notices
    )
    assert any("USD for 20 sessions" in notice for notice in notices)
    assert plan(tmp_path, "--url", HERE).notices == []


def test_users_who_never_call_are_named_with_the_sessions_that_they_need(tmp_path: Path) -> None:
    (notice,) = plan(tmp_path, "--url", HERE, "--sessions", "3", users=50).notices

    assert notice == (
        "3 sessions: at most 3 of 50 users call; to have 50 calls at a time, use --sessions 50 or"
        " more"
    )
    assert plan(tmp_path, "--url", HERE, "--sessions", "50", users=50).notices == []
    (notice,) = plan(tmp_path, "--url", HERE, "--sessions", "1", users=2).notices
    assert notice.startswith("1 session: at most 1 of 2 users call")


def test_an_agent_without_prices_has_no_cost_notice(tmp_path: Path) -> None:
    text = "session: {turn_detection: full_duplex}\nsteps:\n  - wait_for: greeting\n"
    for url, dialect in (("sip:a@example.com", "sip"), ("wss://example.com/ws", "twilio")):
        (notice,) = plan(tmp_path, "--url", url, "--dialect", dialect, text=text).notices

        assert notice.startswith("sessions may cost money, so at most 20 are opened")


def test_a_budget_below_the_estimate_gives_a_notice(tmp_path: Path) -> None:
    small, ample = (
        plan(tmp_path, "--url", THERE, "--budget", usd).notices for usd in ("0.0001", "100")
    )

    assert "is below the lower estimate" in small[-1]
    assert not any("the lower estimate" in notice for notice in ample)


@pytest.mark.parametrize(
    ("words", "sessions"),
    [
        (("--sessions", "8"), 8),
        ((), None),
        (("--arrival-pattern", "calls.txt", "--max-concurrent", "1"), 3),
        (("--arrival-pattern", "calls.txt", "--max-concurrent", "1", "--sessions", "2"), 2),
    ],
)
def test_the_bound_of_a_missing_worker_s_turns_uses_the_planned_sessions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], sessions: int | None
) -> None:
    (tmp_path / "calls.txt").write_text("0\n1\n2\n")
    monkeypatch.chdir(tmp_path)

    document = plan(tmp_path, "--url", HERE, *words).opening_document("run", 0, {}, 2)

    assert document["sessions_planned"] == sessions
    planned = load_of(document, 1, [0, 1], 10)
    assert planned.pairs == (None if sessions is None else -(-sessions // 2))
    assert planned.turns == document["scripts"][0]["turns"]


def test_the_document_has_no_secrets_of_proxy_and_url(tmp_path: Path) -> None:
    proxy, url = "http://ann:hush-hush@proxy.example:8080", THERE + "&tenant=confidential"
    plan_of_one = plan(tmp_path, "--url", url, "--proxy", proxy)
    document = plan_of_one.opening_document("run", 0, {"proxy": proxy, "url": url, "seed": "1"}, 1)

    assert document["settings"]["proxy"] == "http://proxy.example:8080"
    assert document["settings"]["seed"] == "1"
    assert "hush-hush" not in json.dumps(document)
    assert "confidential" not in json.dumps(document)


MCP = "mcp_servers: {docs: {url: https://docs.example.com, authorization_env: DOCS_TOKEN}}\n"


def test_the_plan_has_the_tokens_of_mcp_servers_and_no_document_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCS_TOKEN", " token-of-docs\n")
    planned = plan(tmp_path, "--url", HERE, text=MCP + "steps:\n  - text: Hello\n")

    assert [token.header() for token in planned.mcp_tokens] == [("DOCS_TOKEN", "token-of-docs")]
    assert "token-of-docs" not in json.dumps(planned.opening_document("r", 0, {}, 1)) + repr(
        planned
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (None, "is not set"),
        (" ", "is not set"),
        ("short", "has fewer than 8 characters"),
        ("two words", "contains a"),
    ],
)
def test_a_missing_or_unusable_token_of_an_mcp_server_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None, problem: str
) -> None:
    monkeypatch.delenv("DOCS_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("DOCS_TOKEN", value)

    with pytest.raises(UsageError) as refused:
        plan(tmp_path, "--url", HERE, text=MCP + "steps:\n  - text: Hello\n")
    words = (
        f"talk: mcp_servers.docs.authorization_env: the environment variable DOCS_TOKEN {problem}"
    )
    assert str(refused.value).startswith(words)


def test_each_target_is_planned_with_its_own_settings(tmp_path: Path) -> None:
    targets = tmp_path / "targets.yaml"
    targets.write_text(
        f"targets:\n  west:\n    url: '{HERE}'\n    variants:\n      quick: {{session: {{voice:"
        " verse}}\n"
    )
    both = plan(tmp_path, "--targets", "west, west.quick", "--target-file", str(targets))
    document = both.opening_document("run", 0, {}, 1)

    assert document["interleaved"] is True
    assert [target["name"] for target in document["targets"]] == ["west", "west.quick"]
    assert [script["target"] for script in document["scripts"]] == ["west", "west.quick"]
    assert [script.session.voice for script in both.scripts] == [None, "verse"]


def two(folder: Path, *labels: str) -> tuple[str, ...]:
    """Write a target file. Return the options of a run with one target for each label."""
    file = folder / "targets.yaml"
    file.write_text("targets:\n" + "".join(f"  {label}:\n    url: '{HERE}'\n" for label in labels))
    return ("--targets", ",".join(labels), "--target-file", str(file))


def test_until_decided_needs_two_targets_and_has_a_maximum_of_pairs(tmp_path: Path) -> None:
    both = plan(tmp_path, *two(tmp_path, "west", "east"), "--until-decided")

    assert both.sessions == 500
    for labels in (("west",), ("west", "east", "south")):
        with pytest.raises(
            UsageError, match="--until-decided compares two targets, but this run has west"
        ):
            plan(tmp_path, *two(tmp_path, *labels), "--until-decided")


def test_until_decided_with_possible_costs_needs_the_option_yes(tmp_path: Path) -> None:
    options = two(tmp_path, "west", "east")
    (tmp_path / "targets.yaml").write_text(
        (tmp_path / "targets.yaml").read_text().replace(HERE, THERE)
    )

    with pytest.raises(UsageError, match="add --yes"):
        plan(tmp_path, *options, "--until-decided")
    meant = plan(tmp_path, *options, "--until-decided", "--yes")
    assert meant.sessions == 500
    assert not any("at most" in notice for notice in meant.notices)


@pytest.mark.parametrize(
    ("given", "run_time_s", "cut_s"),
    [
        ((), None, 0),
        ((), 599, 0),
        ((), 600, 62),
        (("--warmup", "5"), None, 5),
        (("--warmup", "0"), 600, 0),
    ],
)
def test_the_document_has_the_warmup_duration(
    given: tuple[str, ...], run_time_s: int | None, cut_s: float, tmp_path: Path
) -> None:
    text = "steps:\n  - text: Hello\n  - pause: 2\n  - text: Bye\n"
    made = plan(tmp_path, "--url", HERE, *given, users=60, text=text, run_time=run_time_s)

    assert made.warmup_s == made.opening_document("run", 0, {}, 1)["warmup_s"] == cut_s


def test_a_warmup_of_the_whole_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"--warmup 60 s leaves nothing to measure, because the run lasts only 60 s",
    ):
        plan(tmp_path, "--url", HERE, "--warmup", "1m", run_time=60)


def test_plans_with_different_content_have_different_identities(tmp_path: Path) -> None:
    one = plan(tmp_path, "--url", HERE)
    louder = replace(one, targets=(replace(one.targets[0], session={"voice": "verse"}),))

    assert one.identity == plan(tmp_path, "--url", HERE).identity
    assert one.identity != plan(tmp_path, "--url", HERE.replace("localhost", "127.0.0.1")).identity
    assert (
        one.identity != plan(tmp_path, "--url", HERE, text="steps:\n  - text: Goodbye\n").identity
    )
    assert one.identity != louder.identity


def test_unreadable_prices_are_refused_before_the_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml"):
        plan(tmp_path, "--url", HERE, "--prices", str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize(
    ("got", "lines"), [(Priority(-10), 0), (Priority(0, "is not permitted", "permit it"), 1)]
)
def test_an_unavailable_priority_gives_one_notice(
    got: Priority, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "available_priority", lambda: got)
    asking, other = (plan(tmp_path, "--url", HERE, *asked) for asked in (("--priority",), ()))

    assert asking.notices == ["--priority is not permitted: permit it"][:lines]
    assert asking.opening_document("run", 0, {}, 1)["niceness"] == got.niceness
    assert (other.priority, other.notices) == (None, [])


CITED = {"sessions": 10, "kind": "text", "date": "2026-11-20"}


def test_more_sessions_per_process_than_calibrated_give_a_notice(tmp_path: Path) -> None:
    within, beyond = (
        replace(plan(tmp_path, "--url", HERE, users=users), calibration=CITED) for users in (10, 11)
    )

    assert within.notices == []
    (notice,) = beyond.notices
    assert notice.startswith(
        "11 sessions in one process are more than this machine is calibrated for"
    )


def test_the_document_cites_the_machine_s_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = plan(tmp_path, "--url", HERE).opening_document("run", 0, {}, 1)
    save_calibration(build_calibration(), state_folder(os.environ))
    after = plan(tmp_path, "--url", HERE).opening_document("run", 0, {}, 1)

    assert before["calibration"] is None
    assert after["calibration"]["sessions"] == 700
    assert after["calibration"]["kind"] == "text"


def test_a_run_has_its_given_name_and_labels(tmp_path: Path) -> None:
    named = plan(tmp_path, "--url", HERE, "--name", "checkout", "--label", "commit=1a2b3c")
    document = named.opening_document("id", 1, {}, 1)

    assert (named.scenario, document["scenario"]) == ("checkout", "checkout")
    assert document["labels"] == {"commit": "1a2b3c"}
    assert plan(tmp_path, "--url", HERE).opening_document("id", 1, {}, 1)["labels"] == {}


HISTORY = '{"role": "user", "text": "Hello"}\n{"role": "assistant", "text": "%s"}\n'


def test_the_history_option_replaces_the_history_of_scripts(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(HISTORY % "own")
    (tmp_path / "given.jsonl").write_text(HISTORY % "given")
    text, option = (
        "history: own.jsonl\nsteps:\n  - text: Hello\n",
        ("--history", str(tmp_path / "given.jsonl")),
    )
    plain, own = plan(tmp_path, "--url", THERE), plan(tmp_path, "--url", THERE, text=text)
    both, given = (
        plan(tmp_path, "--url", THERE, *option, text=text),
        plan(tmp_path, "--url", THERE, *option),
    )

    histories = [
        play.prepare_session(0, 0).history
        for run in (plain, own, both, given)
        for plays in run.workloads.values()
        for play in plays.values()
    ]
    assert [len(history) for history in histories] == [0, 2, 2, 2]
    assert [b"given" in history[-1].data for history in histories[1:]] == [False, True, True]
    assert len({str(run.identity["scripts"]) for run in (plain, own, both, given)}) == 4


# The length of the warm-up.


TIMES = st.floats(0, 1e5)


@pytest.mark.parametrize(
    ("given_s", "run_time_s", "ramp_s", "longest_s", "cut_s"),
    [
        (None, 599, 30, 10, 0),
        (None, None, 30, 10, 0),
        (None, 600, 30, 10, 60),
        (None, 600, 90, 20, 110),
        (None, 600, 3_000, 20, 300),
        (0, 3_600, 30, 10, 0),
        (5, 60, 30, 10, 5),
        (5, None, 30, 10, 5),
    ],
)
def test_the_default_warmup_is_ramp_up_plus_one_session_in_long_runs_only(
    given_s: float | None, run_time_s: float | None, ramp_s: float, longest_s: float, cut_s: float
) -> None:
    assert warmup_s(given_s, run_time_s, ramp_s, longest_s) == cut_s


@given(st.none() | TIMES, TIMES, TIMES)
def test_a_default_warmup_never_exceeds_its_maximum_share_of_a_run(
    run_time_s: float | None, ramp_s: float, longest_s: float
) -> None:
    assert (
        0 <= warmup_s(None, run_time_s, ramp_s, longest_s) <= MAX_SHARE_OF_RUN * (run_time_s or 0)
    )


def test_the_ramp_up_lasts_until_the_slowest_target_has_all_sessions_open() -> None:
    assert ramp_up_s(60, 2.0, [None, None]) == 30
    assert ramp_up_s(60, 2.0, [None, 30.0]) == 120
    assert ramp_up_s(60, 2.0, [600.0, 30.0]) == 120


def test_the_session_duration_is_the_longest_speech_and_pauses(tmp_path: Path) -> None:
    for name, seconds in (("short", 0.5), ("long", 1.5)):
        tone(tmp_path / f"{name}.wav", seconds)
    (tmp_path / "spoken.yaml").write_text(
        "steps:\n  - audio: [short.wav, long.wav]\n  - pause: 2\n  - text: Thanks\n"
    )
    (tmp_path / "typed.yaml").write_text("steps:\n  - text: Hello\n")
    scripts = [load_script(tmp_path / f"{name}.yaml") for name in ("spoken", "typed")]

    assert session_s(scripts) == pytest.approx(3.5, abs=0.01)
    (tmp_path / "typed.yaml").write_text(
        "steps:\n  - text: Hello\n  - pause: {median: 4, sigma: 0.5}\n"
    )
    assert session_s([*scripts, load_script(tmp_path / "typed.yaml")]) == pytest.approx(
        4 * math.exp(0.125)
    )
    (tmp_path / "typed.yaml").write_text(
        "session: {turn_detection: server_vad}\nsteps:\n"
        "  - sound: {audio: long.wav, kind: talking_to_others, during: silence}\n"
        "  - text: Hello\n  - sound: {audio: long.wav, kind: talking_to_others}\n"
    )
    assert session_s([load_script(tmp_path / "typed.yaml")]) == pytest.approx(1.5 + 2, abs=0.01)
    assert session_s(scripts[1:]) == session_s([]) == 0


# The number of concurrent sessions, and the advice if the load of a process exceeds its trusted
# load.


TEXT_350 = {"sessions": 350, "kind": "text", "date": "2026-11-20", "ended": "", "stale": []}


def advice(
    users: int, cited: Any = TEXT_350, *, n_targets: int = 1, processes: int = 1, cores: int = 8
) -> str:
    """Return the advice on the number of processes for a load; "" if there is no advice."""
    return "".join(process_advice(Concurrency(users, n_targets, processes), cited, cores))


@given(st.integers(1, 5_000), st.integers(1, 5), st.integers(1, 2_000))
def test_the_computed_number_of_processes_is_the_minimum(
    users: int, n_targets: int, trusted: int
) -> None:
    needed = Concurrency(users, n_targets, 1).processes_for(trusted)

    if needed is None:
        assert Concurrency(users, n_targets, users).per_process > trusted
    else:
        assert Concurrency(users, n_targets, needed).per_process <= trusted
        assert needed == 1 or Concurrency(users, n_targets, needed - 1).per_process > trusted


@pytest.mark.parametrize(
    ("cores", "expected"),
    [
        (3, "needs --processes 3;"),
        (2, "; this load needs 3 processes, on 2 machines with 2 cores each"),
        (1, "3 machines with 1 core each"),
    ],
)
def test_with_too_few_cores_the_advice_has_the_number_of_machines(
    cores: int, expected: str
) -> None:
    assert expected in advice(1_000, cores=cores)


@pytest.mark.parametrize(("trusted", "n_targets"), [(0, 1), (1, 2)])
def test_a_machine_below_one_trusted_user_gets_no_number_of_processes(
    trusted: int, n_targets: int
) -> None:
    line = advice(10, TEXT_350 | {"sessions": trusted}, n_targets=n_targets)

    assert "no number of processes is enough" in line
    assert "--processes" not in line


def host_facts(name: str, trusted: int | None, workers: int = 2, cores: int = 4) -> WorkerHost:
    return WorkerHost(name, workers, cores, None if trusted is None else {"sessions": trusted})


def test_hosts_that_carry_the_load_together_are_confirmed() -> None:
    (line,) = hosts_advice(
        Concurrency(600, 1, 6),
        [host_facts("east", 450), host_facts("west", 100), host_facts("south", 100)],
    )

    assert (
        line
        == "100 sessions in each of 6 processes on 3 hosts: each host is calibrated for this load"
    )


def test_an_overloaded_or_uncalibrated_host_is_named() -> None:
    (line,) = hosts_advice(
        Concurrency(600, 1, 6),
        [host_facts("east", 99), host_facts("west", None), host_facts("south", 450, 5)],
    )

    assert "more than they are calibrated for (east 99)" in line
    assert "west is not calibrated: run `rtbench calibrate` there" in line
    assert "too few cores: south has 4 for 5" in line
