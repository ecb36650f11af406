"""Stored baselines: how they are written, refused and chosen for a run; metrics that are zero;
drift.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from bench.base.errors import UsageError
from reports.analysis.check.baselines import baseline_of, read_baselines, safe, save, unfit_reason
from reports.analysis.check.check import check_of
from reports.analysis.check.results import CheckResult
from reports.analysis.targets.conditions import allowed, conditions_of, differing_conditions
from reports.analysis.targets.named import targets_of
from reports.data.runs import load_for_report
from reports.metrics.stored import PS, SCHEMA
from reports.pages.check.baselines import describe_baselines, list_baselines
from reports.pages.check.report import check_page
from reports.render.markdown import render_markdown
from reports.render.terminal import render_lines, render_page
from reports.text import check_sentences
from reports.text.check_sentences import interval_text, why
from reports.text.reasons import reason_line, reason_text
from reports.text.settings import condition_name
from tests.reports.check.examples import (
    ENOUGH,
    flat,
    read,
    run,
    stored,
    targets_of_plan,
    thresholds,
)
from tests.reports.edited import slowed
from tests.reports.planned import planned
from tests.reports.synthetic import Plan
from tools.schemas import schemas


def test_a_saved_baseline_reads_back_and_matches_its_schema(tmp_path: Path) -> None:
    (side,) = targets_of_plan(replace(ENOUGH, failed=0.02, seed=8, refused=2), run_id="r1")
    found = baseline_of(side)
    path = save(found, tmp_path / "baselines")

    assert path == tmp_path / "baselines" / "voice_turns" / "sim" / "r1.json"
    assert [
        one.baseline for one in read_baselines(tmp_path / "baselines", "voice_turns", "sim")
    ] == [found]
    jsonschema.validate(json.loads(path.read_text(encoding="utf-8")), schemas()["baseline"])
    assert path.stat().st_size < 14_000


def test_a_baseline_has_quantiles_with_standard_errors_and_rates() -> None:
    (side,) = targets_of_plan(replace(ENOUGH, failed=0.02, seed=8))
    stored = baseline_of(side)
    ttfa = next(row for row in stored.quantiles if row.metric == "ttfa")

    assert ttfa.n == 600
    assert 400 < (ttfa.values[0] or 0) < 800
    assert ttfa.values[PS.index(0.99)] is None
    assert 0.0001 < (ttfa.variances[0] or 0) < 0.01
    assert ttfa.infinite[0] == 0 < ttfa.infinite[-1]
    assert {rate.name for rate in stored.rates} == {"failure_rate", "throttle_rate", "stall_rate"}
    assert {row.metric for row in stored.quantiles} >= {"ttfa", "connect_total", "voice_to_voice"}


def test_quantiles_from_different_instants_are_stored_separately() -> None:
    (side,) = targets_of_plan(Plan(kinds=("vad", "manual")))
    rows = [row.measured_from for row in baseline_of(side).quantiles if row.metric == "ttfa"]

    assert sorted(rows) == ["request_sent", "speech_end"]


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (replace(ENOUGH, valid=False), "INVALID"),
        (replace(ENOUGH, valid=None), "has no verdict"),
        (Plan(sessions=0), "sim has no turns"),
        (replace(ENOUGH, failed=1.0), "no turn of sim succeeded"),
        (
            replace(ENOUGH, failed=0.2),
            r"of turns or sessions were throttled \(limit 1 %\). Lower the load",
        ),
    ],
)
def test_an_invalid_or_empty_run_is_no_baseline(plan: Plan, message: str) -> None:
    (side,) = targets_of_plan(plan)

    reason = unfit_reason(side)

    assert reason is not None
    assert re.search(message, reason_line(reason).replace("\u00a0", " "))


@given(st.text(), st.text())
def test_every_label_has_a_unique_file_name(one: str, other: str) -> None:
    assert Path(safe(one)).name == safe(one) not in ("", ".", "..")
    assert (safe(one) == safe(other)) == (one == other)


def test_a_baseline_of_a_newer_schema_version_is_reported(tmp_path: Path) -> None:
    place = tmp_path / "voice_turns" / "sim"
    place.mkdir(parents=True)
    (place / "r1.json").write_text('{"schema": 99}', encoding="utf-8")

    with pytest.raises(UsageError, match=r"newer rtbench \(schema 99\)"):
        read_baselines(tmp_path)


def test_baselines_are_sorted_with_the_newest_first(tmp_path: Path) -> None:
    for number in (2, 1, 3):
        stored(tmp_path / "baselines", f"r{number}", started_utc_ns=number * 10**18)

    assert [one.baseline.run_id for one in read_baselines(tmp_path / "baselines")] == [
        "r3",
        "r2",
        "r1",
    ]


def test_conditions_include_those_of_the_target_and_of_the_workload() -> None:
    (side,) = targets_of_plan(settings={"num_users": 7})
    found = conditions_of(side)

    assert (found["model"], found["region"], found["voice"]) == (
        "gpt-realtime-2025-08-28",
        "Sweden Central",
        "marin",
    )
    assert (found["num_users"], found["simulated"], found["client_version"]) == (
        "7",
        "yes",
        "0.1.0",
    )


def test_a_difference_in_fillers_cannot_be_allowed() -> None:
    now, then = {"fillers:talk": '{"type": "static_interim_response"}'}, {"model": ""}

    (difference,) = differing_conditions("sim", now, then, ("scripts",))
    assert reason_text(difference).endswith("unknown in the baseline")
    with pytest.raises(UsageError, match="runs that differ in it cannot be compared"):
        allowed("fillers")


def test_extra_settings_are_a_condition_if_there_are_any() -> None:
    document = read().metadata

    def told(name: str, extra: dict[str, Any], own: dict[str, Any]) -> dict[str, str]:
        scripts = [script | {"extra": extra} for script in document["scripts"]]
        targets = [target | {"session": own} for target in document["targets"]]
        return conditions_of(*targets_of_plan(scripts=scripts, targets=targets))

    assert "extra" not in told("none", {}, {})
    assert told("some", {"a": [1]}, {})["extra"] == '{"a": [1]}'
    assert told("own", {"a": None}, {"extra": {"a": None}})["session"] == 'extra {"a": null}'


def test_differing_conditions_are_reported_with_the_option_that_allows_them() -> None:
    now = {
        "model": "a",
        "num_users": "7",
        "jitter_buffer_ms:talk": "60",
        "stages": "",
        "definitions": "2",
    }
    then = {
        "model": "b",
        "num_users": "8",
        "jitter_buffer_ms:talk": "",
        "stages": "users 3",
        "definitions": "1",
    }
    differing = differing_conditions("sim", now, then)

    assert [*map(reason_text, differing)] == [
        "sim: model: a in this run, b in the baseline (--allow-different model)",
        "sim: users: 7 in this run, 8 in the baseline (--allow-different concurrency)",
        (
            "sim: jitter buffer, ms of talk: 60 in this run, unknown in the baseline"
            " (--allow-different pacing)"
        ),
        (
            "sim: stages of sessions: none in this run, users 3 in the baseline (--allow-different"
            " concurrency)"
        ),
        "sim: definitions: 2 in this run, 1 in the baseline",
    ]
    assert (
        differing_conditions("sim", now, then, ("model", "concurrency", "pacing")) == differing[-1:]
    )
    assert not differing_conditions("sim", now, dict(now))


STORED_BY_LABEL = Path(__file__).parent / "stored_by_label"
"""Runs with the conditions below that were stored as schema 3, in which the keys of conditions
are their names."""
SCRIPT: dict[str, Any] = {
    "target": "sim",
    "name": "talk",
    "digest": "sha256:0f1e2d",
    "turns": 4,
    "output": "audio",
    "chunk_ms": 100,
    "turn_detection": "server_vad",
    "turn_detection_settings": {"type": "server_vad", "silence_duration_ms": 500},
    "input_format": "pcm16",
    "output_format": "pcm16",
    "extra": {"a": [1]},
    "fillers": {"type": "static"},
    "jitter_buffer_ms": 60,
    "reply_silence_ms": 700,
    "answer_min_ms": 200,
    "background_snr_db": 20,
    "variables": 3,
    "timeouts": {"response": 120},
}
ONE_SCRIPT: dict[str, Any] = {
    "scripts": [SCRIPT],
    "settings": {
        "num_users": 10,
        "spawn_rate": 5.0,
        "session_pause": 1.0,
        "processes": 2,
        "profile": "steady",
        "user_classes": ["Caller"],
        "equal_weights": True,
        "tags": ["a"],
        "exclude_tags": ["b"],
    },
    "arrivals": {"pattern": "poisson", "per_s": 0.5, "started_utc_ns": 1},
    "stages": [{"users": 3, "duration_s": 5}],
    "warmup_s": 5.0,
    "targets": [
        {
            "name": "sim",
            "url": "ws://127.0.0.1:8765?api-version=v2",
            "dialect": "ga",
            "service": "simulator",
            "connect_rate": 30,
            "session": {"voice": "cedar"},
        }
    ],
}
TWO_SCRIPTS: dict[str, Any] = {
    "scripts": [SCRIPT, SCRIPT | {"name": "a talk of two", "chunk_ms": 20}]
}


@pytest.mark.parametrize(
    ("scenario", "document"), [("one_script", ONE_SCRIPT), ("two_scripts", TWO_SCRIPTS)]
)
def test_a_run_that_was_stored_with_the_names_of_conditions_is_still_a_baseline(
    scenario: str, document: dict[str, Any], tmp_path: Path
) -> None:
    now = read(**document, scenario=scenario)
    (old,) = read_baselines(STORED_BY_LABEL, scenario)
    save(structs.replace(old.baseline, schema=SCHEMA), tmp_path)
    names = json.loads(old.path.read_text(encoding="utf-8"))["conditions"]
    by_name, by_code = (
        check_of(now, thresholds(*TTFA), str(folder)) for folder in (STORED_BY_LABEL, tmp_path)
    )

    assert old.baseline.conditions == conditions_of(targets_of(now)[0])
    assert [*map(condition_name, old.baseline.conditions)] == [
        name.removeprefix("load: ") for name in names
    ]
    assert (by_name.differs, by_name.exit_status) == ((), by_code.exit_status)
    # NaN is not equal to NaN
    assert repr([*map(flat, by_name.thresholds)]) == repr([*map(flat, by_code.thresholds)])


def test_conditions_that_may_differ_are_named_and_definitions_may_not() -> None:
    assert allowed(" model,region ,") == ("model", "region")
    with pytest.raises(UsageError, match="did you mean model"):
        allowed("models")
    with pytest.raises(UsageError, match='"chunk_ms:talk" is unknown; did you mean pacing'):
        allowed("chunk_ms:talk")
    with pytest.raises(UsageError, match="cannot be compared"):
        allowed("definitions")


def test_the_list_of_baselines_shows_the_run_to_run_variation(tmp_path: Path) -> None:
    for number, median_ms in enumerate((500.0, 600.0, 700.0)):
        stored(tmp_path / "baselines", f"r{number}", replace(ENOUGH, median_ms=median_ms))
    shelf = read_baselines(tmp_path / "baselines")
    shown, listed = render_lines(describe_baselines(shelf)), render_lines([list_baselines(shelf)])
    row = next(line.split() for line in shown.splitlines() if line.startswith("  ttfa p50"))

    assert listed.startswith("voice_turns/sim  3 runs, newest 20 Nov 2026")
    assert "provisional" in listed
    assert row[3] == "ms"
    # the standard deviation of the logs of 500, 600 and 700 is 16.8 %
    assert 14 < float(row[4].removeprefix("±")) < 20


TTFA = ("ttfa: med<+10%", "ttfa: p(95)<+20%")
MANY = replace(ENOUGH, sessions=160, seconds=300, failed=0.0)


BEGAN_NS, DAY_NS = 1_795_000_000_000_000_000, 86_400_000_000_000


def store(folder: Path, count: int, **document: Any) -> Path:
    """Store `count` runs as baselines. The runs begin one day apart."""
    for number in range(count):
        began = BEGAN_NS + number * DAY_NS
        plan = replace(MANY, seed=100 + number)
        stored(
            folder / "baselines", f"made-{number}", plan, **(document | {"started_utc_ns": began})
        )
    return folder / "baselines"


def set_quantiles(path: Path, metric: str, value: float) -> None:
    """Set all quantiles of a metric in a stored run to one value."""
    data = json.loads(path.read_text(encoding="utf-8"))
    for row in data["quantiles"]:
        if row["metric"] == metric:
            row["values"] = [value] * len(PS)
    path.write_text(json.dumps(data), encoding="utf-8")


def notices(found: CheckResult) -> str:
    return " ".join(check_sentences.notices(found)).replace("\u00a0", " ")


def test_a_run_that_is_stored_several_times_counts_once(tmp_path: Path) -> None:
    folder = store(tmp_path, 1)
    place = folder / "voice_turns" / "sim"
    for number in range(4):
        shutil.copy(place / "made-0.json", place / f"copy-{number}.json")
    found = check_of(read(MANY), thresholds(*TTFA), str(folder))

    assert check_sentences.against_text(found) == "1\u00a0stored run of sim"
    assert all(item.provisional for item in found.thresholds)
    assert (
        notices(found).count(
            " belongs to made-0, which is stored already: ignored, because a run counts once."
        )
        == 4
    )


def test_a_run_is_excluded_from_its_own_baseline_with_a_notice(tmp_path: Path) -> None:
    folder = store(tmp_path, 2)
    made = read(replace(MANY, seed=100), run_id="made-0", started_utc_ns=BEGAN_NS)
    found = check_of(made, thresholds(*TTFA), str(folder))

    assert check_sentences.against_text(found) == "1\u00a0stored run of sim"
    assert "The checked run is itself stored in" in notices(found)


def test_a_baseline_in_another_target_s_folder_is_ignored_with_a_notice(tmp_path: Path) -> None:
    folder = store(tmp_path, 2)
    path = folder / "voice_turns" / "sim" / "made-1.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"target": "sim"', '"target": "other"'),
        encoding="utf-8",
    )
    found = check_of(read(MANY), thresholds(*TTFA), str(folder))

    assert check_sentences.against_text(found) == "1\u00a0stored run of sim"
    assert "made-1.json belongs to voice_turns/other, not to its folder: ignored." in notices(found)


@pytest.mark.parametrize(
    ("metric", "then", "word"),
    [
        ("stall_duration", (0, 0, 0, 0, 0), "equivalent"),
        ("stall_duration", (300, 300, 300, 300, 300), "improved"),
        ("stall_duration", (0, 300, 300, 300, 300), "not_regressed"),
        ("ttfa", (0, 600, 600, 600, 600), "inconclusive"),
        ("ttfa", (0, 0, 0, 0, 0), "inconclusive"),
    ],
)
def test_zero_quantiles_are_compared_or_give_a_reason(
    tmp_path: Path, metric: str, then: tuple[int, ...], word: str
) -> None:
    """Most replies do not stall, so the median of `stall_duration` is 0 in most runs."""
    folder = store(tmp_path, 5)
    for path, value in zip(sorted(folder.rglob("*.json")), then, strict=True):
        set_quantiles(path, metric, value)
    (item,) = check_of(read(MANY), thresholds(f"{metric}: med<+20%"), str(folder)).thresholds

    assert flat(item).verdict == word
    assert (flat(item).value == 0) == (metric == "stall_duration")
    if metric == "ttfa":
        assert why(item) == "the value of the stored runs is 0, so there is no ratio"
        assert interval_text(item) == "n/a"


def test_a_run_that_drifted_has_provisional_verdicts_against_stored_runs(tmp_path: Path) -> None:
    folder = str(store(tmp_path, 5))
    steady, drifting = read(MANY), load_for_report(slowed(run(tmp_path / "drifting", MANY), 1.6))
    first, second = (check_of(one, thresholds(*TTFA), folder) for one in (steady, drifting))

    assert not any(item.provisional for item in first.thresholds)
    assert all(item.provisional for item in second.thresholds)
    assert (
        "Drift of the steady phase is suspected, later half of the turns compared with the earlier"
        " half" in notices(second)
    )
    assert not any(one.startswith("Provisional") for one in check_sentences.notices(second))


def test_a_run_ended_by_interim_analyses_is_provisional_against_stored_runs(tmp_path: Path) -> None:
    plan = planned({"ttfa": ["p(50)<+60%"]}, [40, 80])
    found = check_of(read(MANY, sequential_plan=plan), thresholds(*TTFA), str(store(tmp_path, 5)))

    assert all(item.provisional for item in found.thresholds)
    assert "now was ended by interim analyses" in notices(found)


def test_that_only_runs_of_another_name_are_stored_is_stated_with_their_names(
    tmp_path: Path,
) -> None:
    folder = stored(tmp_path / "baselines", "now")
    found = check_of(read(scenario="after"), baseline=str(folder))

    assert "/after/sim yet (stored: voice_turns/sim; a run and its stored runs need the same" in (
        why(found.thresholds[0])
    )


@pytest.mark.parametrize("itself", [False, True])
def test_that_no_run_is_stored_is_stated_once_and_nothing_is_stated_about_lengths(
    tmp_path: Path, itself: bool
) -> None:
    tmp_path.joinpath("baselines").mkdir()
    if itself:
        stored(tmp_path / "baselines", "now")
    found = check_of(read(), baseline=str(tmp_path / "baselines"))
    page = check_page(found)

    words = "the checked run" if itself else "no run is stored in"
    for text in (render_page(page), render_markdown(page)):
        assert " ".join(text.split()).count(words) == 1
    assert check_sentences.notices(found) == []
    assert {result.result for result in found.thresholds} == {"inconclusive"}
    assert {flat(item).effective_sessions for item in found.thresholds} == {60.0}


def test_a_shorter_stored_run_is_no_sign_of_sessions_of_unequal_length(tmp_path: Path) -> None:
    stored(tmp_path / "baselines", "r1", replace(ENOUGH, sessions=30, seed=8))

    assert "unequal" not in notices(check_of(read(), baseline=str(tmp_path / "baselines")))
