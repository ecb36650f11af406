"""The notices of a report on what a service sent beyond the answers: unrequested responses, and
late audio.
"""

from __future__ import annotations

import pytest

from reports.formatting import NBSP
from reports.text.notices import notices
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

SURPLUS = (
    "More responses than requests arrived in 3 of 10 sessions (6 more), and not every response"
    " named its request: the latencies of these sessions are uncertain, because the answer of a"
    " turn may be a response that nothing requested."
)
STRAY = "{} arrived that nothing requested. No turn counts them as its answer."


def about_responses(plan: Plan) -> list[str]:
    return [
        notice.replace(NBSP, " ") for notice in notices(summary_of(plan)) if "requested" in notice
    ]


@pytest.mark.parametrize(
    ("unrequested", "uncertain", "expected"),
    [
        (0, 0, []),
        (3, 3, [SURPLUS]),
        (2, 0, [STRAY.format("4 responses")]),
        (4, 3, [SURPLUS, STRAY.format("2 responses")]),
    ],
)
def test_a_report_says_which_latencies_are_uncertain(
    unrequested: int, uncertain: int, expected: list[str]
) -> None:
    assert about_responses(Plan(unrequested=unrequested, uncertain=uncertain)) == expected


def test_a_report_names_audio_that_arrived_after_its_response() -> None:
    (notice,) = (
        notice for notice in notices(summary_of(Plan(cut_short=3))) if "response.done" in notice
    )

    assert (
        notice.replace(NBSP, " ")
        == "1.2 s of audio arrived after the response.done of its response (in 3 sessions). No turn"
        " has it, although a player plays it."
    )


def test_a_notice_names_its_target_if_there_are_several() -> None:
    (notice,) = about_responses(Plan(targets=("a", "b"), unrequested=1, uncertain=1))

    assert notice.startswith("a: More responses than requests arrived in 1 of 5 sessions (2 more)")
