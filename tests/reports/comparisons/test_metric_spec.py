"""The default metrics and their strata, the reasons why a comparison is invalid, and checks that only inform."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import UsageError
from bench.catalogue.metrics import DEFINITIONS_VERSION
from reports.analysis.targets.compared_target import ComparedTarget
from reports.analysis.targets.conditions import differing_between, workload
from reports.analysis.targets.fairness import FairnessCheck, checks_of, refuse_other_definitions
from reports.analysis.targets.metric_specs import by_stratum, default_specs
from reports.analysis.targets.named import filtered_by, parse_targets, targets_of
from reports.data.runs import load_for_report
from reports.metrics.metric_spec import MetricSpec
from reports.metrics.statistic_types.quantile import Quantile, margin_of
from reports.metrics.statistic_types.rate import Rate
from reports.metrics.strata import Stratum
from reports.statistics.differences import Margin
from reports.text.reasons import reason_text
from tests.reports.comparisons.build import PAIRED, RUN, one_and_other, quick, run, targets, two
from tests.reports.edited import edit
from tests.reports.forms import target_notices, written
from tests.reports.shared import folder as shared_folder
from tests.reports.synthetic import Plan

REQUESTED, SPEECH_END = Stratum("request_sent"), Stratum("speech_end")
MIXED = Plan(sessions=40, turns=5, targets=("west", "east"), kinds=("vad", "manual", "typed"), paired=True)


def test_a_quantile_s_margin_is_its_own_or_that_of_the_next_higher_one() -> None:
    assert [margin_of(p).ratio for p in (0.05, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)] == [
        0.1,
        0.1,
        0.15,
        0.15,
        0.2,
        0.3,
        0.3,
    ]


def test_the_primary_metrics_are_median_p95_and_failure_rate() -> None:
    asked = list(default_specs(two()))
    primary = [(one.name, one.margin.ratio, one.margin.points) for one in asked if one.primary]

    assert primary == [("ttfa p50", 0.1, 0), ("ttfa p95", 0.2, 0), ("failure_rate", 0, 0.01)]
    assert [one.primary for one in asked] == sorted((one.primary for one in asked), reverse=True)
    assert not any(one.stratum for one in asked)


def test_a_metric_that_only_one_target_has_is_not_compared() -> None:
    asked = list(default_specs(two(RUN, Plan(sessions=20, turns=5, kinds=("typed",)))))

    assert not any(one.metric == "input_transcript" for one in asked)


def test_throttle_rate_is_compared_if_turns_were_throttled() -> None:
    asked = list(default_specs(two(RUN, Plan(sessions=40, turns=5, failed=0.2))))

    assert "throttle_rate" in [one.name for one in asked]


def test_turns_measured_from_different_instants_are_compared_separately() -> None:
    asked = list(default_specs(targets(MIXED)))
    of_main = {(one.p, one.stratum, one.primary) for one in asked if one.metric == "ttfa"}

    assert {(0.5, REQUESTED, True), (0.95, REQUESTED, True), (0.5, SPEECH_END, False)} <= of_main
    assert {one.stratum for one in asked if one.metric == "response_total"} == {REQUESTED, SPEECH_END}
    assert {one.stratum for one in asked if one.metric in ("input_transcript", "connect_total", "failure_rate")} == {
        None
    }


def test_targets_without_a_common_instant_are_gated_by_voice_to_voice() -> None:
    vad, manual = Plan(sessions=20, turns=5), Plan(sessions=20, turns=5, kinds=("manual",))
    asked = list(default_specs(two(vad, manual)))

    assert [one.name for one in asked if one.primary] == ["voice_to_voice p50", "voice_to_voice p95", "failure_rate"]
    assert not any(one.metric in ("ttfa", "response_total") for one in asked)


def test_a_metric_is_split_only_if_there_are_several_measured_from_instants() -> None:
    mixed, plain = targets(MIXED), targets(PAIRED)
    wait, rate = (
        MetricSpec("ttfa", Quantile(0.5), margin_of(0.5)),
        MetricSpec("failure_rate", Rate(), Margin(points=0.01)),
    )

    assert [one.stratum for one in by_stratum(wait, mixed)] == [REQUESTED, SPEECH_END]
    assert by_stratum(wait, plain) == [wait]
    assert by_stratum(rate, mixed) == [rate]


def test_primary_metrics_keep_all_instants_of_the_baseline() -> None:
    both, vad = Plan(sessions=20, turns=5, kinds=("vad", "manual")), Plan(sessions=20, turns=5)
    sides = two(both, vad)
    wait = MetricSpec("ttfa", Quantile(0.5), margin_of(0.5))
    primary = [(one.p, one.stratum) for one in default_specs(sides) if one.primary and one.metric == "ttfa"]

    assert [one.stratum for one in by_stratum(replace(wait, primary=True), sides)] == [SPEECH_END, REQUESTED]
    assert [one.stratum for one in by_stratum(wait, sides)] == [SPEECH_END]
    assert primary == [(0.5, SPEECH_END), (0.95, SPEECH_END), (0.5, REQUESTED), (0.95, REQUESTED)]


def test_a_metric_of_one_step_has_the_instants_of_its_own_turns() -> None:
    sides = targets(MIXED)
    asked = MetricSpec("ttfa", Quantile(0.5), margin_of(0.5), primary=True, step="greeting")

    assert by_stratum(asked, sides) == [asked]


PLAIN, CALLS = Stratum(), Stratum(turn_type="function_calls")


def with_turn_type(folder: Path, *turns: int) -> None:
    edit(folder, "turns", lambda _, row: row | ({"turn_type": "function_calls"} if row["turn"] in turns else {}))


@cache
def target_with_turn_type(name: str, *turns: int) -> ComparedTarget:
    """Return the target of the run `name`. The turns whose numbers are in `turns` have an additional turn type."""
    folder = shared_folder() / name
    run(folder, RUN if name == "one" else replace(RUN, seed=8))
    with_turn_type(folder, *turns)
    return targets_of(load_for_report(folder))[0]


def two_with_turn_type(*names: str, turns: tuple[int, ...] = (3,)) -> tuple[ComparedTarget, ...]:
    """Return the targets of two runs. In the runs `names`, some turns have an additional turn type.

    The numbers of these turns are in `turns`.
    """
    return filtered_by([target_with_turn_type(side.run.folder.name, *turns) if side.run.folder.name in names else side
                  for side in two()])  # fmt: skip


def test_turn_types_are_compared_separately_and_omit_an_instant_common_to_all() -> None:
    asked = list(default_specs(two_with_turn_type("one", "other")))

    assert [(q.metric, q.stratum, q.primary) for q in asked if q.metric == "ttfa" and q.p == 0.5] == [
        ("ttfa", PLAIN, True), ("ttfa", CALLS, False),
    ]  # fmt: skip
    assert {q.stratum for q in asked if q.metric in ("voice_to_voice", "audio_speed")} == {PLAIN, CALLS}
    assert {q.stratum for q in asked if q.metric in ("failure_rate", "connect_total", "stall_rate")} == {None}


def test_a_turn_type_that_the_candidate_lacks_stays_a_primary_metric() -> None:
    sides = two_with_turn_type("one")
    wait = MetricSpec("ttfa", Quantile(0.5), margin_of(0.5))

    assert [one.stratum for one in by_stratum(replace(wait, primary=True), sides)] == [PLAIN, CALLS]
    assert [one.stratum for one in by_stratum(wait, sides)] == [PLAIN]
    primary = [one.stratum for one in default_specs(sides) if one.primary and one.p == 0.95]
    assert primary == [PLAIN, CALLS]
    words = {f.spec.stratum: f.verdict.name for f in quick(sides).primary if f.spec.p == 0.95}
    assert words[CALLS] == "inconclusive"


def test_a_turn_type_with_few_baseline_turns_is_not_primary(tmp_path: Path) -> None:
    run(tmp_path)
    edit(tmp_path, "turns", lambda i, row: row | ({"turn_type": "after_truncation"} if i < 39 else {}))
    asked = list(default_specs(filtered_by([*targets_of(load_for_report(tmp_path)), two()[1]])))

    assert {question.stratum for question in asked if question.primary and question.kind == "quantile"} == {PLAIN}


def test_targets_without_a_common_turn_type_are_not_pooled() -> None:
    sides = two_with_turn_type("one", turns=(1, 2, 3, 4, 5))
    asked = MetricSpec("voice_to_voice", Quantile(0.5), margin_of(0.5), primary=True)

    assert [one.stratum for one in by_stratum(asked, sides)] == [CALLS]
    assert not sides[1].sample(replace(asked, stratum=CALLS)).n


def test_a_metric_of_a_turn_type_is_compared_for_each_instant(tmp_path: Path) -> None:
    run(tmp_path, MIXED)
    edit(tmp_path, "turns", lambda _, row: row | ({"turn_type": "function_calls"} if row["turn"] < 3 else {}))
    sides = parse_targets([tmp_path])
    asked = MetricSpec("ttfa", Quantile(0.5), margin_of(0.5), stratum=CALLS)

    assert [one.stratum for one in by_stratum(asked, sides)] == [
        Stratum("request_sent", "function_calls"), Stratum("speech_end", "function_calls"),
    ]  # fmt: skip
    assert by_stratum(replace(asked, stratum=Stratum("request_sent", "function_calls")), sides)[0].stratum == Stratum(
        "request_sent", "function_calls"
    )


def test_a_step_with_two_turn_types_is_split_by_turn_type(tmp_path: Path) -> None:
    run(tmp_path, PAIRED)
    edit(
        tmp_path,
        "turns",
        lambda i, row: row | ({"turn_type": "function_calls"} if row["turn"] == 3 and i // 10 % 2 else {}),
    )
    side = parse_targets([tmp_path])[0]
    step = MetricSpec("ttfa", Quantile(0.5), margin_of(0.5), step="order_status")

    split = by_stratum(step, [side])
    assert {one.stratum for one in split} == {PLAIN, CALLS}
    assert sum(side.sample(one).n for one in split) == side.sample(step).n == 40


SETTINGS = {"num_users": 10, "spawn_rate": 5.0, "session_pause": 1.0}
SCRIPT = {"name": "talk", "digest": "aa", "turns": 4, "chunk_ms": 100, "timeouts": {"done": 120.0}}
VAD = {"turn_detection": "server_vad", "turn_detection_settings": {"type": "server_vad", "silence_duration_ms": 500}}


def named(checks: tuple[FairnessCheck, ...], code: str) -> FairnessCheck:
    return next(check for check in written(checks) if check.code == code)


def failed_checks(checks: tuple[FairnessCheck, ...]) -> list[str]:
    return [check.code for check in checks if check.result == "fail"]


@pytest.mark.parametrize(
    ("valid", "mark", "cause_text"),
    [
        (False, "✕ INVALID", "the run of sim (other) is INVALID: audio was sent late (send_delay "),
        (None, "? NO VERDICT", "the run of sim (other) has no verdict: "),
    ],
)
def test_an_invalid_run_or_one_without_a_verdict_makes_the_comparison_invalid(
    valid: bool | None, mark: str, cause_text: str
) -> None:
    check = named(checks_of(two(RUN, Plan(sessions=40, turns=5, valid=valid))), "run_valid")

    assert check.result == "fail"
    assert check.texts == ["✓ VALID", mark]
    assert [reason_text(cause).startswith(cause_text) for cause in check.reasons] == [True]
    assert check.remedy


def test_a_target_without_turns_makes_the_comparison_invalid_and_shows_its_outcomes() -> None:
    checks = checks_of(two(RUN, Plan(sessions=0, turns=5, refused=3)))

    assert failed_checks(checks) == ["turns"]
    assert named(checks, "turns").texts == ["200\u00a0turns", "no turn"]
    (cause,) = named(checks, "turns").reasons
    assert reason_text(cause) == "sim (other) has no turns: 3\u00a0sessions ended as connect_failed:401"


@pytest.mark.parametrize(("throttled", "fair"), [(2, True), (3, False)])
def test_more_than_one_percent_of_throttled_turns_makes_the_comparison_invalid(
    tmp_path: Path, throttled: int, fair: bool
) -> None:
    one, other = one_and_other(tmp_path)
    edit(other, "turns", lambda index, row: row | ({"outcome": "throttled:response"} if index < throttled else {}))

    check = named(checks_of(parse_targets([one, other])), "throttled")
    assert (check.result == "pass") is fair
    assert [reason_text(cause).partition(": ")[0] for cause in check.reasons] == ([] if fair else ["sim (other)"])


@pytest.mark.parametrize(("changes", "noticed"), [({}, True), ({"seed": 8}, False), ({"simulated": False}, False)])
def test_two_simulators_with_the_same_seed_cause_a_notice(changes: dict[str, Any], noticed: bool) -> None:
    """The two plans have the same seed by default. A real service has no seed."""
    same = two(replace(RUN, simulated=changes.get("simulated", True)), replace(RUN, **changes))
    notices = [notice for notice in target_notices(same) if "one seed" in notice]

    assert len(notices) == noticed
    assert all("--seed" in notice for notice in notices)


def test_a_comparison_of_a_simulator_with_a_service_is_invalid() -> None:
    real = Plan(sessions=40, turns=5, simulated=False)

    assert failed_checks(checks_of(two(RUN, real))) == ["service"]
    assert failed_checks(checks_of(two(real))) == []


def test_metrics_of_different_definitions_versions_are_refused() -> None:
    ours = rf"metrics are defined differently \(sim \(one\): version {DEFINITIONS_VERSION} and sim"
    with pytest.raises(UsageError, match=ours):
        refuse_other_definitions(two(definitions_version=DEFINITIONS_VERSION + 1))


def document(script: dict[str, Any] | None = None, label: str = "a", **settings: Any) -> dict[str, Any]:
    return {
        "settings": SETTINGS | settings,
        "targets": [{"name": label, "connect_rate": None, "model": "m"}],
        "scripts": [SCRIPT | {"target": label} | (script or {})],
    }


def target_of(session: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of a target that has its own session settings."""
    return {"name": "west", "connect_rate": None, "session": session}


def varied(session: dict[str, Any], **script: Any) -> dict[str, Any]:
    """Return the run document of the variant west.b, which has these session settings."""
    return document(script, "west.b") | {"targets": [target_of(session) | {"name": "west.b"}]}


QUICK = {"type": "server_vad", "silence_duration_ms": 200}
OF_DETECTION: dict[str, object] = {"turn_detection_settings": QUICK}
BOTH = {"targets": [{"name": "a"}, {"name": "west"}],
        "scripts": [SCRIPT | {"target": "a"}, SCRIPT | {"target": "west", "digest": "bb"}]}  # fmt: skip
WORK: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    # (document of one run, document of the other, the conditions that differ). The last target of each is compared.
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
    "duration and folder are not part of the workload":
        (document(), document(sessions=500, seed="2", runs="elsewhere", targets="b", compression="deflate", budget=3),
         []),
    "the service is not part of the workload": (document(), document() | {"targets": [
        {"name": "a", "connect_rate": None, "model": "another", "region": "x"}]}, []),
    "the client is not part of the workload":
        (document(), document() | {"definitions_version": 1, "host": {"cpus": 64}}, []),
    "extra settings of a variant are not part of the workload":
        (document({"extra": {}}, "west"), varied({"extra": {"a": 1}}, extra={"a": 1}), []),
    "settings of a variant are not part of the workload":
        (document(VAD, "west"), varied({"turn_detection": {"silence_duration_ms": 200}}, **VAD | OF_DETECTION),
         []),
    "settings of a script are part of the workload":
        (document(VAD, "west"), document(VAD | OF_DETECTION, "west"), ["turn detection’s settings"]),
    "only the scripts of the target count": (BOTH | {"targets": [{"name": "a"}]}, BOTH, ["script and audio"]),
}  # fmt: skip


@pytest.mark.parametrize(("one", "other", "names"), WORK.values(), ids=WORK)
def test_differences_between_workloads_are_named(one: dict[str, Any], other: dict[str, Any], names: list[str]) -> None:
    of = [workload(doc, doc.get("targets", [{"name": "a"}])[-1]["name"]) for doc in (one, other)]

    assert list(differing_between(of)) == names


def test_an_open_loop_is_not_comparable_with_a_closed_loop_or_another_rate() -> None:
    arrivals = {"pattern": "poisson", "per_s": 0.5, "stages": None, "max_concurrent": 40, "started_utc_ns": 1}
    closed = document()
    calls, later, more = (
        closed | {"arrivals": arrivals | changes} for changes in ({}, {"started_utc_ns": 2}, {"per_s": 1.0})
    )
    workloads = {name: workload(doc, "a") for name, doc in (("closed", closed), ("calls", calls), ("more", more))}

    assert list(differing_between([workloads["closed"], workloads["calls"]])) == ["calls that arrive"]
    assert list(differing_between([workloads["calls"], workloads["more"]])) == ["calls that arrive"]
    assert differing_between([workloads["calls"], workload(later, "a")]) == {}


def test_fillers_are_part_of_the_workload_even_if_a_variant_sets_them() -> None:
    """If a service sends fillers, the first sound is a filler. Its instant then does not measure the answer."""
    fillers: list[dict[str, Any] | None] = [None, {"type": "static_interim_response"}, {"type": "llm_interim_response"}]
    plain, static, llm = (
        workload(document({"fillers": filler}, "west") | {"targets": [target_of({"interim_response": filler})]}, "west")
        for filler in fillers
    )

    for one, other in ((plain, static), (plain, llm), (static, llm)):
        assert list(differing_between([one, other])) == ["fillers (interim_response)"]
    assert differing_between([static, static]) == {}


def test_extra_settings_are_part_of_the_workload() -> None:
    extras: list[dict[str, Any]] = [{}, {"a": 1}, {"a": True}, {"a": "1"}, {"a": {"b": None}}, {"a": {}}]
    workloads = [workload(document({"extra": extra}), "a") for extra in extras]

    assert differing_between([workloads[1], workload(document({"extra": {"a": 1}}), "a")]) == {}
    for number, one in enumerate(workloads):
        for other in workloads[:number]:
            assert list(differing_between([other, one])) == ["further session settings"]


def test_targets_of_one_run_have_the_same_load() -> None:
    plan = Plan(sessions=40, turns=5, targets=("a", "b"), paired=True)
    limits = [{"name": "a", "connect_rate": 30}, {"name": "b", "connect_rate": None}]

    assert failed_checks(checks_of(targets(plan, targets=limits))) == []


def test_other_differences_are_informational_checks() -> None:
    sides = two(tool={"name": "rtbench", "version": "9.9"}, targets=[{"name": "sim", "auth": "entra"}])
    informational = {check.name: check.texts for check in written(checks_of(sides)) if check.result == "informational"}

    assert informational["rtbench"] == ["0.1.0", "9.9"]
    assert informational["sign-in"] == ["–", "entra"]
    assert "model" not in informational


@pytest.mark.parametrize(("sessions", "noticed"), [(119, False), (121, True)])
def test_targets_of_very_different_size_cause_a_notice(sessions: int, noticed: bool) -> None:
    sides = two(RUN, Plan(sessions=sessions, turns=5))

    assert any("more than 3 times the sessions" in notice for notice in target_notices(sides)) is noticed


def test_excluded_pairs_cause_a_notice(tmp_path: Path) -> None:
    folder = run(tmp_path, Plan(sessions=80, turns=2, targets=("a", "b"), paired=True))
    edit(tmp_path, "sessions", lambda index, row: None if index == 0 else row)
    notices = [notice.replace("\u00a0", " ") for notice in target_notices(parse_targets([folder]))]

    assert "1 pair without a session of each target is excluded." in notices


def test_different_failure_rates_cause_a_notice() -> None:
    notices = list(target_notices(two(RUN, Plan(sessions=40, turns=5, failed=0.2))))

    assert any(notice.startswith("Failure rates of the targets differ by more than 1\u00a0point") for notice in notices)


def test_a_notice_of_a_run_is_shown_with_the_run_s_name() -> None:
    notices = list(target_notices(two(notices=["the moon was full"])))

    assert "sim (other): the moon was full" in notices
