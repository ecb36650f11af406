"""The scripts of the reference workload are those that the tool pins, and its load decides p50 and p95."""

from __future__ import annotations

import pytest

from bench.base.installation import EXAMPLES
from bench.catalogue.metrics import sessions_to_publish
from bench.catalogue.reference_workload import (
    SCRIPT_NAMES,
    SESSIONS,
    SESSIONS_OF_SCRIPT,
    SPOKEN,
    TYPED,
    WORKLOADS,
    ReferenceWorkload,
)
from bench.plan.script import Script, load_script
from reports.analysis.reference.listing import PINNED_SETTINGS

FOLDERS = {"spoken": EXAMPLES / "reference", "typed": EXAMPLES / "reference" / "typed"}
MAX_BYTES = 3_000_000


def scripts(workload: ReferenceWorkload) -> list[Script]:
    return [load_script(FOLDERS[workload.form] / f"{name}.yaml") for name in SCRIPT_NAMES]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.form)
def test_the_scripts_have_the_pinned_digests(workload: ReferenceWorkload) -> None:
    """If this fails, a script or recording changed: restore it, or make a new version of the workload."""
    assert {script.name: script.digest for script in scripts(workload)} == workload.digests


def test_the_forms_have_no_digest_in_common() -> None:
    assert {*SPOKEN.digests.values()}.isdisjoint(TYPED.digests.values())
    assert list(SPOKEN.digests) == list(TYPED.digests) == list(SCRIPT_NAMES)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.form)
def test_the_locust_file_runs_all_scripts(workload: ReferenceWorkload) -> None:
    text = (EXAMPLES / workload.file).read_text(encoding="utf-8")
    folder = FOLDERS[workload.form].relative_to(EXAMPLES)

    assert [line.split('"')[1] for line in text.splitlines() if "script(" in line] == [
        f"{folder}/{name}.yaml" for name in SCRIPT_NAMES
    ]


def test_both_forms_have_the_same_turns() -> None:
    names = [[[turn.name for turn in script.turns] for script in scripts(workload)] for workload in WORKLOADS]

    assert names[0] == names[1]
    assert [len(turns) for turns in names[0]] == [5, 3, 6, 4, 15]


def test_the_spoken_scripts_set_the_silence_that_ends_a_turn() -> None:
    settings = [script.session.turn_detection for script in scripts(SPOKEN)]

    assert {(each.type, each.silence_duration_ms) for each in settings if each} == {("server_vad", 500)}
    assert all(settings)


def test_a_target_cannot_replace_a_setting_of_the_scripts_except_the_voice() -> None:
    settings = {
        name
        for workload in WORKLOADS
        for script in scripts(workload)
        for name in script.session.__struct_fields__
        if getattr(script.session, name) != getattr(type(script.session)(), name)
    }

    assert settings - {"voice", "tools"} <= {*PINNED_SETTINGS}  # a target cannot have `tools`


@pytest.mark.parametrize("turns_of_session", [3, 4])
def test_the_default_load_decides_p95_of_a_metric_of_one_script(turns_of_session: int) -> None:
    """The turns with interruptions or function calls are in one script each, three or four in a session."""
    turns = turns_of_session * SESSIONS_OF_SCRIPT

    assert sessions_to_publish(0.95, turns, SESSIONS_OF_SCRIPT, SESSIONS_OF_SCRIPT) < SESSIONS_OF_SCRIPT
    assert SESSIONS == 5 * SESSIONS_OF_SCRIPT


def test_every_recording_is_in_the_list_of_texts_and_small() -> None:
    audio = EXAMPLES / "reference" / "audio"
    listed = {line.split("|")[0] for line in (audio / "texts.txt").read_text(encoding="utf-8").splitlines()}
    recordings = {path.stem: path.stat().st_size for path in audio.glob("*.flac")}
    played = {pcm.path.stem for script in scripts(SPOKEN) for turn in script.turns for pcm in turn.recordings}

    assert {*recordings} == listed == played
    assert sum(recordings.values()) < MAX_BYTES
