"""The settings that a service ignores precede the notices of a report, and the remedies of the
failures that they cause.
"""

from __future__ import annotations

from typing import Any

from reports.analysis.summary.summary import Summary
from reports.text.notices import notices
from tests.reports.every_run import edited_run
from tests.reports.synthetic import Plan

BUSY = "failed:conversation_already_has_active_response"
SENTENCE = (
    "turn_detection: none was requested, and session.updated says server_vad: the service ignores"
    " the setting"
)
DETECTION = {"type": "server_vad", "silence_duration_ms": 500}
PLAN = Plan(targets=("a", "b"))


def summary(heard: dict[str, Any], voice: str = "marin") -> Summary:
    """Return the summary of a run with failures, whose target `a` was to have these settings."""
    requested = {"audio": {"input": heard, "output": {"voice": voice}}}
    script = {"name": PLAN.scenario, "scenario": PLAN.scenario, "digest": "d", "turns": PLAN.turns}
    return edited_run(
        PLAN,
        turns=lambda index, row: row | {"outcome": BUSY, "cause": ""} if index % 7 == 0 else row,
        scripts=[
            script | {"target": "a", "requested_settings": requested},
            script | {"target": "b"},  # as in runs of earlier versions
        ],
    )


def test_an_ignored_setting_is_the_first_notice_and_the_remedy_of_its_failures() -> None:
    run = summary({"turn_detection": None})

    assert notices(run)[0] == f"a: {SENTENCE}."
    remedies = [one.text for one in run.endings.remedies() if BUSY in one.outcomes]
    assert len(remedies) == 2
    assert sum(remedy.startswith(SENTENCE) for remedy in remedies) == 1
    assert sum("pause" in remedy for remedy in remedies) == 1


def test_an_ignored_voice_has_a_notice_and_changes_no_remedy() -> None:
    run = summary({"turn_detection": DETECTION}, "verse")

    assert notices(run)[0].startswith(
        "a: voice: verse was requested, and session.updated says marin"
    )
    assert all("ignores" not in one.text for one in run.endings.remedies())


def test_confirmed_settings_have_no_notice() -> None:
    assert all(
        "ignores" not in notice for notice in notices(summary({"turn_detection": DETECTION}))
    )
