"""The notices of a report on responses that nothing requested."""

from __future__ import annotations

import pytest

from reports.formatting import NBSP
from reports.text.notices import notices
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

SURPLUS = (
    "More responses than requests arrived in 3 of 10 sessions (6 more), and not every response named its request: the "
    "latencies of these sessions are uncertain, because the answer of a turn may be a response that nothing requested."
)
STRAY = "{} arrived that nothing requested. No turn counts them as its answer."


def about_responses(plan: Plan) -> list[str]:
    return [notice.replace(NBSP, " ") for notice in notices(summary_of(plan)) if "requested" in notice]


@pytest.mark.parametrize(
    ("unrequested", "uncertain", "expected"),
    [
        (0, 0, []),
        (3, 3, [SURPLUS]),
        (2, 0, [STRAY.format("4 responses")]),
        (4, 3, [SURPLUS, STRAY.format("2 responses")]),
    ],
)
def test_a_report_says_which_latencies_are_uncertain(unrequested: int, uncertain: int, expected: list[str]) -> None:
    assert about_responses(Plan(unrequested=unrequested, uncertain=uncertain)) == expected


def test_a_notice_names_its_target_if_there_are_several() -> None:
    (notice,) = about_responses(Plan(targets=("a", "b"), unrequested=1, uncertain=1))

    assert notice.startswith("a: More responses than requests arrived in 1 of 5 sessions (2 more)")
