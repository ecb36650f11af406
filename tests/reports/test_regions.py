"""One deployment that is served from several regions: each is shown apart, and where they differ it is said."""

from __future__ import annotations

import re

import pytest

from reports.summary.groups import NOT_TOLD
from reports.summary.summary import Summary
from reports.wording.notices import notices
from tests.reports import synthetic
from tests.reports.edited import Row, edit, edited
from tests.reports.shared import summary_of
from tests.reports.synthetic import Plan

PLAN = Plan(sessions=120, turns=6, kinds=("manual",), seconds=120)
SLOWER_NS = 400_000_000


def region_of(session: str) -> str | None:
    """Every third session is answered by Sweden; the very first was not reported."""
    number = int(session.removeprefix("s"))
    return None if number == 0 else "Sweden Central" if number % 3 == 0 else "East US 2"


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    """A run of which a third was answered by a region that takes 400 ms longer."""

    def told(_: int, session: Row) -> Row:
        return session | {"region": region_of(session["session_id"])}

    def slower(_: int, turn: Row) -> Row:
        late = SLOWER_NS if region_of(turn["session_id"]) == "Sweden Central" else 0
        there = ("first_audio_at_ns", "first_audible_at_ns", "last_audio_at_ns", "response_done_at_ns", "ended_at_ns")
        return turn | {name: turn[name] + late for name in there if turn[name] is not None}

    folder = synthetic.write(tmp_path_factory.mktemp("regions") / "run", PLAN)
    return edited(edit(folder, "sessions", told), slower)


def test_each_region_has_its_own_waits_and_no_turn_is_left_out(routed: Summary) -> None:
    ((waits,),) = routed.waits_by("region")

    assert [group.place.name for group in waits.groups] == ["East US 2", "Sweden Central", NOT_TOLD]
    assert sum(group.turns for group in waits.groups) == PLAN.sessions * PLAN.turns
    east, sweden, _ = waits.groups
    assert 350 < sweden.p50.value - east.p50.value < 450


def test_regions_that_surely_differ_are_named_where_figures_pool_them(routed: Summary) -> None:
    (notice,) = [line for line in notices(routed) if "ooled over" in line]

    assert re.fullmatch(
        r"Pooled over 3 regions that differ: p(95|50) of ttfa is .+ in East US 2 and .+ in Sweden Central\.", notice
    )


def test_a_target_that_one_region_answers_has_no_breakdown_by_it() -> None:
    assert not summary_of(PLAN).waits_by("region")
