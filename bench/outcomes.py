"""Sorts the outcomes of turns and sessions into classes: good, failed and censored, and throttled among the failed."""

from __future__ import annotations

from typing import Literal

GOOD = frozenset({"ok", "interrupted", "outlived"})
CENSORED = frozenset({"abandoned"})
THROTTLED = "throttled:"
"""How every outcome begins that a limit of the service's is the cause of."""
OutcomeClass = Literal["good", "failed", "censored"]

EXPECTED = "failed:expected_"
"""Before the name of an event that the script waited for in vain."""
UNHEARD = "the service heard no speech (does it have a VAD, does it detect turns, is its threshold too high?)"
TEXT_SESSION = "the session is one of text"
ACCEPT_HEADER = "Sec-WebSocket-Accept"
"""This tool's own words in details, by which a cause is told."""
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
