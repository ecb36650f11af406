"""Sorts the outcomes of turns and sessions into classes: good, failed and censored, and throttled among the failed."""

from __future__ import annotations

from typing import Literal

GOOD = frozenset({"ok", "interrupted", "outlived"})
CENSORED = frozenset({"abandoned"})
THROTTLED = "throttled:"
"""How every outcome begins that a limit of the service's is the cause of."""
OutcomeClass = Literal["good", "failed", "censored"]

SERVICE_SAID = "the service said: "
"""Before the service's own words, in a detail that begins with this tool's."""


def outcome_class(outcome: str) -> OutcomeClass:
    """The class of an outcome such as `ok`, `timeout:first_delta`, `abandoned`."""
    if outcome in GOOD:
        return "good"
    return "censored" if outcome in CENSORED else "failed"


def is_throttled(outcome: str) -> bool:
    """Whether the service refused by one of its limits: requests, connections or tokens."""
    return outcome.startswith(THROTTLED)
