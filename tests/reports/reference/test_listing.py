"""A target is listed only if its values can be compared with those of other targets and checked by others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.catalogue.metrics import DEFINITIONS_VERSION
from bench.catalogue.reference_workload import SPOKEN, TYPED, WORKLOADS, ReferenceWorkload
from reports.analysis.reference.listing import ListedTarget, UnlistedTarget, listing_of, run_reasons, workload_of
from reports.data.runs import RunFrames, load_for_report
from reports.text.reasons import reason_text
from tests.reports.edited import Row, edit
from tests.reports.reference.builders import reference_plan, scripts_of, write_reference
from tests.reports.synthetic import document, rows, write


def listed(folder: Path, target: str | None = None) -> list[ListedTarget | UnlistedTarget]:
    return list(listing_of(load_for_report(folder), target))


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.form)
def test_a_valid_run_of_the_pinned_scripts_is_listed(tmp_path: Path, workload: ReferenceWorkload) -> None:
    (found,) = listed(write_reference(tmp_path, workload))

    assert isinstance(found, ListedTarget)
    assert found.form == workload.form
    assert [row.at(0.95).status for row in found.metrics] == ["reported"] * 3


def changed(name: str, digest: str, workload: ReferenceWorkload = SPOKEN) -> list[dict[str, Any]]:
    """Return the entries of the scripts, but with another digest for one of them."""
    return [entry | ({"digest": digest} if entry["name"] == name else {}) for entry in scripts_of(workload)]


def of_target(**session: Any) -> list[dict[str, Any]]:
    return [{"name": "sim", "url": "ws://127.0.0.1:1/v1/realtime", "dialect": "ga", "service": "azure",
             "loopback": True, "session": session}]  # fmt: skip


DOCUMENTS: dict[str, tuple[dict[str, Any], str, str]] = {
    # name: the changed keys of run.json, the code of the only reason, and the beginning of its text
    "another digest": (
        {"scripts": changed("two_tools", "0" * 64)},
        "other_digest",
        "the script two_tools has the digest 000000000000, but in version 1 of the workload, "
        "spoken, it has 9cb0ef02c878",
    ),
    "another digest, typed": (
        {"scripts": changed("two_tools", "0" * 64, TYPED)},
        "other_digest",
        "the script two_tools has the digest 000000000000, but in version 1 of the workload, "
        "typed, it has 74c3b84bca2d",
    ),
    "no digest": (
        {"scripts": changed("two_tools", "")}, "other_digest", "the script two_tools has the digest none"
    ),
    "a script is missing": (
        {"scripts": [entry for entry in scripts_of(SPOKEN) if entry["name"] != "long_answers"]},
        "missing_script",
        "the run lacks long_answers",
    ),
    "a further script": (
        {"scripts": [*scripts_of(SPOKEN), scripts_of(SPOKEN)[0] | {"name": "mine"}]},
        "other_script",
        "the run also contains mine",
    ),
    "mixed forms": (
        {"scripts": [*scripts_of(SPOKEN), scripts_of(TYPED)[0]]},
        "mixed_forms",
        "the run mixes spoken and typed scripts",
    ),
    "other scripts": (
        {"scripts": [scripts_of(SPOKEN)[0] | {"name": "mine"}]},
        "not_reference",
        "the run contains no script of the reference workload",
    ),
    "other settings": (
        {"targets": of_target(turn_detection={"type": "semantic_vad"}, voice="ash")},
        "other_settings",
        "the target replaces settings: turn_detection",
    ),
    "INVALID": (
        {"validity": document(reference_plan(valid=False), rows(reference_plan()))["validity"]},
        "send_delay",
        "the run is INVALID: audio was sent late",
    ),
    "no verdict": ({"validity": None}, "nothing_measured", "the run has no verdict: nothing was measured"),
    "killed": ({"state": "killed"}, "run_killed", "the run was killed"),
    "running": ({"state": "running"}, "run_not_ended", "the run has not ended"),
    "other definitions": (
        {"definitions_version": 1},
        "other_definitions",
        f"its metrics have version 1 of the definitions, but this tool has {DEFINITIONS_VERSION}",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFrames:
    return load_for_report(write_reference(tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize(("changes", "code", "text"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_a_run_that_cannot_be_compared_is_not_listed(
    run: RunFrames, changes: dict[str, Any], code: str, text: str
) -> None:
    run = replace(run, metadata=run.metadata | changes)
    (reason,) = [*run_reasons(run), *workload_of(run.metadata, "sim")[1]]

    assert (reason.code, reason_text(reason).replace("\u00a0", " ")[: len(text)]) == (code, text)


def test_a_target_with_several_problems_is_not_listed_with_all_of_them(run: RunFrames) -> None:
    (found,) = listing_of(replace(run, metadata=run.metadata | DOCUMENTS["killed"][0] | DOCUMENTS["other settings"][0]))

    assert isinstance(found, UnlistedTarget)
    assert [reason.code for reason in found.reasons] == ["run_killed", "other_settings"]


def calls_no_function(_: int, row: Row) -> Row:
    return row | {"turn_type": "regular" if row["turn"] > 4 else row["turn_type"]}


def throttled(index: int, row: Row) -> Row:
    return row | ({"outcome": "throttled:response"} if index % 50 == 0 else {})


def failed(index: int, row: Row) -> Row:
    return row | ({"outcome": "timeout:first_delta"} if index % 12 == 0 else {})


def unequal(index: int, row: Row) -> Row:
    return row | ({"script": "short_questions"} if index % 25 == 1 else {})


@pytest.mark.parametrize(
    ("table", "change", "code", "text"),
    [
        ("turns", calls_no_function, "no_function_calls", "in 80 % of the turns of two_tools (required: 90 %)"),
        ("turns", throttled, "throttled", "of turns or sessions were throttled"),
        ("sessions", unequal, "unequal_scripts", "do not have equal numbers of sessions: fifteen_turns 46, "
         "interruptions 46, long_answers 36"),
    ],
)  # fmt: skip
def test_a_run_with_other_turns_than_planned_is_not_listed(
    tmp_path: Path, table: str, change: Callable[[int, Row], Row], code: str, text: str
) -> None:
    (found,) = listed(edit(write_reference(tmp_path), table, change))

    assert isinstance(found, UnlistedTarget)
    assert text in {reason.code: reason_text(reason).replace("\u00a0", " ") for reason in found.reasons}[code]


def test_a_run_that_is_too_small_states_the_required_sessions(tmp_path: Path) -> None:
    (found,) = listed(write_reference(tmp_path, plan=reference_plan(sessions=25)))

    assert isinstance(found, UnlistedTarget)
    (reason,) = found.reasons
    assert reason.code == "too_small"
    assert "; function_voice_to_voice p95: needs 44\u00a0sessions; " in reason_text(reason)


def test_percentiles_among_failed_turns_are_listed_as_infinite(tmp_path: Path) -> None:
    (found,) = listed(edit(write_reference(tmp_path), "turns", failed))

    assert isinstance(found, ListedTarget)
    assert [row.at(0.95).status for row in found.metrics] == ["in_failures"] * 3


def test_a_target_may_have_another_voice(tmp_path: Path) -> None:
    (found,) = listed(write_reference(tmp_path, targets=of_target(voice="ash")))

    assert isinstance(found, ListedTarget)


def test_each_target_of_a_run_is_decided_separately(tmp_path: Path) -> None:
    plan = reference_plan(sessions=460, targets=("a", "b"), inexact=("voice_to_voice",))
    folder = write_reference(tmp_path, plan=plan)

    assert [type(found) for found in listed(folder)] == [ListedTarget, UnlistedTarget]
    assert [found.target for found in listed(folder, "b")] == ["b"]


def test_a_target_that_never_started_is_not_listed(tmp_path: Path) -> None:
    names = [of_target()[0] | {"name": name} for name in ("sim", "absent")]
    _, absent = listed(write_reference(tmp_path, targets=names))

    assert isinstance(absent, UnlistedTarget)
    assert "no_turn_started" in [reason.code for reason in absent.reasons]


def test_a_run_without_turns_is_not_listed(tmp_path: Path) -> None:
    (found,) = listed(write(tmp_path, reference_plan(sessions=0), scripts=scripts_of(SPOKEN)))

    assert isinstance(found, UnlistedTarget)
    assert [reason.code for reason in found.reasons] == ["no_turn_started"]
