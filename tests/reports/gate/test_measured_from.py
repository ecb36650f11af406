"""A threshold on latency that turns count from two instants says so, and may name one of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reports.gate.check import check_of
from reports.gate.items import Checked
from tests.reports.gate import made

MIXED = replace(made.PAIRED, targets=("only",), paired=False, kinds=("vad", "manual"))
NOTE = "ttfa: med<5s is tested from request sent and from end of speech; add {measured_from:request_sent} to test one "


def checked(*limits: str) -> Checked:
    return check_of(made.read(MIXED), made.thresholds(*limits))


def test_a_threshold_on_turns_of_both_instants_says_that_it_is_tested_for_each() -> None:
    found = checked("ttfa: med<5s")

    assert [item.title for item in found.thresholds] == ["ttfa p50 from end of speech", "ttfa p50 from request sent"]
    assert any(notice.startswith(NOTE) for notice in found.notices)


@pytest.mark.parametrize("instant", ["request_sent", "speech_end"])
def test_a_threshold_that_names_an_instant_is_tested_for_that_alone(instant: str) -> None:
    found = checked(f"ttfa{{measured_from:{instant}}}: med<5s")

    assert [item.title for item in found.thresholds] == [
        f"ttfa p50 from {instant.replace('_', ' ').replace('speech end', 'end of speech')}"
    ]
    assert not any("is tested" in notice for notice in found.notices)


def test_an_instant_that_no_turn_counts_from_is_no_data() -> None:
    vad = check_of(
        made.read(replace(MIXED, kinds=("vad",))), made.thresholds("ttfa{measured_from:request_sent}: med<5s")
    )

    assert [(item.verdict or item.result) for item in vad.thresholds] == ["not_evaluated"]
