"""What makes a comparison invalid, and what is said for information."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.errors import UsageError
from reports.sides import fairness
from reports.sides.fairness import FairnessCheck, checks_of, notices_on, refuse_other_definitions
from reports.sides.side import sides_of
from reports.sides.workload import differing_between, workload
from tests.reports.comparisons.build import RUN, one_and_other, run, targets, two
from tests.reports.edited import edit
from tests.reports.synthetic import Plan

SETTINGS = {"num_users": 10, "spawn_rate": 5.0, "session_pause": 1.0}
SCRIPT = {"name": "talk", "digest": "aa", "turns": 4, "chunk_ms": 100, "timeouts": {"done": 120.0}}
VAD = {"turn_detection": "server_vad", "turn_detection_settings": {"type": "server_vad", "silence_duration_ms": 500}}


def named(checks: tuple[FairnessCheck, ...], name: str) -> FairnessCheck:
    return next(check for check in checks if check.name == name)


def broken(checks: tuple[FairnessCheck, ...]) -> list[str]:
    return [check.name for check in checks if check.result == "fail"]


@pytest.mark.parametrize(
    ("valid", "mark", "said"),
    [
        (False, "✕ INVALID", "the run of sim (other) is INVALID: audio was sent late (send_delay "),
        (None, "? NO VERDICT", "the run of sim (other) has no verdict: "),
    ],
)
def test_an_invalid_run_and_one_that_was_not_judged_are_unfair(valid: bool | None, mark: str, said: str) -> None:
    check = named(checks_of(two(RUN, Plan(sessions=40, turns=5, valid=valid))), fairness.VALID)

    assert check.result == "fail"
    assert check.texts == ("✓ VALID", mark)
    assert [cause.text.startswith(said) for cause in check.causes] == [True]
    assert check.remedy


def test_a_side_without_turns_is_unfair_and_says_how_its_sessions_ended() -> None:
    checks = checks_of(two(RUN, Plan(sessions=0, turns=5, refused=3)))

    assert broken(checks) == [fairness.TURNS]
    assert named(checks, fairness.TURNS).texts == ("200\u00a0turns", "no turn")
    (cause,) = named(checks, fairness.TURNS).causes
    assert cause.text == "sim (other) has no turns: 3\u00a0sessions ended as connect_failed:401"


@pytest.mark.parametrize(("throttled", "fair"), [(2, True), (3, False)])
def test_more_than_one_percent_of_throttled_turns_is_unfair(tmp_path: Path, throttled: int, fair: bool) -> None:
    one, other = one_and_other(tmp_path)
    edit(other, "turns", lambda index, row: row | ({"outcome": "throttled:response"} if index < throttled else {}))

    check = named(checks_of(sides_of([one, other])), fairness.THROTTLED)
    assert (check.result == "pass") is fair
    assert [cause.text.partition(": ")[0] for cause in check.causes] == ([] if fair else ["sim (other)"])


@pytest.mark.parametrize(("changes", "said"), [({}, True), ({"seed": 8}, False), ({"simulated": False}, False)])
def test_two_simulators_that_draw_the_same_are_noticed(changes: dict[str, Any], said: bool) -> None:
    """Two plans are of one seed; a service that is not simulated has none."""
    same = two(replace(RUN, simulated=changes.get("simulated", True)), replace(RUN, **changes))
    notices = [notice for notice in notices_on(same) if "one seed" in notice]

    assert len(notices) == said
    assert all("--seed" in notice for notice in notices)


def test_one_side_alone_simulated_is_unfair() -> None:
    real = Plan(sessions=40, turns=5, simulated=False)

    assert broken(checks_of(two(RUN, real))) == [fairness.SERVICE]
    assert broken(checks_of(two(real))) == []


def test_metrics_that_were_defined_differently_are_refused() -> None:
    with pytest.raises(UsageError, match=r"metrics are defined differently \(sim \(one\) by version 1 and sim"):
        refuse_other_definitions(two(definitions_version=2))


def document(script: dict[str, Any] | None = None, label: str = "a", **settings: Any) -> dict[str, Any]:
    return {
        "settings": SETTINGS | settings,
        "targets": [{"name": label, "connect_rate": None, "model": "m"}],
        "scripts": [SCRIPT | {"target": label} | (script or {})],
    }


def target_of(session: dict[str, Any]) -> dict[str, Any]:
    """A target with settings of its own."""
    return {"name": "west", "connect_rate": None, "session": session}


def varied(session: dict[str, Any], **script: Any) -> dict[str, Any]:
    """Of the variant west.b, with these settings."""
    return document(script, "west.b") | {"targets": [target_of(session) | {"name": "west.b"}]}


QUICK = {"type": "server_vad", "silence_duration_ms": 200}
OF_DETECTION: dict[str, object] = {"turn_detection_settings": QUICK}
BOTH = {"targets": [{"name": "a"}, {"name": "west"}],
        "scripts": [SCRIPT | {"target": "a"}, SCRIPT | {"target": "west", "digest": "bb"}]}  # fmt: skip
WORK: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    # (the documents of two runs, of targets west and its variant or a, and what is not the same)
    **{name: (document(), other, [name]) for name, other in {
        "script and audio": document({"digest": "bb"}),
        "pacing, ms of a chunk": document({"chunk_ms": 20}),
        "timeouts, s": document({"timeouts": {"done": 60.0}}),
        "turns of a session": document({"turns": 5}),
        "users": document(num_users=20),
        "pause between a user’s sessions, s": document(session_pause=2.0),
        "processes": document(processes=2),
        "warm-up, s": document() | {"warmup_s": 60.0},
        "connection starts a minute": document() | {"targets": [{"name": "a", "connect_rate": 30}]},
    }.items()},
    "how long it lasts and where it is kept are not":
        (document(), document(sessions=500, seed="2", runs="elsewhere", targets="b", compression="deflate", budget=3),
         []),
    "what answers is not": (document(), document() | {"targets": [
        {"name": "a", "connect_rate": None, "model": "another", "region": "x"}]}, []),
    "who asks is not": (document(), document() | {"definitions_version": 1, "host": {"cpus": 64}}, []),
    "further settings of a variant are what is compared":
        (document({"extra": {}}, "west"), varied({"extra": {"a": 1}}, extra={"a": 1}), []),
    "the settings of a variant are what is compared":
        (document(VAD, "west"), varied({"turn_detection": {"silence_duration_ms": 200}}, **VAD | OF_DETECTION),
         []),
    "those of a script are not":
        (document(VAD, "west"), document(VAD | OF_DETECTION, "west"), ["turn detection’s settings"]),
    "scripts are those that the target played": (BOTH | {"targets": [{"name": "a"}]}, BOTH, ["script and audio"]),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other", "names"), WORK.values(), ids=WORK)
def test_work_that_is_not_the_same_is_named(one: dict[str, Any], other: dict[str, Any], names: list[str]) -> None:
    of = [workload(doc, doc.get("targets", [{"name": "a"}])[-1]["name"]) for doc in (one, other)]

    assert list(differing_between(of)) == names


def test_an_open_loop_is_not_compared_with_a_closed_one_nor_with_another_rate() -> None:
    arrivals = {"pattern": "poisson", "per_s": 0.5, "stages": None, "max_concurrent": 40, "started_utc_ns": 1}
    closed = document()
    calls, later, more = (
        closed | {"arrivals": arrivals | changes} for changes in ({}, {"started_utc_ns": 2}, {"per_s": 1.0})
    )
    arms = {name: workload(doc, "a") for name, doc in (("closed", closed), ("calls", calls), ("more", more))}

    assert list(differing_between([arms["closed"], arms["calls"]])) == ["calls that arrive"]
    assert list(differing_between([arms["calls"], arms["more"]])) == ["calls that arrive"]
    assert differing_between([arms["calls"], workload(later, "a")]) == {}


def test_fillers_are_a_part_of_the_workload_also_where_a_variant_sets_them() -> None:
    """What is heard first is a filler then, and its instant says nothing of the answer's."""
    fillers: list[dict[str, Any] | None] = [None, {"type": "static_interim_response"}, {"type": "llm_interim_response"}]
    plain, static, llm = (
        workload(document({"fillers": filler}, "west") | {"targets": [target_of({"interim_response": filler})]}, "west")
        for filler in fillers
    )

    for one, other in ((plain, static), (plain, llm), (static, llm)):
        assert list(differing_between([one, other])) == ["fillers (interim_response)"]
    assert differing_between([static, static]) == {}


def test_further_settings_are_a_part_of_the_workload() -> None:
    extras: list[dict[str, Any]] = [{}, {"a": 1}, {"a": True}, {"a": "1"}, {"a": {"b": None}}, {"a": {}}]
    arms = [workload(document({"extra": extra}), "a") for extra in extras]

    assert differing_between([arms[1], workload(document({"extra": {"a": 1}}), "a")]) == {}
    for number, arm in enumerate(arms):
        for other in arms[:number]:
            assert list(differing_between([other, arm])) == ["further session settings"]


def test_targets_of_one_run_have_the_same_load_by_construction() -> None:
    plan = Plan(sessions=40, turns=5, targets=("a", "b"), paired=True)
    limits = [{"name": "a", "connect_rate": 30}, {"name": "b", "connect_rate": None}]

    assert broken(checks_of(targets(plan, targets=limits))) == []


def test_what_differs_is_said_for_information() -> None:
    sides = two(tool={"name": "rtbench", "version": "9.9"}, targets=[{"name": "sim", "auth": "entra"}])
    told = {check.name: check.texts for check in checks_of(sides) if check.result == "informational"}

    assert told["rtbench"] == ("0.1.0", "9.9")
    assert told["sign-in"] == ("–", "entra")
    assert "model" not in told


@pytest.mark.parametrize(("sessions", "said"), [(119, False), (121, True)])
def test_arms_of_unequal_size_are_said(sessions: int, said: bool) -> None:
    sides = two(RUN, Plan(sessions=sessions, turns=5))

    assert any("more than 3 times the sessions" in notice for notice in notices_on(sides)) is said


def test_pairs_that_do_not_count_are_said(tmp_path: Path) -> None:
    folder = run(tmp_path, Plan(sessions=80, turns=2, targets=("a", "b"), paired=True))
    edit(tmp_path, "sessions", lambda index, row: None if index == 0 else row)
    notices = [notice.replace("\u00a0", " ") for notice in notices_on(sides_of([folder]))]

    assert "1 pair without a session of each target is excluded." in notices


def test_arms_that_fail_differently_are_said() -> None:
    notices = list(notices_on(two(RUN, Plan(sessions=40, turns=5, failed=0.2))))

    assert any(notice.startswith("Failure rates of the targets differ by more than 1\u00a0point") for notice in notices)


def test_what_a_run_says_of_itself_is_said_with_its_name() -> None:
    notices = list(notices_on(two(notices=["the moon was full"])))

    assert "sim (other): the moon was full" in notices
