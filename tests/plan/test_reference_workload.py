"""The scripts of the reference workload are those that the tool pins, and its load decides p50
and p95.
"""

from __future__ import annotations

import pytest

from bench.base.installation import EXAMPLES
from bench.catalogue.metrics import sessions_to_publish
from bench.catalogue.reference_workload import (
    SCRIPT_NAMES,
    SESSIONS,
    SESSIONS_OF_SCRIPT,
    WORKLOADS,
    ReferenceWorkload,
)
from bench.plan.script import Script, load_script

FOLDERS = {"spoken": EXAMPLES / "reference", "typed": EXAMPLES / "reference" / "typed"}


def scripts(workload: ReferenceWorkload) -> list[Script]:
    return [load_script(FOLDERS[workload.form] / f"{name}.yaml") for name in SCRIPT_NAMES]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.form)
def test_the_scripts_have_the_pinned_digests(workload: ReferenceWorkload) -> None:
    """If this fails, a script or recording changed: restore it, or make a new version of the
    workload.
    """
    assert {script.name: script.digest for script in scripts(workload)} == workload.digests


@pytest.mark.parametrize("turns_of_session", [3, 4])
def test_the_default_load_decides_p95_of_a_metric_of_one_script(turns_of_session: int) -> None:
    """The turns with interruptions or function calls are in one script each, three or four in a
    session.
    """
    turns = turns_of_session * SESSIONS_OF_SCRIPT

    assert (
        sessions_to_publish(0.95, turns, SESSIONS_OF_SCRIPT, SESSIONS_OF_SCRIPT)
        < SESSIONS_OF_SCRIPT
    )
    assert SESSIONS == 5 * SESSIONS_OF_SCRIPT
