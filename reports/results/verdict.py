"""The words of verdicts, and the conclusion of a document.

Whether a run is valid is a `ValidityStatus` (`bench.record.document`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS
from bench.record.document import ValidityStatus
from reports.results.json_entries import JsonEntry
from reports.results.reason import Reason, unique

Result = Literal["pass", "fail", "inconclusive", "not_evaluated"]
"""Whether a threshold, a check, or a comparison passes."""
VerdictName = Literal[
    "regressed",
    "improved",
    "equivalent",
    "not_regressed",
    "inconclusive",
    "pass",
    "fail",
    "not_evaluated",
]
"""Whether a metric of two targets differs, or whether a value meets its limit."""
RESULTS: dict[VerdictName, Result] = {
    "improved": "pass",
    "equivalent": "pass",
    "not_regressed": "pass",
    "regressed": "fail",
    "inconclusive": "inconclusive",
    "pass": "pass",
    "fail": "fail",
    "not_evaluated": "not_evaluated",
}
"""The result of a threshold for each verdict on its metric."""
VerdictStatus = Literal[0, 1, 3, 4]
RESULT_OF_STATUS: dict[VerdictStatus, Result] = {
    PASS_STATUS: "pass",
    FAIL_STATUS: "fail",
    INCONCLUSIVE_STATUS: "inconclusive",
    INVALID_STATUS: "not_evaluated",
}
"""For each exit status of a verdict, the result that it means."""


class ValidityEntry(JsonEntry):
    """Whether the values of a check or comparison may be used: the reasons if not, and these as
    lines with remedies.
    """

    status: ValidityStatus
    reasons: list[Reason]
    messages: list[str]


def validity_entry(status: ValidityStatus, reasons: Sequence[Reason]) -> ValidityEntry:
    """Return the validity, still without messages. `status` is that of the run. If there are
    `reasons` and the run is valid, the entry is invalid.
    """
    return ValidityEntry(
        "invalid" if reasons and status == "valid" else status, unique(reasons), []
    )


class Conclusion(JsonEntry, kw_only=True):
    """The verdict of a document, in the same form in each of them."""

    result: Result
    """not_evaluated: the values may not be used, or there are none"""
    exit_status: VerdictStatus
    """0 pass, 1 fail, 3 inconclusive, 4 not evaluated"""
    headline: str
    """the verdict as a sentence"""
