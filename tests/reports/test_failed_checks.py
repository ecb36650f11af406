"""The words of failed checks, also of those whose value is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bench.record.document import Check
from bench.record.validity import over_text
from reports.results.value import Reason
from reports.text import reasons
from reports.text.phrases import CHECKS
from rtbench.calibrate import text as calibrate
from rtbench.capacity import text as capacity

LOAD = {"calls_per_process": 19, "processes": 1}
PLACES: dict[str, Callable[[dict[str, Any]], str]] = {
    "live": lambda check: over_text(Check(**check, result="fail", note="", remedy="")),
    "report": lambda check: reasons.reason_text(Reason(check["name"], {**check, "note": ""})),
    "capacity": lambda check: capacity.reason_text(
        Reason("check_failed", {**check, **LOAD, "remedy": ""})
    ),
    "calibrate": lambda check: calibrate.reason_text(Reason("check_failed", check)),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", CHECKS)
def test_every_failed_check_has_words_if_its_value_is_unknown(place: str, name: str) -> None:
    text = PLACES[place]({"name": name, "value": None, "limit": 1.0, "unit": "%"})

    assert "limit 1" in text
    assert "0 " not in text, "unknown is not zero"


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (("send_delay", 14.2, "ms", 10.0), "send_delay 14.2 ms > 10 ms"),
        (("start_delay", 4321.0, "ms", 10.0), "start_delay 4,321 ms > 10 ms"),
        (("own_limits", 2.5, "%", 1.0), "own_limits 2.5 % > 1 %"),
        (("missing_data", None, "%", 1.0), "missing_data unknown, limit 1 %"),
    ],
)
def test_a_failed_check_has_its_own_unit(check: tuple[Any, ...], text: str) -> None:
    numbers = dict(zip(("name", "value", "unit", "limit"), check, strict=True))

    for place in ("live", "capacity", "calibrate"):
        assert text in PLACES[place](numbers)


def test_a_level_with_missing_data_has_the_remedy_of_the_check() -> None:
    numbers = {"value": None, "unit": "%", "limit": 1.0, "remedy": "repeat the run", **LOAD}

    assert capacity.reason_text(Reason("check_failed", {"name": "missing_data", **numbers})) == (
        "INVALID: missing_data unknown, limit 1 % with 19 calls per process; repeat the run"
    )
