"""Says what to do about a session that was played and did not go well. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.doctor.dialect import dialect_remedy
from bench.doctor.explain import Refusal, explain
from bench.observe.observation import reason
from bench.protocol.dialects import DIALECTS
from bench.protocol.events import Kind
from bench.run.replay import Replayed
from bench.target.target import Target


def hint(replayed: Replayed, target: Target | None = None) -> str:
    """The first remedy that its end, or one of its turns' ends, has; "" where none is known.

    Without a target, as of a log, that of a wrong dialect alone: all others depend on who was called, and how.
    """
    session, greeting = replayed.session, _greeting(replayed)
    ended = [(session.outcome, session.detail), *((turn.outcome, turn.detail) for turn in replayed.turns)]
    if target is None:
        spoken = DIALECTS[replayed.opened.about["dialect"]]
        remedies = (dialect_remedy(outcome, detail, spoken, greeting) for outcome, detail in ended)
    else:
        refusals = (Refusal(outcome, reason(outcome, detail), greeting=greeting) for outcome, detail in ended)
        remedies = (explain(refusal, target) for refusal in refusals)
    return next(filter(None, remedies), "")


def _greeting(replayed: Replayed) -> Mapping[str, Any]:
    """The session as `session.created` described it; empty where none came."""
    came = (p.event for p in replayed.passages if p.event is not None and p.event.kind is Kind.SESSION_CREATED)
    first = next(came, None)
    return (first.session if first else None) or {}
