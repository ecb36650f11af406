"""The default metrics and their strata, the reasons why a comparison is invalid, and checks that
only inform.
"""

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
from reports.metrics.strata import Stratum
from reports.text.reasons import reason_text
from tests.reports.comparisons.build import RUN, one_and_other, quick, run, targets, two
from tests.reports.edited import edit
from tests.reports.forms import written
from tests.reports.shared import folder as shared_folder
from tests.reports.synthetic import Plan

REQUESTED, SPEECH_END = Stratum("request_sent"), Stratum("speech_end")
MIXED = Plan(
    sessions=40, turns=5, targets=("west", "east"), kinds=("vad", "manual", "typed"), paired=True
)


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


def test_turns_measured_from_different_instants_are_compared_separately() -> None:
    asked = list(default_specs(targets(MIXED)))
    of_main = {(one.p, one.stratum, one.primary) for one in asked if one.metric == "ttfa"}

    assert {(0.5, REQUESTED, True), (0.95, REQUESTED, True), (0.5, SPEECH_END, False)} <= of_main
    assert {one.stratum for one in asked if one.metric == "response_total"} == {
        REQUESTED,
        SPEECH_END,
    }
    assert {
        one.stratum
        for one in asked
        if one.metric in ("input_transcript", "connect_total", "failure_rate")
    } == {None}


def test_primary_metrics_keep_all_instants_of_the_baseline() -> None:
    both, vad = Plan(sessions=20, turns=5, kinds=("vad", "manual")), Plan(sessions=20, turns=5)
    sides = two(both, vad)
    wait = MetricSpec("ttfa", Quantile(0.5), margin_of(0.5))
    primary = [
        (one.p, one.stratum) for one in default_specs(sides) if one.primary and one.metric == "ttfa"
    ]

    assert [one.stratum for one in by_stratum(replace(wait, primary=True), sides)] == [
        SPEECH_END,
        REQUESTED,
    ]
    assert [one.stratum for one in by_stratum(wait, sides)] == [SPEECH_END]
    assert primary == [(0.5, SPEECH_END), (0.95, SPEECH_END), (0.5, REQUESTED), (0.95, REQUESTED)]


PLAIN, CALLS = Stratum(), Stratum(turn_type="function_calls")


def with_turn_type(folder: Path, *turns: int) -> None:
    edit(
        folder,
        "turns",
        lambda _, row: row | ({"turn_type": "function_calls"} if row["turn"] in turns else {}),
    )


@cache
def target_with_turn_type(name: str, *turns: int) -> ComparedTarget:
    """Return the target of the run `name`. The turns whose numbers are in `turns` have an
    additional turn type.
    """
    folder = shared_folder() / name
    run(folder, RUN if name == "one" else replace(RUN, seed=8))
    with_turn_type(folder, *turns)
    return targets_of(load_for_report(folder))[0]


def two_with_turn_type(*names: str, turns: tuple[int, ...] = (3,)) -> tuple[ComparedTarget, ...]:
    """Return the targets of two runs. In the runs `names`, some turns have an additional turn type.

    The numbers of these turns are in `turns`.
    """
    return filtered_by(
        [
            (
                target_with_turn_type(side.run.folder.name, *turns)
                if side.run.folder.name in names
                else side
            )
            for side in two()
        ]
    )


def test_turn_types_are_compared_separately_and_omit_an_instant_common_to_all() -> None:
    asked = list(default_specs(two_with_turn_type("one", "other")))

    assert [
        (q.metric, q.stratum, q.primary) for q in asked if q.metric == "ttfa" and q.p == 0.5
    ] == [
        ("ttfa", PLAIN, True),
        ("ttfa", CALLS, False),
    ]
    assert {q.stratum for q in asked if q.metric in ("voice_to_voice", "audio_speed")} == {
        PLAIN,
        CALLS,
    }
    assert {
        q.stratum for q in asked if q.metric in ("failure_rate", "connect_total", "stall_rate")
    } == {None}


def test_a_turn_type_that_the_candidate_lacks_stays_a_primary_metric() -> None:
    sides = two_with_turn_type("one")
    wait = MetricSpec("ttfa", Quantile(0.5), margin_of(0.5))

    assert [one.stratum for one in by_stratum(replace(wait, primary=True), sides)] == [PLAIN, CALLS]
    assert [one.stratum for one in by_stratum(wait, sides)] == [PLAIN]
    primary = [one.stratum for one in default_specs(sides) if one.primary and one.p == 0.95]
    assert primary == [PLAIN, CALLS]
    words = {f.spec.stratum: f.verdict.name for f in quick(sides).primary if f.spec.p == 0.95}
    assert words[CALLS] == "inconclusive"


def test_targets_without_a_common_turn_type_are_not_pooled() -> None:
    sides = two_with_turn_type("one", turns=(1, 2, 3, 4, 5))
    asked = MetricSpec("voice_to_voice", Quantile(0.5), margin_of(0.5), primary=True)

    assert [one.stratum for one in by_stratum(asked, sides)] == [CALLS]
    assert not sides[1].sample(replace(asked, stratum=CALLS)).n


SETTINGS = {"num_users": 10, "spawn_rate": 5.0, "session_pause": 1.0}
SCRIPT = {"name": "talk", "digest": "aa", "turns": 4, "chunk_ms": 100, "timeouts": {"done": 120.0}}
VAD = {
    "turn_detection": "server_vad",
    "turn_detection_settings": {"type": "server_vad", "silence_duration_ms": 500},
}


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


@pytest.mark.parametrize(("throttled", "fair"), [(2, True), (3, False)])
def test_more_than_one_percent_of_throttled_turns_makes_the_comparison_invalid(
    tmp_path: Path, throttled: int, fair: bool
) -> None:
    one, other = one_and_other(tmp_path)
    edit(
        other,
        "turns",
        lambda index, row: row | ({"outcome": "throttled:response"} if index < throttled else {}),
    )

    check = named(checks_of(parse_targets([one, other])), "throttled")
    assert (check.result == "pass") is fair
    assert [reason_text(cause).partition(": ")[0] for cause in check.reasons] == (
        [] if fair else ["sim (other)"]
    )


def test_a_comparison_of_a_simulator_with_a_service_is_invalid() -> None:
    real = Plan(sessions=40, turns=5, simulated=False)

    assert failed_checks(checks_of(two(RUN, real))) == ["service"]
    assert failed_checks(checks_of(two(real))) == []


def test_metrics_of_different_definitions_versions_are_refused() -> None:
    ours = rf"metrics are defined differently \(sim \(one\): version {DEFINITIONS_VERSION} and sim"
    with pytest.raises(UsageError, match=ours):
        refuse_other_definitions(two(definitions_version=DEFINITIONS_VERSION + 1))


def document(
    script: dict[str, Any] | None = None, label: str = "a", **settings: Any
) -> dict[str, Any]:
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
BOTH = {
    "targets": [{"name": "a"}, {"name": "west"}],
    "scripts": [SCRIPT | {"target": "a"}, SCRIPT | {"target": "west", "digest": "bb"}],
}
WORK: dict[str, tuple[dict[str, Any], dict[str, Any], list[str]]] = {
    # (document of one run, document of the other, the conditions that differ). The last target of
    # each is compared.
    **{
        name: (document(), other, [name])
        for name, other in {
            "digest": document({"digest": "bb"}),
            "chunk_ms": document({"chunk_ms": 20}),
            "timeouts": document({"timeouts": {"done": 60.0}}),
            "turns": document({"turns": 5}),
            "num_users": document(num_users=20),
            "session_pause": document(session_pause=2.0),
            "processes": document(processes=2),
            "warmup_s": document() | {"warmup_s": 60.0},
            "connect_rate": document() | {"targets": [{"name": "a", "connect_rate": 30}]},
        }.items()
    },
    "duration and folder are not part of the workload": (
        document(),
        document(
            sessions=500, seed="2", runs="elsewhere", targets="b", compression="deflate", budget=3
        ),
        [],
    ),
    "the service is not part of the workload": (
        document(),
        document()
        | {"targets": [{"name": "a", "connect_rate": None, "model": "another", "region": "x"}]},
        [],
    ),
    "the only format of a service is not part of the workload": (
        document({"input_format": "pcm16"}) | {"targets": [{"name": "a", "dialect": "ga"}]},
        document({"input_format": "pcm16@16000"})
        | {"targets": [{"name": "a", "dialect": "gemini"}]},
        [],
    ),
    "a format that was chosen is part of the workload": (
        document({"input_format": "pcm16"}) | {"targets": [{"name": "a", "dialect": "ga"}]},
        document({"input_format": "g711_ulaw"}) | {"targets": [{"name": "a", "dialect": "ga"}]},
        ["input_format"],
    ),
    "the client is not part of the workload": (
        document(),
        document() | {"definitions_version": 1, "host": {"cpus": 64}},
        [],
    ),
    "extra settings of a variant are not part of the workload": (
        document({"extra": {}}, "west"),
        varied({"extra": {"a": 1}}, extra={"a": 1}),
        [],
    ),
    "settings of a variant are not part of the workload": (
        document(VAD, "west"),
        varied({"turn_detection": {"silence_duration_ms": 200}}, **VAD | OF_DETECTION),
        [],
    ),
    "settings of a script are part of the workload": (
        document(VAD, "west"),
        document(VAD | OF_DETECTION, "west"),
        ["turn_detection_settings"],
    ),
    "only the scripts of the target count": (BOTH | {"targets": [{"name": "a"}]}, BOTH, ["digest"]),
}


@pytest.mark.parametrize(("one", "other", "names"), WORK.values(), ids=WORK)
def test_differences_between_workloads_are_named(
    one: dict[str, Any], other: dict[str, Any], names: list[str]
) -> None:
    of = [workload(doc, doc.get("targets", [{"name": "a"}])[-1]["name"]) for doc in (one, other)]

    assert list(differing_between(of)) == names


def test_an_open_loop_is_not_comparable_with_a_closed_loop_or_another_rate() -> None:
    arrivals = {
        "pattern": "poisson",
        "per_s": 0.5,
        "stages": None,
        "max_concurrent": 40,
        "started_utc_ns": 1,
    }
    closed = document()
    calls, later, more = (
        closed | {"arrivals": arrivals | changes}
        for changes in ({}, {"started_utc_ns": 2}, {"per_s": 1.0})
    )
    workloads = {
        name: workload(doc, "a")
        for name, doc in (("closed", closed), ("calls", calls), ("more", more))
    }

    assert list(differing_between([workloads["closed"], workloads["calls"]])) == ["arrivals"]
    assert list(differing_between([workloads["calls"], workloads["more"]])) == ["arrivals"]
    assert differing_between([workloads["calls"], workload(later, "a")]) == {}


def test_a_target_without_turns_makes_the_comparison_invalid_and_shows_its_outcomes() -> None:
    checks = checks_of(two(RUN, Plan(sessions=0, turns=5, refused=3)))

    assert failed_checks(checks) == ["turns"]
    assert named(checks, "turns").texts == ["200\u00a0turns", "no turn"]
    (cause,) = named(checks, "turns").reasons
    assert (
        reason_text(cause)
        == "sim (other) has no turns: 3\u00a0sessions ended as connect_failed:401"
    )
